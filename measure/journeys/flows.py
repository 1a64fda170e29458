"""How journeys begin and end, small enough for one picture: first touch, second touch, outcome."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from measure.engine.expressions import coalesce, literal
from measure.errors import InputError
from measure.journeys.rules import JourneyRules
from measure.journeys.sales import minor_units
from measure.journeys.touches import currency_of, ordered_touches
from measure.results import Result

if TYPE_CHECKING:
    from measure.engine.connection import Engine

OTHER = "other"
"""All channels beyond the most frequent ones."""


@dataclass(frozen=True, slots=True)
class JourneyFlow(Result):
    """Journeys with the same first and second touch and the same end.

    ``second`` is ``None`` when the journey had one touch; ``value`` is in major units.
    """

    first: str
    second: str | None
    converted: bool
    journeys: int
    value: float


def journey_flows(
    engine: Engine, rules: JourneyRules | None = None, *, most_channels: int = 5
) -> tuple[JourneyFlow, ...]:
    """Count journeys by first touch, second touch and end.

    Channels beyond the ``most_channels`` most frequent (as first or second touch; ties by name)
    are added up as ``other``. Sorted by names; the counts add up to all journeys.
    """
    if most_channels < 1:
        raise InputError.rule("most_channels", most_channels, "must be >= 1")
    rules = rules or JourneyRules()
    touches = ordered_touches(engine, rules)
    begun = touches.filter(touches.position == 0)
    begun = begun.select(
        "channel", "converted", "net", second=coalesce(begun.following, literal(""))
    )
    grouped = begun.group_by(["channel", "second", "converted"]).aggregate(
        journeys=begun.count(), net=begun.net.sum().cast("int64")
    )
    rows = engine.fetch(grouped).to_pylist()
    per_major = minor_units(currency_of(engine, rules))
    return _folded(rows, most_channels, per_major)


def _folded(
    rows: list[dict[str, object]], most_channels: int, per_major: int
) -> tuple[JourneyFlow, ...]:
    """Rows with rare channels added up."""
    seen: Counter[str] = Counter()
    for row in rows:
        for channel in (str(row["channel"]), str(row["second"])):
            seen[channel] += int(str(row["journeys"]))
    del seen[""]
    frequent = sorted(seen, key=lambda channel: (-seen[channel], channel))[:most_channels]
    sums: defaultdict[tuple[str, str, bool], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        first, second = (
            name if name in frequent or not name else OTHER
            for name in (str(row["channel"]), str(row["second"]))
        )
        total = sums[first, second, bool(row["converted"])]
        total[0] += int(str(row["journeys"]))
        total[1] += int(str(row["net"]))
    return tuple(
        JourneyFlow(first, second or None, converted, journeys, net / per_major)
        for (first, second, converted), (journeys, net) in sorted(sums.items())
    )
