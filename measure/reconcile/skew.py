"""How far a platform's clock is off, from clicks that landed, and the offset that puts it right.

The clock of the site writes the landing, the platform's clock the click before it. Median of
landing minus click with its distribution-free interval: order statistics at the ranks
n/2 ± z √n/2 (David and Nagaraja, Order Statistics, 2003, section 7.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from measure.engine.clock_offsets import offsets_in_force
from measure.reconcile.clocks import landings
from measure.reconcile.settings import Settings
from measure.reconcile.sources import Sources
from measure.results import Status

if TYPE_CHECKING:
    from measure.engine.connection import Engine

CI_LEVEL = 0.95
_Z = 1.959963984540054
FEWEST_CLICKS = 30
"""Matched clicks below which a clock is not judged."""
_NEXT_DAY = 86_400
"""Seconds after which an event with a click's id is another visit, not its landing."""


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """One platform's clock: seconds from click to landing, and seconds to add to its times.

    ``offset_seconds`` is what would be in force after a correction, the one in force included; 0
    for a clock that is right. It is ``None`` unless ``status`` is ``ok``.
    """

    platform: str
    clicks: int
    median_seconds: int
    ci_low: int
    ci_high: int
    ci_level: float
    early_share: float
    """Share of landings before their click."""
    in_force_seconds: int
    offset_seconds: int | None
    status: Status
    note: str

    @property
    def evidence(self) -> str:
        """What the estimate rests on, in one line."""
        return (
            f"median of landing minus click {signed(self.median_seconds)} s "
            f"({100 * self.ci_level:g} %: {signed(self.ci_low)} to {signed(self.ci_high)} s), "
            f"{self.clicks:,} matched clicks"
        )


def estimate_clocks(engine: Engine, settings: Settings | None = None) -> tuple[ClockEstimate, ...]:
    """Judge the clock of every platform with matched clicks, corrections in force applied.

    Empty where events or activations are missing or carry no click ids in common.
    """
    sources = Sources(engine, settings or Settings(), None)
    needed = {"activations": "click_id", "events": "click_id"}
    if any(not sources.has(t) or c not in sources.columns(t) for t, c in needed.items()):
        return ()
    pairs = landings(sources)
    pairs = pairs.filter(pairs.lag >= -_NEXT_DAY, pairs.lag <= _NEXT_DAY)
    counted = pairs.group_by("platform", "lag").aggregate(clicks=pairs.count())
    rows = engine.fetch(counted.order_by("platform", "lag")).to_pylist()
    in_force = {offset.platform: offset.seconds for offset in offsets_in_force(engine)}
    return tuple(
        _estimate(
            platform,
            [(int(row["lag"]), int(row["clicks"])) for row in rows if row["platform"] == platform],
            in_force.get(platform, 0),
            sources.settings,
        )
        for platform in sorted({row["platform"] for row in rows})
    )


def clock_notes(engine: Engine) -> tuple[str, ...]:
    """Which platforms' times are corrected, by how much, who recorded it, when and why."""
    return tuple(
        f"Times of {offset.platform} are corrected by {signed(offset.seconds)} s, recorded "
        f"{offset.recorded_at:%Y-%m-%d} by {offset.recorded_by}: {offset.evidence}."
        for offset in offsets_in_force(engine)
    )


def signed(number: int) -> str:
    """A whole number with its sign, as a reader sees it."""
    return f"{number:+,}".replace("-", "\N{MINUS SIGN}") if number else "0"


def _estimate(
    platform: str, lags: Sequence[tuple[int, int]], in_force: int, settings: Settings
) -> ClockEstimate:
    """Judge one platform from how often each whole second between click and landing occurs."""
    reached = list(accumulate(times for _, times in lags))
    clicks = reached[-1]

    def at(rank: float) -> int:
        wanted = min(max(math.floor(rank), 0), clicks - 1)
        return next(lag for (lag, _), last in zip(lags, reached, strict=True) if wanted < last)

    middle, half = (clicks - 1) / 2, _Z * math.sqrt(clicks) / 2
    median, early = at(middle), sum(times for lag, times in lags if lag < 0) / clicks
    # As many landings as are tolerated anyway may come before their click: the others follow it.
    earliest = at(settings.skew_share * clicks)
    status, offset, note = Status.OK, in_force, "The clock is right."
    if clicks < FEWEST_CLICKS:
        status, note = Status.INSUFFICIENT, f"Fewer than {FEWEST_CLICKS} matched clicks."
    elif abs(median) > settings.skew_seconds or early > settings.skew_share:
        offset, note = in_force + earliest, "The clock is off."
        if median - earliest > settings.skew_seconds:
            status = Status.INVALID
            note = "Landings lie too far apart for one offset: the clock drifts, or ids are mixed."
    return ClockEstimate(
        platform,
        clicks,
        median,
        at(middle - half),
        at(math.ceil(middle + half)),
        CI_LEVEL,
        early,
        in_force,
        offset if status is Status.OK else None,
        status,
        note,
    )
