"""Every sentence about an experiment, each a small function of numbers.

The words for probabilities are fixed, an open or a bad result gets a sentence as good as a fine
one, and ``caused`` is said only of a randomised design whose checks all passed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from designs.decision_rule import DecisionRule, parse_rule
from measure.results import Check, GuardrailVerdict, Outcome, Severity, Status
from reports.money import CohortVerdict, MoneyFacts
from reports.numbers import count, day, money_short, noun, percent, probability
from reports.words import LADDER, clean, listed, outcome_word, plain_name, plural, sentence, verdict

_STATUS_SENTENCE = {
    Status.INSUFFICIENT: "there are too few units for an honest interval",
    Status.DEGENERATE: "the metric does not vary, so there is nothing to compare",
    Status.INVALID: "the data break a rule of the design",
    Status.NOT_CONVERGED: "the sampler did not converge, so its numbers are withheld",
}

_STOPS = {
    "G5": "the arms did not receive the units they were meant to",
    "X1": "an arm received too few units",
    "X2": "too many metric values are missing",
}
_DECISIONS = ("scale", "hold", "stop")
DELIVERY = frozenset({"G1", "G2"})
"""Checks of who was reached: the effect of assignment stands, that of being reached differs."""
DELIVERED_ANYWAY = (
    "The effect of being reached differs from it; `complier_effect` estimates that where the plan "
    "names `exposure`."
)


class Wording(StrEnum):
    """How far the language may go."""

    CAUSED = "caused"
    """Randomised, and every check that applies passed."""
    QUALIFIED = "qualified"
    """Randomised, but a check was flagged: verbs of effect, never ``caused``."""
    ASSOCIATED = "associated"
    """Not randomised, or a check that decides about it is missing: no verb of effect."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One arm's effect on the primary metric, with the texts that may be printed of it.

    ``amount`` is the size without a sign and with its unit, ``size`` the same without the unit;
    ``interval`` has signs.
    """

    arm: str
    value: float | None
    low: float | None
    high: float | None
    amount: str
    interval: str
    size: str = ""
    status: Status = Status.OK

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def against_cost(p: float, hurdle: float, currency: str) -> str:
    """Compare a return with its hurdle in words: very probably more than it cost."""
    bar = "it cost" if hurdle == 1 else f"the hurdle of {money_short(hurdle, currency)}"
    if 1 - LADDER[-1][0] < p < LADDER[-1][0]:
        return f"as likely more as less than {bar}"
    side = "more" if p >= 0.5 else "less"
    return f"{verdict(max(p, 1 - p))} {side} than {bar}"


def wording(checks: Iterable[Check], *, randomised: bool) -> Wording:
    """Decide how far the language may go; nothing passed means nothing is known."""
    seen = [
        check
        for check in checks
        if check.outcome is not Outcome.NOT_APPLICABLE and check.code not in DELIVERY
    ]
    grave = [c for c in seen if c.outcome is not Outcome.PASSED and c.severity is not Severity.NOTE]
    if not randomised or not any(check.outcome is Outcome.PASSED for check in seen):
        return Wording.ASSOCIATED
    if any(check.severity is Severity.STOP for check in grave):
        return Wording.ASSOCIATED
    return Wording.QUALIFIED if grave else Wording.CAUSED


def per_unit_spent(roi: float, money: MoneyFacts) -> str:
    """Word a return: €1.61 of margin for each euro spent."""
    of_margin = " of margin" if money.basis == "margin" else ""
    return f"{money_short(roi, money.currency)}{of_margin} for each {noun(money.currency)} spent"


def money_headline(name: str, arms: Sequence[MoneyFacts], how: Wording) -> str:
    """Say what was returned for each unit of currency spent, the best arm first."""
    ranked = sorted((m for m in arms if m.roi is not None), key=lambda m: (-(m.roi or 0), m.arm))
    if not ranked:
        return f"What {name} returned cannot be said yet"
    best = ranked[0]
    subject = name if len(arms) == 1 else clean(best.arm, 60)
    verb = "goes with" if how is Wording.ASSOCIATED else "returned"
    text = f"{subject} {verb} {per_unit_spent(best.roi or 0, best)}"
    if len(ranked) > 1:
        others = [f"{clean(m.arm, 60)} {money_short(m.roi, m.currency)}" for m in ranked[1:]]
        return f"{text}, {listed(others, 2)}"
    if best.probability_above is None:
        return text
    return f"{text}, {against_cost(best.probability_above, best.hurdle, best.currency)}"


def money_deck(money: MoneyFacts, *, several: bool = False) -> str:
    """Put a return's interval and the chance of a loss in words."""
    if money.roi_low is None or money.roi_high is None:
        return ""
    who = f"{clean(money.arm, 60)}: between" if several else "Between"
    low, high = (money_short(x, money.currency) for x in (money.roi_low, money.roi_high))
    text = f"{who} {low} and {high} with {percent(money.ci_level)} probability."
    if money.probability_above is None:
        return text
    missed = "it lost money" if money.hurdle == 1 else "it missed the hurdle"
    return f"{text} The chance that {missed} is {probability(1 - money.probability_above)}."


