"""Sentences; the fixed words and the wording rule are those of the report style."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measure.results import Check, GuardrailVerdict, Outcome, Severity, Status
from reports import statements, text, words
from reports.money import CohortVerdict
from reports.text import Effect, Wording
from tests.reports import winback as sample

EFFECT = Effect("B", 0.77, 0.49, 1.05, "$0.77 per customer", "+$0.49 to +$1.05 per customer")


def check(outcome: Outcome, severity: Severity = Severity.WARNING, code: str = "X9") -> Check:
    return Check(code, "A title", outcome, "A message", severity)


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (1.0, "almost certainly"),
        (0.99, "almost certainly"),
        (0.96, "very probably"),
        (0.80, "probably"),
        (0.61, "more likely than not"),
        (0.5, "as likely as not"),
        (0.2, "probably not"),
        (0.01, "almost certainly not"),
    ],
)
def test_fixed_words_for_probabilities(p: float, said: str) -> None:
    assert words.verdict(p) == said


@given(st.floats(min_value=0, max_value=1))
def test_words_are_symmetric(p: float) -> None:
    more, less = text.against_cost(p, 1, "EUR"), text.against_cost(1 - p, 1, "EUR")
    turned = {"more than it": "less than it", "less than it": "more than it"}
    if "as likely" not in more and p not in {0.2, 0.05, 0.01, 0.4}:
        found = next(words for words in turned if words in more)
        assert less == more.replace(found, turned[found])


def test_a_return_in_a_headline() -> None:
    money = sample.winback_money()
    assert text.money_headline("Win-back", [money], Wording.CAUSED) == (
        "Win-back returned €1.61 of margin for each euro spent, very probably more than it cost"
    )
    by_revenue = replace(money, basis="revenue")
    assert "€1.61 for each euro spent" in text.money_headline("W", [by_revenue], Wording.CAUSED)
    assert text.money_deck(money) == (
        "Between €1.04 and €2.18 with 90% probability. The chance that it lost money is 4%."
    )


def test_a_loss_gets_a_sentence_as_good() -> None:
    money = replace(sample.winback_money(), roi=0.32, probability_above=0.0024)
    assert text.money_headline("Display", [money], Wording.CAUSED) == (
        "Display returned €0.32 of margin for each euro spent, almost certainly less than it cost"
    )
    minus = replace(money, roi=-0.2)
    assert "returned −€0.20 of margin" in text.money_headline("Display", [minus], Wording.CAUSED)


def test_several_arms_are_named_best_first() -> None:
    money = sample.winback_money()
    found = text.money_headline(
        "X", [replace(money, arm="A", roi=1.2), replace(money, arm="B", roi=2.0)], Wording.CAUSED
    )
    assert found == "B returned €2.00 of margin for each euro spent, A €1.20"
    unknown = replace(money, roi=None)
    assert text.money_headline("X", [unknown], Wording.CAUSED) == (
        "What X returned cannot be said yet"
    )


def test_an_effect_in_a_headline() -> None:
    said = text.effect_headline("Mens", "spend", [EFFECT], Wording.CAUSED)
    assert said == "Mens raised spend by $0.77 per customer"
    lower = replace(EFFECT, value=-0.77, low=-1.05, high=-0.49)
    assert "lowered spend by" in text.effect_headline("M", "spend", [lower], Wording.CAUSED)
    loose = text.effect_headline("M", "spend", [EFFECT], Wording.ASSOCIATED)
    assert loose == "M goes with higher spend by $0.77 per customer"


def test_an_open_result_gets_a_sentence() -> None:
    unclear = replace(EFFECT, low=-0.1, high=0.14, interval="−$0.10 to +$0.14 per customer")
    assert text.effect_headline("Push", "spend", [unclear], Wording.CAUSED) == (
        "Whether Push changed spend is still open: between −$0.10 and +$0.14 per customer"
    )


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
def test_every_status_has_a_sentence_and_a_word(status: Status) -> None:
    missing = replace(EFFECT, value=None, low=None, high=None, status=status)
    said = text.effect_headline("Push", "spend", [missing], Wording.CAUSED)
    assert said.startswith("No answer on spend yet: ")
    assert words.status_word(status) not in {"", "ok"}
    assert "None" not in text.effect_deck(missing, 0.95, "")


def test_caused_needs_a_randomised_design_and_passed_checks() -> None:
    passed, stop = check(Outcome.PASSED), check(Outcome.FLAGGED, Severity.STOP)
    assert text.wording([passed], randomised=True) is Wording.CAUSED
    assert text.wording([passed], randomised=False) is Wording.ASSOCIATED
    assert text.wording([], randomised=True) is Wording.ASSOCIATED
    nothing = [check(Outcome.NOT_APPLICABLE, Severity.STOP)]
    assert text.wording(nothing, randomised=True) is Wording.ASSOCIATED
    assert text.wording([passed, check(Outcome.FLAGGED)], randomised=True) is Wording.QUALIFIED
    assert text.wording([passed, check(Outcome.FAILED)], randomised=True) is Wording.QUALIFIED
    assert text.wording([passed, stop], randomised=True) is Wording.ASSOCIATED
    noted = check(Outcome.FLAGGED, Severity.NOTE)
    assert text.wording([passed, noted], randomised=True) is Wording.CAUSED


@pytest.mark.parametrize("how", [Wording.QUALIFIED, Wording.ASSOCIATED])
def test_the_word_caused_is_withheld(how: Wording) -> None:
    assert "caused" not in text.cause_sentence(how, "customer")
    assert "caused" in text.cause_sentence(Wording.CAUSED, "customer")


def test_decisions() -> None:
    cohorts = [CohortVerdict("segment", f"c{i}", "scale" if i < 5 else "stop") for i in range(7)]
    assert text.decision_lead("scale", cohorts) == "Scale; of 7 cohorts scale 5 and stop 2."
    assert text.decision_lead("hold", []) == "Hold."
    found = text.arms_lead([("A", "scale"), ("B", "stop"), ("C", "scale"), ("D", None)])
    assert found == "Scale A and C. Stop B. No verdict on D."
    assert text.cohort_sentence(cohorts[4:6]) == "Scale: c4. Stop: c5."
    assert text.rule_sentence("P(roi > 1) >= 0.8", "P(roi > 1) <= 0.2") == (
        "Scale if the chance that the margin returned for each unit of money spent exceeds 1 is at "
        "least 80%, stop if it is at most 20%, otherwise hold."
    )
    assert "the lift exceeds 5%" in text.rule_sentence("P(lift > 0.05) >= 0.9", None)
    assert "no verdict" in text.rule_sentence(None, None)


def test_when_the_rule_was_fixed() -> None:
    first, later = date(2025, 9, 24), date(2025, 10, 1)
    said = text.registration_sentence(first, later, exploratory=False)
    assert said.endswith("on 24 September 2025, before the first unit was treated.")
    assert "before" not in text.registration_sentence(later, first, exploratory=False)
    assert "exploratory" in text.registration_sentence(first, later, exploratory=True)


def test_a_failed_check_leads() -> None:
    ratio = check(Outcome.FLAGGED, Severity.STOP, "G5")
    assert text.invalid_headline([ratio]) == (
        "No conclusion can be drawn: the arms did not receive the units they were meant to"
    )
    assert "“A title”" in text.invalid_headline([check(Outcome.FLAGGED, Severity.STOP)])
    assert text.invalid_deck([ratio]).startswith("A message. No lift is shown")


def test_counting_checks() -> None:
    found = [check(Outcome.PASSED), check(Outcome.PASSED), check(Outcome.FAILED)]
    assert text.check_summary(found) == "3 checks: 2 passed, 1 could not run."
    assert text.check_summary([]) == "No check was run."


def test_guardrails() -> None:
    def said(verdict: GuardrailVerdict, harm: str = "below") -> str:
        return text.guardrail_sentence("visits", "+0.1 to +0.4 pp", "−0.2 pp", harm, verdict)

    assert said(GuardrailVerdict.RULED_OUT) == (
        "Visits: +0.1 to +0.4 pp. A change below −0.2 pp, the limit set beforehand, is ruled out."
    )
    assert said(GuardrailVerdict.UNDECIDED).endswith("is not ruled out.")
    assert "has happened" in said(GuardrailVerdict.HARMED)
    assert "A change above" in said(GuardrailVerdict.RULED_OUT, "above")
    assert said(GuardrailVerdict.UNKNOWN).endswith("so harm is not ruled out.")


def test_claims() -> None:
    said = statements.claims_headline(91_000_000, 54_000_000, "EUR")
    assert said == "Platforms claimed €910k; €540k survives reconciliation"
    assert "all of it survives" in statements.claims_headline(100, 100, "EUR")
    assert "no revenue" in statements.claims_headline(0, 0, "EUR")
    assert "no claims" in statements.claims_headline(None, None, "EUR")
    deck = statements.claims_deck(10_000_000, 6_000_000, 3_000_000, "EUR")
    assert deck == (
        "€40.0k, 40% of the claims, does not hold up.",
        "The experiment says that €30.0k was caused: 50% of what survives.",
    )
    beyond = statements.claims_deck(10_000_000, 6_000_000, 3_000_000, "EUR", 2_000_000)
    assert beyond[-1].endswith(
        "more than what survives and was under test: part of it no platform claimed."
    )


def test_models_never_cause() -> None:
    said = statements.credit_headline("Search", 0.22, 0.41, 5, 4_500)
    assert said == "Search gets 22% or 41% of 4,500 conversions, depending on the model"
    assert "No rule and no Markov or Shapley model" in statements.NO_MODEL_KNOWS


def test_portfolio() -> None:
    said = statements.portfolio_headline(["scale", "hold", "no conclusion"])
    assert said == "3 experiments: 1 to scale, 1 to hold, 1 without a decision"


def test_lists_are_counted_beyond_a_few() -> None:
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed([str(i) for i in range(10)], 3) == "0, 1, 2 and 7 more"


def test_clean_keeps_letters_and_takes_the_strings_of_control() -> None:
    assert words.clean("a\x00b\u202ec\nd") == "a�b�c d"
    assert words.clean("Ünïcödé 👩‍🚀") == "Ünïcödé 👩‍🚀"
    assert len(words.clean("x" * 10_000)) == 120
