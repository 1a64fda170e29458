"""``write_site``: all pages of a workspace and the files they link to, each whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from measure.health import Health
from measure.results import Attribution, Check, Estimate
from reports.facts import AttributionReport, ExperimentReport, ReconciliationReport, Site
from reports.files import csv_text, slug, write_whole
from reports.pages import attribution, experiment, health, index, reconciliation, score
from reports.pages.index import Entry
from reports.pages.model import Link, Page
from reports.render import render
from reports.words import clean

_ALL = Link("All experiments", "index.html")

_ESTIMATES = (
    *("metric", "arm", "control", "dimension", "cohort", "estimand", "estimator", "value", "se"),
    *("ci_low", "ci_high", "ci_level", "p_value", "relative", "relative_ci_low"),
    *("relative_ci_high", "n_control", "n_arm", "status", "note"),
)
_CREDITS = (
    *("model", "channel", "dimension", "cohort", "conversions", "value", "share"),
    *("removal_effect", "ci_low", "ci_high"),
)
_INCIDENTS = ("kind", "source", "what", "start", "end", "hours", "observed", "usual", "paid")
_CHECKS = (
    *("code", "title", "outcome", "severity", "rows", "money", "currency", "disposition"),
    *("p_value", "message"),
)


def write_site(out: Path, site: Site) -> tuple[Path, ...]:
    """Write all files of a site into ``out`` (made if absent), the index last; their paths."""
    files = site_files(site)
    out.mkdir(parents=True, exist_ok=True)
    return tuple(write_whole(out / name, text) for name, text in files.items())


def site_files(site: Site) -> Mapping[str, str]:
    """The text of every file by name, the index last."""
    files: dict[str, str] = {}
    entries = []
    for report in site.experiments:
        entry, written = _experiment_files(report)
        entries.append(entry)
        files |= written
    links = []
    if site.attribution is not None:
        links.append(Link("Attribution", "attribution.html"))
        files |= _attribution_files(site.attribution, "attribution", (_ALL,))
    if site.reconciliation is not None:
        links.append(Link("Reconciliation", "reconciliation.html"))
        files |= _reconciliation_files(site.reconciliation, "reconciliation", (_ALL,))
    if site.health is not None:
        links.append(Link("Health of the data", "health.html"))
        page = health.build(site.health, "health.html", "health-incidents.csv", (_ALL,))
        files |= {**_page(page), "health-incidents.csv": incidents_csv(site.health.health)}
    for found in site.scores:
        name = f"score-{slug(found.title)}.html"
        links.append(Link(f"Score: {clean(found.title, 40)}", name))
        files |= _page(score.build(found, name, (_ALL,)))
    return files | _page(index.build(site, entries, tuple(links)))


def _experiment_files(report: ExperimentReport) -> tuple[Entry, dict[str, str]]:
    """The pages of one experiment, linked with each other."""
    name = slug(report.facts.key)
    own, csv = f"experiment-{name}.html", f"experiment-{name}-estimates.csv"
    links = []
    if report.attribution is not None:
        links.append(Link("Attribution", f"attribution-{name}.html"))
    if report.reconciliation is not None:
        links.append(Link("Reconciliation", f"reconciliation-{name}.html"))
    files = _page(experiment.build(report, own, csv, (_ALL, *links)))
    if not experiment.is_invalid(report):
        files[csv] = estimates_csv(report.analysis.estimates)
    back = (_ALL, Link("Experiment", own))
    if report.attribution is not None:
        files |= _attribution_files(report.attribution, f"attribution-{name}", back)
    if report.reconciliation is not None:
        files |= _reconciliation_files(report.reconciliation, f"reconciliation-{name}", back)
    return Entry(report, own, tuple(links)), files


def _attribution_files(
    report: AttributionReport, name: str, links: tuple[Link, ...]
) -> dict[str, str]:
    csv = f"{name}-credits.csv"
    page = attribution.build(report, f"{name}.html", csv, links)
    return {**_page(page), csv: credits_csv(report.attribution)}


def _reconciliation_files(
    report: ReconciliationReport, name: str, links: tuple[Link, ...]
) -> dict[str, str]:
    csv = f"{name}-checks.csv"
    page = reconciliation.build(report, f"{name}.html", csv, links)
    return {**_page(page), csv: checks_csv(report.reconciliation.checks)}


def _page(page: Page) -> dict[str, str]:
    return {page.file: render(page)}


def estimates_csv(estimates: Sequence[Estimate]) -> str:
    """All estimates under the field names of the ``analyze`` document."""
    return csv_text(_ESTIMATES, ([_field(e, name) for name in _ESTIMATES] for e in estimates))


def credits_csv(found: Attribution) -> str:
    """All credits under the field names of the ``attribute`` document."""
    return csv_text(_CREDITS, ([_field(c, name) for name in _CREDITS] for c in found.credits))


def checks_csv(checks: Sequence[Check]) -> str:
    """All checks under the field names of the ``reconcile`` document; money in minor units."""
    return csv_text(_CHECKS, ([_field(c, name) for name in _CHECKS] for c in checks))


def incidents_csv(found: Health) -> str:
    """All incidents under the field names of the ``health`` document."""
    return csv_text(_INCIDENTS, ([_field(i, name) for name in _INCIDENTS] for i in found.incidents))


def _field(result: object, name: str) -> object:
    """A field; cohorts are two columns."""
    if name in {"dimension", "cohort"}:
        cohort = getattr(result, "cohort", None)
        return getattr(cohort, "value" if name == "cohort" else "dimension", None)
    return getattr(result, name)
