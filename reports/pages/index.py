"""The list of all experiments: what each found, what to do, where to read on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reports.charts.forest import ForestRow, Reference, forest
from reports.charts.shapes import Chart, Column, Table, tick_decimals
from reports.facts import ExperimentReport, Site
from reports.money import MoneyFacts
from reports.numbers import (
    NONE,
    count,
    money,
    money_short,
    noun,
    percent,
    period,
    probability,
    short_minor,
)
from reports.pages.experiment import headline_of, is_invalid
from reports.pages.method import foot
from reports.pages.model import (
    Block,
    Card,
    Cards,
    ChartBlock,
    KeyFigure,
    Link,
    Page,
)
from reports.pages.returns import ranked
from reports.statements import portfolio_headline
from reports.words import clean, plain_name

NO_CONCLUSION = "no conclusion"
NO_VERDICT = "no verdict"
_TONES = {"scale": "scale", "stop": "stop", "hold": "hold"}


@dataclass(frozen=True, slots=True)
class Entry:
    """An experiment and the files of its pages."""

    report: ExperimentReport
    href: str
    links: tuple[Link, ...]


def build(site: Site, entries: Sequence[Entry], links: tuple[Link, ...]) -> Page:
    """The finished page model; the latest experiment comes first."""
    ordered = sorted(entries, key=_latest_first)
    synthetic = any(entry.report.facts.synthetic for entry in entries)
    versions: Mapping[str, str] = entries[0].report.facts.versions if entries else {}
    return Page(
        file="index.html",
        title=clean(site.title) or "Experiments",
        kicker=f"Experiments · {clean(site.title, 60)}" if site.title else "Experiments",
        headline=portfolio_headline([verdict_of(entry.report) for entry in ordered]),
        deck=_deck(ordered),
        blocks=(*_returns(ordered), Cards(tuple(_card(entry) for entry in ordered))),
        foot=foot(versions, site.generated_on),
        badges=("Synthetic data: a made-up world with known answers",) if synthetic else (),
        links=links,
    )


def verdict_of(report: ExperimentReport) -> str:
    """The experiment's verdict, or that there is none."""
    if is_invalid(report):
        return NO_CONCLUSION
    verdicts = [m.verdict for m in ranked(report.money) if m.verdict]
    if not verdicts:
        verdicts = [m.verdict for m in report.money if m.verdict]
    return verdicts[0] if verdicts else NO_VERDICT


def _latest_first(entry: Entry) -> tuple[int, str]:
    facts = entry.report.facts
    when = facts.ended_on or facts.started_on
    return (-when.toordinal() if when else 0, facts.key)


def _deck(entries: Sequence[Entry]) -> tuple[str, ...]:
    """What was earned over all experiments in one currency, without those that conclude nothing."""
    arms = [m for e in entries if not is_invalid(e.report) for m in e.report.money]
    known = [(m.profit.value, m.currency) for m in arms if m.profit is not None]
    currencies = {currency for _, currency in known}
    if len(currencies) != 1 or len(known) < 2:
        return ()
    profit = short_minor(sum(value for value, _ in known), currencies.pop())
    return (f"Together they brought {profit} of incremental profit, by their best estimates.",)


def _returns(entries: Sequence[Entry]) -> tuple[Block, ...]:
    """All returns in one forest, when there are two or more in one currency."""
    arms = [
        (entry, arm)
        for entry in entries
        if not is_invalid(entry.report)
        for arm in ranked(entry.report.money)
    ]
    kinds = {(arm.currency, arm.basis) for _, arm in arms}
    if len(arms) < 2 or len(kinds) != 1:
        return ()
    currency, basis = kinds.pop()
    rows = [_row(entry, arm) for entry, arm in arms[:24]]
    rows.sort(key=lambda row: (-(row.value or 0), row.label))
    of = "Margin" if basis == "margin" else "Revenue"
    title = f"{of} returned per {noun(currency)} spent"
    described = f"{len(rows)} returns, each with its interval, against break-even at 1."
    drawings = forest(
        "returns", title, described, rows, Reference(1.0, "break-even"), _ticks(currency)
    )
    names = ("Experiment", "Return", "Interval")
    body = tuple((row.label, row.value_text, row.interval_text or NONE, row.word) for row in rows)
    columns = (*(Column(n, i > 0) for i, n in enumerate(names)), Column("Verdict"))
    chart = Chart(
        id="returns",
        heading=title,
        lead="every experiment with a conclusion, its interval and its verdict",
        drawings=drawings,
        table=Table(title, columns, body),
    )
    return (ChartBlock(chart),)


def _row(entry: Entry, arm: MoneyFacts) -> ForestRow:
    name = clean(entry.report.facts.name, 60)
    several = len(entry.report.money) > 1
    c = arm.currency
    bounds = f"{money_short(arm.roi_low, c)} to {money_short(arm.roi_high, c)}"
    word = arm.verdict or NO_VERDICT
    return ForestRow(
        label=f"{name} · {clean(arm.arm, 40)}" if several else name,
        value=arm.roi,
        low=arm.roi_low,
        high=arm.roi_high,
        value_text=money_short(arm.roi, c),
        interval_text=bounds if arm.roi_low is not None else "",
        word=word,
        tone=_TONES.get(word, "hold"),
    )


def _ticks(currency: str) -> Callable[[float, Sequence[float]], str]:
    def write(value: float, values: Sequence[float]) -> str:
        places = tick_decimals(values)
        return money(value, currency, decimals=max(places, 2) if places else 0)

    return write


def _card(entry: Entry) -> Card:
    facts = entry.report.facts
    chip = verdict_of(entry.report)
    headline, _ = headline_of(entry.report)
    state = plain_name(facts.state)
    parts = (period(facts.started_on, facts.ended_on), state)
    return Card(
        kicker=" · ".join(part for part in parts if part),
        title=clean(facts.name),
        href=entry.href,
        headline=headline,
        figures=_figures(entry.report),
        chip=chip,
        tone="bad" if chip == NO_CONCLUSION else _TONES.get(chip, "hold"),
        links=entry.links,
    )


def _figures(report: ExperimentReport) -> tuple[KeyFigure, ...]:
    """Money at stake, return and chance; without money, the size of the test."""
    if is_invalid(report):
        return ()
    arms = ranked(report.money)
    if not arms:
        units = sum(arm.units or 0 for arm in report.facts.arms)
        name = f"{clean(report.facts.unit, 40)}s".capitalize()
        return (KeyFigure(name, count(units)),) if units else ()
    best, c = arms[0], arms[0].currency
    found = []
    if best.profit is not None:
        found.append(KeyFigure("Incremental profit", short_minor(best.profit.value, c)))
    found.append(KeyFigure(f"Return per {noun(c)}", money_short(best.roi, c)))
    if best.probability_above is not None:
        found.append(KeyFigure("Chance above break-even", probability(best.probability_above)))
    found.append(KeyFigure("Interval", percent(best.ci_level)))
    return tuple(found[:3])
