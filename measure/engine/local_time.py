"""Local times: which moment a clock on the wall means, and when it means none or two.

The two offsets that the zone has a day before and a day after give two candidate moments (as in
RFC 5545 and every zone library; no zone changes its clocks twice within two days). A candidate
counts when the zone shows the written time at it. None: the clocks skipped that time. Two
different ones: it happened twice. Neither is guessed at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from measure.engine.contracts import Contract, Kind
from measure.engine.embedded import identifier, sql, text_literal
from measure.errors import InputError

Epoch = Literal["s", "ms", "us"]
EPOCHS: Mapping[str, int] = MappingProxyType({"s": 1_000_000, "ms": 1_000, "us": 1})
"""Microseconds of the units in which numbers may count time since 1970."""

MACROS = (
    "CREATE TEMP MACRO candidate(wall, zone, side) AS timezone('UTC', wall) "
    "- (timezone(zone, timezone('UTC', wall + side)) - (wall + side))",
    "CREATE TEMP MACRO shown(wall, zone, side) AS "
    "CASE WHEN timezone(zone, candidate(wall, zone, side)) = wall "
    "THEN candidate(wall, zone, side) END",
    "CREATE TEMP MACRO first_shown(wall, zone) AS shown(wall, zone, INTERVAL (-24) HOURS)",
    "CREATE TEMP MACRO last_shown(wall, zone) AS shown(wall, zone, INTERVAL (24) HOURS)",
    "CREATE TEMP MACRO moment_of(wall, zone) AS "
    "coalesce(first_shown(wall, zone), last_shown(wall, zone))",
    "CREATE TEMP MACRO happened_twice(wall, zone) AS "
    "first_shown(wall, zone) <> last_shown(wall, zone)",
)
"""What the expressions of :mod:`measure.engine.reading` call."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file does not say about its times and the user does.

    ``time_zone`` is the IANA name of the zone that times without one are in; it goes before the
    platforms' contracts. ``epoch`` is the unit of bare numbers since 1970. Raises
    :class:`InputError` for a zone or unit that does not exist.
    """

    time_zone: str | None = None
    epoch: Epoch | None = None

    def __post_init__(self) -> None:
        if self.epoch is not None and self.epoch not in EPOCHS:
            raise InputError.rule("epoch", self.epoch, "must be s, ms or us")
        if self.time_zone is None:
            return
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InputError.rule(
                "time zone", self.time_zone, "must be an IANA name such as Europe/Paris"
            ) from error


@dataclass(frozen=True, slots=True)
class Zones:
    """A reading with the contracts of the platforms, for one table."""

    reading: Reading = field(default_factory=Reading)
    contracts: Mapping[str, str] = MappingProxyType({})
    unknown: frozenset[str] = frozenset()
    """Platforms whose contract names a zone that does not exist."""

    @property
    def stated(self) -> str:
        """How times are read, in one line; empty when files must say it themselves."""
        zone, epoch = self.reading.time_zone, self.reading.epoch
        parts = [f"time zone {zone}"] if zone else []
        parts += [f"platform {name} in {self.contracts[name]}" for name in sorted(self.contracts)]
        parts += [f"numbers are {epoch}"] if epoch else []
        return ", ".join(parts)

    @property
    def expression(self) -> str:
        """The zone of a row's local times, NULL where nothing says it."""
        if self.reading.time_zone:
            return text_literal(self.reading.time_zone)
        if not self.contracts:
            return "CAST(NULL AS VARCHAR)"
        cases = " ".join(
            f"WHEN {text_literal(platform)} THEN {text_literal(zone)}"
            for platform, zone in sorted(self.contracts.items())
        )
        return f"CASE nfc_normalize({identifier('platform')}) {cases} END"

    @property
    def is_stated(self) -> bool:
        """Whether any local time can be placed."""
        return bool(self.reading.time_zone or self.contracts)


def zones_for(
    connection: Any, contract: Contract, reading: Reading, platforms: str | None
) -> Zones:
    """Complete a reading for a table; ``platforms`` is the relation of the platforms' contracts.

    An explicit time zone stands alone. Tables without platform or moments need no contracts.
    """
    has_moments = any(column.kind is Kind.TIMESTAMP for column in contract.columns)
    if reading.time_zone or platforms is None:
        return Zones(reading)
    if not has_moments or "platform" not in contract.names:
        return Zones(reading)
    query = sql(
        "SELECT platform, time_zone, time_zone IN (SELECT name FROM pg_timezone_names()) "
        "FROM $platforms ORDER BY platform",
        platforms=platforms,
    )
    rows = connection.execute(query).fetchall()
    return Zones(
        reading,
        MappingProxyType({platform: zone for platform, zone, known in rows if known}),
        frozenset(platform for platform, _, known in rows if not known),
    )
