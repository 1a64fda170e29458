"""Outcomes per unit and period, as moments: what happened in a period, up to it, and how it moved.

Only what happened is stored and read: a unit without an event in a period has a zero there, and the
zeros are added as counts, because moments of two groups of units add up. Four series are made of
the same events:

==============  ==================================================================================
``period``      outcome in one period
``cumulative``  outcome up to and with a period: the sum, or for a share whether it ever happened
``trend``       per unit the least-squares slope of its outcomes over all periods
``late``        per unit the mean of the late half of the periods minus that of the early half
==============  ==================================================================================

A unit counts in a period when its follow-up covers it, and in ``trend`` and ``late`` when it covers
all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from measure.engine.expressions import literal, whole_numbers
from measure.engine.units import UnitTable, ValueCounts, unit_table
from measure.moments import Moments
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Table, Value

Series = Literal["period", "cumulative", "trend", "late"]

_CELL = "cell"
_KEYS = ("unit_id", "arm")


@dataclass(frozen=True, slots=True)
class Step:
    """One cell on the time axis; ``period`` counts from 1 and is 0 where the series is one cell."""

    series: Series
    period: int = 0


@dataclass(frozen=True, slots=True)
class Tracked:
    """How a column of events becomes a metric: ``ever`` is whether it happened, else a sum.

    The column is in units of 1 / ``per``: cents of an amount in euros have ``per`` 100.
    """

    name: str
    column: str
    ever: bool = False
    per: float = 1.0


class Panel:
    """Units with their follow-up and events in periods, asked for statistics only.

    ``units`` has (unit_id, arm, first, last): the first and last period that the unit's follow-up
    covers, from 1; nothing is covered where last < first. ``events`` has (unit_id, arm, first,
    last, period) and the tracked columns, one row per unit and period at most, within the follow-up
    and up to the last of the ``labels``, which name the periods.
    """

    def __init__(
        self,
        engine: Engine,
        units: Table,
        events: Table,
        tracked: Sequence[Tracked],
        plan: AnalysisPlan,
        labels: Sequence[str],
    ) -> None:
        self.engine = engine
        self.plan = plan
        self.labels = tuple(labels)
        self.tracked = tuple(tracked)
        self._units = units
        self._events = engine.materialize(events)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of the plan that are tracked."""
        return tuple(self.plan.metric(tracked.name) for tracked in self.tracked)

    @cached_property
    def _followed(self) -> Mapping[tuple[str, int, int], int]:
        """Units by arm, first and last period covered."""
        counted = self._units.group_by(["arm", "first", "last"]).aggregate(n=self._units.count())
        rows = self.engine.fetch(counted).to_pylist()
        return {(str(r["arm"]), int(r["first"]), int(r["last"])): int(r["n"]) for r in rows}

    @cached_property
    def units(self) -> Mapping[str, int]:
        """All units per arm, whatever their follow-up."""
        found = dict.fromkeys(self.plan.arms, 0)
        for (arm, _, _), n in self._followed.items():
            found[arm] = found.get(arm, 0) + n
        return found

    def covered(self, arm: str, step: Step) -> int:
        """Units of an arm that count in a step."""
        begin, end = (step.period, step.period) if step.period else (1, len(self.labels))
        return sum(
            n
            for (name, first, last), n in self._followed.items()
            if name == arm and first <= begin and last >= end
        )

    def moments(self, metric: str, arm: str, step: Step) -> Moments:
        """Moments of a metric in a step, zeros included."""
        seen = self._happened
        found = Moments.empty((metric,)) if seen is None else seen.get(metric, arm, _cohort(step))
        zeros = Moments.from_counts(metric, {0.0: self.covered(arm, step) - found.n})
        return found.outcome() + zeros

    def value_counts(self, metric: str, step: Step) -> Mapping[str, ValueCounts]:
        """Units at each value per arm, zeros included."""
        return {arm: self._counted(metric, arm, step) for arm in self.plan.arms}

    def _counted(self, metric: str, arm: str, step: Step) -> ValueCounts:
        values, counts = np.empty(0), np.empty(0, dtype=np.int64)
        if self._table is not None:
            found = self._table.value_counts(metric, _cohort(step)).get(arm)
            if found is not None:
                values, counts = found.values, found.counts
        zeros = self.covered(arm, step) - int(counts.sum())
        distinct, place = np.unique(np.append(values, 0.0), return_inverse=True)
        total = np.zeros(len(distinct), dtype=np.int64)
        np.add.at(total, place, np.append(counts, zeros))
        kept = total > 0
        return ValueCounts(distinct[kept], total[kept])

    @cached_property
    def _happened(self) -> Any:
        return None if self._table is None else self._table.moments()

    @cached_property
    def _table(self) -> UnitTable | None:
        """One row per unit, step and arm in which something happened; ``None`` if nothing did."""
        events = self._events
        if not self.engine.fetch(events.aggregate(n=events.count()))["n"][0].as_py():
            return None
        metrics = tuple(Metric(name=t.name, column=f"y{i}") for i, t in enumerate(self.tracked))
        plan = self.plan.model_copy(
            update={
                "metrics": metrics,
                "covariates": (),
                "cohorts": (_CELL,),
                "strata": (),
                "exposure": None,
            }
        )
        steps = [self._periods(), self._cumulative()]
        steps += [self._contrast("trend"), self._contrast("late")] if len(self.labels) > 1 else []
        together = steps[0].union(*steps[1:])
        with self.engine.in_order():
            return unit_table(self.engine, together, "arm", plan, where="outcomes over time")

    def _periods(self) -> Table:
        events = self._events
        sums = {f"y{i}": events[t.column] for i, t in enumerate(self.tracked)}
        named = _named("period", events.period)
        return events.select("arm", cell=named, **self._scaled(sums))

    def _cumulative(self) -> Table:
        """Every event counts from its period on, as far as the unit is followed."""
        events, at = self._events, whole_numbers(1, len(self.labels), "at")
        joined = events.inner_join(at, [at["at"] >= events.period, at["at"] <= events["last"]])
        sums = {
            f"y{i}": joined[t.column].max() if t.ever else joined[t.column].sum()
            for i, t in enumerate(self.tracked)
        }
        grouped = joined.group_by([*_KEYS, "at"]).aggregate(**sums)
        scaled = self._scaled({name: grouped[name] for name in sums})
        return grouped.select("arm", cell=_named("cumulative", grouped["at"]), **scaled)

    def _contrast(self, series: Literal["trend", "late"]) -> Table:
        """Whole weights per period, added up within each unit; divided by their size at the end."""
        periods = len(self.labels)
        events = self._events.filter(self._events["first"] <= 1, self._events["last"] >= periods)
        weight, size = _weights(series, periods, events.period)
        sums = {f"y{i}": (events[t.column] * weight).sum() for i, t in enumerate(self.tracked)}
        grouped = events.group_by(_KEYS).aggregate(**sums)
        scaled = self._scaled({name: grouped[name] for name in sums}, size)
        return grouped.select("arm", cell=literal(series), **scaled)

    def _scaled(self, sums: Mapping[str, Any], size: float = 1.0) -> dict[str, Value]:
        return {
            f"y{i}": sums[f"y{i}"].cast("float64") / (t.per * size)
            for i, t in enumerate(self.tracked)
        }


def _weights(series: str, periods: int, period: Any) -> tuple[Any, float]:
    """Whole weight of each period, and what their sum of products is divided by."""
    if series == "late":
        half = periods // 2
        early, late = period <= half, period > periods - half
        return late.ifelse(1, 0) - early.ifelse(1, 0), float(half)
    # Σ (p − p̄) y / Σ (p − p̄)², both doubled: p̄ is half a whole number.
    return 2 * period - (periods + 1), periods * (periods**2 - 1) / 6


def _named(series: str, period: Any) -> Any:
    return literal(f"{series} ") + period.cast("string")


def _cohort(step: Step) -> Cohort:
    return Cohort(_CELL, f"{step.series} {step.period}" if step.period else step.series)
