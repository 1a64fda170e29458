"""Time between rows, exact to the microsecond on every engine, and runs of rows close in time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from measure.engine.expressions import Column, Table, cases, ifelse, literal, or_, window

if TYPE_CHECKING:
    from measure.engine.connection import Engine

SECOND = 1_000_000
"""Microseconds in a second."""
DAY = 86_400 * SECOND
"""Microseconds in 24 hours."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(time: Column, engine: Engine) -> Column:
    """Whole microseconds since 1970 (UTC), int64; arithmetic on them knows no clock changes."""
    if engine.name == "pyspark":
        return _unix_micros()(time)
    seconds = time.truncate("s").epoch_seconds().floor().cast("int64")
    return seconds * SECOND + time.microsecond().cast("int64")


@cache
def _unix_micros() -> Any:
    """Spark's own function; Ibis has no microseconds there."""
    import ibis
    from ibis.expr.datatypes import Timestamp

    def unix_micros(time: Any) -> Any: ...

    signature = ((Timestamp(timezone="UTC"),), int)
    return ibis.udf.scalar.builtin(unix_micros, name="unix_micros", signature=signature)


def day_number(micros: Column) -> Column:
    """Days of 24 hours since 1970, int64, for microseconds since 1970."""
    return (micros // DAY).cast("int64")


def wall_clock(micros: Column, offsets: Sequence[tuple[int, int]]) -> Column:
    """What a local clock shows, as microseconds: each time plus the offset that held then.

    ``offsets`` come from :func:`zone_offsets`; the first holds for all earlier times as well.
    """
    offset = literal(offsets[0][1], type="int64")
    if len(offsets) > 1:
        later = [(micros >= begin, literal(by, type="int64")) for begin, by in offsets[:0:-1]]
        offset = cases(*later, else_=offset)
    return micros + offset


def zone_offsets(time_zone: str, first: datetime, last: datetime) -> list[tuple[int, int]]:
    """Offsets of a time zone that hold between two times (naive means UTC).

    Pairs (begins, offset) in microseconds since 1970 and microseconds, ascending. A zone that
    changes twice within 24 hours is outside of what this finds.
    """
    zone = ZoneInfo(time_zone)

    def offset(second: int) -> int:
        local = (_EPOCH + timedelta(seconds=second)).astimezone(zone)
        return (local.utcoffset() or timedelta()) // timedelta(microseconds=1)

    begin, end = _seconds(first) - 86_400, _seconds(last) + 86_400
    found = [(begin * SECOND, offset(begin))]
    for day in range(begin, end, 86_400):
        low, high, before = day, day + 86_400, offset(day)
        if offset(high) == before:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == before else (low, middle)
        found.append((high * SECOND, offset(high)))
    return found


def _seconds(when: datetime) -> int:
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(seconds=1)


def in_runs(
    rows: Table,
    key: Sequence[str],
    order: Sequence[str],
    gap: int,
    splits: Sequence[str] = (),
) -> Table:
    """Number the runs of rows of each key, from 0 in order of time, in a column ``run``.

    ``order`` begins with a column of microseconds and ends with one that settles ties. A run ends
    where the next row is more than ``gap`` microseconds later, or has another value in one of the
    ``splits`` (columns without missing values).
    """
    following = window(group_by=list(key), order_by=list(order))
    time = rows[order[0]]
    before = time.lag().over(following)
    changed = [rows[name] != rows[name].lag().over(following) for name in splits]
    begins = ifelse(or_(before.isnull(), time - before > gap, *changed), 1, 0)
    rows = rows.mutate(begins=begins)
    so_far = window(group_by=list(key), order_by=list(order), preceding=None, following=0)
    return rows.mutate(run=(rows.begins.sum().over(so_far) - 1).cast("int64")).drop("begins")
