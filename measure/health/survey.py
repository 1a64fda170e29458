"""``survey``: look at every source once and say what is well, what is not, and since which hour.

The rules are those of the catalogue: an hour's usual rows (D1), a column's share of missing values
(D3) and the match rate of a day (A7) are judged by the same expressions. Days that these flag are
then dated to the hour from hourly counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from measure.engine.expressions import Table, ifelse, literal, union
from measure.health.dating import changed_between, longest_silence, silent_runs, usual_of
from measure.health.hours import HOUR, LATE_SECONDS, HourlyLog, hourly_logs
from measure.health.results import (
    Health,
    Incident,
    MatchDay,
    MissingShare,
    SourceHealth,
    Volume,
)
from measure.reconcile.check import run
from measure.reconcile.completeness import LOG_GAP, MISSING_DRIFT, compared, jumps, missing_values
from measure.reconcile.match_rate import MATCH_RATE_DROP, dropped, matched_conversions
from measure.reconcile.settings import Settings
from measure.reconcile.sources import Sources, seconds_of
from measure.results import Check, Outcome, Severity

if TYPE_CHECKING:
    from measure.engine.connection import Engine

DAYS_SHOWN = 92
BEFORE = timedelta(days=7)
"""How much of the time before an incident its beginning is looked for in, and held against."""
AFTER = timedelta(days=21)
CODES = {
    "freshness": ("H-FRESH", "Sources that have fallen silent"),
    "silence": ("H-GAP", "Hours without the usual rows"),
    "missing": ("H-MISSING", "Columns that begin to lack values"),
    "late": ("H-LATE", "Rows that arrive late"),
    "match": ("H-MATCH", "Keys that find fewer partners"),
}


def survey(
    engine: Engine, *, settings: Settings | None = None, at: datetime | None = None
) -> Health:
    """Survey all logs of an engine.

    ``at`` is the moment that silence is counted up to; without it the latest hour of any source, so
    that a source is behind when others went on without it. Only counts leave the engine.
    """
    settings = settings or Settings()
    sources = Sources(engine, settings, None)
    logs = hourly_logs(sources, at)
    as_of = max((log.at(len(log.counts)) for log in logs), default=at)
    if logs and at is None:
        as_of = max(log.latest_event for log in logs)
    paid = _paid_days(sources)
    found = [_source(log, as_of, paid) for log in logs if as_of is not None]
    silences = [i for log in logs for i in _silences(log, settings, paid)]
    shares = [*_share_incidents(sources, "missing"), *_share_incidents(sources, "late")]
    days, matches = _matches(sources)
    incidents = sorted([*silences, *shares, *matches], key=lambda i: (i.start, i.source, i.what))
    return Health(
        as_of=_iso(as_of),
        checks=(*_checks(logs, found, incidents, sources), *_catalogue(sources)),
        sources=tuple(found),
        incidents=tuple(incidents),
        volumes=tuple(v for log in logs for v in _volumes(log)),
        missing=tuple(_missing_shares(sources)),
        matches=tuple(days),
        settings={
            "gap_share": settings.gap_share,
            "gap_least_rows": settings.gap_least_rows,
            "missing_jump": settings.missing_jump,
            "missing_least_rows": settings.missing_least_rows,
            "match_rate_deviations": settings.match_rate_deviations,
            "match_rate_rows": settings.match_rate_rows,
            "late_hours": LATE_SECONDS // 3600,
        },
    )


def _paid_days(sources: Sources) -> dict[str, set[date]] | None:
    """Days on which each platform was paid; ``None`` without a table of spend."""
    if not sources.has("spend"):
        return None
    spend = sources.table("spend")
    rows = sources.engine.fetch(
        spend.filter(spend.amount > 0).select("platform", "date").distinct()
    )
    found: dict[str, set[date]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["platform"], set()).add(row["date"])
    return found


def _source(log: HourlyLog, as_of: datetime, paid: dict[str, set[date]] | None) -> SourceHealth:
    silent = max((as_of - log.latest_event) / HOUR, 0.0)
    until = int((log.latest_event - log.begin) / HOUR) + 1
    usual = longest_silence(log.counts[max(until - 28 * 24, 0) : until])
    # Twice the longest silence ever seen, and the hour that is not over yet.
    behind = silent > 2 * usual + 1 and int(log.counts.sum()) >= 30
    if behind and paid is not None and log.platform in paid:
        behind = any(day > log.latest_event.date() for day in paid[log.platform]) or (
            as_of.date() == log.latest_event.date()
        )
    return SourceHealth(
        source=log.source,
        rows=int(log.counts.sum()),
        latest_event=_iso(log.latest_event) or "",
        latest_received=_iso(log.latest_received),
        silent_hours=round(silent, 2),
        usual_silence_hours=usual,
        behind=behind,
        late_rows=log.late,
        received_rows=log.received,
    )


def _silences(
    log: HourlyLog, settings: Settings, paid: dict[str, set[date]] | None
) -> Iterable[Incident]:
    for found in silent_runs(log.counts, settings.gap_share, settings.gap_least_rows):
        begin, end = log.at(found.first), log.at(found.end)
        known = None
        if paid is not None and log.platform is not None:
            days = {(begin + n * HOUR).date() for n in range(found.end - found.first)}
            known = bool(days & paid.get(log.platform, set()))
        yield Incident(
            kind="silence",
            source=log.source,
            what="rows",
            start=_iso(begin) or "",
            end=None if found.end == len(log.counts) else _iso(end),
            hours=found.end - found.first,
            observed=float(found.rows),
            usual=float(found.usual),
            paid=known,
        )


def _volumes(log: HourlyLog) -> Iterable[Volume]:
    """Rows per calendar day; first and last day are as long as the log is."""
    import numpy as np

    lead = log.begin.hour
    padded = np.concatenate([np.zeros(lead, dtype=np.int64), log.counts])
    padded = np.concatenate([padded, np.zeros(-len(padded) % 24, dtype=np.int64)])
    daily = padded.reshape(-1, 24).sum(axis=1)
    usual = usual_of(daily, 7)
    first = log.begin.date()
    for place in range(max(len(daily) - DAYS_SHOWN, 0), len(daily)):
        day = (first + timedelta(days=place)).isoformat()
        known = int(usual[place])
        yield Volume(log.source, day, int(daily[place]), known if known >= 0 else None)


def _counted(sources: Sources, kind: str, *, hourly: bool) -> Table | None:
    """Shares by source, column and day: of missing values, or of late rows."""
    if kind == "missing":
        return missing_values(sources, hourly=hourly)
    parts = [
        _late_rows(sources, name, hourly=hourly)
        for name in ("activations", "conversions")
        if sources.has(name) and "received_at" in sources.columns(name)
    ]
    return (union(*parts) if len(parts) > 1 else parts[0]) if parts else None


def _late_rows(sources: Sources, name: str, *, hourly: bool) -> Table:
    table = sources.table(name)
    table = table.filter(table.received_at.notnull())
    source = literal(name)
    if name == "activations":
        source = source.concat(" / ", table.platform, " / ", table.kind)
    delay = seconds_of(table.received_at) - seconds_of(table.ts)
    table = table.mutate(
        source=source,
        column=literal("received_at"),
        day=table.ts.date(),
        hour=table.ts.hour().cast("int64"),
        overdue=ifelse(delay > LATE_SECONDS, 1, 0),
    )
    by = ["source", "column", "day", *(["hour"] if hourly else [])]
    counted = table.group_by(*by).aggregate(
        rows=table.count(), missing=table.overdue.sum().cast("int64")
    )
    return counted.select(*by, "rows", "missing")


def _share_incidents(sources: Sources, kind: str) -> Iterable[Incident]:
    """Episodes of days that jump above what was usual, dated to the hour."""
    daily = _counted(sources, kind, hourly=False)
    if daily is None:
        return
    found = jumps(sources, compared(sources, daily))
    rows = sources.engine.fetch(found.select("source", "column", "day", "usual")).to_pylist()
    hourly = _counted(sources, kind, hourly=True)
    if hourly is None:
        return
    for (source, column), days in _episodes(rows, ("source", "column")):
        mine = hourly.filter(hourly.source == source, hourly.column == column)
        yield from _dated(sources, mine, kind, source, column, days, "missing")


def _dated(
    sources: Sources,
    hourly: Table,
    kind: str,
    source: str,
    what: str,
    days: Sequence[dict[str, Any]],
    hits: str,
) -> Iterable[Incident]:
    """Date one episode from the hourly counts around it."""
    first, last = days[0]["day"], days[-1]["day"]
    near = hourly.filter(hourly.day >= literal(first - BEFORE), hourly.day <= literal(last + AFTER))
    rows = sources.engine.fetch(near.select("day", "hour", "rows", hits).order_by(["day", "hour"]))
    counted = rows.to_pylist()
    n, k = [int(r["rows"]) for r in counted], [int(r[hits]) for r in counted]
    begin, end = changed_between(n, k, rises=kind != "match")
    hours = [_hour(r) for r in counted]
    inside, outside = sum(n[begin:end]), sum(n) - sum(n[begin:end])
    lasting = end == len(hours)
    until = hours[-1] + HOUR if lasting else hours[end]
    yield Incident(
        kind=kind,
        source=source,
        what=what,
        start=_iso(hours[begin]) or "",
        end=None if lasting else _iso(until),
        hours=int((until - hours[begin]) / HOUR),
        observed=sum(k[begin:end]) / inside if inside else 0.0,
        usual=(sum(k) - sum(k[begin:end])) / outside if outside else 0.0,
    )


def _episodes(
    rows: Sequence[dict[str, Any]], names: tuple[str, ...]
) -> Iterable[tuple[tuple[Any, ...], list[dict[str, Any]]]]:
    """Flagged days of one thing that are no further apart than the time looked at after them."""
    ordered = sorted(rows, key=lambda r: (*(r[name] for name in names), r["day"]))
    open_: list[dict[str, Any]] = []
    for row in ordered:
        same = open_ and all(open_[-1][name] == row[name] for name in names)
        if open_ and not (same and row["day"] - open_[-1]["day"] <= BEFORE):
            yield tuple(open_[0][name] for name in names), open_
            open_ = []
        open_.append(row)
    if open_:
        yield tuple(open_[0][name] for name in names), open_


def _matches(sources: Sources) -> tuple[list[MatchDay], list[Incident]]:
    """Match rates by day: conversions by click and by hash, claims of each channel by order."""
    days: list[MatchDay] = []
    incidents: list[Incident] = []
    for table, key in _matchings(sources):
        hourly = table.group_by("source", "day", "hour").aggregate(
            rows=table.count(), hits=table.hit.sum().cast("int64")
        )
        daily = hourly.group_by("source", "day").aggregate(
            n=hourly.rows.sum().cast("int64"), hit=hourly.hits.sum().cast("int64")
        )
        for row in sources.engine.fetch(daily.order_by(["source", "day"])).to_pylist():
            day = MatchDay(
                row["source"], key, row["day"].isoformat(), int(row["n"]), int(row["hit"])
            )
            days.append(day)
        fell = dropped(sources, daily, "hit", ("source",))
        fell = fell.filter(fell.hit_drop == 1).select("source", day="hit_day")
        rows = sources.engine.fetch(fell).to_pylist()
        for (source,), flagged in _episodes(rows, ("source",)):
            mine = hourly.filter(hourly.source == source)
            incidents += _dated(sources, mine, "match", source, key, flagged, "hits")
    return days, incidents


def _matchings(sources: Sources) -> Iterable[tuple[Table, str]]:
    if sources.has("conversions") and sources.has("activations"):
        table = matched_conversions(sources)
        table = table.mutate(source=literal("conversions"), hour=table.ts.hour().cast("int64"))
        yield table.mutate(hit=table.click), "click"
        if sources.has("identities"):
            yield table.mutate(hit=table.hash), "hash"
    if sources.has("claims") and sources.has("conversions"):
        claims = sources.matched_claims
        claims = claims.mutate(
            source=literal("claims / ").concat(claims.channel),
            day=claims.converted_at.date(),
            hour=claims.converted_at.hour().cast("int64"),
            hit=ifelse(claims.matched_order.notnull(), 1, 0),
        )
        yield claims, "order"


def _missing_shares(sources: Sources) -> Iterable[MissingShare]:
    daily = missing_values(sources)
    if daily is None:
        return
    rows = sources.engine.fetch(daily.order_by(["source", "column", "day"])).to_pylist()
    for (source, column), days in _by(rows):
        total, lacking = _sums(days)
        latest = [r for r in days if days[-1]["day"] - r["day"] < BEFORE]
        new, new_lacking = _sums(latest)
        yield MissingShare(source, column, total, lacking / total, new_lacking / new)


def _by(rows: Sequence[dict[str, Any]]) -> Iterable[tuple[tuple[str, str], list[dict[str, Any]]]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["source"], row["column"]), []).append(row)
    return groups.items()


def _sums(days: Sequence[dict[str, Any]]) -> tuple[int, int]:
    return sum(int(r["rows"]) for r in days), sum(int(r["missing"]) for r in days)


def _catalogue(sources: Sources) -> tuple[Check, ...]:
    """The checks of the catalogue that ask the same of single days and paid hours."""
    return tuple(run(one, sources).result for one in (LOG_GAP, MISSING_DRIFT, MATCH_RATE_DROP))


def _checks(
    logs: Sequence[HourlyLog],
    found: Sequence[SourceHealth],
    incidents: Sequence[Incident],
    sources: Sources,
) -> Iterable[Check]:
    """One check per kind of trouble; what could not be looked at is not passed."""
    behind = [one.source for one in found if one.behind]
    yield _check("freshness", len(found), behind, ("source", "sources"))
    weeks = [log for log in logs if len(log.counts) >= 3 * 168]
    kinds = {
        "silence": (len(weeks), "no source is three weeks long, so nothing is usual yet"),
        "missing": (int(_some(_counted(sources, "missing", hourly=False), sources)), ""),
        "late": (int(_some(_counted(sources, "late", hourly=False), sources)), ""),
        "match": (len(list(_matchings(sources))), ""),
    }
    for kind, (examined, why) in kinds.items():
        mine = [f"{i.source}, {i.what} from {i.start[:13]}h" for i in incidents if i.kind == kind]
        yield _check(kind, examined, mine, ("incident", "incidents"), why)


def _some(daily: Table | None, sources: Sources) -> bool:
    """Whether there is any day with rows enough to be compared with the days before it."""
    return daily is not None and sources.number(compared(sources, daily)) > 0


def _check(
    kind: str, examined: int, found: Sequence[str], noun: tuple[str, str], why: str = ""
) -> Check:
    code, title = CODES[kind]
    if not examined:
        outcome, text = Outcome.NOT_APPLICABLE, why or "what it needs is not loaded, or too little"
        text = f"Not applicable: {text}."
    elif found:
        shown = "; ".join(found[:5]) + ("; …" if len(found) > 5 else "")
        single = len(found) == 1
        outcome, text = Outcome.FLAGGED, f"{len(found)} {noun[0] if single else noun[1]}: {shown}."
    else:
        outcome, text = Outcome.PASSED, f"{title}: none."
    return Check(
        code=code,
        title=title,
        outcome=outcome,
        message=text,
        severity=Severity.WARNING,
        rows=None if outcome is Outcome.NOT_APPLICABLE else len(found),
        disposition="note",
    )


def _hour(row: dict[str, Any]) -> datetime:
    day = row["day"]
    return datetime(day.year, day.month, day.day, int(row["hour"]), tzinfo=UTC)


def _iso(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
