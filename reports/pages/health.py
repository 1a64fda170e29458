"""The page about the data themselves: fresh, whole, timely, filled, matched, and since when not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

from measure.health import Health, Incident, SourceHealth
from reports.charts.shapes import Chart, Column, Table
from reports.charts.strips import Strip, strip_chart
from reports.facts import HealthReport
from reports.health_statements import (
    health_deck,
    health_headline,
    incident_sentence,
    kind_word,
    since,
)
from reports.numbers import NONE, count, day, percent
from reports.pages.checks import checks_block
from reports.pages.method import foot, versions
from reports.pages.model import (
    Block,
    Callout,
    ChartBlock,
    KeyFigure,
    KeyFigures,
    Link,
    Page,
    Prose,
    TableBlock,
)
from reports.words import clean, plain_name, plural

type Write = Callable[[float], str]
MOST_STRIPS = 12
MOST_ROWS = 60


def build(report: HealthReport, file: str, csv: str, links: tuple[Link, ...]) -> Page:
    """The finished page model; ``csv`` is the file of incidents."""
    found = report.health
    return Page(
        file=file,
        title="Health of the data",
        kicker=f"Health of the data · {clean(report.title, 60)}" if report.title else "Health",
        headline=health_headline(found),
        deck=health_deck(found),
        blocks=_blocks(report, csv),
        foot=foot(report.versions, report.generated_on),
        badges=("Synthetic data: a made-up world with known answers",) if report.synthetic else (),
        links=links,
        tone="bad" if found.incidents else "good",
    )


def _blocks(report: HealthReport, csv: str) -> tuple[Block, ...]:
    found = report.health
    return (
        KeyFigures(_figures(found)),
        *_worst(found),
        *_incidents(found, csv),
        *_volumes(found),
        *_matches(found),
        *_sources(found),
        *_missing(found),
        checks_block(found.checks, heading="What was asked"),
        _method(report),
    )


def _figures(found: Health) -> tuple[KeyFigure, ...]:
    open_ = [i for i in found.incidents if i.end is None]
    late = [s for s in found.sources if s.received_rows]
    rows = sum(s.rows for s in found.sources)
    items = [
        KeyFigure("Incidents", count(len(found.incidents)), f"{count(len(open_))} still open"),
        KeyFigure("Sources", count(len(found.sources)), f"{count(rows)} rows"),
        KeyFigure("Fallen silent", count(sum(s.behind for s in found.sources))),
    ]
    if late:
        overdue, received = (
            sum(s.late_rows or 0 for s in late),
            sum(s.received_rows or 0 for s in late),
        )
        note = f"more than {count(found.settings.get('late_hours', 24))} hours"
        items.append(KeyFigure("Arrived late", percent(overdue / received), note))
    return tuple(items)


def _worst(found: Health) -> tuple[Block, ...]:
    """What is still going on, in words."""
    open_ = [incident_sentence(i) for i in found.incidents if i.end is None]
    if not open_:
        return ()
    lead = f"{plural(len(open_), 'incident')} still open"
    more = len(open_) - 5
    texts = (*open_[:5], *((f"And {count(more)} more, in the table below.",) if more > 0 else ()))
    return (Callout("Not over yet", lead, texts, tone="bad"),)


def _incidents(found: Health, csv: str) -> tuple[Block, ...]:
    if not found.incidents:
        return ()
    columns = (
        *(Column("Source"), Column("What"), Column("From"), Column("Until")),
        *(Column("Hours", numeric=True), Column("Observed", numeric=True)),
        Column("Usual", numeric=True),
    )
    rows = tuple(_incident(i) for i in found.incidents[:MOST_ROWS])
    note = "" if len(found.incidents) <= MOST_ROWS else f"The first {MOST_ROWS}; all in the file."
    table = Table("All incidents", columns, rows, csv, note)
    lead = "dated to the hour, in UTC"
    return (TableBlock("incidents", "What went wrong, and when", lead, table),)


def _incident(incident: Incident) -> tuple[str, ...]:
    rows = incident.kind == "silence"
    write = _rows if rows else percent
    paid = {True: "\npaid for", False: "\nnot paid for", None: ""}[incident.paid]
    what = "" if rows else f": {plain_name(incident.what)}"
    return (
        clean(incident.source, 80),
        f"{kind_word(incident.kind)}{what}{paid}",
        since(incident.start),
        "still open" if incident.end is None else since(incident.end),
        count(incident.hours),
        write(incident.observed),
        write(incident.usual),
    )


def _rows(x: float) -> str:
    return count(round(x))


def _volumes(found: Health) -> tuple[Block, ...]:
    """One strip per source, the largest first."""
    by_source: dict[str, dict[str, tuple[int, int | None]]] = {}
    for volume in found.volumes:
        by_source.setdefault(volume.source, {})[volume.date] = (volume.rows, volume.usual)
    days = _calendar(d for each in by_source.values() for d in each)
    if len(days) < 2:
        return ()
    ordered = sorted(by_source, key=lambda s: (-sum(n for n, _ in by_source[s].values()), s))
    wrong = _spans(found.incidents, days, "silence", "late")
    strips = [
        Strip(
            clean(source, 80),
            f"{count(max(n for n, _ in by_source[source].values()))} on its best day",
            tuple(_value(by_source[source], d, 0) for d in days),
            tuple(_value(by_source[source], d, 1) for d in days),
            wrong.get(source, ()),
        )
        for source in ordered[:MOST_STRIPS]
    ]
    title = "Rows per day and source"
    lead = "the line is what came, dashed what is usual for the weekday; marked is what was wrong"
    return (_strips("volume", title, lead, strips, days, _rows, len(ordered)),)


def _value(known: Mapping[str, tuple[int, int | None]], when: str, place: int) -> float | None:
    cell = known.get(when, (None, None))[place]
    return None if cell is None else float(cell)


def _matches(found: Health) -> tuple[Block, ...]:
    """Match rates of conversions by key, and of claims by channel."""
    by_series: dict[str, dict[str, tuple[int, int]]] = {}
    incidents: dict[str, list[Incident]] = {}
    for one in found.matches:
        name = f"{one.source} / {one.key}"
        by_series.setdefault(name, {})[one.date] = (one.rows, one.matched)
        incidents[name] = [
            i
            for i in found.incidents
            if (i.kind, i.source, i.what) == ("match", one.source, one.key)
        ]
    days = _calendar(d for each in by_series.values() for d in each)
    if len(days) < 2:
        return ()
    strips = []
    for name in sorted(by_series)[:MOST_STRIPS]:
        cells = by_series[name]
        rows, matched = sum(n for n, _ in cells.values()), sum(k for _, k in cells.values())
        values = tuple(cells[d][1] / cells[d][0] if d in cells else None for d in days)
        spans = (
            _spans(incidents[name], days, "match").get(incidents[name][0].source, ())
            if (incidents[name])
            else ()
        )
        note = f"{percent(matched / rows)} of {count(rows)}"
        strips.append(Strip(clean(name, 80), note, values, wrong=spans, top=1.0))
    title = "Match rate per day"
    lead = "conversions that find their click or hash, claims that find their order; from 0 to 1"
    return (_strips("match", title, lead, strips, days, percent, len(by_series)),)


def _strips(
    name: str,
    title: str,
    lead: str,
    strips: Sequence[Strip],
    days: Sequence[str],
    write: Write,
    all_of_them: int,
) -> ChartBlock:
    labels = [day(date.fromisoformat(d)) for d in days]
    described = f"{plural(len(strips), 'line')} from {labels[0]} to {labels[-1]}."
    drawings = strip_chart(name, title, described, strips, labels)
    note = (
        f"The largest {len(strips)} of {count(all_of_them)}." if all_of_them > len(strips) else ""
    )
    return ChartBlock(Chart(name, title, lead, drawings, _twin(title, strips, labels, write), note))


def _twin(title: str, strips: Sequence[Strip], labels: Sequence[str], write: Write) -> Table:
    """The same numbers, a row per day (the last four weeks) and a column per source."""
    columns = (Column("Day"), *(Column(s.label, numeric=True) for s in strips))
    recent = range(max(len(labels) - 28, 0), len(labels))
    rows = tuple(
        (
            labels[place],
            *(NONE if (found := s.values[place]) is None else write(found) for s in strips),
        )
        for place in recent
    )
    note = "The last 28 days." if len(labels) > 28 else ""
    return Table(title, columns, rows, note=note)


def _spans(
    incidents: Sequence[Incident], days: Sequence[str], *kinds: str
) -> dict[str, tuple[tuple[float, float], ...]]:
    """Incidents by source, in days from the first; a late source is told without its kind."""
    begin = datetime.fromisoformat(f"{days[0]}T00:00:00+00:00")
    end_of_all = float(len(days))
    found: dict[str, list[tuple[float, float]]] = {}
    for incident in incidents:
        if incident.kind not in kinds:
            continue
        first = (datetime.fromisoformat(incident.start) - begin) / timedelta(days=1)
        end = end_of_all
        if incident.end is not None:
            end = (datetime.fromisoformat(incident.end) - begin) / timedelta(days=1)
        # A day's value stands at its middle.
        found.setdefault(incident.source, []).append((first - 0.5, end - 0.5))
    return {source: tuple(spans) for source, spans in found.items()}


def _calendar(days: object) -> list[str]:
    """All days from the first to the last."""
    known = sorted(set(days))  # type: ignore[call-overload]
    if not known:
        return []
    first, last = date.fromisoformat(known[0]), date.fromisoformat(known[-1])
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def _sources(found: Health) -> tuple[Block, ...]:
    if not found.sources:
        return ()
    columns = (
        *(Column("Source"), Column("Rows", numeric=True), Column("Latest event")),
        *(Column("Latest received"), Column("Silent for", numeric=True)),
        *(Column("Longest before", numeric=True), Column("Late", numeric=True), Column("Fresh")),
    )
    rows = tuple(_source(s) for s in found.sources[:MOST_ROWS])
    lead = f"as of {since(found.as_of)}; hours of silence against the longest of 28 days"
    return (
        TableBlock("sources", "How fresh each source is", lead, Table("Sources", columns, rows)),
    )


def _source(one: SourceHealth) -> tuple[str, ...]:
    late = NONE
    if one.received_rows and one.late_rows is not None:
        late = percent(one.late_rows / one.received_rows)
    return (
        clean(one.source, 80),
        count(one.rows),
        since(one.latest_event),
        since(one.latest_received) if one.latest_received else NONE,
        f"{count(round(one.silent_hours))} h",
        f"{count(one.usual_silence_hours)} h",
        late,
        "fallen silent" if one.behind else "fresh",
    )


def _missing(found: Health) -> tuple[Block, ...]:
    """Columns that lack some values but not all: those always empty were never delivered."""
    partly = [m for m in found.missing if 0 < m.share < 1]
    if not partly:
        return ()
    partly.sort(key=lambda m: (-abs(m.latest_share - m.share), m.source, m.column))
    columns = (
        *(Column("Source"), Column("Column"), Column("Rows", numeric=True)),
        *(Column("Missing", numeric=True), Column("Last 7 days", numeric=True)),
    )
    rows = tuple(
        (
            clean(m.source, 80),
            plain_name(m.column),
            count(m.rows),
            percent(m.share),
            percent(m.latest_share),
        )
        for m in partly[:MOST_ROWS]
    )
    lead = "share of rows without a value; what changed most comes first"
    return (TableBlock("missing", "Missing values", lead, Table("Missing values", columns, rows)),)


def _method(report: HealthReport) -> Prose:
    s = report.health.settings
    terms = (
        ("Silence", f"Hours with less than {percent(s['gap_share'])} of the rows that the same "
         f"hour of the week has in the middle of all weeks, until "
         f"{count(s['gap_least_rows'])} usual rows are missing."),
        ("Missing and late", f"Days of {count(s['missing_least_rows'])} rows or more whose share "
         f"rises by more than {percent(s['missing_jump'])} and six standard errors above the 28 "
         "days before; the hour is the most likely one."),
        ("Match rate", f"Days that fall {s['match_rate_deviations']:g} standard deviations below "
         "the 28 days before; the hour is the most likely one."),
        ("Fallen silent", "Silent for more than twice the longest silence of 28 days, while others "
         "went on."),
        ("Made with", versions(report.versions, report.generated_on)),
    ) if s else (("Made with", versions(report.versions, report.generated_on)),)  # fmt: skip
    text = "What could not be looked at never counts as well."
    return Prose("method", "How this was judged", (text,), terms)
