"""From results to the frozen facts that pages are made of, and the pages themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from console.accounting import (
    Period,
    Valued,
    attribute_workspace,
    for_readers,
    leading_estimate,
    period_of,
    reconcile_workspace,
    valued_experiment,
)
from console.measuring import measure_registered, measure_specification, versions
from console.store import read, save
from console.surveying import health_report
from measure.errors import InputError
from measure.results import Analysis, Attribution, Reconciliation

if TYPE_CHECKING:
    from console.workspace import Workspace
    from designs.experiment import Experiment
    from designs.registry import Entry
    from reports.facts import (
        ArmFacts,
        AttributionReport,
        ExperimentFacts,
        ExperimentReport,
        IncrementalFacts,
        Journeys,
        MetricFacts,
        ReconciliationReport,
        Site,
    )
    from reports.money import MoneyFacts


def publish(
    workspace: Workspace, *, key: str | None = None, out: Path | None, synthetic: bool = False
) -> Path:
    """Write the pages of one experiment, or of all that were started; return the index."""
    from designs.registry import Registry
    from reports.site import write_site

    with Registry(workspace.registry_url) as registry:
        entries = [registry.get(key)] if key else list(registry.entries())
    started = [entry for entry in entries if entry.started_at]
    if not started:
        raise InputError("no experiment has been started yet: truelift start KEY")
    reports = tuple(experiment_report(workspace, entry, synthetic=synthetic) for entry in started)
    site = _site(workspace.root.resolve().name, reports)
    if workspace.has_tables:
        site = replace(site, health=health_report(workspace, synthetic=synthetic))
    return write_site(out or workspace.root / "reports", site)[-1]


def publish_specification(path: Path, out: Path) -> Path:
    """Write the pages of a specification that brings its results along."""
    from reports.facts import ExperimentReport
    from reports.site import write_site

    measured = measure_specification(path)
    facts = experiment_facts(measured.experiment, measured.analysis, time_zone="UTC")
    money = money_of(measured.experiment, measured.analysis, None)
    report = ExperimentReport(facts, measured.analysis, money=money)
    return write_site(out, _site(measured.experiment.key, (report,)))[-1]


def experiment_report(workspace: Workspace, entry: Entry, *, synthetic: bool) -> ExperimentReport:
    """Everything about one experiment; what was not computed yet is computed now."""
    from reports.facts import ExperimentReport

    key, period = entry.key, period_of(entry)
    folder = workspace.results(key)
    analysis = read(folder, "analysis", Analysis)
    if analysis is None:
        analysis = measure_registered(workspace, key).analysis
        save(folder, "analysis", analysis)
    zone = workspace.settings.time_zone
    report = ExperimentReport(
        facts=experiment_facts(
            entry.experiment, analysis, time_zone=zone, entry=entry, synthetic=synthetic
        ),
        analysis=analysis,
        money=_money_facts(entry.experiment, valued_experiment(workspace, key)),
    )
    if not workspace.has_tables:  # results were brought along, and there are no logs
        return report
    return replace(
        report,
        attribution=_attribution(workspace, entry, analysis, synthetic=synthetic),
        reconciliation=_reconciliation(workspace, entry, period, synthetic=synthetic),
        journeys=_journeys(workspace, period),
    )


def experiment_facts(
    experiment: Experiment,
    analysis: Analysis,
    *,
    time_zone: str,
    entry: Entry | None = None,
    synthetic: bool = False,
) -> ExperimentFacts:
    """Return what was decided, and under which hashes it was measured."""
    from reports.facts import ExperimentFacts

    plan, cost, decision = experiment.analysis_plan(), experiment.cost, experiment.decision
    period = period_of(entry) if entry else None
    provenance = analysis.provenance
    return ExperimentFacts(
        key=experiment.key,
        hypothesis=experiment.hypothesis,
        unit=experiment.unit,
        arms=_arms(experiment, analysis),
        control=experiment.control,
        metrics=_metrics(experiment),
        estimators=plan.running,
        generated_on=_today(time_zone),
        title=experiment.title or "",
        state=str(entry.state) if entry else "",
        started_on=_day(period.start, time_zone) if period else None,
        ended_on=_last_day(period, time_zone) if period else None,
        registered_on=_day(_moment(entry.registered_at), time_zone) if entry else None,
        window_days=plan.window_days,
        time_zone=time_zone,
        ci_level=plan.ci_level,
        covariates=plan.covariates,
        cohorts=plan.cohorts,
        multiplicity=plan.multiplicity,
        currency=cost.currency if cost else None,
        cost_per_unit=cost.per_unit if cost else None,
        fixed_cost=cost.fixed if cost else None,
        margin=cost.margin if cost else None,
        scale_if=decision.scale_if if decision else None,
        stop_if=decision.stop_if if decision else None,
        headline_estimator=leading_estimate(
            experiment, analysis, plan.primary.name, plan.treatments[0]
        ).estimator,
        randomised=provenance.get("design") != "observational",
        assumptions=tuple(provenance.get("assumptions", ())),
        exploratory=bool(provenance.get("exploratory", False)),
        synthetic=synthetic,
        source=(experiment.source.path or experiment.source.table or "")
        if experiment.source
        else "",
        plan_hash=provenance.get("plan_hash"),
        data_hash=provenance.get("data_hash"),
        versions=versions(),
    )


def money_of(
    experiment: Experiment, analysis: Analysis, spend: int | None
) -> tuple[MoneyFacts, ...]:
    """Money of each arm; empty where the specification states no cost."""
    from console.accounting import value_experiment

    return _money_facts(experiment, value_experiment(experiment, analysis, spend))


def _money_facts(experiment: Experiment, valued: dict[str, Valued]) -> tuple[MoneyFacts, ...]:
    """Money as the pages need it; without a registered rule there is no verdict."""
    from reports.money import money_from_value

    registered = experiment.decision is not None
    campaigns = len(experiment.campaigns)
    billed = f"as billed for {campaigns} {'campaign' if campaigns == 1 else 'campaigns'}"
    return tuple(
        money_from_value(
            one.value,
            one.cohorts,
            registered=registered,
            spend_note=billed if campaigns else "",
        )
        for one in valued.values()
    )


def _attribution(
    workspace: Workspace, entry: Entry, analysis: Analysis, *, synthetic: bool
) -> AttributionReport | None:
    from reports.facts import AttributionReport

    folder = workspace.results(entry.key)
    attribution = read(folder, "attribution", Attribution)
    if attribution is None:
        with workspace.connect() as engine:
            present = engine.has("activations") and engine.has("conversions")
        if not present:
            return None
        attribution = attribute_workspace(workspace, entry.key)
        save(folder, "attribution", attribution)
    return AttributionReport(
        attribution=attribution,
        generated_on=_today(workspace.settings.time_zone),
        title=entry.experiment.title or entry.key,
        currency=workspace.settings.currency,
        ci_level=entry.experiment.plan.ci_level,
        incremental=_incremental(entry.experiment, analysis),
        synthetic=synthetic,
        versions=versions(),
    )


def _incremental(experiment: Experiment, analysis: Analysis) -> IncrementalFacts | None:
    """Incremental conversions of the only arm, where a conversion metric was planned."""
    from reports.facts import IncrementalFacts

    plan = experiment.analysis_plan()
    counted = [m.name for m in plan.metrics if m.kind == "proportion"]
    if len(plan.treatments) != 1 or not counted:
        return None
    if plan.observational is not None:  # the page says "caused"
        return None
    estimate = leading_estimate(experiment, analysis, counted[0], plan.treatments[0])
    if estimate.value is None or estimate.ci_low is None or estimate.ci_high is None:
        return None
    units = estimate.n_arm
    return IncrementalFacts(
        experiment.key,
        estimate.value * units,
        estimate.ci_low * units,
        estimate.ci_high * units,
        estimate.ci_level,
    )


def _reconciliation(
    workspace: Workspace, entry: Entry, period: Period, *, synthetic: bool
) -> ReconciliationReport | None:
    from reports.facts import ReconciliationReport

    reconciliation = read(workspace.results(entry.key), "reconciliation", Reconciliation)
    if reconciliation is None:
        reconciliation = reconcile_workspace(workspace, entry.key)
    else:  # somebody may have withdrawn since
        with workspace.connect() as engine:
            reconciliation = for_readers(engine, reconciliation, period.end)
    zone = workspace.settings.time_zone
    return ReconciliationReport(
        reconciliation=reconciliation,
        generated_on=_today(zone),
        title=entry.experiment.title or entry.key,
        time_zone=zone,
        started_on=_day(period.start, zone),
        ended_on=_last_day(period, zone),
        synthetic=synthetic,
        versions=versions(),
    )


def _journeys(workspace: Workspace, period: Period) -> Journeys | None:
    """First touch, second touch, outcome: observed paths in the experiment's period."""
    from console.gates import report_gate
    from measure.journeys.flows import journey_flows
    from measure.journeys.rules import JourneyRules
    from reports.pages.journeys import journeys_from_flows

    rules = JourneyRules(start=period.start, end=period.end, currency=workspace.settings.currency)
    with workspace.connect() as engine:
        if not (engine.has("activations") and engine.has("conversions")):
            return None
        flows = journey_flows(report_gate(engine, period.end).engine, rules)
    return journeys_from_flows(flows)


