"""Group E, validity: what was claimed is still an order worth its money."""

from __future__ import annotations

from measure.engine.expressions import ifelse, literal
from measure.reconcile.check import DeclaredCheck, Findings
from measure.reconcile.sources import Sources
from measure.results import Severity


def _still_claimed(sources: Sources) -> Findings:
    """Claims above what is left of an order that was cancelled or (partly) refunded."""
    claims = sources.matched_claims
    over = claims.filter(
        claims.order_returned == 1,
        claims.order_currency == claims.currency,
        claims.value > claims.order_net,
    )
    rows = over.select(
        entity_id=over.claim_id,
        raw_id=over.claim_id,
        amount=(over.value - over.order_net).cast("int64"),
        whole=ifelse(over.order_net == 0, 1, 0),
        platform=over.platform,
        order_id=over.matched_order,
        conversion_id=over.conversion_id,
        status=over.order_status,
        claimed=over.value,
        order_net=over.order_net,
    )
    return {"claims": rows}


REFUNDED_STILL_CLAIMED = DeclaredCheck(
    code="E6",
    name="refunded_still_claimed",
    title="Refunded or cancelled orders still claimed",
    severity=Severity.WARNING,
    needs={
        "claims": ("claim_id", "value", "currency"),
        "conversions": ("order_id", "ts", "value", "refunded_value", "status", "currency"),
    },
    disposition="drop",
    passed="No claim exceeds what is left of a refunded or cancelled order",
    flagged=lambda tally: (
        f"{tally.of('claims', 'claim')} exceed what is left of a refunded or cancelled order"
    ),
    find=_still_claimed,
    examined=lambda sources: {"claims": sources.claims},
)


def _test_orders(sources: Sources) -> Findings:
    """Claims on orders that a test or an own employee placed."""
    claims = sources.matched_claims
    own = claims.filter(claims.order_status.isin(("test", "internal")))
    rows = own.select(
        entity_id=own.claim_id,
        raw_id=own.claim_id,
        amount=own.value,
        whole=1,
        platform=own.platform,
        order_id=own.matched_order,
        conversion_id=own.conversion_id,
        status=own.order_status,
    )
    return {"claims": rows}


TEST_OR_INTERNAL = DeclaredCheck(
    code="E5",
    name="test_or_internal_order",
    title="Test and staff orders claimed",
    severity=Severity.WARNING,
    needs={
        "claims": ("claim_id", "value", "currency"),
        "conversions": ("order_id", "ts", "status", "currency"),
    },
    disposition="drop",
    passed="No claim stands on an order placed as a test or by staff",
    flagged=lambda tally: (
        f"{tally.of('claims', 'claim')} stand on orders placed as a test or by staff"
    ),
    find=_test_orders,
    examined=lambda sources: {"claims": sources.claims},
)


def _worthless(sources: Sources) -> Findings:
    """Claims that count a conversion and give it no value, or less than none."""
    claims = sources.claims
    none = claims.filter(claims.value <= 0)
    rows = none.select(
        entity_id=none.claim_id,
        raw_id=none.claim_id,
        amount=(literal(0) - none.value).cast("int64"),
        whole=1,
        platform=none.platform,
        order_id=none.order_id,
        value=none.value,
    )
    return {"claims": rows}


WITHOUT_VALUE = DeclaredCheck(
    code="E7",
    name="claim_without_value",
    title="Claims that count and are worth nothing",
    severity=Severity.NOTE,
    needs={"claims": ("claim_id", "value", "currency")},
    disposition="note",
    passed="Every claim has a value above zero",
    flagged=lambda tally: (
        f"{tally.of('claims', 'claim')} count a conversion without value or with a negative one"
    ),
    find=_worthless,
    examined=lambda sources: {"claims": sources.claims},
)
