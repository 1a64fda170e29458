"""Rows of the activation log as many checks show and count them."""

from __future__ import annotations

from measure.engine.expressions import Table, Value
from measure.reconcile.check import Findings
from measure.reconcile.sources import Sources

TOUCH = ("activation_id", "platform", "channel", "campaign", "kind", "ts", "customer_id")
"""Columns without which a touch is no touch."""


def logged(sources: Sources) -> Findings:
    """All touches."""
    return {"activations": sources.table("activations")}


def logged_clicks(sources: Sources) -> Findings:
    """All clicks."""
    log = sources.table("activations")
    return {"activations": log.filter(log.kind == "click")}


def flagged_touches(sources: Sources, touches: Table, **more: Value) -> Findings:
    """Touches at their cost, set aside whole; ``more`` are further columns of the evidence."""
    rows = touches.select(
        entity_id=touches.activation_id,
        raw_id=touches.activation_id,
        amount=sources.cost_of(touches),
        whole=1,
        platform=touches.platform,
        campaign=touches.campaign,
        kind=touches.kind,
        customer_id=touches.customer_id,
        ts=touches.ts,
        **more,
    )
    return {"activations": rows}
