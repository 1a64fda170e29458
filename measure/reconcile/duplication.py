"""Group B, duplication: one order counted more than once.

The overlap between platforms (B1) is split without a rest: each order's surplus is shared among
its claims in proportion to their money, whole minor units by the method of largest remainders
(Hamilton), ties by claim id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from measure.engine.expressions import (
    Table,
    coalesce,
    desc,
    greatest,
    ifelse,
    literal,
    row_number,
    union,
    window,
)
from measure.reconcile.check import DeclaredCheck, Findings, Tally
from measure.reconcile.sources import Sources
from measure.results import Severity


def overlap(claims: Table) -> Table:
    """The surplus of orders that more than one platform claims, split among their claims.

    ``claims`` has ``claim_id``, ``platform``, ``matched_order``, ``order_net`` and ``remaining``
    (what the claim still claims); claims without an order are left out. The surplus of an order is
    its claims' sum less its net value, never below 0 (catalogue B1). Adds ``platforms``,
    ``claimed``, ``surplus`` (of the order), ``position`` (of the claim in its order, 0 first) and
    ``overlap`` (of the claim; sums to ``surplus``). Amounts are minor units; an order whose claims
    multiply beyond 2^63 makes the engine refuse, never round.
    """
    claims = claims.filter(claims.matched_order.notnull())
    per_order = claims.group_by("matched_order").aggregate(
        platforms=claims.platform.nunique(),
        claimed=claims.remaining.sum().cast("int64"),
    )
    per_order = per_order.filter(per_order.platforms > 1).rename(shared_order="matched_order")
    shared = claims.join(per_order, claims.matched_order == per_order.shared_order)
    surplus = greatest(shared.claimed - greatest(shared.order_net, 0), 0).cast("int64")
    shared = shared.mutate(surplus=surplus)
    product = shared.remaining * shared.surplus
    divisor = greatest(shared.claimed, 1)
    rest = product % divisor
    shared = shared.mutate(
        quotient=((product - rest) / divisor).round().cast("int64"), rest=rest.cast("int64")
    )
    same = window(group_by="matched_order")
    ranked = shared.mutate(
        position=row_number().over(window(group_by="matched_order", order_by="claim_id")),
        place=row_number().over(
            window(group_by="matched_order", order_by=[desc("rest"), "claim_id"])
        ),
        left=(shared.surplus - shared.quotient.sum().over(same)).cast("int64"),
    )
    extra = ifelse(ranked.place < ranked.left, 1, 0)
    split = ranked.mutate(overlap=(ranked.quotient + extra).cast("int64"))
    return split.drop("quotient", "rest", "place", "left", "shared_order")


def at_face_value(sources: Sources) -> Table:
    """All matched claims with their whole value still standing."""
    claims = sources.matched_claims
    return claims.mutate(remaining=claims.value)


def _across_platforms(sources: Sources) -> Findings:
    shared = overlap(at_face_value(sources))
    rows = shared.select(
        entity_id=shared.claim_id,
        raw_id=shared.claim_id,
        amount=shared.overlap,
        whole=0,
        platform=shared.platform,
        order_id=shared.matched_order,
        conversion_id=shared.conversion_id,
        platforms=shared.platforms,
        claimed=shared.claimed,
        order_net=shared.order_net,
    )
    return {"claims": rows}


def _across_facts(sources: Sources) -> Mapping[str, Any]:
    """Orders claimed at all and by several platforms."""
    claims = sources.matched_claims
    matched = claims.filter(claims.matched_order.notnull())
    orders = matched.group_by("matched_order").aggregate(
        platforms=matched.platform.nunique(), claims=matched.count()
    )
    row = sources.engine.fetch(
        orders.aggregate(
            orders=orders.count(),
            shared=ifelse(orders.platforms > 1, 1, 0).sum(),
            claims=orders.claims.sum(),
        )
    ).to_pylist()[0]
    return {name: int(value) for name, value in row.items()}


def _across_sentence(tally: Tally) -> str:
    shared, orders, claims = (tally.facts[name] for name in ("shared", "orders", "claims"))
    return (
        f"{shared:,} of {orders:,} claimed orders are claimed by more than one platform "
        f"({tally.of('claims', 'claim')}; {claims / orders:.2f} claims an order)"
    )


ACROSS_PLATFORMS = DeclaredCheck(
    code="B1",
    name="duplicate_claims_across_platforms",
    title="Orders claimed by more than one platform",
    severity=Severity.WARNING,
    needs={
        "claims": ("claim_id", "platform", "value", "currency"),
        "conversions": ("order_id", "ts", "value", "status"),
    },
    disposition="reweight",
    passed="No order is claimed by more than one platform",
    flagged=_across_sentence,
    find=_across_platforms,
    examined=lambda sources: {"claims": sources.claims},
    facts=_across_facts,
)


def _repeated(claims: Table, sources: Sources, key: list[str]) -> Table:
    """All but one of the claims that share a key.

    The claim with the latest touch before the conversion is kept (it is the one most likely to be
    in time), ties by claim id.
    """
    late = ifelse(claims.touched_at > claims.converted_at + sources.clock, 1, 0)
    claims = claims.mutate(late=late)
    order = window(group_by=["platform", *key], order_by=["late", desc("touched_at"), "claim_id"])
    claims = claims.mutate(
        position=row_number().over(order), kept=claims.claim_id.first().over(order)
    )
    again = claims.filter(claims.position > 0)
    return again.select(
        entity_id=again.claim_id,
        raw_id=again.claim_id,
        amount=again.value,
        whole=1,
        platform=again.platform,
        order_id=again.known_order,
        click_id=again.click_id,
        kept_claim_id=again.kept,
    )


def _within_platform(sources: Sources) -> Findings:
    """Repeats by order; by click and time of conversion where no order is known."""
    if sources.has("conversions"):
        claims = sources.matched_claims
        claims = claims.mutate(known_order=coalesce(claims.order_id, claims.matched_order))
    else:
        claims = sources.claims
        claims = claims.mutate(known_order=claims.order_id)
    by_order = claims.filter(claims.known_order.notnull())
    loose = claims.filter(claims.known_order.isnull(), claims.click_id.notnull())
    return {
        "claims": union(
            _repeated(by_order, sources, ["known_order"]),
            _repeated(loose, sources, ["click_id", "converted_at"]),
        )
    }


WITHIN_PLATFORM = DeclaredCheck(
    code="B2",
    name="duplicate_claim_within_platform",
    title="Claims that a platform makes more than once",
    severity=Severity.WARNING,
    needs={"claims": ("claim_id", "platform", "touched_at", "converted_at", "value", "currency")},
    uses=("conversions",),
    disposition="drop",
    passed="No platform claims an order twice",
    flagged=lambda tally: f"{tally.of('claims', 'claim')} repeat a claim of the same platform",
    find=_within_platform,
    examined=lambda sources: {"claims": sources.claims},
)


def _orders_twice(sources: Sources) -> Findings:
    table = sources.table("conversions")
    order = window(group_by="order_id", order_by=["ts", "conversion_id"])
    table = table.mutate(
        position=row_number().over(order), kept=table.conversion_id.first().over(order)
    )
    again = table.filter(table.position > 0)
    rows = again.select(
        entity_id=again.conversion_id,
        raw_id=again.conversion_id,
        amount=sources.money_of(again),
        whole=literal(1),
        order_id=again.order_id,
        status=again.status,
        kept_conversion_id=again.kept,
    )
    return {"conversions": rows}


DUPLICATE_ORDER = DeclaredCheck(
    code="B8",
    name="duplicate_order",
    title="Orders recorded more than once",
    severity=Severity.WARNING,
    needs={"conversions": ("conversion_id", "order_id", "ts", "value", "currency", "status")},
    disposition="drop",
    passed="Every order is recorded once",
    flagged=lambda tally: f"{tally.of('conversions', 'conversion')} repeat an order",
    find=_orders_twice,
    examined=lambda sources: {"conversions": sources.table("conversions")},
)
