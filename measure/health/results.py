"""What a survey of the logs says: plain values, times in ISO 8601 (UTC), shares from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from measure.results import SCHEMA_VERSION, Check, Result


@dataclass(frozen=True, slots=True)
class SourceHealth(Result):
    """One source: a table, or the part of it that one platform and channel bring.

    ``usual_silence_hours`` is the longest run of empty hours in the 28 days before the latest row.
    """

    source: str
    rows: int
    latest_event: str
    latest_received: str | None
    silent_hours: float
    usual_silence_hours: int
    behind: bool
    late_rows: int | None
    """Rows received more than a day after they happened; ``None``: no time of receipt."""
    received_rows: int | None


@dataclass(frozen=True, slots=True)
class Volume(Result):
    """Rows of a source on a day, and what is usual for that weekday (``None``: not known yet)."""

    source: str
    date: str
    rows: int
    usual: int | None


@dataclass(frozen=True, slots=True)
class Incident(Result):
    """Something that went wrong, dated to the hour: from ``start`` until before ``end``.

    ``kind`` is ``silence`` (rows are missing), ``missing`` (a column lacks values), ``late`` or
    ``match`` (keys find no partner); ``what`` names the column or key. ``end`` is ``None`` while it
    goes on. ``observed`` and ``usual`` are rows for ``silence``, else shares.
    """

    kind: str
    source: str
    what: str
    start: str
    end: str | None
    hours: int
    observed: float
    usual: float
    paid: bool | None = None
    """Whether the platform was paid on these days; ``None``: not known, or not asked."""


@dataclass(frozen=True, slots=True)
class MissingShare(Result):
    """Share of rows of a source without a value, overall and in its last seven days."""

    source: str
    column: str
    rows: int
    share: float
    latest_share: float


@dataclass(frozen=True, slots=True)
class MatchDay(Result):
    """How many rows of a source found their partner by a key on a day."""

    source: str
    key: str
    date: str
    rows: int
    matched: int


@dataclass(frozen=True, slots=True)
class Health(Result):
    """All of it; ``as_of`` is the moment that silence is counted up to."""

    as_of: str | None
    checks: tuple[Check, ...]
    sources: tuple[SourceHealth, ...] = ()
    incidents: tuple[Incident, ...] = ()
    volumes: tuple[Volume, ...] = ()
    missing: tuple[MissingShare, ...] = ()
    matches: tuple[MatchDay, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The ``health`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}
