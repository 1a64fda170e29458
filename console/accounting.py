"""Attribution, reconciliation and value of a workspace's experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from measure.errors import InputError
from measure.results import Analysis, Attribution, Estimate, Reconciliation, Status

if TYPE_CHECKING:
    from console.workspace import Workspace
    from designs.experiment import Experiment
    from designs.registry import Entry
    from measure.engine.connection import Engine
    from measure.reconcile import ExperimentWindow, IncrementalRevenue
    from measure.value import CohortValue, Value

POOLING = "hierarchical_bayes"
"""Cohorts are judged by partial pooling where it was planned."""


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open, in UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Valued:
    """What one arm is worth, and what each of its cohorts is."""

    value: Value
    cohorts: tuple[CohortValue, ...]


def period_of(entry: Entry) -> Period:
    """When an experiment's outcomes count: from its schedule or start, for its window."""
    experiment = entry.experiment
    scheduled = experiment.schedule.start if experiment.schedule else entry.start_time
    if scheduled is None:
        raise InputError(f"{entry.key} has not been started: truelift start {entry.key}")
    begin = scheduled.astimezone(UTC)
    return Period(begin, begin + timedelta(days=experiment.plan.window_days or 28))


def attribute_workspace(
    workspace: Workspace,
    key: str | None,
    *,
    models: Sequence[str] | None = None,
    cohort: str | None = None,
) -> Attribution:
    """Credit channels from the logs, over an experiment's period where one is named."""
    from console.gates import gate_sentence, report_gate, with_sentence
    from measure.attribution import DEFAULT_MODELS, attribute_engine

    entry = _entry(workspace, key) if key else None
    period = period_of(entry) if entry else None
    if cohort is None and entry and entry.experiment.cohorts:
        cohort = entry.experiment.cohorts[0]
    with workspace.connect() as engine:
        gate = report_gate(engine, period.end if period else None)
        found = attribute_engine(
            gate.engine,
            models=tuple(models) if models else DEFAULT_MODELS,
            cohort_dimension=cohort,
            start=period.start if period else None,
            end=period.end if period else None,
            currency=workspace.settings.currency,
        )
        return with_sentence(found, gate_sentence(gate))


def reconcile_workspace(workspace: Workspace, key: str | None) -> Reconciliation:
    """Run the catalogue; with an experiment, its integrity and its estimate are part of it.

    Counts and money are of everybody; rows of people without consent to be measured are not shown.
    """
    from console.store import save
    from measure.reconcile import reconcile

    with workspace.connect() as engine:
        told = reconciliation_inputs(workspace, engine, key)
        window = told["experiment"]
        result = for_readers(engine, reconcile(engine, **told), window.end if window else None)
    save(workspace.results(key or "reconciliation"), "reconciliation", result)
    return result


def for_readers(engine: Engine, result: Reconciliation, end: datetime | None) -> Reconciliation:
    """The reconciliation without rows of people who may not be measured, as it is known today."""
    from console.gates import report_gate
    from measure.people.measured import withheld

    return replace(result, checks=withheld(report_gate(engine, end), result.checks))


def reconciliation_inputs(workspace: Workspace, engine: Engine, key: str | None) -> dict[str, Any]:
    """Return what a reconciliation is told beside the tables, by the names of its arguments."""
    from console.store import read
    from measure.reconcile import Settings

    kept = workspace.settings
    told: dict[str, Any] = {"settings": Settings(currency=kept.currency, min_cell=kept.min_cell)}
    if key is None:
        return {**told, "experiment": None}
    entry = _entry(workspace, key)
    window = experiment_window(entry)
    if entry.experiment.allocation is not None:
        from designs.assignment.allocation import expected_shares

        expected = expected_shares(engine, entry.experiment)
        window = window.model_copy(update={"arms": expected})
    analysis = read(workspace.results(key), "analysis", Analysis)
    return {
        **told,
        "experiment": window,
        "incremental": incremental_revenue(entry.experiment, analysis),
        "attribution": read(workspace.results(key), "attribution", Attribution),
    }


def experiment_window(entry: Entry) -> ExperimentWindow:
    """Return what reconciliation needs to know of an experiment."""
    from measure.reconcile import ExperimentWindow

    experiment, period = entry.experiment, period_of(entry)
    return ExperimentWindow(
        key=experiment.key,
        arms=dict(experiment.arms),
        control=experiment.control,
        start=period.start,
        end=period.end,
        campaigns=experiment.campaigns,
        every_look=experiment.plan.sequential is not False,
    )


