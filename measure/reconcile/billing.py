"""Group F, billing: what is spent, what is invoiced, and where it belongs."""

from __future__ import annotations

from measure.currency import minor_digits
from measure.engine.expressions import (
    Column,
    Table,
    coalesce,
    greatest,
    ifelse,
    least,
    month_start,
    union,
    window,
)
from measure.reconcile.check import DeclaredCheck, Findings
from measure.reconcile.sources import Sources
from measure.results import Severity

_MEDIA = "media"
_EXTRAS = ("fee", "credit")
"""What a bill holds besides media; taxes are no spend and stay out of it."""


def _invoices(sources: Sources) -> Table:
    invoices = sources.table("invoices")
    return invoices.filter(invoices.currency == sources.currency)


def _months(sources: Sources) -> Table:
    """Spend, media and extras by platform and month, up to the platform's last invoiced month.

    Months after it are not billed yet. ``included`` is 1 where spend lies nearer to the bill with
    its fees and credits than to the media alone.
    """
    bills, spend = _invoices(sources), sources.table("spend")
    spend = spend.filter(spend.currency == sources.currency)
    spent = spend.select(
        platform=spend.platform,
        month=month_start(spend.date),
        spent=spend.amount,
        media=0 * spend.amount,
        extras=0 * spend.amount,
    )
    billed = bills.select(
        platform=bills.platform,
        month=month_start(bills.month),
        spent=0 * bills.amount,
        media=ifelse(bills.kind == _MEDIA, bills.amount, 0).cast("int64"),
        extras=ifelse(bills.kind.isin(_EXTRAS), bills.amount, 0).cast("int64"),
    )
    both = union(spent, billed)
    months = both.group_by(["platform", "month"]).aggregate(
        **{name: both[name].sum().cast("int64") for name in ("spent", "media", "extras")}
    )
    last = bills.group_by(billed_on="platform").aggregate(last=month_start(bills.month).max())
    months = months.join(last, months.platform == last.billed_on)
    months = months.filter(months.month <= months.last)
    apart = (months.spent - months.media).abs()
    apart_with = (months.spent - months.media - months.extras).abs()
    return months.mutate(
        gap=least(apart, apart_with).cast("int64"), included=ifelse(apart_with < apart, 1, 0)
    )


def _month_text(month: Column) -> Column:
    """``2025-03``, spelt alike by every engine."""
    return month.year().cast("string").concat("-", month.month().cast("string").lpad(2, "0"))


def _invoice_differs(sources: Sources) -> Findings:
    settings, months = sources.settings, _months(sources)
    billed = ifelse(months.included == 1, months.media + months.extras, months.media)
    share = greatest(months.spent, billed) * settings.spend_tolerance
    apart = months.filter(months.gap > settings.spend_floor, months.gap > share)
    month = apart.platform.concat(" / ", _month_text(apart.month))
    rows = apart.select(
        entity_id=month,
        raw_id=month,
        amount=apart.gap,
        whole=1,
        platform=apart.platform,
        month=apart.month,
        spent=apart.spent,
        invoiced_media=apart.media,
        invoiced_fees_and_credits=apart.extras,
    )
    return {"invoices": rows}


SPEND_VS_INVOICE = DeclaredCheck(
    code="F2",
    name="spend_vs_invoice",
    title="Spend against invoices",
    severity=Severity.WARNING,
    needs={
        "spend": ("platform", "date", "amount", "currency"),
        "invoices": ("platform", "month", "kind", "amount", "currency"),
    },
    disposition="note",
    passed="Spend and invoices agree in every month",
    flagged=lambda tally: (
        f"{tally.of('invoices', 'month of a platform', 'months of platforms')} differ between "
        "spend and invoice"
    ),
    find=_invoice_differs,
    examined=lambda sources: {"invoices": _months(sources)},
)


def _extras(sources: Sources) -> Table:
    bills = _invoices(sources)
    return bills.filter(bills.kind.isin(_EXTRAS), bills.amount != 0)


def _excluded(sources: Sources) -> Findings:
    """Fees and credits of months whose spend agrees better with the media alone."""
    bills, months = _extras(sources), _months(sources)
    months = months.filter(months.included == 0).select(
        their_platform="platform", their_month="month", spent="spent"
    )
    bills = bills.mutate(first=month_start(bills.month))
    bills = bills.join(
        months, [bills.platform == months.their_platform, bills["first"] == months.their_month]
    )
    row = bills.platform.concat(" / ", _month_text(bills["first"]), " / ", bills.kind)
    rows = bills.select(
        entity_id=row,
        raw_id=row,
        amount=bills.amount.abs(),
        whole=1,
        platform=bills.platform,
        month=bills["first"],
        kind=bills.kind,
        invoiced=bills.amount,
    )
    return {"invoices": rows}


