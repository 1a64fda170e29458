"""Group B, copies of one thing: touches logged again, clicks in a burst, events sent twice.

A copy is everything but the first row; which one is first is fixed by time, then by id.
"""

from __future__ import annotations

from functools import partial

from measure.engine.contracts import CONTRACTS
from measure.engine.expressions import Table, interval, or_, row_number, window
from measure.reconcile.check import DeclaredCheck, Findings
from measure.reconcile.sources import Sources
from measure.reconcile.touches import TOUCH, flagged_touches, logged, logged_clicks
from measure.results import Severity

_OWN = frozenset({"activation_id", "received_at"})
"""Columns in which a copy of a touch may differ from it: what the log itself added."""


def _ranked(touches: Table) -> Table:
    """Touches with ``copy``, their position among those alike in all but the log's own columns.

    Only touches that share person and time with another: the rest need no comparing.
    """
    times = touches.group_by(again="customer_id", at="ts").aggregate(rows=touches.count())
    times = times.filter(times.rows > 1)
    touches = touches.semi_join(times, [touches.customer_id == times.again, touches.ts == times.at])
    alike = [c.name for c in CONTRACTS["activations"].columns if c.name not in _OWN]
    order = window(group_by=alike, order_by="activation_id")
    return touches.mutate(
        copy=row_number().over(order), kept=touches.activation_id.first().over(order)
    )


_of_touches = partial(
    DeclaredCheck, severity=Severity.WARNING, needs={"activations": TOUCH}, disposition="drop"
)
"""A check of touches that repeat others."""


def _exact(sources: Sources) -> Findings:
    ranked = _ranked(sources.table("activations"))
    copies = ranked.filter(ranked.copy > 0)
    return flagged_touches(sources, copies, kept_activation_id=copies.kept)


DUPLICATE_TOUCH = _of_touches(
    code="B5",
    name="duplicate_touch_exact",
    title="Touches logged more than once",
    passed="No touch is logged twice",
    flagged=lambda tally: (
        f"{tally.of('activations', 'touch', 'touches')} repeat another in everything but their id"
    ),
    find=_exact,
    examined=logged,
)


def _near(sources: Sources) -> Findings:
    """Touches at most some seconds after the one before; exact copies are left to B5."""
    log = sources.table("activations")
    ranked = _ranked(log)
    copies = ranked.filter(ranked.copy > 0)
    single = log.select("activation_id", "customer_id", "channel", "kind", "ts")
    single = single.anti_join(copies, single.activation_id == copies.activation_id)
    order = window(group_by=["customer_id", "channel", "kind"], order_by=["ts", "activation_id"])
    single = single.mutate(
        before=single.ts.lag().over(order), kept=single.activation_id.lag().over(order)
    )
    near = single.before + interval(seconds=sources.settings.near_touch_seconds)
    close = single.filter(single.ts <= near).select("kept", close="activation_id")
    again = log.join(close, log.activation_id == close.close)
    return flagged_touches(sources, again, kept_activation_id=again.kept)


NEAR_DUPLICATE_TOUCH = _of_touches(
    code="B6",
    name="duplicate_touch_near",
    title="Touches almost at the same moment",
    passed="No two touches of a person, channel and kind follow at once",
    flagged=lambda tally: (
        f"{tally.of('activations', 'touch', 'touches')} follow another of the same person, channel "
        "and kind at once"
    ),
    find=_near,
    examined=logged,
)


def _bursts(sources: Sources) -> Findings:
    """All but the first click of a minute that holds too many."""
    clicks = logged_clicks(sources)["activations"]
    clicks = clicks.mutate(minute=clicks.ts.truncate("m"))
    same = ["customer_id", "platform", "campaign", "minute"]
    order = window(group_by=same, order_by=["ts", "activation_id"])
    clicks = clicks.mutate(
        clicks=clicks.count().over(window(group_by=same)),
        position=row_number().over(order),
        kept=clicks.activation_id.first().over(order),
    )
    burst = clicks.filter(clicks.clicks > sources.settings.burst_clicks, clicks.position > 0)
    return flagged_touches(sources, burst, kept_activation_id=burst.kept)


CLICK_BURST = _of_touches(
    code="B7",
    name="click_burst",
    title="Bursts of clicks",
    empty="the activation log holds no clicks",
    passed="Nobody clicks one campaign more often in a minute than the limit",
    flagged=lambda tally: (
        f"{tally.of('activations', 'click')} repeat a click on the same campaign in a minute with "
        "more clicks than the limit"
    ),
    find=_bursts,
    examined=logged_clicks,
)


def _named(sources: Sources) -> Table:
    """Claims on a named event whose person is known, from their order or from their click."""
    claims = sources.matched_claims
    claims = claims.filter(claims.event_name.notnull()).mutate(
        person=claims.order_customer, known_order=claims.matched_order
    )
    if sources.has("activations"):
        clicks = sources.claim_clicks
        claims = claims.left_join(clicks, claims.claim_id == clicks.clicker)
        claims = claims.mutate(person=claims.person.coalesce(claims.click_customer))
    return claims.filter(claims.person.notnull())


def _sent_twice(sources: Sources) -> Findings:
    """Claims alike in platform, event, person and value, close in time, under different ids.

    Two claims that match two different orders are two purchases, however alike they are.
    """
    claims = _named(sources)
    order = window(
        group_by=["platform", "event_name", "person", "value"],
        order_by=["converted_at", "claim_id"],
    )
    claims = claims.mutate(
        kept=claims.claim_id.lag().over(order),
        earlier=claims.converted_at.lag().over(order),
        earlier_event=claims.event_id.lag().over(order),
        earlier_order=claims.known_order.lag().over(order),
    )
    near = claims.earlier + interval(hours=sources.settings.event_copy_hours)
    again = claims.filter(
        claims.converted_at <= near,
        or_(
            claims.event_id.isnull(),
            claims.earlier_event.isnull(),
            claims.event_id != claims.earlier_event,
        ),
        or_(
            claims.known_order.isnull(),
            claims.earlier_order.isnull(),
            claims.known_order == claims.earlier_order,
        ),
    )
    rows = again.select(
        entity_id=again.claim_id,
        raw_id=again.claim_id,
        amount=again.value,
        whole=1,
        platform=again.platform,
        event_name=again.event_name,
        event_id=again.event_id,
        kept_event_id=again.earlier_event,
        customer_id=again.person,
        order_id=again.known_order,
        converted_at=again.converted_at,
        kept_claim_id=again.kept,
    )
    return {"claims": rows}


BROWSER_SERVER_DUPLICATE = DeclaredCheck(
    code="B3",
    name="browser_server_duplicate",
    title="Events sent by browser and server",
    severity=Severity.WARNING,
    needs={
        "claims": (
            "claim_id",
            "platform",
            "event_id",
            "event_name",
            "converted_at",
            "value",
            "currency",
        ),
        "conversions": ("order_id", "customer_id", "ts", "click_id"),
    },
    uses=("activations",),
    disposition="drop",
    empty="no claim names its event and rests on a known person",
    passed="No event of a person is claimed under two event ids",
    flagged=lambda tally: (
        f"{tally.of('claims', 'claim on a named event', 'claims on named events')} repeat an event "
        "of the same person and value under another event id, or without one"
    ),
    find=_sent_twice,
    examined=lambda sources: {"claims": _named(sources)},
)