def revenue_estimate(experiment: Experiment, analysis: Analysis, arm: str) -> Estimate | None:
    """Return the estimate that money is computed from: the leading one of the primary metric.

    ``None`` unless the primary metric is in the currency of the cost, and one of which every unit
    has its part: the difference of two quantiles, times the units, is no money.
    """
    primary = experiment.analysis_plan().primary
    if experiment.cost is None or primary.unit != experiment.cost.currency:
        return None
    if primary.kind == "quantile":
        return None
    return leading_estimate(experiment, analysis, primary.name, arm)


def leading_estimate(experiment: Experiment, analysis: Analysis, metric: str, arm: str) -> Estimate:
    """Return the estimate that leads: CUPED where planned and usable, else the difference."""
    planned = experiment.analysis_plan().running
    wanted = [name for name in ("cuped", "difference", *planned) if name in planned]
    found = [analysis.find(metric, arm, name) for name in wanted]
    return next((e for e in found if e.status is Status.OK), found[0])


def incremental_revenue(
    experiment: Experiment, analysis: Analysis | None
) -> IncrementalRevenue | None:
    """Return the experiment's total for the bridge, when there is one treated arm and a number."""
    from measure.reconcile import IncrementalRevenue

    treatments = experiment.analysis_plan().treatments
    if analysis is None or len(treatments) != 1 or experiment.cost is None:
        return None
    if experiment.plan.observational is not None:  # the bridge says "caused"
        return None
    estimate = revenue_estimate(experiment, analysis, treatments[0])
    if estimate is None or estimate.status is not Status.OK:
        return None
    return IncrementalRevenue.from_estimate(estimate, experiment.cost.currency)


def value_experiment(
    experiment: Experiment, analysis: Analysis, spend: int | None
) -> dict[str, Valued]:
    """Put a price on each arm; empty when the experiment states no cost in its primary metric."""
    from measure.value import Cost, value_cohorts, value_of

    if experiment.cost is None:
        return {}
    scale_if = experiment.decision.scale_rule if experiment.decision else None
    stop_if = experiment.decision.stop_rule if experiment.decision else None
    terms = experiment.cost
    cost = Cost(terms.currency, spend, terms.per_unit, terms.fixed, terms.margin)
    valued = {}
    for arm in experiment.analysis_plan().treatments:
        estimate = revenue_estimate(experiment, analysis, arm)
        if estimate is None:
            continue
        cohorts = _cohort_estimates(experiment, analysis, arm)
        valued[arm] = Valued(
            value_of(estimate, cost, scale_if=scale_if, stop_if=stop_if),
            value_cohorts(cohorts, cost, scale_if=scale_if, stop_if=stop_if),
        )
    return valued


def valued_experiment(workspace: Workspace, key: str) -> dict[str, Valued]:
    """Put a price on a registered experiment from its kept analysis and the spend loaded."""
    from console.store import read

    entry = _entry(workspace, key)
    analysis = read(workspace.results(key), "analysis", Analysis)
    if analysis is None:
        raise InputError(f"{key} has not been analysed. Run `truelift analyze {key}` first.")
    spend = None
    if workspace.has_tables:
        with workspace.connect() as engine:
            spend = programme_spend(engine, entry.experiment, period_of(entry))
    return value_experiment(entry.experiment, analysis, spend)


def programme_spend(engine: Engine, experiment: Experiment, period: Period) -> int | None:
    """Spend of the tested campaigns in the period, minor units; ``None`` when it is not known."""
    if not experiment.campaigns or experiment.cost is None or not engine.has("spend"):
        return None
    spend = engine.table("spend")
    billed = spend.filter(
        spend.campaign.isin(list(experiment.campaigns)),
        spend.currency == experiment.cost.currency,
        spend.date >= period.start.date(),
        spend.date < period.end.date(),
    )
    row = engine.fetch(billed.aggregate(n=billed.count(), money=billed.amount.sum())).to_pylist()[0]
    return int(row["money"]) if row["n"] else None


def _cohort_estimates(experiment: Experiment, analysis: Analysis, arm: str) -> list[Estimate]:
    """Estimates of the first cohort dimension under the method that cohorts are judged by."""
    plan = experiment.analysis_plan()
    if not plan.cohorts:
        return []
    method = POOLING if POOLING in plan.running else plan.running[0]
    return [
        estimate
        for estimate in analysis.estimates
        if (estimate.metric, estimate.arm, estimate.estimator) == (plan.primary.name, arm, method)
        and estimate.cohort is not None
        and estimate.cohort.dimension == plan.cohorts[0]
    ]


def _entry(workspace: Workspace, key: str) -> Entry:
    from designs.registry import Registry

    with Registry(workspace.registry_url) as registry:
        return registry.get(key)
