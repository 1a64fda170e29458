"""Group A, existence: an order behind the claim, a touch behind the click id."""

from __future__ import annotations

from measure.engine.expressions import Table
from measure.reconcile.check import DeclaredCheck, Findings, Tally
from measure.reconcile.sources import Sources
from measure.results import Severity


def _claims_without_order(sources: Sources) -> Findings:
    claims = sources.matched_claims
    lost = claims.filter(claims.matched_order.isnull())
    rows = lost.select(
        entity_id=lost.claim_id,
        raw_id=lost.claim_id,
        amount=lost.value,
        whole=1,
        platform=lost.platform,
        campaign=lost.campaign,
        order_id=lost.order_id,
        click_id=lost.click_id,
        converted_at=lost.converted_at,
    )
    return {"claims": rows}


CLAIM_WITHOUT_ORDER = DeclaredCheck(
    code="A1",
    name="claim_without_order",
    title="Claims without an order",
    severity=Severity.WARNING,
    needs={"claims": ("claim_id", "value", "currency"), "conversions": ("order_id", "ts")},
    disposition="drop",
    passed="Every claim matches an order",
    flagged=lambda tally: f"{tally.of('claims', 'claim')} match no order",
    find=_claims_without_order,
    examined=lambda sources: {"claims": sources.claims},
)


def _with_click(sources: Sources) -> Findings:
    tables = {"claims": sources.claims} if sources.has("claims") else {}
    if sources.has("conversions"):
        tables["conversions"] = sources.table("conversions")
    return {name: table.filter(table.click_id.notnull()) for name, table in tables.items()}


def _unmatched_clicks(sources: Sources) -> Findings:
    log = sources.table("activations")
    known = log.filter(log.click_id.notnull()).select(known_click="click_id").distinct()
    lost = {
        name: table.anti_join(known, table.click_id == known.known_click)
        for name, table in _with_click(sources).items()
    }
    found = {}
    if "claims" in lost:
        found["claims"] = _claim_clicks(lost["claims"])
    if "conversions" in lost:
        found["conversions"] = _conversion_clicks(sources, lost["conversions"])
    return found


def _claim_clicks(lost: Table) -> Table:
    return lost.select(
        entity_id=lost.claim_id,
        raw_id=lost.claim_id,
        amount=lost.value,
        whole=1,
        platform=lost.platform,
        order_id=lost.order_id,
        click_id=lost.click_id,
    )


def _conversion_clicks(sources: Sources, lost: Table) -> Table:
    return lost.select(
        entity_id=lost.conversion_id,
        raw_id=lost.conversion_id,
        amount=sources.money_of(lost),
        whole=1,
        order_id=lost.order_id,
        click_id=lost.click_id,
    )


def _unmatched_sentence(tally: Tally) -> str:
    parts = [
        tally.of(table, f"{table[:-1]} with a click id", f"{table} with a click id")
        for table in ("claims", "conversions")
        if tally.examined.get(table)
    ]
    return f"{' and '.join(parts)} name a click that is not in the activation log"


CLICK_ID_UNMATCHED = DeclaredCheck(
    code="A3",
    name="click_id_unmatched",
    title="Click ids that the activation log does not know",
    severity=Severity.WARNING,
    needs={"activations": ("click_id",), "claims": ("claim_id", "click_id", "value", "currency")},
    uses=("conversions",),
    disposition="drop",
    empty="no claim and no conversion carries a click id",
    passed="Every click id is in the activation log",
    flagged=_unmatched_sentence,
    find=_unmatched_clicks,
    examined=_with_click,
)
