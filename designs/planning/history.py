"""What is known before the test: outcomes of units like these, in windows like this one.

A specification with ``source`` is planned from its unit table: the control arm where it has units,
else everybody. One that the registry runs is planned from the warehouse
(:mod:`designs.planning.warehouse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from designs.planning.assumptions import Assumptions
from designs.planning.baseline import Clusters
from designs.planning.outcome import Outcome, outcomes, plannable
from measure.engine.connection import Engine
from measure.errors import InputError, UnknownName
from measure.plan import AnalysisPlan, Metric

if TYPE_CHECKING:
    from designs.experiment import Experiment


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """The primary metric when its outcomes count for ``days``."""

    days: int
    outcome: Outcome
    active: int
    newcomers: int


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """What planning reads; ``units`` is the number that can be assigned."""

    source: str
    units: int
    outcomes: Mapping[str, Outcome]
    first_day: date | None = None
    last_day: date | None = None
    spans: tuple[Span, ...] = ()
    weekdays: tuple[tuple[float, ...], ...] = ()
    """Orders per day, one row of seven (Monday first) per whole week, oldest first."""
    daily: tuple[float, ...] = ()
    """Orders per day up to the end of history, days without any included."""
    same_season: float | None = None
    """Orders a day in the test's dates one year before, over those of the year-ago weeks before."""
    clusters: Clusters | None = None
    """Clusters that the specification declares; outcomes are added up to them already."""
    notes: tuple[str, ...] = field(default=())


def reading_plan(experiment: Experiment, assumptions: Assumptions) -> AnalysisPlan:
    """What is read of history: metrics that can be planned, and the ratios assumed.

    :class:`UnknownName` for a part of a ratio that is no metric, :class:`InputError` for clusters
    that are both declared and assumed, and for a primary metric that cannot be planned.
    """
    source = experiment.source
    declared = experiment.cluster is not None or (source is not None and source.cluster)
    if declared and assumptions.clusters is not None:
        raise InputError.rule(
            "clusters",
            assumptions.clusters.size,
            "the specification declares clusters, and history is added up to them",
            "Leave clusters out of the assumptions; they would count twice.",
        )
    plan = experiment.analysis_plan().model_copy(update={"exposure": None})
    plan = plan.model_copy(update={"metrics": (*plan.metrics, *_ratios(assumptions, plan))})
    return plannable(plan)[0]


def source_history(
    engine: Engine, experiment: Experiment, base: Path, assumptions: Assumptions
) -> History:
    """History from a unit table; paths are relative to ``base``."""
    from measure.engine.units import open_source

    if experiment.source is None:
        raise InputError("source: is missing. Give the path or table of a unit table.")
    plan = reading_plan(experiment, assumptions)
    units = open_source(engine, experiment.source, plan, base)
    counts = units.moments().units
    control = counts.get(plan.control, 0) >= 2
    arms = (plan.control,) if control else tuple(plan.arms)
    where = experiment.source.path or f"table {experiment.source.table}"
    who = f"arm {plan.control!r}" if control else "everybody"
    return History(
        source=f"{where}, {who}",
        units=assumptions.units or sum(counts.values()),
        outcomes=outcomes(units, plan, arms),
        notes=("The unit table has one row per unit: the population is fixed, so there is no "
               "duration to choose.",),
    )  # fmt: skip


def _ratios(assumptions: Assumptions, plan: AnalysisPlan) -> tuple[Metric, ...]:
    """Ratios that are assumed and not declared, as metrics of their own."""
    metrics = {metric.name: metric for metric in plan.metrics}
    found = []
    for ratio in assumptions.ratios:
        for name in (ratio.numerator, ratio.denominator):
            if name not in metrics:
                raise UnknownName.of("metric", name, metrics, f"ratio {ratio.name!r}")
        above, below = metrics[ratio.numerator], metrics[ratio.denominator]
        found.append(
            Metric(
                name=ratio.name, kind="ratio", column=above.column, denominator=below.column,
                null=above.null,
            )
        )  # fmt: skip
    return tuple(found)
