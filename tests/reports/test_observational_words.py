"""Where nobody was assigned, no sentence says that anything was caused."""

from measure.results import Check, Outcome
from reports.text import Effect, Wording, cause_sentence, effect_headline, wording

PASSED = Check("O1", "Identification", Outcome.PASSED, "Identified.")


def test_the_sentence_names_the_assumptions():
    how = wording([PASSED], randomised=False)
    text = cause_sentence(how, "person", ("nothing but age moves both", "units like them exist"))
    assert how is Wording.ASSOCIATED
    assert "estimated under these assumptions: nothing but age moves both; units like them" in text
    assert "associations" in text
    assert "caused" not in text


def test_the_headline_has_no_verb_of_effect():
    effect = Effect("quit", 3.4, 2.4, 4.5, "3.4 kg", "+2.4 to +4.5")
    text = effect_headline("Quitting", "weight", [effect], Wording.ASSOCIATED)
    assert text == "Quitting goes with higher weight by 3.4 kg"
