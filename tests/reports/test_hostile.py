"""Rows A1 – A5 of the attack list: names are text wherever they stand, and nothing but text."""

import csv
import io
from dataclasses import replace

import pytest

from measure.results import Cohort
from reports.facts import ArmFacts, ExperimentReport, MetricFacts, Site
from reports.site import site_files
from reports.words import clean
from tests.reports import sample
from tests.reports.html import read, text_of

NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><svg onload=alert(1)>",
    "</style><b>",
    "{{7*7}}",
    "{% raw %}",
    "javascript:alert(1)",
    "=cmd|'/c calc'!A1",
    "x'; drop table assignments;--",
    '" onmouseover="alert(1)',
    "\\",
    "a\u202eb\u200bc",
    "''",
    "&lt;b&gt;&amp;",
    "../../etc/passwd",
    "–" * 300,
)
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1+1")
HARMLESS = "Plain"


def hostile(name: str) -> Site:
    """The sample with one name wherever a user can put one."""
    report = sample.winback()
    facts = replace(
        report.facts, key=name, title=name, hypothesis=name, unit=name, source=name,
        arms=(ArmFacts(name, 0.9, 10), ArmFacts("Holdout", 0.1, 2)), covariates=(name,),
        metrics=(MetricFacts(name, "proportion", None, "primary"),
                 MetricFacts("net_revenue", "mean", name)),
        cohorts=(name,), estimators=("difference", name), cohort_estimator=name, state=name,
        time_zone=name, versions={name: name}, plan_hash=name, multiplicity=name,
    )  # fmt: skip
    estimates = tuple(
        replace(e, metric=name if e.metric == "conversion" else e.metric, arm=name, control=name,
                estimator=name if e.cohort else e.estimator, note=name,
                cohort=Cohort(name, name) if e.cohort else None)
        for e in report.analysis.estimates
    )  # fmt: skip
    checks = tuple(replace(c, code=name, title=name, message=name, anchor=name)
                   for c in report.analysis.checks)  # fmt: skip
    guardrails = tuple(replace(g, metric=name, arm=name) for g in report.analysis.guardrails)
    analysis = replace(report.analysis, estimates=estimates, checks=checks, multiplicity=(),
                       guardrails=guardrails)  # fmt: skip
    money = tuple(
        replace(m, arm=name, spend_note=name, notes=(name,),
                cohorts=tuple(replace(c, dimension=name, value=name) for c in m.cohorts))
        for m in report.money
    )  # fmt: skip
    made = ExperimentReport(facts, analysis, money, *_channels(report, name))
    score = replace(sample.score(), title=name, score=name, note=name,
                    metric=MetricFacts(name, "proportion"))  # fmt: skip
    return replace(sample.site(), title=name, experiments=(made,), attribution=None,
                   reconciliation=None, scores=(score,))  # fmt: skip


def _channels(report: ExperimentReport, name: str) -> tuple[object, ...]:
    attribution, reconciliation = report.attribution, report.reconciliation
    assert attribution is not None
    assert reconciliation is not None
    assert attribution.incremental is not None
    journeys = replace(
        sample.journeys(), titles=(name, name, name), converted=name,
        flows=tuple(replace(f, source=name, target=name) for f in sample.journeys().flows),
    )  # fmt: skip
    found = attribution.attribution
    renamed = tuple(replace(c, channel=name if c.channel == "Search" else c.channel,
                            cohort=Cohort(name, name) if c.cohort else None)
                    for c in found.credits)  # fmt: skip
    credited = replace(
        attribution, title=name, journeys=journeys,
        incremental=replace(attribution.incremental, experiment=name),
        attribution=replace(found, credits=renamed, definition={"sentences": [name], name: name}),
    )  # fmt: skip
    account = reconciliation.reconciliation
    checks = tuple(replace(c, code=name, title=name, message=name, anchor=name,
                           evidence=({name: name},)) for c in account.checks)  # fmt: skip
    reconciled = replace(
        reconciliation, title=name,
        reconciliation=replace(account, checks=checks, notes=(name,), settings={name: name}),
    )  # fmt: skip
    return credited, reconciled, journeys


def skeleton(page: str) -> set[tuple[str, tuple[str, ...]]]:
    """Kinds of elements with the names of their attributes."""
    return {(e.tag, tuple(e.attributes)) for e in read(page).elements}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(name: str) -> None:
    plain = site_files(hostile(HARMLESS))
    known = {shape for text in plain.values() if text.startswith("<") for shape in skeleton(text)}
    files = site_files(hostile(name))
    for file, text in files.items():
        assert set(file) <= set("abcdefghijklmnopqrstuvwxyz0123456789-."), file
        if file.endswith(".html"):
            assert skeleton(text) <= known
            hrefs = {e.attributes["href"] for e in read(text).elements if "href" in e.attributes}
            assert hrefs <= {*files, "data:,", "#main"}
    page = next(text for file, text in files.items() if file.startswith("experiment-"))
    shown = " ".join(clean(name, 30).rstrip("…").split())
    assert shown in text_of(page)


def test_templates_in_names_are_never_run() -> None:
    for text in site_files(hostile("{{7*7}}abc")).values():
        if text.startswith("<"):
            assert "{{7*7}}abc" in text_of(text)
            assert "49abc" not in text


@pytest.mark.parametrize("name", FORMULAS)
def test_no_name_is_a_formula_in_a_csv_file(name: str) -> None:
    files = site_files(hostile(name))
    for file in (file for file in files if file.endswith(".csv")):
        rows = list(csv.reader(io.StringIO(files[file], newline="")))
        assert len(rows) > 1
        for row in rows[1:]:
            for cell in row:
                number = cell.lstrip("-").replace(".", "").replace("e-", "").isdigit()
                assert number or cell[:1] not in set("=+-@\t\r＝"), cell
        assert any(f"'{name}" in row for row in rows[1:])


def test_negative_numbers_are_still_numbers_in_a_csv_file() -> None:
    files = site_files(sample.site())
    rows = list(csv.DictReader(io.StringIO(files["experiment-win-back-2025-estimates.csv"])))
    found = [row for row in rows if row["cohort"] == "Display · retargeting"]
    assert float(found[-1]["value"]) == -0.003
    assert float(found[-1]["ci_low"]) < -0.003


def test_direction_and_control_characters_lose_their_power() -> None:
    page = site_files(hostile("a\u202eb\x07c"))
    for text in page.values():
        if text.startswith("<"):
            assert "\u202e" not in text
            assert "\x07" not in text
