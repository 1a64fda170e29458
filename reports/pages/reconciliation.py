"""The page that holds the platforms' claims against the orders."""

from __future__ import annotations

from measure.results import Check, Outcome
from reports.charts.shapes import Column, Table
from reports.facts import ReconciliationReport
from reports.numbers import NONE, count, money_minor, percent, period, short_minor
from reports.pages.bridge import (
    CLAIMED,
    DISTINCT,
    INCREMENTAL,
    RECONCILED,
    TESTED,
    bridge_chart,
    in_currency,
    reconciliation_accounts,
    total_of,
)
from reports.pages.checks import checks_block, disposition
from reports.pages.method import foot, versions
from reports.pages.model import (
    Block,
    ChartBlock,
    KeyFigure,
    KeyFigures,
    Link,
    Page,
    Prose,
    TableBlock,
)
from reports.statements import checks_sentence, claims_deck, claims_headline
from reports.words import clean, outcome_word, plain_name, sentence

_SHOWN = {
    RECONCILED: ("Survives the checks", "claims"),
    DISTINCT: ("Each order once", "orders"),
    TESTED: ("Of this, under test", "orders"),
}
"""Totals that are key figures, with what their rows are."""


def build(report: ReconciliationReport, file: str, csv: str, links: tuple[Link, ...]) -> Page:
    """The finished page model; ``csv`` is the file of checks."""
    found = report.reconciliation
    claimed = total_of(found.bridge, CLAIMED)
    survived = total_of(found.bridge, RECONCILED, DISTINCT)
    tested, incremental = total_of(found.bridge, TESTED), total_of(found.bridge, INCREMENTAL)
    when = period(report.started_on, report.ended_on)
    parts = ("Reconciliation", when, clean(report.title, 60))
    synthetic = ("Synthetic data: a made-up world with known answers",) if report.synthetic else ()
    return Page(
        file=file,
        title=f"Reconciliation · {clean(report.title)}" if report.title else "Reconciliation",
        kicker=" · ".join(part for part in parts if part),
        headline=claims_headline(claimed, survived, found.currency),
        deck=claims_deck(claimed, survived, incremental, found.currency, tested),
        blocks=_blocks(report, csv),
        foot=foot(report.versions, report.generated_on),
        badges=synthetic,
        links=links,
    )


def _blocks(report: ReconciliationReport, csv: str) -> tuple[Block, ...]:
    found = report.reconciliation
    unseen = checks_sentence(found.checks)
    notes = tuple(sentence(clean(note, 600)) for note in (unseen, *found.notes) if note)
    return (
        *_figures(report),
        *_bridge(report),
        *((Prose("notes", "How to read this", notes),) if notes else ()),
        _overview(found.checks, found.currency, csv),
        checks_block(found.checks, heading="What each check found", grouped=True),
        _method(report),
    )


def _figures(report: ReconciliationReport) -> tuple[Block, ...]:
    """Claimed, survives, and both counts of orders."""
    found = report.reconciliation
    c = found.currency
    claimed = [s for s in found.bridge if s.step == CLAIMED]
    if not claimed:
        return ()
    items = [
        KeyFigure("Claimed", short_minor(claimed[0].money, c), f"{count(claimed[0].rows)} claims")
    ]
    for step in found.bridge:
        if step.step in _SHOWN:
            label, noun = _SHOWN[step.step]
            items.append(KeyFigure(label, short_minor(step.money, c), f"{count(step.rows)} {noun}"))
    for step in found.bridge:
        if step.step == INCREMENTAL:
            low, high = step.money_low, step.money_high
            note = f"{short_minor(low, c)} to {short_minor(high, c)}" if low is not None else ""
            items.append(KeyFigure("Caused, says the experiment", short_minor(step.money, c), note))
    return (KeyFigures(tuple(items)),)


def _bridge(report: ReconciliationReport) -> tuple[Block, ...]:
    found = report.reconciliation
    accounts = reconciliation_accounts(found.bridge)
    if not accounts:
        return ()
    heading = "From claimed to incremental" if _ends(found.bridge[-1].step) else "What survives"
    lead = (
        f"{in_currency(found.currency)}; each claim's money is taken away once, by the first check"
    )
    note = ""
    if any(account.low is not None for account in accounts):
        note = "The thin line is the interval of what was estimated."
    return (ChartBlock(bridge_chart("bridge", accounts, found.currency, heading, lead, note)),)


def _ends(step: str) -> bool:
    return step == INCREMENTAL


def _overview(checks: tuple[Check, ...], currency: str, csv: str) -> TableBlock:
    """One row per check."""
    names = (
        *(Column("Check"), Column("What it looks for"), Column("Outcome")),
        *(Column("Rows", numeric=True), Column("Money", numeric=True), Column("Treated as")),
    )
    body = tuple(_overview_row(check, currency) for check in checks)
    table = Table("All checks", names, body, csv)
    lead = "the outcome, how many rows, and the money in question, counted once"
    return TableBlock("overview", "All checks", lead, table)


def _overview_row(check: Check, currency: str) -> tuple[str, ...]:
    flagged = check.outcome is Outcome.FLAGGED
    return (
        clean(check.code, 20),
        clean(check.title),
        outcome_word(check.outcome),
        NONE if check.rows is None else count(check.rows),
        NONE if check.money is None else money_minor(check.money, check.currency or currency),
        disposition(check.disposition) if flagged and check.disposition else NONE,
    )


def _method(report: ReconciliationReport) -> Prose:
    """The thresholds used, and what made the page."""
    found = report.reconciliation
    terms = [(_setting_name(str(k)), _setting(v)) for k, v in found.settings.items()]
    when = period(report.started_on, report.ended_on)
    shown = [(name, text) for name, text in terms if text]
    if when:
        shown.insert(0, ("Period", f"{when}, time zone {clean(report.time_zone, 40)}"))
    shown.append(("Made with", versions(report.versions, report.generated_on)))
    text = "Every check has one of four outcomes; one that could not run never counts as passed."
    return Prose("method", "How this was reconciled", (text,), tuple(shown))


def _setting_name(name: str) -> str:
    words = plain_name(name)
    return words[:1].upper() + words[1:]


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and 0 < value < 1:
        return percent(value)
    if isinstance(value, int):
        return count(value)
    if isinstance(value, list | tuple):
        return clean(", ".join(str(item) for item in value), 300)
    return "" if value is None else clean(str(value), 200)
