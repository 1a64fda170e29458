"""Corrections of platform clocks: on record in a table, applied whenever a log is read.

A row of ``clock_offsets`` says how many seconds to add to every time that a platform's clock wrote,
who said so, when and why. Loaded rows stay as they are; of several rows for a platform the one
recorded last stands, so an offset of 0 takes a correction back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from measure.engine.expressions import Table, cases, interval

if TYPE_CHECKING:
    from measure.engine.connection import Engine

TABLE = "clock_offsets"
WRITTEN: dict[str, tuple[str, ...]] = {
    "activations": ("ts",),
    "claims": ("touched_at", "converted_at"),
}
"""Times that a platform's clock wrote; ``received_at`` is of our own."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """The correction of one platform that is in force, in seconds to add."""

    platform: str
    seconds: int
    evidence: str
    recorded_by: str
    recorded_at: datetime


def offsets_in_force(engine: Engine) -> tuple[ClockOffset, ...]:
    """The corrections in force, by platform; none where there is no such table."""
    if not engine.has(TABLE):
        return ()
    rows = engine.fetch(engine.table(TABLE).order_by("platform", "recorded_at")).to_pylist()
    latest = {
        row["platform"]: ClockOffset(
            row["platform"],
            int(row["offset_seconds"]),
            row["evidence"],
            row["recorded_by"],
            row["recorded_at"],
        )
        for row in rows
    }
    return tuple(offset for offset in latest.values() if offset.seconds)


def on_corrected_time(engine: Engine, name: str) -> Table:
    """A table of the engine, its platforms' times corrected; other tables as they are."""
    table = engine.table(name)
    offsets = offsets_in_force(engine) if name in WRITTEN else ()
    if not offsets:
        return table
    ours = [(table.platform == o.platform, interval(seconds=o.seconds)) for o in offsets]
    return table.mutate(
        **{
            column: cases(
                *((its, table[column] + seconds) for its, seconds in ours), else_=table[column]
            )
            for column in WRITTEN[name]
        }
    )
