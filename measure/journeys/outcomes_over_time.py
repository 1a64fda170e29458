"""Outcomes of a registry-run experiment by period: days or weeks since assignment, or months.

Days and weeks are counted from the moment a unit was assigned; a unit counts in a period once its
record reaches the period's end. Calendar months (UTC) are for holdouts that stand for long: a unit
counts in the months that began after it was assigned and are over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from measure.engine.expressions import Table, greatest, interval, literal, moment
from measure.engine.panels import Panel, Tracked
from measure.errors import DataError, InputError
from measure.journeys.outcomes import assigned_units_of
from measure.journeys.sales import minor_units, one_currency, sales, table_of
from measure.plan import AnalysisPlan, Metric

if TYPE_CHECKING:
    from measure.engine.connection import Engine

By = Literal["day", "week", "month"]

DAYS: Mapping[str, int] = {"day": 1, "week": 7}
MOST_PERIODS = 400
"""More periods than this are no curve that anybody reads."""

_SECONDS = 86_400


def outcomes_over_time(
    engine: Engine,
    experiment_key: str,
    plan: AnalysisPlan,
    by: By,
    *,
    until: datetime | None = None,
    currency: str | None = None,
) -> Panel:
    """Outcomes per unit and period of the plan's metrics on ``conversion``, ``orders`` or money.

    ``until`` is when the record of conversions ends, the end of the day of the last one if it is
    left out. Days and weeks go as far as the plan's window, whole ones only; months as far as the
    record. What counts is what :func:`measure.journeys.outcomes.unit_outcomes` counts, so that the
    cumulative outcome of the last period is the outcome of the window. Raises :class:`InputError`
    for a window without a whole period, :class:`DataError` for a record that covers none.
    """
    tracked = _tracked(plan, float(minor_units(one_currency(engine, currency))))
    assigned = assigned_units_of(engine, experiment_key)
    end = record_ends(engine) if until is None else until
    if by == "month":
        units, labels = _monthly(engine, assigned, end)
        sold = sales(engine, currency)
        dated = sold.mutate(period=_month(sold.ts) - (_month_of(labels[0]) - 1))
        joined = units.inner_join(dated, units.unit_id == dated.customer_id)
    else:
        units, labels = _counted_days(assigned, end, DAYS[by], plan.window_days or 28, by)
        joined = _since_assignment(units, sales(engine, currency), DAYS[by], len(labels))
    inside = joined.filter(joined.period >= joined["first"], joined.period <= joined["last"])
    keys = ["unit_id", "arm", "first", "last", "period"]
    events = inside.group_by(keys).aggregate(
        orders=inside.count().cast("int64"),
        revenue=inside.value.sum().cast("int64"),
        net_revenue=inside.net.sum().cast("int64"),
    )
    events = events.mutate(conversion=literal(1, type="int64"))
    return Panel(engine, units.drop("assigned_at"), events, tracked, plan, labels)


def trackable(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Metrics that a journey table can follow through time."""
    return tuple(
        metric
        for metric in metrics
        if metric.column in _TRACKED
        and metric.kind in ("mean", "proportion", "count")
        and metric.winsorize is None
    )


def record_ends(engine: Engine) -> datetime:
    """The end of the UTC day of the last conversion; :class:`DataError` when there is none."""
    orders = table_of(engine, "conversions")
    last = engine.fetch(orders.aggregate(last=orders.ts.max()))["last"][0].as_py()
    if last is None:
        raise DataError("table conversions: there is no row, so nothing says how far the data go.")
    return _utc(last).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


_TRACKED = ("conversion", "orders", "revenue", "net_revenue")


def _tracked(plan: AnalysisPlan, per_major: float) -> tuple[Tracked, ...]:
    money = ("revenue", "net_revenue")
    return tuple(
        Tracked(
            name=metric.name,
            column=metric.column,
            ever=metric.column == "conversion",
            per=per_major if metric.column in money else 1.0,
        )
        for metric in trackable(plan.metrics)
    )


def _counted_days(
    assigned: Table, end: datetime, days: int, window: int, by: str
) -> tuple[Table, list[str]]:
    """Units with the periods since assignment that their record covers, and the periods' names."""
    periods = window // days
    if not periods:
        raise InputError.rule(
            "--by", by, f"is longer than the window of {window} days", "Use --by day."
        )
    _refuse_many(periods, by)
    covered = _periods_between(assigned.assigned_at, moment(end, assigned.assigned_at), days)
    units = assigned.mutate(first=literal(1, type="int64"), last=greatest(covered, 0))
    return units, [f"{by} {period}" for period in range(1, periods + 1)]


def _since_assignment(units: Table, sold: Table, days: int, periods: int) -> Table:
    """Orders within the window, each with its period."""
    begin = units.assigned_at
    ts = sold.ts.cast(begin.type())
    joined = units.inner_join(
        sold,
        [
            units.unit_id == sold.customer_id,
            ts >= begin,
            ts < begin + interval(days=days * periods),
        ],
    )
    return joined.mutate(period=_periods_between(joined.assigned_at, joined.ts, days) + 1)


def _periods_between(begin: Any, end: Any, days: int) -> Any:
    """Whole periods from one moment to another, exact to the microsecond; below 0 is not exact."""
    ended = end.cast(begin.type())
    seconds = ended.truncate("s").epoch_seconds() - begin.truncate("s").epoch_seconds()
    # Whole seconds may be one too many when the fraction of a second is smaller at the end.
    exact = seconds - (ended < begin + seconds.as_interval("s")).ifelse(1, 0)
    return (exact // (days * _SECONDS)).cast("int64")


def _monthly(engine: Engine, assigned: Table, end: datetime) -> tuple[Table, list[str]]:
    """Units with the calendar months that began after their assignment and are over."""
    first = engine.fetch(assigned.aggregate(first=assigned.assigned_at.min()))["first"][0].as_py()
    start = _first_month(_utc(first))
    over = (
        _utc(end).year * 12 + _utc(end).month - 2
    )  # the last month that is over, from January = 0
    if over < start:
        raise DataError(
            f"the record ends {_utc(end):%Y-%m-%d %H:%M} UTC, before a calendar month that began "
            "after the first assignment was over. Use --by day or --by week."
        )
    _refuse_many(over - start + 1, "month")
    at = assigned.assigned_at
    own = _month(at)
    joins = own + (at > at.truncate("M")).ifelse(1, 0)
    units = assigned.mutate(
        first=(joins - (start - 1)).cast("int64"),
        last=literal(over - start + 1, type="int64"),
    )
    return units, [f"{m // 12}-{m % 12 + 1:02d}" for m in range(start, over + 1)]


def _month(ts: Any) -> Any:
    """Months since year 0, January being month 0 of a year."""
    return ts.year().cast("int64") * 12 + ts.month().cast("int64") - 1


def _month_of(label: str) -> int:
    year, month = label.split("-")
    return int(year) * 12 + int(month) - 1


def _first_month(at: datetime) -> int:
    """The first month that begins at or after a moment."""
    begins = at == at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return at.year * 12 + at.month - 1 + (0 if begins else 1)


def _refuse_many(periods: int, by: str) -> None:
    if periods > MOST_PERIODS:
        rule = f"makes {periods:,} periods, must be at most {MOST_PERIODS}"
        raise InputError.rule("--by", by, rule, "Take longer periods.")


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
