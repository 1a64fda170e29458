"""Tables of a design's page: precision, duration, looks, money and history."""

from __future__ import annotations

from collections.abc import Sequence

from designs.planning.results import Money, Peeking, Precision
from reports.charts.shapes import Column, Table
from reports.design_facts import DesignReport
from reports.numbers import NONE, count, interval, money_short, number, percent
from reports.pages.model import Block, TableBlock
from reports.plan_statements import placebo_sentence, season_sentence
from reports.words import clean, method, plain_name, plural, sentence

_WAYS = {
    "fixed": "One look, at the end",
    "obrien_fleming": "O’Brien–Fleming spending",
    "anytime": "Anytime-valid",
    "naive": "Naive looks, not valid",
}
_METHODS = {
    "normal": "normal approximation",
    "permutation": "permutation test",
    "refuse": "no estimate",
    "degenerate": "nothing varies",
}


def precision_table(report: DesignReport) -> TableBlock:
    """Smallest effect, power and units of every comparison."""
    names = ("Metric", "Arm", "Estimator", "Test", "MDE", "Power", "Units needed")
    rows = tuple(_precision_row(p) for p in report.plan.precision)
    notes = dict.fromkeys(
        p.note
        for p in report.plan.precision
        if p.note and (p.role == "primary" or p.method != "normal")
    )
    power = percent(report.plan.assumptions["power"])
    table = Table(
        "What each comparison can tell", columns(names, text=4), rows,
        note=" ".join(sentence(f"{note[:1].upper()}{note[1:]}") for note in notes),
    )  # fmt: skip
    return TableBlock("precision", "What each comparison can tell", f"at {power} power", table)


def _precision_row(p: Precision) -> tuple[str, ...]:
    power = NONE if p.power is None else percent(p.power)
    if p.power_low is not None:
        power += f"\n{interval(p.power_low, p.power_high, percent)}"
    return (
        plain_name(p.metric),
        clean(p.arm, 60),
        method(p.estimator),
        _METHODS.get(p.method, plain_name(p.method)),
        NONE if p.mde_relative is None else percent(p.mde_relative, signed=True),
        power,
        NONE if p.units_needed is None else count(p.units_needed),
    )


def duration_table(report: DesignReport) -> tuple[Block, ...]:
    """What a longer or shorter window would tell."""
    points = report.plan.duration
    if not points:
        return ()
    names = ("Days", "Test", "Units", "Active by then", "Mean", "Standard deviation", "MDE")
    rows = tuple(
        (
            count(d.days) + (" (planned)" if d.days == report.window_days else ""),
            _METHODS.get(d.method, plain_name(d.method)),
            count(d.units),
            count(d.active),
            number(d.mean, 4),
            number(d.sd, 4),
            NONE if d.mde_relative is None else percent(d.mde_relative, signed=True),
        )
        for d in points
    )
    lead = "outcomes counted for so many days; distinct units, by formula"
    dealt = any(d.method == "permutation" for d in points)
    note = "A permutation test finds less than the formula says." if dealt else ""
    table = Table("Duration", columns(names, text=2), rows, note=note)
    return (TableBlock("duration", "Duration", lead, table),)


def peeking_table(report: DesignReport) -> TableBlock:
    """The ways of looking side by side."""
    names = ("Way of looking", "Looks", "False positives", "Units", "MDE", "Expected units")
    table = Table(
        "The price of looking before the end",
        columns(names, text=1),
        tuple(_peeking_row(p) for p in report.plan.peeking),
        note="Units and MDE as multiples of the fixed horizon's, at equal power; expected units if "
        "one stops at the first crossing and the effect is the planned one.",
    )
    return TableBlock("looks", "The price of looking before the end", "at equal power", table)


def _peeking_row(p: Peeking) -> tuple[str, ...]:
    factors = (p.units_factor, p.mde_factor, p.expected_factor)
    return (
        _WAYS.get(p.way, plain_name(p.way)),
        count(p.looks),
        percent(p.false_positives),
        *(NONE if x is None else f"× {number(x, 2)}" for x in factors),
    )


def money_table(report: DesignReport) -> tuple[Block, ...]:
    """The holdout against its answer, arm by arm."""
    if not report.plan.money:
        return ()
    names = ("Arm", "Margin forgone", "Treatment saved", "Net cost", "Answer worth", "At most")
    rows = tuple(
        (
            clean(m.arm, 60),
            money(m.forgone, m),
            money(m.saved, m),
            money(m.cost, m),
            money(m.information, m),
            money(m.perfect_information, m),
        )
        for m in report.plan.money
    )
    first = report.plan.money[0]
    note = (
        f"Expected lift {percent(first.lift_mean, signed=True)} ± {percent(first.lift_sd)} "
        f"({clean(first.lift_source, 200)}); the answer is for a decision about "
        f"{count(first.decision_units)} units."
    )
    said = dict.fromkeys(sentence(clean(m.note, 300)) for m in report.plan.money if m.note)
    note = " ".join((note, *said))
    table = Table("Cost and value", columns(names, text=1), rows, note=note)
    lead = "of the holdout, against the value of its answer"
    return (TableBlock("money", "Cost and value", lead, table),)


def history_table(report: DesignReport) -> TableBlock:
    """What history says of each metric, and of weekdays."""
    names = ("Metric", "Units", "Mean", "Standard deviation", "Skewness", "Covariates explain")
    rows = tuple(
        (
            plain_name(m.metric),
            count(m.n),
            number(m.mean, 4),
            number(m.sd, 4),
            NONE if m.skewness is None else number(m.skewness, 1),
            NONE if m.r_squared is None else percent(m.r_squared),
        )
        for m in report.plan.metrics
    )
    season = report.plan.season
    note = ""
    if season is not None:
        days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
        levels = ", ".join(
            f"{d} {number(x, 2)}" for d, x in zip(days, season.weekdays, strict=True)
        )
        note = f"Orders by weekday over the average day, {plural(season.weeks, 'week')}: {levels}."
    said = (note, season_sentence(season), placebo_sentence(report.plan.placebo))
    note = " ".join(text for text in said if text)
    table = Table("History", columns(names, text=1), rows, note=note)
    return TableBlock("history", "History", clean(report.plan.source, 200), table)


def money(x: float, m: Money) -> str:
    """An amount in the plan's currency; below half a cent it is nothing."""
    return money_short(x if abs(x) >= 0.005 else 0, m.currency)


def columns(names: Sequence[str], *, text: int) -> tuple[Column, ...]:
    """Columns of which the first ``text`` are flush left."""
    return tuple(Column(name, i >= text) for i, name in enumerate(names))
