"""Orders by day, week and season, as the warehouse has them, and what of them is pattern.

Strength of seasonality after Wang, Smith and Hyndman (2006), Data Mining and Knowledge Discovery
13(3): one minus the variance of what is left over that of pattern and rest together, from the
decomposition STL (Cleveland et al. 1990, Journal of Official Statistics 6(1)) with one pattern for
all periods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from designs.planning.results import Placebo
from measure.errors import DataError

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from measure.engine.connection import Engine

MOST_WEEKS = 12
MOST_DAYS = 3 * 365
WEEK, YEAR = 7, 52
"""Days in a week, weeks in a year."""
STIFF = 13
"""Periods over which the trend is smoothed."""


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


def daily(orders: Mapping[date, int], end: datetime) -> tuple[float, ...]:
    """Orders of every day before the end, oldest first, three years at most."""
    first = max(min(orders), end.date() - timedelta(days=MOST_DAYS))
    days = range((end.date() - first).days)
    return tuple(float(orders.get(first + timedelta(days=i), 0)) for i in days)


def strengths(daily: Sequence[float]) -> tuple[float | None, float | None]:
    """Strength of the weekly and of the yearly pattern; ``None`` below two periods.

    The year's is taken from whole weeks, so that the week's does not count in it.
    """
    series = np.asarray(daily, dtype=float)
    whole = len(series) // WEEK
    weekly = series[len(series) - whole * WEEK :].reshape(whole, WEEK).sum(axis=1)
    return _strength(series, WEEK), _strength(weekly, YEAR)


def _strength(series: np.ndarray, period: int) -> float | None:
    """Share of the variation around the trend that one pattern repeated in every period explains.

    A pattern also explains part of pure noise; as in an adjusted R², that much is taken off. The
    trend is held so stiff that it takes next to nothing of it.
    """
    n = len(series)
    if n < 2 * period or np.ptp(series) == 0:
        return None
    from statsmodels.tsa.seasonal import STL

    trend = STIFF * period
    always = 20 * (n // 2) + 1  # a window so long that the pattern is the same in all periods
    found = STL(
        series, period=period, seasonal=always, seasonal_deg=0, trend=trend + 1 - trend % 2
    ).fit()
    rest = float(np.var(found.resid)) * (n - 1) / (n - period - 1)
    both = float(np.var(found.seasonal + found.resid))
    return max(1 - rest / both, 0.0) if both > 0 else 0.0


def placebo(daily: Sequence[float], window: int, lift: float) -> Placebo | None:
    """Windows in history against the window before each, when nothing was done.

    ``None`` below two windows, or where one is without orders.
    """
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(daily, dtype=float))])
    windows = sums[window:] - sums[:-window]
    before, after = windows[:-window], windows[window:]
    if not len(before) or not (before > 0).all():
        return None
    change = np.abs(after / before - 1)
    hits = int((change >= abs(lift)).sum())
    return Placebo(window, len(change), hits, abs(lift), float(change.max()))


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