def metric_phrase(name: str, kind: str) -> str:
    """A metric inside a sentence: the conversion rate, spend."""
    words = plain_name(name)
    if kind != "proportion":
        return words
    return f"the {words}" if words.endswith("rate") else f"the {words} rate"


def effect_headline(name: str, metric: str, effects: Sequence[Effect], how: Wording) -> str:
    """Say what changed in the primary metric: clear effects first, then what stays open."""
    usable = [e for e in effects if e.status is Status.OK and e.value is not None]
    if not usable:
        reason = _STATUS_SENTENCE.get(effects[0].status, "") if effects else "nothing was estimated"
        return f"No answer on {metric} yet: {reason}"
    clear = sorted((e for e in usable if e.clear), key=lambda e: (-(e.value or 0), e.arm))
    single = len(effects) == 1
    if not clear:
        who = name if single else "either arm" if len(effects) == 2 else "any arm"
        spread = f": between {usable[0].interval.replace(' to ', ' and ')}" if single else ""
        return f"Whether {who} changed {metric} is still open{spread}"
    subject = [name if single else clean(effect.arm, 60) for effect in clear]
    first = f"{subject[0]} {_verb(clear[0], how)} {metric} by {clear[0].amount}"
    rest = [
        f"{who} {'' if _same_side(clear[0], e) else _verb(e, how) + ' it '}by {e.size or e.amount}"
        for who, e in zip(subject[1:], clear[1:], strict=True)
    ]
    return ", ".join([first, listed(rest, 2)]) if rest else first


def effect_deck(effect: Effect, level: float, relative: str, *, several: bool = False) -> str:
    """Put an effect's interval in words."""
    if effect.status is not Status.OK or effect.value is None:
        return f"{clean(effect.arm, 60)}: {_STATUS_SENTENCE.get(effect.status, 'no estimate')}."
    who = f"{clean(effect.arm, 60)}: the" if several else "The"
    text = f"{who} {percent(level)} interval runs from {effect.interval}"
    return f"{text}; relative to control, {relative}." if relative else f"{text}."


def invalid_headline(checks: Sequence[Check]) -> str:
    """Say that nothing can be concluded, and which check says so."""
    stops = stopping(checks)
    if not stops:
        return "No conclusion can be drawn: the data break a rule of the design"
    reason = _STOPS.get(stops[0].code, f"the check “{clean(stops[0].title, 80)}” stands against it")
    return f"No conclusion can be drawn: {reason}"


def invalid_deck(checks: Sequence[Check]) -> str:
    """Say what was found, and what has to happen before a lift is shown."""
    found = " ".join(sentence(clean(check.message, 600)) for check in stopping(checks))
    return f"{found} No lift is shown on this page until that is explained.".strip()


def stopping(checks: Iterable[Check]) -> list[Check]:
    """Checks that forbid a conclusion."""
    bad = {Outcome.FLAGGED, Outcome.FAILED}
    return [c for c in checks if c.severity is Severity.STOP and c.outcome in bad]


def check_summary(checks: Sequence[Check]) -> str:
    """Count outcomes: 9 checks: 7 passed, 1 flagged, 1 not applicable."""
    if not checks:
        return "No check was run."
    found = Counter(check.outcome for check in checks)
    parts = [f"{count(found[o])} {outcome_word(o)}" for o in Outcome if found[o]]
    return f"{plural(len(checks), 'check')}: {', '.join(parts)}."


def decision_lead(overall: str | None, cohorts: Sequence[CohortVerdict]) -> str:
    """The decision in bold: Scale; of 12 cohorts scale 5, hold 5 and stop 2."""
    if cohorts:
        found = Counter[str](cohort.verdict for cohort in cohorts)
        parts = [f"{word} {count(found[word])}" for word in _DECISIONS if found[word]]
        if overall:
            return f"{overall.capitalize()}; of {plural(len(cohorts), 'cohort')} {listed(parts)}."
        return f"{', '.join(parts).capitalize()} of {plural(len(cohorts), 'cohort')}."
    return f"{overall.capitalize()}." if overall else "No decision."


def arms_lead(arms: Sequence[tuple[str, str | None]]) -> str:
    """The decision on several arms in bold: Scale A and B. Stop C."""
    texts = []
    for word in _DECISIONS:
        names = [name for name, verdict_word in arms if verdict_word == word]
        if names:
            texts.append(f"{word.capitalize()} {listed(names)}.")
    undecided = [name for name, verdict_word in arms if verdict_word is None]
    if undecided:
        texts.append(f"No verdict on {listed(undecided)}.")
    return " ".join(texts)


