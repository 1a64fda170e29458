"""Hourly counts of every source: the only thing about volume and delay that leaves the engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from measure.engine.expressions import Table, ifelse, literal, null
from measure.health.dating import Counts
from measure.reconcile.sources import Sources, seconds_of

LOGS = {
    "activations": ("ts", ("platform", "channel")),
    "claims": ("converted_at", ("platform",)),
    "conversions": ("ts", ()),
    "events": ("ts", ()),
    "exposures": ("ts", ("experiment",)),
}
"""Tables that grow by the hour: their time, and the columns that tell their sources apart."""
LATE_SECONDS = 86_400
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, eq=False)
class HourlyLog:
    """One source, hour by hour from ``begin``; times are aware."""

    source: str
    table: str
    platform: str | None
    begin: datetime
    counts: Counts
    latest_event: datetime
    latest_received: datetime | None
    received: int | None
    late: int | None

    def at(self, hour: int) -> datetime:
        """The time at which an hour begins."""
        return self.begin + hour * HOUR


def hourly_logs(sources: Sources, until: datetime | None = None) -> list[HourlyLog]:
    """All sources by name; hours run on to the last hour of any of them, or to ``until``."""
    rows = []
    for name in LOGS:
        if sources.has(name):
            found = sources.engine.fetch(_hourly(sources, name)).to_pylist()
            rows += [{**row, "table": name} for row in found]
    if not rows:
        return []
    last = max(_hour(row) for row in rows) + HOUR
    if until is not None:
        last = max(last, until.replace(minute=0, second=0, microsecond=0))
    by_source: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        by_source.setdefault((str(row["table"]), str(row["source"])), []).append(row)
    return [_log(table, found, last) for (table, _), found in sorted(by_source.items())]


def _hourly(sources: Sources, name: str) -> Table:
    time, groups = LOGS[name]
    table = sources.table(name)
    source = literal(name)
    for group in groups:
        source = source.concat(" / ", table[group])
    at = table[time]
    platform = table.platform if "platform" in groups else literal("")
    if "received_at" in table.columns:
        received = table.received_at
        delay = seconds_of(received) - seconds_of(at)
        late = ifelse(delay > LATE_SECONDS, 1, 0)
    else:
        received, late = null("timestamp('UTC')"), literal(0)
    table = table.mutate(
        source=source,
        on=platform,
        day=at.date(),
        hour=at.hour().cast("int64"),
        moment=at,
        receipt=received,
        overdue=late,
    )
    return table.group_by("source", "on", "day", "hour").aggregate(
        rows=table.count(),
        latest=table.moment.max(),
        receipt=table.receipt.max(),
        received=table.receipt.count(),
        overdue=table.overdue.sum().cast("int64"),
    )


def _log(table: str, rows: list[dict[str, Any]], last: datetime) -> HourlyLog:
    begin = min(_hour(row) for row in rows)
    counts = np.zeros(int((last - begin) / HOUR), dtype=np.int64)
    for row in rows:
        counts[int((_hour(row) - begin) / HOUR)] += int(row["rows"])
    receipts = [_aware(r["receipt"]) for r in rows if r["receipt"] is not None]
    received = sum(int(r["received"]) for r in rows)
    overdue = sum(int(r["overdue"] or 0) for r in rows)
    return HourlyLog(
        source=str(rows[0]["source"]),
        table=table,
        platform=str(rows[0]["on"]) or None,
        begin=begin,
        counts=counts,
        latest_event=max(_aware(row["latest"]) for row in rows),
        latest_received=max(receipts, default=None),
        received=received or None,
        late=overdue if received else None,
    )


def _hour(row: dict[str, Any]) -> datetime:
    day: date = row["day"]
    return datetime(day.year, day.month, day.day, int(row["hour"]), tzinfo=UTC)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
