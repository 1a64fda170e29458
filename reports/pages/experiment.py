"""The page of one experiment: what was found first, how it was found last.

A page whose checks forbid a conclusion leads with that and shows no estimate at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from measure.results import Check, Estimate, Outcome, Severity, Status
from reports.charts.shapes import Column, Table
from reports.facts import ExperimentReport
from reports.money import MoneyFacts
from reports.numbers import (
    NONE,
    Scale,
    count,
    p_value,
    percent,
    period,
    short_minor,
)
from reports.pages.checks import checks_block
from reports.pages.cohorts import cohort_blocks, scale_of
from reports.pages.integrity import integrity_checks, page_checks
from reports.pages.journeys import journeys_block
from reports.pages.method import foot, method_block, words_block
from reports.pages.metrics import (
    arms_block,
    guardrail_block,
    metrics_block,
    money_table,
    primary_effects,
)
from reports.pages.model import (
    Block,
    Callout,
    KeyFigure,
    KeyFigures,
    Link,
    Page,
    TableBlock,
)
from reports.pages.returns import (
    MOST_ARMS,
    arm_figure,
    bridge_block,
    density_blocks,
    money_figures,
    ranked,
)
from reports.pages.segments import segments_block
from reports.text import (
    DELIVERY,
    Effect,
    Wording,
    arms_lead,
    cohort_sentence,
    decision_lead,
    effect_deck,
    effect_headline,
    flagged_sentence,
    invalid_deck,
    invalid_headline,
    metric_phrase,
    money_deck,
    money_headline,
    registration_sentence,
    rule_sentence,
    stopping,
    wording,
)
from reports.words import clean, listed, plain_name, plural, sentence, status_word


def build(report: ExperimentReport, file: str, csv: str, links: tuple[Link, ...]) -> Page:
    """The finished page model; ``csv`` is the file that holds all estimates."""
    facts = report.facts
    invalid = is_invalid(report)
    headline, deck = headline_of(report)
    return Page(
        file=file,
        title=clean(facts.name),
        kicker=_kicker(report),
        headline=headline,
        deck=deck,
        blocks=_invalid_blocks(report) if invalid else _blocks(report, csv),
        foot=foot(facts.versions, facts.generated_on),
        badges=_badges(report),
        links=links,
        tone="bad" if invalid else "good",
    )


def is_invalid(report: ExperimentReport) -> bool:
    """Whether no conclusion may be drawn."""
    return report.analysis.status is not Status.OK or bool(stopping(report.analysis.checks))


def has_money(report: ExperimentReport) -> bool:
    """Whether a return was computed for at least one arm."""
    return any(arm.roi is not None for arm in report.money)


def headline_of(report: ExperimentReport) -> tuple[str, tuple[str, ...]]:
    """The sentence with the number, and its interval in words."""
    facts, checks = report.facts, page_checks(report)
    if is_invalid(report):
        return invalid_headline(checks), (invalid_deck(checks),)
    how = wording(checks, randomised=facts.randomised)
    name = clean(facts.name, 60)
    if has_money(report):
        arms = ranked(report.money)
        deck = [money_deck(arm, several=len(report.money) > 1) for arm in arms[:MOST_ARMS]]
        return money_headline(name, report.money, how), (*filter(None, deck), *_caveat(how, checks))
    effects = primary_effects(report)
    metric = metric_phrase(facts.primary.name, facts.primary.kind)
    text = effect_headline(name, metric, [effect for effect, _ in effects], how)
    several = len(effects) > 1
    deck = [_effect_deck(e, estimate, several=several) for e, estimate in effects[:MOST_ARMS]]
    return text, (*deck, *_caveat(how, checks))


def _effect_deck(effect: Effect, estimate: Estimate, *, several: bool) -> str:
    relative = percent(estimate.relative, signed=True)
    low, high = estimate.relative_ci_low, estimate.relative_ci_high
    if relative == NONE:
        relative = ""
    elif low is not None and high is not None:
        relative += f" ({percent(low, signed=True)} to {percent(high, signed=True)})"
    return effect_deck(effect, estimate.ci_level, relative, several=several)


def _caveat(how: Wording, checks: Sequence[Check]) -> tuple[str, ...]:
    """What a reader must know before the first number is believed."""
    if how is Wording.CAUSED:
        return ()
    bad = {Outcome.FLAGGED, Outcome.FAILED}
    found = [c for c in checks if c.outcome in bad and c.severity is not Severity.NOTE]
    if how is Wording.QUALIFIED:
        need = "needs" if len(found) == 1 else "need"
        return (f"{plural(len(found), 'check')} {need} a look before anybody acts on this.",)
    return ("The design does not show that the treatment made the difference.",)


def _kicker(report: ExperimentReport) -> str:
    facts = report.facts
    when = period(facts.started_on, facts.ended_on)
    parts = ["Incrementality report", when, clean(facts.name, 60)]
    return " · ".join(part for part in parts if part)


def _badges(report: ExperimentReport) -> tuple[str, ...]:
    facts = report.facts
    found = []
    if facts.synthetic:
        found.append("Synthetic data: a made-up world with known answers")
    if facts.exploratory:
        found.append("Exploratory: beyond the frozen plan")
    if facts.state and facts.state not in {"concluded", "stopped"}:
        found.append(f"Not final: the experiment is {plain_name(facts.state)}")
    return tuple(found)


def _blocks(report: ExperimentReport, csv: str) -> tuple[Block, ...]:
    """All sections in reading order; those without numbers are left out."""
    facts, analysis = report.facts, report.analysis
    return (
        _key_figures(report),
        *_decision(report),
        *density_blocks(report),
        *arms_block(report),
        *money_table(report.money),
        *bridge_block(report),
        *cohort_blocks(report, csv),
        *segments_block(report),
        *journeys_block(report.journeys),
        *guardrail_block(report),
        metrics_block(report, csv),
        checks_block(page_checks(report)),
        method_block(facts, analysis.checks, integrity_checks(report)),
        words_block(),
    )


def _invalid_blocks(report: ExperimentReport) -> tuple[Block, ...]:
    """No estimate, whatever was computed: what stands in the way, and the design."""
    facts, checks = report.facts, report.analysis.checks
    names = [clean(check.title) for check in stopping(checks)]
    lead = "Nothing is to be scaled or stopped on this result."
    todo = f"To be explained first: {listed(names)}." if names else ""
    rest = "Whatever was computed is withheld until then."
    return (
        Callout("Decision", lead, tuple(text for text in (todo, rest) if text), "bad"),
        checks_block(checks),
        _received(report),
        method_block(facts, checks),
        words_block(),
    )


def _received(report: ExperimentReport) -> TableBlock:
    """Designed and received units per arm, the first thing to look at."""
    arms = report.facts.arms
    total = sum(arm.units or 0 for arm in arms)
    body = tuple(
        (
            clean(arm.name, 60),
            percent(arm.share, decimals=2),
            count(arm.units),
            percent(arm.units / total, decimals=2) if arm.units is not None and total else NONE,
        )
        for arm in arms
    )
    names = ("Arm", "Designed share", "Units received", "Received share")
    table = Table("Units by arm", tuple(Column(n, i > 0) for i, n in enumerate(names)), body)
    return TableBlock("arms", "Units by arm", "as designed and as received", table)


def _key_figures(report: ExperimentReport) -> KeyFigures:
    if not has_money(report):
        return KeyFigures(_effect_figures(report))
    if len(report.money) == 1:
        return KeyFigures(money_figures(report.money[0], report.facts.scale_if))
    figures = [arm_figure(arm) for arm in ranked(report.money)[:MOST_ARMS]]
    revenue = sum(arm.revenue.value for arm in report.money if arm.revenue)
    currency = report.money[0].currency
    total = KeyFigure("Incremental revenue", short_minor(revenue, currency), "all arms together")
    return KeyFigures((total, *figures))


def _effect_figures(report: ExperimentReport) -> tuple[KeyFigure, ...]:
    """Difference, lift, evidence and size; for several arms one difference each."""
    effects = primary_effects(report)
    facts = report.facts
    scale = scale_of(facts.primary, [estimate for _, estimate in effects])
    units = sum(arm.units or 0 for arm in facts.arms)
    if not units and effects:
        units = effects[0][1].n_control + sum(estimate.n_arm for _, estimate in effects)
    size = KeyFigure(f"{clean(facts.unit, 40).capitalize()}s", count(units), "in all arms")
    metric = plain_name(facts.primary.name)
    if len(effects) != 1:
        figures = [
            KeyFigure(f"{clean(estimate.arm, 40)}: {metric}", *_difference(estimate, scale))
            for _, estimate in effects[:MOST_ARMS]
        ]
        return (*figures, size)
    estimate = effects[0][1]
    low, high = estimate.relative_ci_low, estimate.relative_ci_high
    span = f"{percent(low, signed=True)} to {percent(high, signed=True)}"
    return (
        KeyFigure(metric.capitalize(), *_difference(estimate, scale)),
        KeyFigure("Lift", percent(estimate.relative, signed=True), span if low is not None else ""),
        KeyFigure("p-value", p_value(estimate.p_value), "two-sided"),
        size,
    )


def _difference(estimate: Estimate, scale: Scale) -> tuple[str, str]:
    """The difference with its sign, and its interval."""
    if estimate.status is not Status.OK or estimate.value is None:
        return NONE, status_word(estimate.status)
    points = " pp" if scale.points else ""
    bounds = scale.interval(estimate.ci_low, estimate.ci_high)
    return f"{scale.value(estimate.value)}{points}", f"{percent(estimate.ci_level)}: {bounds}"


def _decision(report: ExperimentReport) -> tuple[Block, ...]:
    """What the rule says, and the rule; without one, that there is none."""
    facts = report.facts
    rule = rule_sentence(facts.scale_if, facts.stop_if)
    when = registration_sentence(
        facts.registered_on, facts.started_on, exploratory=facts.exploratory
    )
    if facts.scale_if is None:
        return (Callout("Decision", "No verdict.", (rule,), "open"),)
    if not report.money:
        lead = "No verdict: the money of this experiment was not computed."
        return (Callout("Decision", lead, (rule, when), "open"),)
    if len(report.money) > 1:
        lead, cohorts = arms_lead([(clean(m.arm, 60), m.verdict) for m in report.money]), ""
    else:
        arm = report.money[0]
        lead = decision_lead(arm.verdict, arm.cohorts)
        cohorts = cohort_sentence(arm.cohorts)
    notes = [sentence(clean(note, 300)) for m in report.money for note in m.notes]
    texts = (_doubts(report), cohorts, rule, when, *dict.fromkeys(notes))
    return (Callout("Decision", lead, tuple(text for text in texts if text), _tone(report.money)),)


def _doubts(report: ExperimentReport) -> str:
    """What speaks against the comparison itself, beside the verdict that rests on it."""
    found = [check for check in integrity_checks(report) if check.code not in DELIVERY]
    return f"{flagged_sentence(found)} Explain it before acting." if found else ""


def _tone(arms: Sequence[MoneyFacts]) -> str:
    verdicts = {arm.verdict for arm in arms}
    if verdicts == {"stop"}:
        return "bad"
    return "good" if "scale" in verdicts else "open"