def cohort_sentence(cohorts: Sequence[CohortVerdict]) -> str:
    """Name the cohorts to scale and to stop; those to hold are in the chart."""
    texts = []
    for verdict_word in ("scale", "stop"):
        names = [clean(c.value, 60) for c in cohorts if c.verdict == verdict_word]
        if names:
            texts.append(f"{verdict_word.capitalize()}: {listed(names)}.")
    return " ".join(texts)


def rule_words(text: str) -> str:
    """A decision rule as written, in words: the chance … is at least 80%."""
    rule = parse_rule(text)
    bound = "at least" if rule.at_least else "at most"
    return f"the chance that {_quantity(rule)} is {bound} {percent(rule.probability)}"


def rule_sentence(scale_if: str | None, stop_if: str | None) -> str:
    """The registered rule in one sentence; ``hold`` is what neither half covers."""
    if scale_if is None:
        return "No decision rule was registered, so this page gives no verdict."
    text = f"Scale if {rule_words(scale_if)}"
    if stop_if is None:
        return f"{text}; otherwise hold."
    scale, stop = parse_rule(scale_if), parse_rule(stop_if)
    if (scale.quantity, scale.above) == (stop.quantity, stop.above):
        bound = "at least" if stop.at_least else "at most"
        return f"{text}, stop if it is {bound} {percent(stop.probability)}, otherwise hold."
    return f"{text}; stop if {rule_words(stop_if)}; otherwise hold."


def registration_sentence(
    registered: date | None, started: date | None, *, exploratory: bool
) -> str:
    """Say when the rule was fixed, and whether the analysis kept to its plan."""
    if exploratory:
        return "This analysis goes beyond the plan that was frozen: read it as exploratory."
    if registered is None:
        return ""
    if started is not None and registered <= started:
        return f"The rule was registered on {day(registered)}, before the first unit was treated."
    return f"The rule was registered on {day(registered)}."


def cause_sentence(
    how: Wording, unit: str, assumptions: Sequence[str] = (), integrity: Sequence[Check] = ()
) -> str:
    """Say what the design entitles a reader to conclude, and under which assumptions.

    ``integrity`` holds the checks of the experiment's integrity that reconciliation flagged.
    """
    if how is Wording.CAUSED and integrity:
        return (
            f"Each {unit} was assigned at random, so the difference between the arms was caused by "
            f"the assignment. {flagged_sentence(integrity)} {DELIVERED_ANYWAY}"
        )
    if how is Wording.CAUSED:
        return (
            f"Each {unit} was assigned at random and every check that applies passed, so the "
            "difference between the arms was caused by the treatment."
        )
    if how is Wording.QUALIFIED:
        return (
            f"Each {unit} was assigned at random, but not every check passed: look at those below "
            "before acting on the numbers."
            + (f" {flagged_sentence(integrity)}" if integrity else "")
        )
    if assumptions:
        held = "; ".join(clean(text, 600) for text in assumptions)
        return (
            f"No {unit} was assigned at random: the numbers are associations, estimated under "
            f"these assumptions: {held}. Where one of them fails, they are not effects."
        )
    return (
        "The design does not show what the treatment did: read the numbers as an association, "
        "not as an effect."
    )


def flagged_sentence(checks: Sequence[Check]) -> str:
    """Name what reconciliation flagged, or could not look at, of an experiment's integrity."""
    names = [f"{clean(check.title)} ({clean(check.code, 20)})" for check in checks]
    return f"Reconciliation flagged: {listed(names, 9)}."


def guardrail_sentence(
    metric: str, interval: str, limit: str, harm: str, verdict: GuardrailVerdict
) -> str:
    """Say whether a guardrail's harm is ruled out by its interval."""
    name = metric[:1].upper() + metric[1:]
    if verdict is GuardrailVerdict.UNKNOWN:
        return f"{name}: there is no usable interval, so harm is not ruled out."
    said = {
        GuardrailVerdict.RULED_OUT: "is ruled out",
        GuardrailVerdict.UNDECIDED: "is not ruled out",
        GuardrailVerdict.HARMED: "has happened: the whole interval lies beyond it",
    }[verdict]
    return f"{name}: {interval}. A change {harm} {limit}, the limit set beforehand, {said}."


def _quantity(rule: DecisionRule) -> str:
    """What a rule speaks of, with its bar."""
    names = {
        "roi": "the margin returned for each unit of money spent exceeds",
        "iroas": "the revenue returned for each unit of money spent exceeds",
        "profit": "the incremental profit exceeds",
        "revenue": "the incremental revenue exceeds",
        "lift": "the lift exceeds",
    }
    bar = percent(rule.above) if rule.quantity == "lift" else f"{rule.above:g}"
    return f"{names[rule.quantity]} {bar}"


def _verb(effect: Effect, how: Wording) -> str:
    up = (effect.value or 0) > 0
    if how is Wording.ASSOCIATED:
        return "goes with higher" if up else "goes with lower"
    return "raised" if up else "lowered"


def _same_side(a: Effect, b: Effect) -> bool:
    return ((a.value or 0) > 0) == ((b.value or 0) > 0)
