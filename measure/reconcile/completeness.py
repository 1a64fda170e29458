"""Group D, completeness: hours, columns and rows that should be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from measure.engine.contracts import CONTRACTS
from measure.engine.expressions import (
    Table,
    ifelse,
    literal,
    row_number,
    union,
    whole_numbers,
    window,
)
from measure.reconcile.check import DeclaredCheck, Findings, Tally, percent, without_money
from measure.reconcile.sources import Sources
from measure.results import Severity

LEAST_WEEKS = 3
"""Weeks in which an hour of the week must occur before its usual number of rows is known."""
STANDARD_ERRORS = 6
"""A jump of missing values must be this many standard errors above what was usual."""


def _hours(sources: Sources) -> Table:
    """Every hour of every day a platform was paid on: rows, and what is usual for that hour.

    Usual is the median over the same hour of the week.
    """
    spend = sources.table("spend")
    spend = spend.filter(spend.amount > 0)
    days = spend.group_by("platform", "date").aggregate(
        billed=sources.money_of(spend, "amount").sum().cast("int64")
    )
    hours = days.cross_join(whole_numbers(0, 23, "hour"))
    log = sources.table("activations")
    counted = log.select(on="platform", day=log.ts.date(), at=log.ts.hour().cast("int64"))
    counted = counted.group_by("on", "day", "at").aggregate(found=counted.count())
    hours = hours.left_join(
        counted,
        [hours.platform == counted.on, hours.date == counted.day, hours.hour == counted.at],
    )
    hours = hours.select(
        "platform",
        "date",
        "hour",
        "billed",
        rows=hours.found.fill_null(0).cast("int64"),
        weekday=hours.date.day_of_week.index(),
    )
    same = ["platform", "weekday", "hour"]
    ranked = hours.mutate(
        place=row_number().over(window(group_by=same, order_by=["rows", "date"])),
        weeks=hours.count().over(window(group_by=same)),
    )
    middle = ifelse(ranked.place == (ranked.weeks - 1) // 2, ranked.rows, 0)
    known = ranked.mutate(usual=middle.max().over(window(group_by=same)))
    settings = sources.settings
    return known.filter(known.weeks >= LEAST_WEEKS, known.usual >= settings.gap_least_rows)


def _gaps(sources: Sources) -> Findings:
    hours = _hours(sources)
    gaps = hours.filter(hours.rows < hours.usual * sources.settings.gap_share)
    number = gaps.hour.cast("string")
    hour = gaps.platform.concat(
        " / ", gaps.date.cast("string"), " / ", ifelse(gaps.hour < 10, "0", ""), number
    )
    rows = gaps.select(
        entity_id=hour,
        raw_id=hour,
        amount=(gaps.billed // 24).cast("int64"),
        whole=1,
        platform=gaps.platform,
        date=gaps.date,
        hour=gaps.hour,
        rows=gaps.rows,
        usual_rows=gaps.usual,
    )
    return {"platform hours": rows}


LOG_GAP = DeclaredCheck(
    code="D1",
    name="log_gap",
    title="Hours missing from the log",
    severity=Severity.WARNING,
    needs={
        "activations": ("platform", "ts"),
        "spend": ("platform", "date", "amount", "currency"),
    },
    disposition="note",
    empty="no hour has rows enough, over weeks enough, to say what is usual",
    passed="No hour that was paid for is missing from the log",
    flagged=lambda tally: (
        f"{tally.of('platform hours', 'platform hour')} hold far fewer rows than that hour of "
        "the week usually does, on days that were paid for"
    ),
    find=_gaps,
    examined=lambda sources: {"platform hours": _hours(sources)},
)

_GROUPS = {"activations": ("platform", "kind"), "claims": ("platform", "kind"), "conversions": ()}
_DAY = {"activations": "ts", "claims": "converted_at", "conversions": "ts"}


def missing_values(sources: Sources, *, hourly: bool = False) -> Table | None:
    """Rows and missing values of every optional column, by day and kind of row, all tables.

    Columns: ``source``, ``day`` (and ``hour``), ``rows``, ``column``, ``missing``.
    """
    parts = []
    for name, groups in _GROUPS.items():
        if not sources.has(name):
            continue
        there = sources.columns(name)
        columns = [c.name for c in CONTRACTS[name].columns if not c.required and c.name in there]
        table = sources.table(name)
        source = literal(name)
        for group in groups:
            source = source.concat(" / ", table[group])
        at = table[_DAY[name]]
        daily = table.mutate(source=source, day=at.date(), hour=at.hour().cast("int64"))
        by = ["day", "hour"] if hourly else ["day"]
        daily = daily.group_by("source", *by).aggregate(
            rows=daily.count(),
            **{f"no_{c}": ifelse(daily[c].isnull(), 1, 0).sum().cast("int64") for c in columns},
        )
        parts += [
            daily.select("source", *by, "rows", column=literal(c), missing=daily[f"no_{c}"])
            for c in columns
        ]
    return (union(*parts) if len(parts) > 1 else parts[0]) if parts else None


def _compared_days(sources: Sources) -> Table | None:
    daily = missing_values(sources)
    return None if daily is None else compared(sources, daily)


def compared(sources: Sources, daily: Table) -> Table:
    """Days with rows enough, beside all rows of the 28 such days before them."""
    least = sources.settings.missing_least_rows
    daily = daily.filter(daily.rows >= least)
    before = window(group_by=["source", "column"], order_by="day", preceding=(28, 1))
    daily = daily.mutate(
        known=daily.rows.sum().over(before), known_missing=daily.missing.sum().over(before)
    )
    return daily.filter(daily.known.notnull())


def jumps(sources: Sources, days: Table) -> Table:
    """Compared days whose share of missing values lies far above what was ``usual`` before."""
    share, usual = days.missing / days.rows, days.known_missing / days.known
    # Half a row is added, so that a column that never lacked a value has an error too.
    smooth = (days.known_missing + 0.5) / (days.known + 1)
    error = (smooth * (1 - smooth) / days.rows).sqrt()
    days = days.mutate(share=share, usual=usual, rise=share - usual, error=error)
    return days.filter(
        days.rise > sources.settings.missing_jump, days.rise > days.error * STANDARD_ERRORS
    )


def _jumps(sources: Sources) -> Findings:
    days = _compared_days(sources)
    if days is None:
        return {}
    found = jumps(sources, days)
    entity = found.source.concat(" / ", found.column, " / ", found.day.cast("string"))
    rows = found.select(
        **without_money(entity),
        source=found.source,
        column=found.column,
        day=found.day,
        rows=found.rows,
        missing=found.missing,
        usual_share=found.usual,
    )
    return {"days": rows}


def _examined_days(sources: Sources) -> Findings:
    days = _compared_days(sources)
    return {} if days is None else {"days": days}


MISSING_DRIFT = DeclaredCheck(
    code="D3",
    name="schema_null_drift",
    title="Columns that begin to lack values",
    severity=Severity.NOTE,
    needs={},
    disposition="note",
    empty="no optional column has days with rows enough to compare",
    passed="No column lacks more values than it used to",
    flagged=lambda tally: (
        f"{tally.rows['days']:,} days of a column lack far more values than the four weeks before"
    ),
    find=_jumps,
    examined=_examined_days,
)


def shown_totals(sources: Sources) -> Table:
    """Totals of a campaign of its own; rows that keep the total of suppressed ones are left out."""
    totals = sources.table("claim_totals")
    return totals.filter(ifelse(totals.suppressed, 1, 0) == 0)


def _totals(sources: Sources) -> Table:
    """A platform's own totals of a campaign beside its claims on the same days."""
    totals = shown_totals(sources)
    totals = totals.filter(totals.currency == sources.currency)
    claims, parts = sources.claims, []
    for basis, column in (("click", "touched_at"), ("conversion", "converted_at")):
        stated = totals.filter(totals.date_basis == basis)
        daily = claims.select(on="platform", of="campaign", at=claims[column].date(), worth="value")
        daily = daily.group_by("on", "of", "at").aggregate(
            found=daily.count(), worth=daily.worth.sum().cast("int64")
        )
        joined = stated.left_join(
            daily,
            [stated.platform == daily.on, stated.campaign == daily.of, stated.date == daily.at],
        )
        parts.append(
            joined.select(
                "platform",
                "campaign",
                "date_basis",
                "conversions",
                "value",
                found=joined.found.fill_null(0).cast("int64"),
                worth=joined.worth.fill_null(0).cast("int64"),
            )
        )
    both = union(*parts)
    return both.group_by("platform", "campaign", "date_basis").aggregate(
        stated=both.conversions.sum().cast("int64"),
        stated_value=both.value.sum().cast("int64"),
        found=both.found.sum().cast("int64"),
        found_value=both.worth.sum().cast("int64"),
    )


