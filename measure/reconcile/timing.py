"""Group C, time: the touch comes before the conversion, and not too long before."""

from __future__ import annotations

from measure.engine.contracts import Kind
from measure.engine.expressions import Table, ifelse, least, null, or_
from measure.reconcile.check import DeclaredCheck, Findings, Tally
from measure.reconcile.sources import STORED_AS, Sources
from measure.results import Severity

_TIME = STORED_AS[Kind.TIMESTAMP]


def _before_touch(sources: Sources) -> Findings:
    found = {"claims": _claims_before_touch(sources)}
    if sources.has("conversions") and sources.has("activations"):
        found["conversions"] = _conversions_before_click(sources)
    return found


def _claims_before_touch(sources: Sources) -> Table:
    """By the platform's own times, or by the click in our log against the order in our books."""
    orders = sources.has("conversions")
    claims = sources.matched_claims if orders else sources.claims
    if not orders:
        claims = claims.mutate(ordered_at=null().cast(_TIME))
    if sources.has("activations"):
        clicks = sources.claim_clicks
        claims = claims.left_join(clicks, claims.claim_id == clicks.clicker)
    else:
        claims = claims.mutate(
            clicked_at=null().cast(_TIME), click_activation=null().cast("string")
        )
    early = claims.filter(
        or_(
            claims.converted_at < claims.touched_at - sources.clock,
            claims.ordered_at < claims.clicked_at - sources.clock,
        )
    )
    return early.select(
        entity_id=early.claim_id,
        raw_id=early.claim_id,
        amount=early.value,
        whole=1,
        platform=early.platform,
        order_id=early.order_id,
        activation_id=early.click_activation,
        touched_at=early.touched_at,
        converted_at=early.converted_at,
        clicked_at=early.clicked_at,
        ordered_at=early.ordered_at,
    )


def _conversions_before_click(sources: Sources) -> Table:
    conversions, clicks = sources.table("conversions"), sources.conversion_clicks
    pairs = conversions.join(clicks, conversions.conversion_id == clicks.clicker)
    early = pairs.filter(pairs.ts < pairs.clicked_at - sources.clock)
    return early.select(
        entity_id=early.conversion_id,
        raw_id=early.conversion_id,
        amount=sources.money_of(early),
        whole=1,
        order_id=early.order_id,
        activation_id=early.click_activation,
        clicked_at=early.clicked_at,
        ordered_at=early.ts,
    )


def _with_touch(sources: Sources) -> Findings:
    """Claims, and conversions whose click the log knows."""
    found = {"claims": sources.claims}
    if sources.has("conversions") and sources.has("activations"):
        found["conversions"] = sources.conversion_clicks
    return found


def _before_sentence(tally: Tally) -> str:
    parts = [
        tally.of(table, table[:-1]) for table in ("claims", "conversions") if tally.rows.get(table)
    ]
    return f"{' and '.join(parts)} come before the touch they are credited to"


CONVERSION_BEFORE_TOUCH = DeclaredCheck(
    code="C1",
    name="conversion_before_touch",
    title="Conversions before their touch",
    severity=Severity.WARNING,
    needs={"claims": ("claim_id", "touched_at", "converted_at", "value", "currency")},
    uses=("conversions", "activations"),
    disposition="drop",
    passed="No conversion comes before its touch",
    flagged=_before_sentence,
    find=_before_touch,
    examined=_with_touch,
)


def _outside_window(sources: Sources) -> Findings:
    settings, claims = sources.settings, sources.claims
    longest = ifelse(
        claims.kind == "click", settings.click_window_days, settings.view_window_days
    ).cast("int64")
    claims = claims.mutate(allowed_days=least(claims.window_days, longest).cast("int64"))
    # In seconds: a day added under summer time may have 23 or 25 hours.
    end = claims.touched_at + (claims.allowed_days * 86_400).as_interval("s")
    late = claims.filter(claims.converted_at > end)
    rows = late.select(
        entity_id=late.claim_id,
        raw_id=late.claim_id,
        amount=late.value,
        whole=1,
        platform=late.platform,
        kind=late.kind,
        order_id=late.order_id,
        touched_at=late.touched_at,
        converted_at=late.converted_at,
        window_days=late.window_days,
        allowed_days=late.allowed_days,
    )
    return {"claims": rows}


OUTSIDE_WINDOW = DeclaredCheck(
    code="C3",
    name="outside_window",
    title="Conversions outside the window",
    severity=Severity.WARNING,
    needs={
        "claims": (
            "claim_id",
            "kind",
            "touched_at",
            "converted_at",
            "value",
            "currency",
            "window_days",
        )
    },
    disposition="drop",
    passed="Every claim lies within the window of its kind",
    flagged=lambda tally: f"{tally.of('claims', 'claim')} lie outside the window of their kind",
    find=_outside_window,
    examined=lambda sources: {"claims": sources.claims},
)
