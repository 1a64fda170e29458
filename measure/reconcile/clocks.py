"""Group C, clocks: times that cannot be, and what they say about the clocks that wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from measure.engine.expressions import Table, interval, literal, moment, or_, row_number, window
from measure.reconcile.check import DeclaredCheck, Findings, Tally, without_money
from measure.reconcile.sources import Sources, seconds_of
from measure.results import Severity

LOGS = {"activations": "activation_id", "conversions": "conversion_id"}
"""Tables that say when a row was received, and what identifies a row."""


def _click_first(sources: Sources) -> Findings:
    """Clicks before the impression they belong to; one platform wrote both times."""
    log = _with_impression(sources)
    shown = log.filter(log.kind == "impression")
    first = window(group_by=["platform", "impression_id"], order_by=["ts", "activation_id"])
    shown = shown.mutate(position=row_number().over(first))
    shown = shown.filter(shown.position == 0).select(
        on="platform", shown_id="impression_id", impression="activation_id", shown_at="ts"
    )
    clicks = log.filter(log.kind == "click")
    pairs = clicks.join(
        shown, [clicks.platform == shown.on, clicks.impression_id == shown.shown_id]
    )
    early = pairs.filter(pairs.ts < pairs.shown_at)
    rows = early.select(
        entity_id=early.activation_id,
        raw_id=early.activation_id,
        amount=sources.cost_of(early),
        whole=1,
        platform=early.platform,
        impression_activation=early.impression,
        clicked_at=early.ts,
        shown_at=early.shown_at,
    )
    return {"activations": rows}


def _with_impression(sources: Sources) -> Table:
    log = sources.table("activations")
    return log.filter(log.impression_id.notnull())


def _clicks_with_impression(sources: Sources) -> Findings:
    log = _with_impression(sources)
    return {"activations": log.filter(log.kind == "click")}


CLICK_BEFORE_IMPRESSION = DeclaredCheck(
    code="C2",
    name="click_before_impression",
    title="Clicks before their impression",
    severity=Severity.WARNING,
    needs={"activations": ("activation_id", "platform", "kind", "ts", "impression_id")},
    disposition="drop",
    empty="no click in the log names its impression",
    passed="No click comes before its impression",
    flagged=lambda tally: f"{tally.of('activations', 'click')} come before their impression",
    find=_click_first,
    examined=_clicks_with_impression,
)


def _dated(sources: Sources) -> Findings:
    """Rows that say when they were received; every row where a system start is set."""
    found = {}
    for name in LOGS:
        if sources.has(name):
            rows = sources.table(name)
            everything = sources.settings.system_start is not None
            found[name] = rows if everything else rows.filter(rows.received_at.notnull())
    return found


def _impossible(sources: Sources) -> Findings:
    found = {}
    for name in LOGS:
        if not sources.has(name):
            continue
        rows = sources.table(name)
        wrong = rows.received_at < rows.ts - sources.clock
        if sources.settings.system_start is not None:
            wrong = or_(wrong, rows.ts < moment(sources.settings.system_start, rows.ts))
        found[name] = _timed(sources, name, rows.filter(wrong))
    return found


def _timed(sources: Sources, name: str, rows: Table) -> Table:
    money = sources.cost_of(rows) if name == "activations" else sources.money_of(rows)
    return rows.select(
        entity_id=rows[LOGS[name]],
        raw_id=rows[LOGS[name]],
        amount=money,
        whole=1,
        ts=rows.ts,
        received_at=rows.received_at,
    )


def _rows_sentence(tally: Tally, ending: str) -> str:
    parts = [tally.of(name, name[:-1]) for name in LOGS if tally.rows.get(name)]
    return f"{' and '.join(parts)} {ending}"


IMPOSSIBLE_TIME = DeclaredCheck(
    code="C5",
    name="impossible_time",
    title="Times that cannot be",
    severity=Severity.WARNING,
    needs={},
    disposition="drop",
    empty="no activation or conversion says when it was received (received_at)",
    passed="Nothing was received before it happened",
    flagged=lambda tally: _rows_sentence(
        tally, "were received before they happened, or happened before the system began"
    ),
    find=_impossible,
    examined=_dated,
)


def _late(sources: Sources) -> Findings:
    """Conversions that arrived after the books of their month had closed."""
    orders = sources.table("conversions")
    # A time so many days back lies in a later month exactly when the closing day has passed.
    arrived = orders.received_at - interval(days=sources.settings.close_days)
    late = orders.filter(
        arrived.year() * 12 + arrived.month() > orders.ts.year() * 12 + orders.ts.month()
    )
    return {"conversions": _timed(sources, "conversions", late)}


LATE_ARRIVAL = DeclaredCheck(
    code="C6",
    name="late_arrival",
    title="Conversions after the books were closed",
    severity=Severity.NOTE,
    needs={"conversions": ("conversion_id", "ts", "value", "currency", "received_at")},
    disposition="note",
    empty="no conversion says when it was received",
    passed="Every conversion arrived before the books of its month closed",
    flagged=lambda tally: (
        f"{tally.of('conversions', 'conversion')} arrived after the books of their month had "
        "closed, so that month's figures change afterwards"
    ),
    find=_late,
    examined=lambda sources: {
        "conversions": sources.table("conversions").filter(lambda t: t.received_at.notnull())
    },
)


def landings(sources: Sources) -> Table:
    """Clicks in the log with the first event that carries their click id, and seconds between."""
    events = sources.table("events")
    events = events.filter(events.click_id.notnull())
    first = events.group_by(landed="click_id").aggregate(landed_at=events.ts.min())
    log = sources.table("activations")
    clicks = log.filter(log.kind == "click", log.click_id.notnull())
    pairs = clicks.join(first, clicks.click_id == first.landed)
    return pairs.mutate(lag=seconds_of(pairs.landed_at) - seconds_of(pairs.ts))


def _platform_lags(sources: Sources) -> Table:
    pairs = landings(sources)
    return pairs.group_by("platform").aggregate(
        clicks=pairs.count(),
        middle=pairs.lag.median().cast("float64"),
        negative=(pairs.lag < 0).ifelse(1, 0).sum(),
    )


def _skewed(sources: Sources) -> Findings:
    settings, pairs, lags = sources.settings, landings(sources), _platform_lags(sources)
    off = lags.filter(
        or_(
            lags.middle.abs() > settings.skew_seconds,
            lags.negative > lags.clicks * settings.skew_share,
        )
    ).select(off="platform", median_seconds="middle")
    wrong = pairs.join(off, pairs.platform == off.off)
    rows = wrong.select(
        **without_money(wrong.activation_id),
        platform=wrong.platform,
        clicked_at=wrong.ts,
        landed_at=wrong.landed_at,
        median_seconds=wrong.median_seconds,
    )
    return {"matched clicks": rows}


def _skew_facts(sources: Sources) -> Mapping[str, Any]:
    flagged = _skewed(sources)["matched clicks"].select("platform", "median_seconds").distinct()
    rows = sources.engine.fetch(flagged.order_by("platform")).to_pylist()
    return {"platforms": [f"{r['platform']} ({r['median_seconds']:g} s)" for r in rows]}


CLOCK_SKEW = DeclaredCheck(
    code="C7",
    name="clock_skew",
    title="Platforms whose clock is off",
    severity=Severity.WARNING,
    needs={
        "activations": ("activation_id", "platform", "kind", "ts", "click_id"),
        "events": ("ts", "click_id"),
    },
    disposition="note",
    empty="no event carries the click id of a logged click",
    passed="Landings follow their clicks on every platform",
    flagged=lambda tally: (
        f"Landing minus click is off on {', '.join(tally.facts['platforms'])}; "
        f"{tally.of('matched clicks', 'matched click')} are on such platforms. Correct the offset, "
        "then reconcile again"
    ),
    find=_skewed,
    examined=lambda sources: {"matched clicks": landings(sources)},
    facts=_skew_facts,
)


def _odd_days(sources: Sources) -> list[tuple[str, date, int, datetime, datetime]]:
    """Days of the log that have 23 or 25 hours in their platform's time zone."""
    log = sources.table("activations")
    ends = sources.engine.fetch(log.aggregate(first=log.ts.min(), last=log.ts.max())).to_pylist()[0]
    if ends["first"] is None:
        return []
    contracts = sources.table("platforms").select("platform", "time_zone")
    found = []
    for row in sources.engine.fetch(contracts.order_by("platform")).to_pylist():
        zone, day = ZoneInfo(row["time_zone"]), ends["first"].date() - timedelta(days=1)
        while day <= ends["last"].date() + timedelta(days=1):
            begin, end = (_midnight(d, zone) for d in (day, day + timedelta(days=1)))
            hours = round((end - begin).total_seconds() / 3600)
            if hours != 24:
                found.append((row["platform"], day, hours, begin, end))
            day += timedelta(days=1)
    return found


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _changed_clocks(sources: Sources) -> Findings:
    log, zero = sources.table("activations"), literal(0).cast("int64")
    parts = [
        log.filter(
            log.platform == platform, log.ts >= moment(begin, log.ts), log.ts < moment(end, log.ts)
        ).mutate(local_day=literal(day.isoformat()), hours=literal(hours))
        for platform, day, hours, begin, end in _odd_days(sources)
    ]
    rows = log.limit(0).mutate(local_day=literal(""), hours=literal(24))
    for part in parts:
        rows = rows.union(part)
    return {
        "platform days": rows.select(
            entity_id=rows.platform.concat(" / ", rows.local_day),
            raw_id=rows.activation_id,
            amount=zero,
            whole=1,
            platform=rows.platform,
            local_day=rows.local_day,
            hours=rows.hours,
        )
    }


def _with_zone(sources: Sources) -> Findings:
    log, contracts = sources.table("activations"), sources.table("platforms")
    return {"activations": log.semi_join(contracts, log.platform == contracts.platform)}


CHANGED_CLOCKS = DeclaredCheck(
    code="C9",
    name="dst_gap",
    title="Days of 23 or 25 hours",
    severity=Severity.NOTE,
    needs={
        "activations": ("activation_id", "platform", "ts"),
        "platforms": ("platform", "time_zone"),
    },
    disposition="note",
    by_entity=True,
    empty="no activation is of a platform whose time zone is known",
    passed="Every day of the log has 24 hours in its platform's time zone",
    flagged=lambda tally: (
        f"{tally.rows['platform days']:,} platform days in the log have 23 or 25 hours: their "
        "daily totals do not compare with those of other days"
    ),
    find=_changed_clocks,
    examined=_with_zone,
)
