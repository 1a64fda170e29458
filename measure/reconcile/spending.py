"""Group F, spend and money: the log costs what was billed, in one currency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from measure.currency import minor_digits
from measure.engine.expressions import Table, greatest, literal, null, union
from measure.reconcile.check import DeclaredCheck, Findings, Tally, without_money
from measure.reconcile.exchange import off_rate
from measure.reconcile.sources import Sources
from measure.results import Severity

_CELL = ["platform", "campaign", "day"]


def campaign_days(sources: Sources) -> Table:
    """Spend and logged cost in micros by platform, campaign and UTC day."""
    factor = 10 ** (6 - minor_digits(sources.currency))
    spend = sources.table("spend")
    billed = spend.filter(spend.currency == sources.currency).select(
        platform=spend.platform,
        campaign=spend.campaign,
        day=spend.date,
        billed=(spend.amount * factor).cast("int64"),
        logged=literal(0).cast("int64"),
        touches=literal(0).cast("int64"),
    )
    log = sources.table("activations")
    log = log.filter(log.cost_micros.notnull())
    daily = log.select("platform", "campaign", day=log.ts.date(), cost=sources.cost_of(log))
    daily = daily.group_by(_CELL).aggregate(logged=daily.cost.sum(), touches=daily.count())
    logged = daily.select(
        *_CELL,
        billed=literal(0).cast("int64"),
        logged=daily.logged.cast("int64"),
        touches=daily.touches.cast("int64"),
    )
    both = union(billed, logged)
    return both.group_by(_CELL).aggregate(
        billed=both.billed.sum().cast("int64"),
        logged=both.logged.sum().cast("int64"),
        touches=both.touches.sum().cast("int64"),
    )


def _spend_differs(sources: Sources) -> Findings:
    settings, cells = sources.settings, campaign_days(sources)
    cells = cells.mutate(gap=(cells.billed - cells.logged).abs())
    floor = settings.spend_floor * 10 ** (6 - minor_digits(sources.currency))
    share = greatest(cells.billed, cells.logged) * settings.spend_tolerance
    apart = cells.filter(cells.gap > floor, cells.gap > share)
    day = apart.day.cast("string")
    cell = apart.platform.concat(" / ", apart.campaign, " / ", day)
    rows = apart.select(
        entity_id=cell,
        raw_id=cell,
        amount=apart.gap,
        whole=1,
        platform=apart.platform,
        campaign=apart.campaign,
        date=apart.day,
        billed_micros=apart.billed,
        logged_micros=apart.logged,
        touches=apart.touches,
    )
    return {"spend": rows}


def _spend_sentence(tally: Tally) -> str:
    days, billed = tally.rows["spend"], tally.examined["spend"]
    noun = "campaign day differs" if days == 1 else "campaign days differ"
    return f"{days:,} {noun} between spend and logged cost; {billed:,} were billed"


def _costed(sources: Sources) -> Findings:
    """Billed days, or nothing when the log knows no cost at all."""
    log, spend = sources.table("activations"), sources.table("spend")
    known = sources.number(log.filter(log.cost_micros.notnull()).limit(1))
    return {"spend": spend if known else spend.limit(0)}


SPEND_VS_LOG_COST = DeclaredCheck(
    code="F1",
    name="spend_vs_log_cost",
    title="Spend against the cost in the log",
    severity=Severity.WARNING,
    empty="spend has no rows, or the activation log holds no cost",
    needs={
        "spend": ("platform", "campaign", "date", "amount", "currency"),
        "activations": ("platform", "campaign", "ts", "cost_micros"),
    },
    disposition="note",
    passed="Spend and logged cost agree on every campaign day",
    flagged=_spend_sentence,
    find=_spend_differs,
    examined=_costed,
)


def _other_currencies(sources: Sources) -> Findings:
    found = {"claims": _claims_elsewhere(sources)}
    for name, key in (("conversions", "conversion_id"), ("activations", "activation_id")):
        if sources.has(name):
            table = sources.table(name)
            found[name] = _elsewhere(table.filter(table.currency != sources.currency), key)
    if sources.has("spend"):
        spend = sources.table("spend")
        spend = spend.filter(spend.currency != sources.currency)
        cell = spend.platform.concat(" / ", spend.campaign, " / ", spend.date.cast("string"))
        found["spend"] = _elsewhere(spend.mutate(cell=cell), "cell")
    return found


def _elsewhere(table: Table, key: str) -> Table:
    """Rows in another currency: nothing of them was added up, so no money is in question."""
    zero = literal(0).cast("int64")
    return table.select(
        entity_id=table[key], raw_id=table[key], amount=zero, whole=1, currency=table.currency
    )


def _claims_elsewhere(sources: Sources) -> Table:
    """Claims in another currency, or whose order is: without a rate, or unlike it at that rate."""
    claims = sources.table("claims")
    other = claims.filter(claims.currency != sources.currency)
    foreign = other.select(
        **without_money(other.claim_id),
        currency=other.currency,
        order_currency=null().cast("string"),
        order_value=null().cast("int64"),
        rate=null().cast("float64"),
    )
    if not sources.has("conversions"):
        return foreign
    matched = sources.matched_claims
    crossed = matched.filter(matched.order_currency != matched.currency)
    crossed = crossed.mutate(excess=crossed.value, whole=literal(1))
    differing = off_rate(matched, sources.settings.rate_tolerance).mutate(whole=literal(0))
    return union(foreign, _crossed(crossed), _crossed(differing))


def _crossed(claims: Table) -> Table:
    return claims.select(
        entity_id=claims.claim_id,
        raw_id=claims.claim_id,
        amount=claims.excess.cast("int64"),
        whole=claims.whole,
        currency=claims.currency,
        order_currency=claims.order_currency,
        order_value=claims.order_value,
        rate=claims.order_rate,
    )


def _currency_sentence(tally: Tally) -> str:
    differing = tally.facts["differing"]
    parts = [
        tally.of(t, f"row of {t}", f"rows of {t}")
        for t, n in tally.rows.items()
        if n - (differing if t == "claims" else 0)
    ]
    aside = f"{', '.join(parts)} are in another currency than {tally.currency} and are set aside"
    unlike = (
        "1 claim differs from its order at the rate of its day"
        if differing == 1
        else f"{differing:,} claims differ from their orders at the rate of their day"
    )
    found = [text for text, there in ((aside, parts), (unlike, differing)) if there]
    return "; ".join(found)


def _currency_facts(sources: Sources) -> Mapping[str, Any]:
    """Claims unlike their converted order."""
    if not (sources.has("conversions") and sources.has("rates")):
        return {"differing": 0}
    unlike = off_rate(sources.matched_claims, sources.settings.rate_tolerance)
    return {"differing": sources.number(unlike)}


CURRENCY_MISMATCH = DeclaredCheck(
    code="F4",
    name="currency_mismatch",
    title="Money in another currency",
    severity=Severity.WARNING,
    needs={"claims": ("claim_id", "value", "currency")},
    uses=("conversions",),
    disposition="hold",
    passed="All money is in one currency",
    flagged=_currency_sentence,
    facts=_currency_facts,
    find=_other_currencies,
    examined=lambda sources: {
        name: sources.table(name)
        for name in ("claims", "conversions", "activations", "spend")
        if sources.has(name)
    },
)
