"""What is known before the test: outcomes of units like these, in windows like this one.

A specification with ``source`` is planned from its unit table: the control arm where it has units,
else everybody. One that the registry runs is planned from the warehouse: units that would be
assigned, and their outcomes in the last whole window before the start, by the same query that
will compute the outcomes of the test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designs.planning.assumptions import Assumptions
from designs.planning.clusters import clusters_in
from designs.planning.power import Clusters
from designs.planning.season import orders_by_day, start_of, weeks, year_before
from designs.planning.simulation import Values
from measure.engine.connection import Engine
from measure.errors import DataError, InputError
from measure.incrementality import cuped
from measure.moments import Moments, total
from measure.plan import AnalysisPlan, Metric

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from measure.engine.expressions import Column, Table
    from measure.engine.units import UnitTable

DAY_GRID = (7, 14, 21, 28, 42, 56, 84, 112, 168, 364)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One metric in history: moments (outcome, *covariates) and its counted values."""

    metric: Metric
    moments: Moments
    values: Values
    missing: float

    @property
    def adjustment(self) -> cuped.Adjustment | None:
        """CUPED's slopes in history; ``None`` without covariates or below three units."""
        if len(self.moments.columns) < 2 or self.moments.n < 3:
            return None
        nobody = Moments.empty(self.moments.columns)
        return cuped.fit(nobody, self.moments)

    @property
    def r_squared(self) -> float | None:
        """Share of variance that the covariates explain."""
        found = self.adjustment
        if found is None or self.moments.variance <= 0:
            return None
        left = cuped.adjust(self.moments, found).variance / self.moments.variance
        return min(max(1 - left, 0.0), 1 - 1e-12)


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Outcomes of the primary metric when they count for ``days``."""

    days: int
    moments: Moments
    active: int
    newcomers: int


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """What planning reads; ``units`` is the number that can be assigned."""

    source: str
    units: int
    outcomes: Mapping[str, Outcome]
    ratios: Mapping[str, Moments] = field(default_factory=dict)
    first_day: date | None = None
    last_day: date | None = None
    spans: tuple[Span, ...] = ()
    weekdays: tuple[tuple[float, ...], ...] = ()
    """Orders per day, one row of seven (Monday first) per whole week, oldest first."""
    same_season: float | None = None
    """Orders a day in the test's dates one year before, over those of the year-ago weeks before."""
    clusters: Clusters | None = None
    """Clusters that the specification declares, as history shows them."""
    notes: tuple[str, ...] = ()


def source_history(
    engine: Engine, experiment: Experiment, base: Path, assumptions: Assumptions
) -> History:
    """History from a unit table; paths are relative to ``base``."""
    from measure.engine.units import open_source

    if experiment.source is None:
        raise InputError("source: is missing. Give the path or table of a unit table.")
    plan = experiment.analysis_plan()
    units = open_source(engine, experiment.source, plan, base)
    moments = units.moments()
    control = moments.units.get(plan.control, 0) >= 2
    arms = (plan.control,) if control else tuple(plan.arms)
    where = experiment.source.path or f"table {experiment.source.table}"
    who = f"arm {plan.control!r}" if control else "everybody"
    return History(
        source=f"{where}, {who}",
        units=assumptions.units or sum(moments.units.values()),
        outcomes=_outcomes(units, plan, arms),
        ratios=_ratios(
            assumptions, plan, arms,
            lambda other: open_source(engine, experiment.source, other, base),  # type: ignore[arg-type]
        ),
        notes=("The unit table has one row per unit: the population is fixed, so there is no "
               "duration to choose.",),
    )  # fmt: skip


