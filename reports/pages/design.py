"""The page of a design, for sign-off: what it can tell, what it costs, and who has signed."""

from __future__ import annotations

from collections.abc import Sequence

from designs.planning.results import CurvePoint
from measure.results import Outcome, Severity
from reports.charts.curve import Curves, Series, curve_chart
from reports.charts.shapes import Chart, Table, tick_decimals
from reports.design_facts import DesignReport
from reports.numbers import NONE, count, day, interval, percent, period
from reports.pages.checks import checks_block
from reports.pages.design_tables import (
    columns,
    duration_table,
    history_table,
    money,
    money_table,
    peeking_table,
    precision_table,
)
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
from reports.plan_statements import assumption_sentence, reached_sentence
from reports.text import rule_sentence
from reports.words import clean, inline, listed, method, plain_name, plural, sentence

_STEPS = {
    "submit": "Submitted",
    "approve": "Approved",
    "reject": "Rejected",
    "sign_off": "Signed off",
}
MOST_SERIES = 4
TERMS = (
    ("Power", "The chance that a true effect of this size will be found."),
    ("MDE", "Minimum detectable effect: the smallest effect found with the wanted power."),
    ("Lift", "The difference as a share of the control group's level: +5% is one twentieth more."),
    (
        "Winner’s curse",
        "Among many true effects, those that reach significance are the lucky ones, so their "
        "estimates are too large on average.",
    ),
    (
        "Value of the answer",
        "What deciding after the test is expected to bring over deciding now, given what is "
        "believed of the effect beforehand.",
    ),
    (
        "Anytime-valid",
        "A wider interval that may be looked at as often as one likes without misleading.",
    ),
)


def build(report: DesignReport, file: str, links: tuple[Link, ...]) -> Page:
    """The finished page model."""
    stop = any(
        c.outcome in {Outcome.FLAGGED, Outcome.FAILED} and c.severity is Severity.STOP
        for c in report.plan.checks
    )
    return Page(
        file=file,
        title=f"Design · {clean(report.key)}",
        kicker=" · ".join(
            part for part in ("Design for sign-off", _when(report), clean(report.key, 60)) if part
        ),
        headline=_headline(report),
        deck=_deck(report),
        blocks=_blocks(report),
        foot=foot(report.versions, report.generated_on),
        badges=(f"State: {plain_name(report.state)}",) if report.state else (),
        links=links,
        tone="bad" if stop else "good",
    )


def _headline(report: DesignReport) -> str:
    """What the test can tell, in one sentence."""
    power = percent(report.plan.assumptions["power"])
    metric = plain_name(report.primary.name)
    known = [p for p in report.plan.leading() if p.mde_relative is not None]
    if not known:
        return f"This test cannot say what it would find in {metric}"
    worst = max(known, key=lambda p: p.mde_relative or 0.0)
    return f"Finds a lift in {metric} of {percent(worst.mde_relative)} or more with {power} power"


def _deck(report: DesignReport) -> tuple[str, ...]:
    leading = report.plan.leading()
    expected = report.plan.assumptions["lift"]
    texts = [sentence(clean(report.hypothesis, 400))]
    known = [p for p in leading if p.power is not None]
    if known:
        weakest = min(known, key=lambda p: p.power or 0.0)
        chance = percent(weakest.power)
        if weakest.power_low is not None:
            bounds = interval(weakest.power_low, weakest.power_high, percent)
            chance += f" (99% band of the simulation: {bounds})"
        texts.append(
            f"A true lift of {percent(expected, signed=True)} would be found with {chance}."
        )
    return tuple(text for text in (*texts, reached_sentence(report.plan)) if text)


def _blocks(report: DesignReport) -> tuple[Block, ...]:
    return (
        _key_figures(report),
        _decision(report),
        _who(report),
        *_power_chart(report),
        precision_table(report),
        *duration_table(report),
        peeking_table(report),
        *money_table(report),
        checks_block(report.plan.checks, heading="Risks"),
        _approvals(report),
        history_table(report),
        _method(report),
        Prose("words", "What the words mean", terms=TERMS, folded=True),
    )


def _key_figures(report: DesignReport) -> KeyFigures:
    plan, leading = report.plan, report.plan.leading()
    control = min((p.n_control for p in leading), default=0)
    figures = [
        KeyFigure("Units", count(plan.units), "in all arms together"),
        KeyFigure("Held out", count(control), f"in {clean(report.control, 40)}"),
    ]
    best = max(plan.money, key=lambda m: m.information, default=None)
    if best is not None:
        verb = "costs" if best.cost >= 0 else "saves"
        figures += [
            KeyFigure(f"The holdout {verb}", money(abs(best.cost), best), "expected margin, net"),
            KeyFigure(
                "The answer is worth", money(best.information, best), "for the next decision"
            ),
        ]
    elif report.window_days is not None:
        figures.append(KeyFigure("Duration", plural(report.window_days, "day"), "of outcomes"))
    return KeyFigures(tuple(figures))


def _decision(report: DesignReport) -> Callout:
    rule = rule_sentence(report.scale_if, report.stop_if)
    if report.scale_if is None:
        rule = "No decision rule is written down; write one before the test starts."
    lead = "Decided beforehand."
    texts = [rule]
    gains = [m for m in report.plan.money if m.rule_value is not None]
    if gains:
        best = max(gains, key=lambda m: m.rule_value or 0.0)
        texts.append(
            f"Deciding by this rule is expected to bring {money(best.rule_value or 0.0, best)} "
            "over deciding now."
        )
    return Callout("Decision rule", lead, tuple(texts), "good" if report.scale_if else "open")


