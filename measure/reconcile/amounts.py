"""Group F, amounts: the right number in the wrong unit, and gross held against net.

Both take from a claim what it says beyond its order. Where the order was refunded or cancelled, E6
has already taken everything above what is left of it, so these rows are counted without money.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from measure.engine.expressions import (
    Column,
    Table,
    cases,
    greatest,
    ifelse,
    least,
    literal,
    or_,
)
from measure.reconcile.check import DeclaredCheck, Findings, Tally
from measure.reconcile.sources import Sources
from measure.reconcile.spending import campaign_days
from measure.results import Severity

UNITS: Mapping[int, str] = {100: "cents", 1_000: "thousandths", 1_000_000: "micros"}
"""Factors between one unit of money and another, and what the greater number then counts."""


def _with_order(sources: Sources) -> Table:
    """Claims on orders in the same currency that are worth something."""
    claims = sources.matched_claims
    return claims.filter(
        claims.matched_order.notnull(),
        claims.order_currency == claims.currency,
        claims.order_rate.isnull(),  # what differs from a converted order counts under F4
        claims.order_value > 0,
        claims.value > 0,
    )


def _beyond(claims: Table) -> Column:
    """What a claim says beyond its order, where E6 has not taken it already."""
    more = greatest(claims.value - claims.order_value, 0)
    return ifelse(claims.order_returned == 1, 0, more).cast("int64")


def _gross(claims: Table) -> Column:
    """Which parts of the bill make the claim equal to its order's gross; empty where none do."""
    more, tax, shipping = (
        claims.value - claims.order_value,
        claims.order_tax,
        claims.order_shipping,
    )
    return cases(
        (more <= 0, ""),
        (more == tax + shipping, "tax and shipping"),
        (more == tax, "tax"),
        (more == shipping, "shipping"),
        else_="",
    )


def _factor(one: Column, other: Column, tolerance: float) -> Column:
    """The unit factor between two positive amounts, the greater over the less; 0 where none."""
    great, small = greatest(one, other), least(one, other)
    branches = [
        ((great - small * factor).abs() <= small * (factor * tolerance), factor) for factor in UNITS
    ]
    return cases(*branches, else_=0)


def _claims_in_units(sources: Sources) -> Table:
    claims, tolerance = _with_order(sources), sources.settings.unit_tolerance
    claims = claims.mutate(
        factor=_factor(claims.value, claims.order_value, tolerance), gross=_gross(claims)
    )
    wrong = claims.filter(claims.factor > 0, claims.gross == "")
    return wrong.select(
        entity_id=wrong.claim_id,
        raw_id=wrong.claim_id,
        amount=_beyond(wrong),
        whole=0,
        platform=wrong.platform,
        order_id=wrong.matched_order,
        conversion_id=wrong.conversion_id,
        claimed=wrong.value,
        order_value=wrong.order_value,
        factor=wrong.factor,
    )


def _spend_in_units(sources: Sources) -> Table:
    cells, tolerance = _both_sides(sources), sources.settings.unit_tolerance_of_spend
    cells = cells.mutate(factor=_factor(cells.billed, cells.logged, tolerance))
    wrong = cells.filter(cells.factor > 0)
    cell = wrong.platform.concat(" / ", wrong.campaign, " / ", wrong.day.cast("string"))
    return wrong.select(
        entity_id=cell,
        raw_id=cell,
        amount=(wrong.billed - wrong.logged).abs().cast("int64"),
        whole=1,
        platform=wrong.platform,
        campaign=wrong.campaign,
        date=wrong.day,
        billed_micros=wrong.billed,
        logged_micros=wrong.logged,
        factor=wrong.factor,
    )


def _both_sides(sources: Sources) -> Table:
    cells = campaign_days(sources)
    return cells.filter(cells.billed > 0, cells.logged > 0)


def _has_spend(sources: Sources) -> bool:
    return sources.has("spend") and sources.has("activations")


def _in_units(sources: Sources) -> Findings:
    found = {"claims": _claims_in_units(sources)}
    return found | ({"spend": _spend_in_units(sources)} if _has_spend(sources) else {})


def _unit_examined(sources: Sources) -> Findings:
    examined = {"claims": _with_order(sources)}
    return examined | ({"spend": _both_sides(sources)} if _has_spend(sources) else {})


def _unit_sentence(tally: Tally) -> str:
    parts = []
    if tally.rows.get("claims"):
        parts.append(tally.of("claims", "matched claim"))
    if tally.rows.get("spend"):
        parts.append(tally.of("spend", "billed campaign day"))
    return f"{' and '.join(parts)} are 100, 1,000 or 1,000,000 times too much or too little"


UNIT_ERROR = DeclaredCheck(
    code="F5",
    name="unit_error",
    title="Money in the wrong unit",
    severity=Severity.WARNING,
    needs={
        "claims": ("claim_id", "value", "currency"),
        "conversions": ("order_id", "ts", "value", "status", "currency"),
    },
    uses=("spend", "activations"),
    disposition="reweight",
    empty=(
        "no claim matches an order in its currency, and no campaign day is both billed and logged"
    ),
    passed="No amount is off by the factor of a unit",
    flagged=_unit_sentence,
    find=_in_units,
    examined=_unit_examined,
)


def _itemised(sources: Sources) -> Table:
    claims = _with_order(sources)
    return claims.filter(or_(claims.order_tax > 0, claims.order_shipping > 0))


def _gross_claims(sources: Sources) -> Findings:
    claims = _itemised(sources)
    claims = claims.mutate(gross=_gross(claims))
    over = claims.filter(claims.gross != "")
    rows = over.select(
        entity_id=over.claim_id,
        raw_id=over.claim_id,
        amount=_beyond(over),
        whole=literal(0),
        platform=over.platform,
        order_id=over.matched_order,
        conversion_id=over.conversion_id,
        claimed=over.value,
        order_value=over.order_value,
        contains=over.gross,
    )
    return {"claims": rows}


def _gross_facts(sources: Sources) -> Mapping[str, Any]:
    """Claims per part of the bill that they contain."""
    claims = _itemised(sources)
    counted = claims.group_by(contains=_gross(claims)).aggregate(rows=claims.count())
    rows = sources.engine.fetch(counted.order_by("contains")).to_pylist()
    return {row["contains"]: int(row["rows"]) for row in rows if row["contains"]}


def _gross_sentence(tally: Tally) -> str:
    parts = ", ".join(f"{number:,} {name}" for name, number in tally.facts.items())
    claims = tally.of("claims", "claim on an itemised order", "claims on itemised orders")
    return f"{claims} contain what the ledger does not count as revenue ({parts})"


GROSS_CLAIMED = DeclaredCheck(
    code="F6",
    name="tax_and_shipping",
    title="Tax and shipping claimed as revenue",
    severity=Severity.WARNING,
    needs={
        "claims": ("claim_id", "value", "currency"),
        "conversions": ("order_id", "ts", "value", "status", "currency", "tax", "shipping"),
    },
    disposition="reweight",
    empty="no claimed order states its tax or shipping",
    passed="No claim contains tax or shipping that the ledger leaves out",
    flagged=_gross_sentence,
    find=_gross_claims,
    examined=lambda sources: {"claims": _itemised(sources)},
    facts=_gross_facts,
)
