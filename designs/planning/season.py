"""Orders by day, week and season, as the warehouse has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from measure.errors import DataError

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from measure.engine.connection import Engine

MOST_WEEKS = 12


def start_of(experiment: Experiment) -> datetime | None:
    """When units will be assigned, if that is declared."""
    return experiment.schedule.start if experiment.schedule else None


def orders_by_day(engine: Engine) -> dict[date, int]:
    """Counted orders per UTC day."""
    from measure.journeys.sales import sales

    sold = sales(engine)
    dated = sold.mutate(day=sold.ts.date())
    daily = dated.group_by("day").aggregate(orders=dated.count())
    rows = engine.fetch(daily).to_pylist()
    if not rows:
        raise DataError(
            "conversions: there are none to plan from. Load some, or point source at a unit table."
        )
    return {row["day"]: int(row["orders"]) for row in rows}


def weeks(orders: Mapping[date, int], end: datetime) -> tuple[tuple[float, ...], ...]:
    """Whole weeks before the end, oldest first, each rolled to begin on a Monday."""
    whole = min((end.date() - min(orders)).days // 7, MOST_WEEKS)
    weeks = []
    for back in range(whole, 0, -1):
        first = end.date() - timedelta(days=7 * back)
        days = sorted((first + timedelta(days=i) for i in range(7)), key=lambda day: day.weekday())
        weeks.append(tuple(float(orders.get(day, 0)) for day in days))
    return tuple(weeks)


def year_before(experiment: Experiment, orders: Mapping[date, int], window: int) -> float | None:
    """Orders a day in the test's dates 364 days before, over the eight weeks before those."""
    start = start_of(experiment)
    if start is None:
        return None
    begin = start.date() - timedelta(days=364)
    length = max(window, (experiment.schedule.end.date() - start.date()).days
                 if experiment.schedule and experiment.schedule.end else 0)  # fmt: skip
    before = begin - timedelta(days=56)
    if min(orders) > before:
        return None
    usual = sum(orders.get(before + timedelta(days=i), 0) for i in range(56)) / 56
    then = sum(orders.get(begin + timedelta(days=i), 0) for i in range(length)) / length
    return then / usual if usual else None
