"""Group A, existence: an order behind the claim, a claim on the order, a plan for the touch."""

from __future__ import annotations

from measure.engine.expressions import (
    Table,
    coalesce,
    desc,
    least,
    row_number,
    union,
    window,
)
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


def with_click(sources: Sources) -> Findings:
    """Claims and conversions that carry a click id."""
    tables = {"claims": sources.claims} if sources.has("claims") else {}
    if sources.has("conversions"):
        tables["conversions"] = sources.table("conversions")
    return {name: table.filter(table.click_id.notnull()) for name, table in tables.items()}


def _unmatched_clicks(sources: Sources) -> Findings:
    log = sources.table("activations")
    known = log.filter(log.click_id.notnull()).select(known_click="click_id").distinct()
    lost = {
        name: table.anti_join(known, table.click_id == known.known_click)
        for name, table in with_click(sources).items()
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


def click_sentence(tally: Tally, what: str) -> str:
    """Flagged claims and conversions out of those with a click id, and what they do."""
    parts = [
        tally.of(table, f"{table[:-1]} with a click id", f"{table} with a click id")
        for table in ("claims", "conversions")
        if tally.examined.get(table)
    ]
    return f"{' and '.join(parts)} {what}"


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
    flagged=lambda tally: click_sentence(tally, "name a click that is not in the activation log"),
    find=_unmatched_clicks,
    examined=with_click,
)


def _windows(sources: Sources) -> Table:
    """Days between click and order within which a platform claims: as agreed, else as it does."""
    claims = sources.table("claims").filter(sources.table("claims").kind == "click")
    longest = sources.settings.click_window_days
    days = claims.group_by(claiming="platform").aggregate(days=claims.window_days.max())
    if sources.has("platforms"):
        agreed = sources.table("platforms").select(agreed="platform", window="click_window_days")
        days = days.left_join(agreed, days.claiming == agreed.agreed)
        days = days.mutate(days=coalesce(days.window, days.days))
    return days.select(claiming="claiming", days=least(days.days, longest).cast("int64"))


def _claimed_orders(sources: Sources) -> Table:
    """Orders that any platform claims, in whatever currency."""
    claims, matched = sources.table("claims"), sources.matched_claims
    return union(
        claims.filter(claims.order_id.notnull()).select(claimed="order_id"),
        matched.filter(matched.matched_order.notnull()).select(claimed="matched_order"),
    ).distinct()


def _kept_orders(sources: Sources) -> Table:
    orders = sources.orders
    return orders.filter(orders.order_currency == sources.currency, orders.order_net > 0)


def _unclaimed(sources: Sources) -> Findings:
    """Orders nobody claims although a platform that claims others holds a click in time."""
    orders, claimed, windows = (
        _kept_orders(sources),
        _claimed_orders(sources),
        _windows(sources),
    )
    orders = orders.anti_join(claimed, orders.matched_order == claimed.claimed)
    log = sources.table("activations")
    clicks = log.filter(log.kind == "click")
    clicks = clicks.join(windows, clicks.platform == windows.claiming).select(
        "platform",
        "days",
        activation_id="activation_id",
        clicker="customer_id",
        clicked_at="ts",
    )
    pairs = orders.join(clicks, orders.order_customer == clicks.clicker)
    end = pairs.clicked_at + (pairs.days * 86_400).as_interval("s")
    pairs = pairs.filter(pairs.clicked_at <= pairs.ordered_at, pairs.ordered_at <= end)
    order = window(group_by="matched_order", order_by=[desc("clicked_at"), "activation_id"])
    ranked = pairs.mutate(position=row_number().over(order))
    last = ranked.filter(ranked.position == 0)
    rows = last.select(
        entity_id=last.conversion_id,
        raw_id=last.conversion_id,
        amount=last.order_net,
        whole=1,
        order_id=last.matched_order,
        activation_id=last.activation_id,
        platform=last.platform,
        clicked_at=last.clicked_at,
        ordered_at=last.ordered_at,
    )
    return {"conversions": rows}


ORDER_WITHOUT_CLAIM = DeclaredCheck(
    code="A2",
    name="order_without_claim",
    title="Clicked orders that nobody claims",
    severity=Severity.NOTE,
    needs={
        "claims": ("claim_id", "platform", "order_id", "kind", "window_days", "currency"),
        "conversions": ("conversion_id", "order_id", "customer_id", "ts", "value", "status"),
        "activations": ("activation_id", "platform", "kind", "ts", "customer_id"),
    },
    uses=("platforms",),
    disposition="note",
    passed="Every order with a click in time is claimed",
    flagged=lambda tally: (
        f"{tally.of('conversions', 'order')} follow a click in time, and no platform claims them"
    ),
    find=_unclaimed,
    examined=lambda sources: {"conversions": _kept_orders(sources)},
)


def _named_campaigns(sources: Sources) -> Table:
    """Campaigns that spend or plan know."""
    known = [
        sources.table(name).select(known_platform="platform", known_campaign="campaign")
        for name in ("spend", "campaigns")
        if sources.has(name)
    ]
    return (union(*known) if len(known) > 1 else known[0]).distinct()


def _accountable(sources: Sources) -> Findings:
    """Touches that spend or plan must know: all where there is a plan, else those that cost."""
    log = sources.table("activations")
    planned = sources.has("campaigns") and sources.number(sources.table("campaigns").limit(1))
    if not planned:
        log = log.filter(coalesce(log.cost_micros, 0) > 0)
    known = sources.number(_named_campaigns(sources).limit(1))
    return {"activations": log if known else log.limit(0)}


def _orphans(sources: Sources) -> Findings:
    log, known = _accountable(sources)["activations"], _named_campaigns(sources)
    lost = log.anti_join(
        known, [log.platform == known.known_platform, log.campaign == known.known_campaign]
    )
    rows = lost.select(
        entity_id=lost.activation_id,
        raw_id=lost.activation_id,
        amount=sources.cost_of(lost),
        whole=1,
        platform=lost.platform,
        campaign=lost.campaign,
        ts=lost.ts,
    )
    return {"activations": rows}


ORPHAN_TOUCH = DeclaredCheck(
    code="A8",
    name="orphan_touch",
    title="Touches of campaigns that nobody planned or billed",
    severity=Severity.WARNING,
    needs={
        "activations": ("activation_id", "platform", "campaign", "ts"),
        "spend": ("platform", "campaign"),
    },
    uses=("campaigns",),
    disposition="hold",
    empty="spend and campaigns have no rows, or no touch has a cost",
    passed="Every touch belongs to a campaign that was planned or billed",
    flagged=lambda tally: (
        f"{tally.of('activations', 'touch', 'touches')} belong to campaigns that neither spend "
        "nor plan knows"
    ),
    find=_orphans,
    examined=_accountable,
)