def _arms(experiment: Experiment, analysis: Analysis) -> tuple[ArmFacts, ...]:
    from reports.facts import ArmFacts

    units = {}
    for estimate in analysis.estimates:
        if estimate.cohort is None:
            units[estimate.arm] = estimate.n_arm
            units[estimate.control] = estimate.n_control
    return tuple(ArmFacts(name, share, units.get(name)) for name, share in experiment.arms.items())


def _metrics(experiment: Experiment) -> tuple[MetricFacts, ...]:
    from reports.facts import MetricFacts

    return tuple(
        MetricFacts(
            m.name,
            m.kind,
            m.unit,
            m.role,
            m.harm_below,
            m.harm_above,
            m.quantile,
            m.horizon,
        )
        for m in experiment.metrics
    )


def _site(title: str, reports: tuple[ExperimentReport, ...]) -> Site:
    from reports.facts import Site

    return Site(title, reports[0].facts.generated_on, experiments=reports)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _day(moment: datetime, time_zone: str) -> date:
    return moment.astimezone(ZoneInfo(time_zone)).date()


def _last_day(period: Period, time_zone: str) -> date:
    """Return the last day that counts; the period itself is half-open."""
    return _day(period.end - timedelta(microseconds=1), time_zone)


def _today(time_zone: str) -> date:
    return _day(datetime.now(UTC), time_zone)
