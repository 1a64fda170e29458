"""How it was measured: design, definitions, hashes, versions, and what the words mean."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from measure.results import Check
from reports.facts import ExperimentFacts, MetricFacts
from reports.numbers import count, day, is_currency, money_short, percent, period
from reports.pages.model import Prose
from reports.text import cause_sentence, rule_sentence, wording
from reports.words import clean, correction, inline, listed, method, plain_name

_WORDS = (
    ("Incremental", "What happened because of the treatment: the difference to a control group."),
    (
        "Interval",
        "Where the true value probably lies. A 95% interval misses it in about one case of twenty.",
    ),
    ("Lift", "The difference as a share of the control group's level: +5% is one twentieth more."),
    ("Return", "What came back for each unit of currency spent; 1 is break-even."),
    (
        "Partial pooling",
        "Cohorts borrow strength from each other, so that small ones are not ranked by luck.",
    ),
    ("Guardrail", "A metric that must not get worse by more than a limit set beforehand."),
)


def method_block(
    facts: ExperimentFacts, checks: tuple[Check, ...], integrity: tuple[Check, ...] = ()
) -> Prose:
    """Design, definitions, hashes and dates of one experiment."""
    how = wording((*checks, *integrity), randomised=facts.randomised)
    terms = [
        ("Hypothesis", clean(facts.hypothesis, 1000)),
        ("Design", _design(facts)),
        ("Period", _period(facts)),
        ("Metrics", listed([_metric(m) for m in facts.metrics], 12)),
        ("Methods", _methods(facts)),
        ("Cohorts", _cohorts(facts)),
        ("Cost", _cost(facts)),
        ("Decision rule", rule_sentence(facts.scale_if, facts.stop_if)),
        ("Data", clean(facts.source, 300)),
        ("Plan", _hash(facts.plan_hash)),
        ("Data hash", _hash(facts.data_hash)),
        ("Made with", versions(facts.versions, facts.generated_on)),
    ]
    shown = tuple((name, text) for name, text in terms if text)
    cause = cause_sentence(how, _unit(facts), facts.assumptions, integrity)
    return Prose("method", "How this was measured", (cause,), shown)


def words_block() -> Prose:
    """The words of the page in plain language."""
    return Prose("words", "What the words mean", terms=_WORDS, folded=True)


def versions(found: Mapping[str, str], generated_on: date) -> str:
    """Software versions and the date the page was made."""
    parts = [f"{clean(name, 40)} {clean(number, 40)}" for name, number in sorted(found.items())]
    return ", ".join([*parts, f"generated on {day(generated_on)}"])


def foot(found: Mapping[str, str], generated_on: date) -> str:
    """The line at the end of each page."""
    made = f"Truelift {clean(found.get('truelift', ''), 40)}".strip()
    return f"{made} · generated on {day(generated_on)}"


def _unit(facts: ExperimentFacts) -> str:
    return clean(facts.unit, 40)


def _design(facts: ExperimentFacts) -> str:
    control = f"Control: {clean(facts.control, 60)}."
    if not facts.randomised:
        found = [f"{clean(a.name, 60)} {count(a.units)}" for a in facts.arms if a.units is not None]
        seen = f"; {listed(found, 12)}" if found else ""
        return f"Not randomised: each {_unit(facts)} was found in its arm{seen}. {control}"
    arms = [
        f"{clean(arm.name, 60)} {percent(arm.share)}"
        + (f" ({count(arm.units)} received)" if arm.units is not None else "")
        for arm in facts.arms
    ]
    return f"Randomised by {_unit(facts)}; {listed(arms, 12)}. {control}"


def _period(facts: ExperimentFacts) -> str:
    when = period(facts.started_on, facts.ended_on)
    window = (
        f"outcomes count for {count(facts.window_days)} days from assignment"
        if facts.window_days is not None
        else ""
    )
    zone = f"time zone {clean(facts.time_zone, 40)}" if when else ""
    text = "; ".join(part for part in (when, window, zone) if part)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _metric(metric: MetricFacts) -> str:
    unit = f" in {clean(metric.unit, 20)}" if metric.unit else ""
    at = "" if metric.quantile is None else f" {metric.quantile:g}"
    if metric.horizon is not None:
        at = f" {'at' if metric.kind == 'retention' else 'up to'} {metric.horizon:g}"
    return f"{plain_name(metric.name)} ({metric.kind}{at}{unit}, {metric.role})"


def _methods(facts: ExperimentFacts) -> str:
    names = listed([inline(method(name)) for name in facts.estimators])
    lead = inline(method(facts.leading_estimator))
    text = f"{names[:1].upper()}{names[1:]}. The numbers at the top: {lead}"
    if facts.covariates:
        adjusted = listed([plain_name(name) for name in facts.covariates], 12)
        text += f". Adjusted for: {adjusted}"
    return f"{text}. Intervals cover {percent(facts.ci_level)}."


def _cohorts(facts: ExperimentFacts) -> str:
    if not facts.cohorts:
        return ""
    names = listed([plain_name(name) for name in facts.cohorts], 12)
    rule = (
        f"; several tests at once: {correction(facts.multiplicity)}" if facts.multiplicity else ""
    )
    return f"{names[:1].upper()}{names[1:]}{rule}."


def _cost(facts: ExperimentFacts) -> str:
    if facts.currency is None or not is_currency(facts.currency):
        return ""
    parts = []
    if facts.cost_per_unit:
        parts.append(f"{money_short(facts.cost_per_unit, facts.currency)} for each {_unit(facts)}")
    if facts.fixed_cost:
        parts.append(f"{money_short(facts.fixed_cost, facts.currency)} fixed")
    if facts.margin is not None:
        parts.append(f"margin {percent(facts.margin)} of revenue")
    return f"{', '.join(parts)} ({facts.currency})." if parts else ""


def _hash(digest: str | None) -> str:
    return clean(digest, 80) if digest else ""