def _fewer(sources: Sources) -> Findings:
    totals = _totals(sources)
    short = totals.filter(totals.found < totals.stated * (1 - sources.settings.total_tolerance))
    missing = short.stated_value - short.found_value
    entity = short.platform.concat(" / ", short.campaign, " / ", short.date_basis)
    rows = short.select(
        entity_id=entity,
        raw_id=entity,
        amount=ifelse(missing > 0, missing, 0).cast("int64"),
        whole=1,
        platform=short.platform,
        campaign=short.campaign,
        stated=short.stated,
        found=short.found,
    )
    return {"claim_totals": rows}


def _sampled_sentence(tally: Tally) -> str:
    totals = tally.of("claim_totals", "campaign total")
    return f"{totals} state more conversions than there are claims: the claims are a sample"


SAMPLED = DeclaredCheck(
    code="D4",
    name="sampling_flag",
    title="Fewer claims than the platform's own total",
    severity=Severity.WARNING,
    needs={
        "claim_totals": ("platform", "campaign", "date", "date_basis", "conversions", "value"),
        "claims": ("platform", "campaign", "touched_at", "converted_at", "value", "currency"),
    },
    disposition="note",
    passed="The claims make up the platforms' own totals",
    flagged=_sampled_sentence,
    find=_fewer,
    examined=lambda sources: {"claim_totals": _totals(sources)},
)


