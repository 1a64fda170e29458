"""History in the warehouse: what units like those of a test did in a window like its own.

Units that would be assigned, and their outcomes in the last whole window before the start, by the
same queries that will compute the outcomes of the test; clusters are added up as they will be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from designs.planning.assumptions import Assumptions
from designs.planning.clusters import clusters_in
from designs.planning.history import History, Span, reading_plan
from designs.planning.outcome import outcomes
from designs.planning.season import daily, orders_by_day, start_of, weeks, year_before
from measure.engine.connection import Engine
from measure.errors import DataError, InputError
from measure.plan import AnalysisPlan

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from measure.engine.expressions import Column, Table
    from measure.engine.units import UnitTable

DAY_GRID = (7, 14, 21, 28, 42, 56, 84, 112, 168, 364)


def warehouse_history(engine: Engine, experiment: Experiment, assumptions: Assumptions) -> History:
    """History from customers and conversions.

    :class:`DataError` when no whole window lies between the first conversion and the start.
    """
    from measure.engine.units import unit_table

    if experiment.switchback is not None:
        raise InputError(
            f"{experiment.key}: a switchback assigns time, not customers. Give source."
        )
    plan = reading_plan(experiment, assumptions)
    window = plan.window_days or 28
    orders = orders_by_day(engine)
    end = _end(experiment, assumptions, orders)
    begin = _begin(orders, end, window, experiment.key)

    def read(days: int, some: AnalysisPlan) -> UnitTable:
        table = _outcomes_of(engine, experiment, end - timedelta(days=days), days, some)
        return unit_table(engine, table, "arm", some)

    at = start_of(experiment) or end
    return History(
        source="the warehouse: outcomes of units that would have been assigned",
        units=assumptions.units or _assignable(engine, experiment, at),
        outcomes=outcomes(read(window, plan), plan, (plan.control,)),
        first_day=begin.date(),
        last_day=(end - timedelta(days=1)).date(),
        spans=_spans(engine, experiment, plan, orders, end, read),
        weekdays=weeks(orders, end),
        daily=daily(orders, end),
        same_season=year_before(experiment, orders, window),
        clusters=_clusters(engine, experiment, plan, begin, window),
        notes=(*_notes(experiment, end), *_treated(engine, experiment, begin, end)),
    )


def _outcomes_of(
    engine: Engine, experiment: Experiment, at: datetime, days: int, plan: AnalysisPlan
) -> Table:
    """Outcomes of units that would have been assigned at a time, one row per unit."""
    from designs.assignment.population import cluster_keys
    from measure.journeys.clusters import cluster_outcomes

    members = _members(engine, experiment, at, days, plan)
    if experiment.cluster is None:
        return members
    return cluster_outcomes(engine, members, cluster_keys(engine, experiment.cluster, at))


def _members(
    engine: Engine, experiment: Experiment, at: datetime, days: int, plan: AnalysisPlan
) -> Table:
    """The same with one row per customer."""
    from measure.journeys.outcomes import unit_outcomes

    overlay = _planned(engine, experiment, at)
    columns = [column for metric in plan.metrics for column in metric.columns]
    return unit_outcomes(overlay, experiment.key, days, numeric=plan.covariates, columns=columns)


def _clusters(
    engine: Engine, experiment: Experiment, plan: AnalysisPlan, begin: datetime, window: int
) -> Any:
    """Size and likeness of the clusters that are declared."""
    if experiment.cluster is None:
        return None
    members = _members(engine, experiment, begin, window, plan)
    return clusters_in(engine, experiment, members, plan.primary.column, begin)


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
    """Units of randomisation that can be assigned at a time."""
    return _number(engine, _units_of(engine, experiment, _passing(engine, experiment, at), at))


def _units_of(engine: Engine, experiment: Experiment, customers: Table, at: datetime) -> Table:
    """``unit`` of each customer in ``unit_id``: itself, or its cluster."""
    from designs.assignment.population import cluster_keys

    people = customers.select(member=customers.unit_id)
    if experiment.cluster is None:
        return people.select(unit=people.member)
    keys = cluster_keys(engine, experiment.cluster, at)
    joined = people.inner_join(keys, people.member == keys.customer_id)
    return joined.select(unit=joined.cluster_key)


def _number(engine: Engine, units: Table) -> int:
    return int(engine.fetch(units.aggregate(n=units.unit.nunique()))["n"][0].as_py())


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
    longest, at_the_end = (end.date() - min(orders)).days, _assignable(engine, experiment, end)
    found = []
    for days in sorted({*DAY_GRID, plan.window_days or 28}):
        if days > longest:
            break
        begin = end - timedelta(days=days)
        outcome = outcomes(read(days, lean), lean, (plan.control,))[plan.primary.name]
        active = _active(engine, experiment, begin, end)
        newcomers = max(at_the_end - _assignable(engine, experiment, begin), 0)
        found.append(Span(days, outcome, active, newcomers))
    return tuple(found)


def _active(engine: Engine, experiment: Experiment, begin: datetime, end: datetime) -> int:
    """Distinct units of the population with anything on record between two times."""
    from measure.engine.expressions import union

    units = _passing(engine, experiment, begin).select("unit_id")
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
    return _number(engine, _units_of(engine, experiment, joined.select("unit_id"), begin))


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