def warehouse_history(engine: Engine, experiment: Experiment, assumptions: Assumptions) -> History:
    """History from customers and conversions.

    :class:`DataError` when no whole window lies between the first conversion and the start.
    """
    from measure.engine.units import unit_table
    from measure.journeys.outcomes import unit_outcomes

    if experiment.switchback is not None:
        raise InputError(
            f"{experiment.key}: a switchback assigns time, not customers. Give source."
        )
    plan = experiment.analysis_plan()
    window = plan.window_days or 28
    orders = orders_by_day(engine)
    end = _end(experiment, assumptions, orders)
    begin = _begin(orders, end, window, experiment.key)

    def outcomes(days: int, some: AnalysisPlan) -> Table:
        overlay = _planned(engine, experiment, end - timedelta(days=days))
        return unit_outcomes(overlay, experiment.key, days, numeric=some.covariates)

    def read(days: int, some: AnalysisPlan) -> UnitTable:
        return unit_table(engine, outcomes(days, some), "arm", some)

    units = read(window, plan)
    arms = (plan.control,)
    count = assumptions.units or _assignable(engine, experiment, start_of(experiment) or end)
    return History(
        source="the warehouse: outcomes of units that would have been assigned",
        units=count,
        outcomes=_outcomes(units, plan, arms),
        ratios=_ratios(assumptions, plan, arms, lambda other: read(window, other)),
        first_day=begin.date(),
        last_day=(end - timedelta(days=1)).date(),
        spans=_spans(engine, experiment, plan, orders, end, read),
        weekdays=weeks(orders, end),
        same_season=year_before(experiment, orders, window),
        clusters=clusters_in(
            engine, experiment, outcomes(window, plan), plan.primary.column, begin
        ),
        notes=(*_notes(experiment, end), *_treated(engine, experiment, begin, end)),
    )


def _outcomes(units: UnitTable, plan: AnalysisPlan, arms: Sequence[str]) -> dict[str, Outcome]:
    """Every metric of the plan over the arms that stand for history."""
    import numpy as np

    moments = units.moments()
    found = {}
    for metric in plan.metrics:
        counted = units.value_counts(metric.name)
        values = np.concatenate([counted[arm].values for arm in arms])
        counts = np.concatenate([counted[arm].counts for arm in arms])
        if not len(values):
            raise DataError(f"metric {metric.name!r} has no value in history. Load more of it.")
        distinct, index = np.unique(values, return_inverse=True)
        weights = np.zeros(len(distinct), dtype=np.int64)
        np.add.at(weights, index, counts)
        pooled = total(moments.get(metric.name, arm) for arm in arms)
        everybody = sum(moments.units[arm] for arm in arms)
        missing = 1 - pooled.n / everybody if everybody else 0.0
        found[metric.name] = Outcome(metric, pooled, Values(distinct, weights), missing)
    return found


def _ratios(
    assumptions: Assumptions,
    plan: AnalysisPlan,
    arms: Sequence[str],
    read: Callable[[AnalysisPlan], UnitTable],
) -> dict[str, Moments]:
    """Joint moments of (numerator, denominator): the denominator is read like a covariate."""
    found = {}
    for ratio in assumptions.ratios:
        metrics = {metric.name: metric for metric in plan.metrics}
        for name in (ratio.numerator, ratio.denominator):
            if name not in metrics:
                from measure.errors import UnknownName

                raise UnknownName.of("metric", name, metrics, f"ratio {ratio.name!r}")
        pair = plan.model_copy(
            update={
                "metrics": (metrics[ratio.numerator],),
                "covariates": (metrics[ratio.denominator].column,),
                "cohorts": (),
            }
        )
        moments = read(pair).moments()
        found[ratio.name] = total(moments.get(ratio.numerator, arm) for arm in arms)
    return found


class _Overlay(Engine):
    """An engine whose ``assignments`` are those of a test that has not begun."""

    def __init__(self, engine: Engine, assignments: Table) -> None:
        super().__init__(engine.backend, engine.url)
        self._assignments = assignments

    def has(self, name: str) -> bool:
        """Whether a table exists."""
        return name == "assignments" or super().has(name)

    def table(self, name: str) -> Table:
        """A table of the engine, or the planned assignments."""
        return self._assignments if name == "assignments" else super().table(name)


def _planned(engine: Engine, experiment: Experiment, at: datetime) -> _Overlay:
    """Units that would be assigned at a time, all of them in the control arm."""
    from measure.engine.expressions import literal

    units = _passing(engine, experiment, at)
    units = units.select("unit_id").mutate(
        experiment=literal(experiment.key), arm=literal(experiment.control), assigned_at=literal(at)
    )
    return _Overlay(engine, engine.materialize(units))


def _passing(engine: Engine, experiment: Experiment, at: datetime) -> Table:
    """Units that pass every step before the arm at a time."""
    from designs.assignment.assign import gated_query
    from designs.assignment.steps import Outcome as Step

    units = gated_query(engine, experiment, at)
    return units.filter(units.outcome == Step.ASSIGNED.value)


