"""Group E, validity: what was claimed is still an order worth its money."""

from __future__ import annotations

from measure.engine.expressions import ifelse
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
