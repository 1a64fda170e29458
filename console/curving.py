"""How effects move with time, of a registered experiment or of a long table brought along."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from console.measuring import is_specification
from measure.errors import InputError, UnknownName

if TYPE_CHECKING:
    from console.workspace import Workspace
    from designs.experiment import Experiment
    from designs.registry import Entry
    from measure.incrementality.over_time import Curves
    from measure.journeys.outcomes_over_time import By
    from measure.plan import AnalysisPlan

LONGEST_BY_DAY = 31
"""Windows up to this many days are shown by day, longer ones by week, unless somebody says."""


def curves(
    target: str,
    *,
    by: By | None,
    metric: str | None,
    until: datetime | None,
    acting: str | None,
) -> Curves:
    """Curves of a key of the registry, or of a specification whose source has periods."""
    if is_specification(target):
        return _brought(Path(target), by=by, metric=metric, until=until, acting=acting)
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action

    workspace = Workspace.find()
    with workspace.open_registry() as registry:
        registry.permit(Action.ANALYZE, target, by=acting_person(acting))
        entry = registry.get(target)
    return _assigned(workspace, entry, by=by, metric=metric, until=until)


def _assigned(
    workspace: Workspace,
    entry: Entry,
    *,
    by: By | None,
    metric: str | None,
    until: datetime | None,
) -> Curves:
    from console.accounting import period_of
    from console.gates import report_gate
    from measure.incrementality.over_time import effects_over_time
    from measure.journeys.outcomes_over_time import outcomes_over_time, record_ends, trackable

    experiment = entry.experiment
    _refuse_designs(experiment)
    plan = experiment.analysis_plan()
    chosen = _chosen(plan, metric, tuple(m.name for m in trackable(plan.metrics)))
    step = by or ("day" if (plan.window_days or 28) <= LONGEST_BY_DAY else "week")
    with workspace.connect() as whole:
        engine = report_gate(whole, period_of(entry).end).engine
        end = record_ends(whole) if until is None else until
        panel = outcomes_over_time(engine, experiment.key, chosen, step, until=end)
        return effects_over_time(
            panel,
            experiment=experiment.key,
            by=step,
            until=end.astimezone(UTC) if end.tzinfo else end.replace(tzinfo=UTC),
            notes=_left_out(plan, chosen, metric),
        )


def _brought(
    path: Path, *, by: By | None, metric: str | None, until: datetime | None, acting: str | None
) -> Curves:
    from console.cli.commands.analysis import permit_specification
    from console.workspace import Workspace
    from designs.specification import load_experiment
    from measure.engine.connection import connect
    from measure.incrementality.over_time import effects_over_time
    from measure.journeys.brought_over_time import brought_over_time, summable

    experiment = load_experiment(path)
    source = experiment.source
    if source is None:
        return curves(experiment.key, by=by, metric=metric, until=until, acting=acting)
    if source.period is None:
        rule = "has no period: the column with the number of the period, from 1"
        raise InputError(f"{path}: source: {rule}. Bring one row per unit and period.")
    for option, value in (("--by", by), ("--until", until)):
        if value is not None:
            rule = "has no effect where source.period says what a period is; remove it"
            raise InputError.rule(option, str(value), rule)
    permit_specification(path, acting)
    _refuse_designs(experiment)
    plan = experiment.analysis_plan()
    chosen = _chosen(plan, metric, tuple(m.name for m in summable(plan.metrics)))
    with Workspace.find(path.parent).connect() if source.table else connect() as engine:
        panel = brought_over_time(engine, source, chosen, path.parent)
        notes = _left_out(plan, chosen, metric)
        return effects_over_time(panel, experiment=experiment.key, by=source.period, notes=notes)


def _refuse_designs(experiment: Experiment) -> None:
    """Designs whose arms cannot be compared unit by unit, one difference for all."""
    designs = {
        "cluster": experiment.cluster,
        "switchback": experiment.switchback,
        "allocation": experiment.allocation,
        "plan.observational": experiment.plan.observational,
    }
    for name, value in designs.items():
        if value is not None:
            raise InputError(
                f"{experiment.key}: {name}: effects over time are for units randomised one by one "
                "with the same shares everywhere. Use `truelift analyze`."
            )


def _chosen(plan: AnalysisPlan, metric: str | None, able: tuple[str, ...]) -> AnalysisPlan:
    """The plan with the metrics that can be followed, or the one that was asked for."""
    names = able
    if metric is not None:
        if metric not in {m.name for m in plan.metrics}:
            raise UnknownName.of("metric", metric, (m.name for m in plan.metrics))
        names = (metric,) if metric in able else ()
    if not names:
        raise InputError.rule(
            "metric",
            metric or ", ".join(m.name for m in plan.metrics),
            "cannot be followed through time",
            "Means, proportions and counts without winsorize can, in a registered experiment of "
            "conversion, orders, revenue and net_revenue.",
        )
    kept = tuple(m for m in plan.metrics if m.name in names)
    return plan.model_copy(update={"metrics": kept})


def _left_out(plan: AnalysisPlan, chosen: AnalysisPlan, metric: str | None) -> tuple[str, ...]:
    """Name the metrics that were not followed, unless one was asked for."""
    missing = [m.name for m in plan.metrics if m not in chosen.metrics]
    if metric is not None or not missing:
        return ()
    return (f"not followed through time: {', '.join(missing)}",)
