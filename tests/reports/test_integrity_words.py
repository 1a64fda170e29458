"""What reconciliation flags about an experiment reaches the words of its page."""

from dataclasses import replace

import pytest

from measure.results import Check, Outcome, Severity
from reports.site import site_files
from reports.text import Wording, cause_sentence, wording
from tests.reports import sample
from tests.reports.test_pages import text_of

PAGE = "experiment-win-back-2025.html"
TITLES = {
    "G1": "Control units reached by the tested campaigns",
    "G3": "Persons in more than one arm",
    "G4": "Reached before they were assigned",
    "G7": "Other campaigns in the arms",
}


def page_with(*codes: str, outcome: Outcome = Outcome.FLAGGED) -> str:
    """The experiment's page where exactly these integrity checks have an outcome."""
    report = sample.winback()
    account = report.reconciliation
    assert account is not None
    others = [c for c in account.reconciliation.checks if not c.code.startswith("G")]
    checks = [Check(code, TITLES[code], outcome, f"Seen by {code}.") for code in codes]
    changed = replace(account.reconciliation, checks=(*others, *checks))
    report = replace(report, reconciliation=replace(account, reconciliation=changed))
    return text_of(site_files(replace(sample.site(), experiments=(report,)))[PAGE])


def test_a_page_whose_integrity_holds_says_caused() -> None:
    text = page_with("G1", "G3", outcome=Outcome.PASSED)
    assert "every check that applies passed" in text
    assert "Reconciliation flagged" not in text


@pytest.mark.parametrize("code", ["G3", "G4", "G7"])
def test_a_doubt_about_the_comparison_takes_the_word_away(code: str) -> None:
    text = page_with(code)
    named = f"Reconciliation flagged: {TITLES[code]} ({code})."
    assert f"{named} Explain it before acting." in text
    assert "not every check passed" in text
    assert "caused by the treatment" not in text
    assert "1 check needs a look before anybody acts on this." in text
    assert f"Seen by {code}." in text


def test_who_was_reached_leaves_the_effect_of_assignment_standing() -> None:
    text = page_with("G1")
    assert "caused by the assignment" in text
    assert "every check that applies passed" not in text
    assert "complier_effect" in text
    assert "Explain it before acting" not in text


def test_a_check_that_could_not_run_is_not_passed() -> None:
    assert "not every check passed" in page_with("G3", outcome=Outcome.FAILED)


def test_words_alone() -> None:
    passed = Check("X1", "Arms", Outcome.PASSED, "")
    reached = Check("G1", TITLES["G1"], Outcome.FLAGGED, "", Severity.WARNING)
    crossed = Check("G3", TITLES["G3"], Outcome.FLAGGED, "", Severity.WARNING)
    assert wording([passed, reached], randomised=True) is Wording.CAUSED
    assert wording([passed, crossed], randomised=True) is Wording.QUALIFIED
    assert wording([reached], randomised=True) is Wording.ASSOCIATED  # nothing passed
    assert "caused" not in cause_sentence(Wording.QUALIFIED, "customer", (), (crossed,))