def _assignable(engine: Engine, experiment: Experiment, at: datetime) -> int:
    units = _passing(engine, experiment, at)
    return int(engine.fetch(units.aggregate(n=units.count()))["n"][0].as_py())


def _spans(
    engine: Engine,
    experiment: Experiment,
    plan: AnalysisPlan,
    orders: Mapping[date, int],
    end: datetime,
    read: Callable[[int, AnalysisPlan], UnitTable],
) -> tuple[Span, ...]:
    """The primary metric by window length, as far as history reaches."""
    lean = plan.model_copy(update={"metrics": (plan.primary,), "covariates": (), "cohorts": ()})
    longest = (end.date() - min(orders)).days
    found = []
    for days in sorted({*DAY_GRID, plan.window_days or 28}):
        if days > longest:
            break
        begin = end - timedelta(days=days)
        moments = read(days, lean).moments().get(plan.primary.name, plan.control)
        active = _active(engine, experiment, begin, end)
        newcomers = max(
            _assignable(engine, experiment, end) - _assignable(engine, experiment, begin), 0
        )
        found.append(Span(days, moments, active, newcomers))
    return tuple(found)


def _active(engine: Engine, experiment: Experiment, begin: datetime, end: datetime) -> int:
    """Distinct units of the population with anything on record between two times."""
    from measure.engine.expressions import union

    units = _planned(engine, experiment, begin).table("assignments").select("unit_id")
    seen = []
    for name in ("activations", "conversions", "events"):
        if not engine.has(name):
            continue
        table = engine.table(name)
        inside = table.filter(table.ts >= _like(begin, table.ts), table.ts < _like(end, table.ts))
        if name == "activations" and experiment.channels:
            inside = inside.filter(inside.channel.isin(list(experiment.channels)))
        seen.append(inside.select(seen_id=inside.customer_id))
    everybody = (union(*seen) if len(seen) > 1 else seen[0]).distinct()
    joined = units.inner_join(everybody, units.unit_id == everybody.seen_id)
    return int(engine.fetch(joined.aggregate(n=joined.unit_id.nunique()))["n"][0].as_py())


def _end(experiment: Experiment, assumptions: Assumptions, orders: Mapping[date, int]) -> datetime:
    """Midnight (UTC) at which history ends: the day said, the start, or the last order's day."""
    after_last = max(orders) + timedelta(days=1)
    if assumptions.history_until is not None:
        return _midnight(min(assumptions.history_until, after_last))
    start = start_of(experiment)
    return _midnight(min(start.date(), after_last) if start else after_last)


def _begin(orders: Mapping[date, int], end: datetime, window: int, key: str) -> datetime:
    begin = end - timedelta(days=window)
    first = min(orders)
    if begin.date() < first:
        raise DataError(
            f"{key}: history must hold {window} days of conversions before {end.date()}; the first "
            f"is of {first}. Load older ones, or say where history ends (history_until)."
        )
    return begin


def _notes(experiment: Experiment, end: datetime) -> tuple[str, ...]:
    notes = ["Days are UTC. Units are assigned once, at the start, so their number does not grow "
             "with time; what grows is how many of them act."]  # fmt: skip
    start = start_of(experiment)
    if start is not None and start.date() < end.date():
        notes.append("History reaches into the test itself.")
    if experiment.covariates:
        notes.append(
            "Covariates are read as they are on record now; those that were measured after history "
            "began promise more than CUPED will give."
        )
    return tuple(notes)


def _treated(
    engine: Engine, experiment: Experiment, begin: datetime, end: datetime
) -> tuple[str, ...]:
    """Other tests that assigned units shortly before or during history."""
    if not engine.has("assignments"):
        return ()
    table = engine.table("assignments")
    near = table.filter(
        table.experiment != experiment.key,
        table.assigned_at >= _like(begin - (end - begin), table.assigned_at),
        table.assigned_at < _like(end, table.assigned_at),
    )
    names = engine.fetch(near.select("experiment").distinct())["experiment"].to_pylist()
    if not names:
        return ()
    listed = ", ".join(sorted(names))
    return (
        f"In history, units were also treated or held out by {listed}: the baseline is theirs.",
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _like(when: datetime, column: Column) -> Any:
    from measure.engine.expressions import moment

    return moment(when, column)