def _told_totals(sources: Sources) -> Findings:
    """Totals of platforms and bases that say of any of their rows whether it was suppressed."""
    totals = sources.table("claim_totals")
    telling = totals.filter(totals.suppressed.notnull())
    telling = telling.select(on="platform", basis="date_basis").distinct()
    same = [totals.platform == telling.on, totals.date_basis == telling.basis]
    return {"claim_totals": totals.semi_join(telling, same)}


def _suppressed(sources: Sources) -> Findings:
    """Rows that keep the total of cells too small for the platform to show."""
    totals = _told_totals(sources)["claim_totals"]
    kept = totals.filter(totals.suppressed)
    cell = kept.platform.concat(
        " / ", kept.campaign, " / ", kept.date.cast("string"), " / ", kept.date_basis
    )
    rows = kept.select(
        entity_id=cell,
        raw_id=cell,
        amount=sources.money_of(kept),
        whole=1,
        platform=kept.platform,
        date=kept.date,
        conversions=kept.conversions,
    )
    return {"claim_totals": rows}


def _suppressed_share(sources: Sources) -> Mapping[str, Any]:
    totals = _told_totals(sources)["claim_totals"]
    kept = ifelse(totals.suppressed, totals.conversions, 0)
    counted = totals.aggregate(kept=kept.sum(), stated=totals.conversions.sum())
    row = sources.engine.fetch(counted).to_pylist()[0]
    return {name: int(number or 0) for name, number in row.items()}


def _suppressed_sentence(tally: Tally) -> str:
    kept, stated = tally.facts["kept"], tally.facts["stated"]
    return (
        f"{tally.of('claim_totals', 'total')} stand for cells that the platform does not show: "
        f"{kept:,} of {stated:,} conversions ({percent(kept, stated)}) belong to no campaign"
    )


SUPPRESSED = DeclaredCheck(
    code="D5",
    name="aggregation_suppression",
    title="Totals of cells that are not shown",
    severity=Severity.NOTE,
    needs={
        "claim_totals": (
            "platform",
            "campaign",
            "date",
            "date_basis",
            "conversions",
            "value",
            "currency",
        )
    },
    disposition="note",
    empty="no total says whether it stands for suppressed cells (suppressed)",
    passed="No total stands for cells that are not shown",
    flagged=_suppressed_sentence,
    find=_suppressed,
    examined=_told_totals,
    facts=_suppressed_share,
)