FEE_OR_CREDIT_EXCLUDED = DeclaredCheck(
    code="F8",
    name="agency_fee_or_credit",
    title="Fees and credits that spend leaves out",
    severity=Severity.NOTE,
    needs={
        "spend": ("platform", "date", "amount", "currency"),
        "invoices": ("platform", "month", "kind", "amount", "currency"),
    },
    disposition="note",
    empty="no invoice holds a fee or a credit",
    passed="Spend contains the fees and credits that were invoiced",
    flagged=lambda tally: (
        f"{tally.of('invoices', 'fee or credit', 'fees and credits')} are not part of spend, so "
        "returns on spend leave them out"
    ),
    find=_excluded,
    examined=lambda sources: {"invoices": _extras(sources)},
)


def _by_creative(sources: Sources) -> Table:
    """Touches with a cost on campaign days that know some creatives.

    Adds the day's cost, and the part of it that no creative carries.
    """
    log = sources.table("activations")
    log = log.mutate(cost=sources.cost_of(log), day=log.ts.date())
    log = log.filter(log.cost != 0)
    same = window(group_by=["platform", "campaign", "day"])
    log = log.mutate(
        day_cost=log.cost.sum().over(same).cast("int64"),
        bare_cost=ifelse(log.creative.isnull(), log.cost, 0).sum().over(same).cast("int64"),
        named=ifelse(log.creative.isnull(), 0, 1).sum().over(same),
    )
    return log.filter(log.named > 0)


def _lost_below(sources: Sources) -> Findings:
    settings, log = sources.settings, _by_creative(sources)
    floor = settings.spend_floor * 10 ** (6 - minor_digits(sources.currency))
    bare = log.filter(
        log.creative.isnull(),
        log.bare_cost > floor,
        log.bare_cost > log.day_cost * settings.spend_tolerance,
    )
    rows = bare.select(
        entity_id=bare.activation_id,
        raw_id=bare.activation_id,
        amount=bare.cost,
        whole=1,
        platform=bare.platform,
        campaign=bare.campaign,
        date=bare.day,
        campaign_micros=bare.day_cost,
        without_creative_micros=bare.bare_cost,
    )
    return {"activations": rows}


GRAIN_MISMATCH = DeclaredCheck(
    code="F3",
    name="grain_mismatch",
    title="Cost that creatives do not add up to",
    severity=Severity.WARNING,
    needs={
        "activations": (
            "activation_id",
            "platform",
            "campaign",
            "ts",
            "creative",
            "cost_micros",
            "currency",
        )
    },
    disposition="note",
    empty="no touch with a cost names its creative",
    passed="Creatives add up to the cost of their campaign on every day",
    flagged=lambda tally: (
        f"{tally.of('activations', 'touch with a cost', 'touches with a cost')} name no creative, "
        "on campaign days whose creatives add up to less than the campaign"
    ),
    find=_lost_below,
    examined=lambda sources: {"activations": _by_creative(sources)},
)


def _mapped(sources: Sources) -> Table:
    """Spend in the statement's currency, with ``unmapped``: 1 where the channel says nothing."""
    spend = sources.table("spend")
    spend = spend.filter(spend.currency == sources.currency)
    channel = coalesce(spend.channel, "").lower()
    names = [name.lower() for name in sources.settings.unmapped_channels]
    return spend.mutate(unmapped=ifelse(channel.isin(["", *names]), 1, 0))


def _unmapped(sources: Sources) -> Findings:
    spend = _mapped(sources)
    everything = window()
    part = ifelse(spend.unmapped == 1, spend.amount, 0)
    spend = spend.mutate(
        part=part.sum().over(everything), total=spend.amount.sum().over(everything)
    )
    lost = spend.filter(
        spend.unmapped == 1, spend.part > spend.total * sources.settings.unmapped_share
    )
    factor = 10 ** (6 - minor_digits(sources.currency))
    day = lost.date.cast("string")
    row = lost.platform.concat(" / ", coalesce(lost.channel, ""), " / ", lost.campaign, " / ", day)
    rows = lost.select(
        entity_id=row,
        raw_id=row,
        amount=(lost.amount * factor).cast("int64"),
        whole=1,
        platform=lost.platform,
        channel=lost.channel,
        campaign=lost.campaign,
        date=lost.date,
    )
    return {"spend": rows}


UNMAPPED_CHANNEL = DeclaredCheck(
    code="F7",
    name="unmapped_channel",
    title="Spend without a channel",
    severity=Severity.WARNING,
    needs={"spend": ("platform", "channel", "campaign", "date", "amount", "currency")},
    disposition="note",
    passed="Spend without a channel stays below the limit",
    flagged=lambda tally: (
        f"{tally.of('spend', 'row of spend', 'rows of spend')} are mapped to no channel"
    ),
    find=_unmapped,
    examined=lambda sources: {"spend": _mapped(sources)},
)
