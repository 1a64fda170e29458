"""Group C, time zones: a log whose hours belong to another zone.

The clicks of a platform are counted by half hour and held against the sessions of their channel at
every shift up to 14 hours: the shift at which most pairs of a click and a session fall into one
half hour is where the log's clock stands. No click has to find its own session, so this works where
click ids are missing; where they are not, C7 measures the clock itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from measure.engine.expressions import (
    Table,
    coalesce,
    desc,
    ifelse,
    row_number,
    whole_numbers,
    window,
)
from measure.reconcile.check import DeclaredCheck, Findings
from measure.reconcile.sources import Sources, seconds_of
from measure.results import Severity

SLOT = 1_800
"""Seconds of a slot; every zone of the world lies a whole number of quarter or half hours off."""
FURTHEST = 28
"""Slots to either side: no two zones in use lie further than 14 hours from UTC."""
STANDARD_ERRORS = 6
"""By which pairs at another shift must exceed those at none; pairs by chance are Poisson."""
_WHO = ["platform", "channel"]


def _click_slots(sources: Sources) -> Table:
    log = sources.table("activations")
    clicks = log.filter(log.kind == "click")
    clicks = clicks.select(*_WHO, slot=(seconds_of(clicks.ts) // SLOT).cast("int64"))
    return clicks.group_by([*_WHO, "slot"]).aggregate(clicks=clicks.count())


def _session_slots(sources: Sources) -> Table:
    """Beginnings of sessions by channel; an event outside a session is one of its own."""
    events = sources.table("events")
    events = events.filter(events.channel.notnull())
    events = events.mutate(session=coalesce(events.session_id, events.event_id))
    begun = events.group_by(["channel", "session"]).aggregate(ts=events.ts.min())
    begun = begun.select(met="channel", at=(seconds_of(begun.ts) // SLOT).cast("int64"))
    return begun.group_by(["met", "at"]).aggregate(sessions=begun.count())


def _compared(sources: Sources) -> Table:
    """Platforms and channels with clicks and sessions, at every shift of the clicks."""
    clicks, sessions = _click_slots(sources), _session_slots(sources)
    moved = clicks.cross_join(whole_numbers(0, 2 * FURTHEST, "place"))
    moved = moved.mutate(shift=(moved.place - FURTHEST).cast("int64"))
    moved = moved.mutate(then=moved.slot + moved.shift)
    pairs = moved.join(sessions, [moved.channel == sessions.met, moved.then == sessions.at])
    return pairs.group_by([*_WHO, "shift"]).aggregate(
        pairs=(pairs.clicks * pairs.sessions).sum().cast("int64")
    )


def _misplaced(sources: Sources) -> Table:
    """Platforms and channels whose clicks meet their sessions at a shift other than none."""
    scores = _compared(sources)
    here = ifelse(scores.shift == 0, scores.pairs, 0).max().over(window(group_by=_WHO))
    order = window(group_by=_WHO, order_by=[desc("pairs"), "shift"])
    ranked = scores.mutate(unmoved=here, position=row_number().over(order))
    best = ranked.filter(ranked.position == 0, ranked.shift != 0)
    surplus = best.pairs - best.unmoved
    return best.filter(surplus > best.pairs.cast("float64").sqrt() * STANDARD_ERRORS)


def _moved_claims(sources: Sources, wrong: Table) -> Table:
    """Value of claims that the shift books on another day, by platform and channel."""
    off = wrong.select(on="platform", of="channel", off="shift")
    claims = sources.claims
    claims = claims.join(off, [claims.platform == off.on, claims.channel == off.of])
    right = claims.converted_at + (claims.off * SLOT).as_interval("s")
    moved = claims.filter(right.date() != claims.converted_at.date())
    return moved.group_by(["on", "of"]).aggregate(
        claims=moved.count(), value=moved.value.sum().cast("int64")
    )


def _found(sources: Sources) -> Findings:
    wrong = _misplaced(sources).drop("position")
    if sources.has("claims"):
        moved = _moved_claims(sources, wrong)
        wrong = wrong.left_join(moved, [wrong.platform == moved.on, wrong.channel == moved.of])
        wrong = wrong.mutate(
            amount=coalesce(wrong.value, 0).cast("int64"),
            moved_claims=coalesce(wrong.claims, 0).cast("int64"),
        )
    else:
        wrong = wrong.mutate(amount=0, moved_claims=0)
    where = wrong.platform.concat(" / ", wrong.channel)
    rows = wrong.select(
        entity_id=where,
        raw_id=where,
        amount=wrong.amount.cast("int64"),
        whole=1,
        platform=wrong.platform,
        channel=wrong.channel,
        minutes_behind=(wrong.shift * (SLOT // 60)).cast("int64"),
        moved_claims=wrong.moved_claims,
    )
    return {"platform channels": rows}


def _facts(sources: Sources) -> Mapping[str, Any]:
    rows = _found(sources)["platform channels"].order_by("entity_id")
    return {
        "off": [
            f"{row['entity_id']} ({row['minutes_behind'] / 60:+g} h)".replace("-", "−")
            for row in sources.engine.fetch(rows).to_pylist()
        ]
    }


TIME_ZONE = DeclaredCheck(
    code="C8",
    name="timezone_misassignment",
    title="Logs in another time zone",
    severity=Severity.WARNING,
    needs={
        "activations": ("platform", "channel", "kind", "ts"),
        "events": ("event_id", "channel", "ts"),
    },
    uses=("claims",),
    disposition="note",
    empty="no event names the channel of a logged click within 14 hours of one",
    passed="Clicks fall into the hours of their sessions",
    flagged=lambda tally: (
        f"Sessions follow the clicks of {', '.join(tally.facts['off'])} by whole half hours: the "
        "log is in another time zone than it says"
    ),
    find=_found,
    examined=lambda sources: {"platform channels": _compared(sources).select(*_WHO).distinct()},
    facts=_facts,
)