def _who(report: DesignReport) -> TableBlock:
    """Arms with their shares, and everybody who is not treated."""
    body = tuple(
        (
            clean(arm.name, 60),
            "held out" if arm.name == report.control else "treated",
            percent(arm.share, decimals=1),
            count(arm.units),
        )
        for arm in report.arms
    )
    names = ("Arm", "What happens", "Share", "Units")
    notes = [sentence(clean(text, 200)) for text in (report.population, *report.held_out) if text]
    table = Table("Arms", columns(names, text=2), body, note=" ".join(notes))
    return TableBlock("arms", "Arms", "and who is held out", table)


def _power_chart(report: DesignReport) -> tuple[Block, ...]:
    points = report.plan.curve
    if not points:
        return ()
    series = _series_of(points, several=len(report.arms) > 2)
    shown = series[:MOST_SERIES]
    target = report.plan.assumptions["power"]
    expected = report.plan.assumptions["lift"]
    spec = Curves(
        tuple(shown),
        target,
        f"wanted: {percent(target)}",
        expected if expected > 0 else None,
        f"expected: {percent(expected, signed=True)}",
    )
    metric = plain_name(report.primary.name)
    title = f"Power by true lift in {metric}"
    described = (
        f"{plural(len(shown), 'line')} that rise from the false positive rate at no lift; a dashed "
        f"line marks the wanted power of {percent(target)}."
    )
    drawings = curve_chart("power", title, described, spec, _write_lift, _write_power)
    lead = "the chance of finding a lift of this size"
    note = ""
    if any(s.bands for s in shown):
        note = "Points are simulated runs of the estimator itself, with 99% bands."
    return (ChartBlock(Chart("power", title, lead, drawings, _curve_table(title, points), note)),)


def _series_of(points: Sequence[CurvePoint], *, several: bool) -> list[Series]:
    """One series per arm and estimator; simulated ones are points with bands."""
    groups: dict[tuple[str, str], list[CurvePoint]] = {}
    for point in points:
        groups.setdefault((point.arm, point.estimator), []).append(point)
    found = []
    for (arm, estimator), some in groups.items():
        ordered = sorted(some, key=lambda p: p.lift)
        name = (
            method(estimator) if not several else f"{clean(arm, 40)}: {inline(method(estimator))}"
        )
        bands = tuple(
            (p.lift, p.low, p.high) for p in ordered if p.low is not None and p.high is not None
        )
        joined = not bands
        found.append(Series(name, tuple((p.lift, p.power) for p in ordered), bands, joined))
    return found


def _curve_table(title: str, points: Sequence[CurvePoint]) -> Table:
    names = ("Arm", "Estimator", "Lift", "Power", "Band")
    rows = tuple(
        (
            clean(p.arm, 60),
            method(p.estimator),
            percent(p.lift, signed=True),
            percent(p.power),
            interval(p.low, p.high, percent),
        )
        for p in points
    )
    return Table(title, columns(names, text=2), rows)


def _approvals(report: DesignReport) -> Block:
    if not report.approvals:
        return Prose("approvals", "Approvals", ("Nobody has signed this design yet.",))
    names = ("Who", "Role", "Step", "When", "Reason")
    rows = tuple(
        (
            clean(a.who, 80),
            plain_name(a.role) or NONE,
            _STEPS.get(a.what, plain_name(a.what)),
            clean(a.when, 40),
            clean(a.reason, 300) or NONE,
        )
        for a in report.approvals
    )
    table = Table("Approvals", columns(names, text=5), rows)
    return TableBlock("approvals", "Approvals", "as the registry recorded them", table)


def _method(report: DesignReport) -> Prose:
    plan = report.plan
    span = f"{plan.history_from} to {plan.history_to}" if plan.history_from else ""
    estimators = listed([inline(method(name)) for name in report.estimators])
    terms = (
        ("Period", _when(report)),
        ("Outcomes", f"for {plural(report.window_days, 'day')}" if report.window_days else ""),
        ("History", span),
        ("Methods", f"{estimators[:1].upper()}{estimators[1:]}; {percent(report.ci_level)} level."),
        ("Plan", clean(str(plan.provenance.get("plan_hash", "")), 80)),
        ("Made with", versions(report.versions, report.generated_on)),
    )
    said = (assumption_sentence(plan), *map(str, plan.provenance.get("notes", ())))
    notes = tuple(sentence(clean(note, 400)) for note in said)
    shown = tuple((name, text) for name, text in terms if text)
    return Prose("method", "How this was planned", notes, shown)


def _when(report: DesignReport) -> str:
    if report.starts_on is None:
        return ""
    return (
        period(report.starts_on, report.ends_on)
        if report.ends_on
        else f"from {day(report.starts_on)}"
    )


def _write_lift(value: float, values: Sequence[float]) -> str:
    return percent(value, signed=True, decimals=tick_decimals(values, 100))


def _write_power(value: float, values: Sequence[float]) -> str:
    return percent(value, decimals=tick_decimals(values, 100))
