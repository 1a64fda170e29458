"""Shares left out, compared between arms: against scipy's tests of the same tables."""

import pytest
from scipy.stats import chi2_contingency, fisher_exact

from measure.incrementality.left_out import ERASED, left_out_check, not_asked
from measure.plan import AnalysisPlan, Metric
from measure.results import Outcome, Severity

PLAN = AnalysisPlan(
    arms={"control": 0.5, "mail": 0.5}, control="control", metrics=(Metric(name="revenue"),)
)


def check(units, gone, plan=PLAN):
    return left_out_check(ERASED, "because they asked to be erased", units, gone, plan)


def test_large_counts_are_those_of_pearson():
    units, gone = {"control": 5_000, "mail": 5_020}, {"control": 110, "mail": 160}
    found = check(units, gone)
    counts = [[gone[a] for a in units], [units[a] - gone[a] for a in units]]
    assert found.p_value == pytest.approx(chi2_contingency(counts, correction=False).pvalue)
    assert (found.outcome, found.severity) == (Outcome.FLAGGED, Severity.WARNING)
    assert found.rows == 270
    worse = check(units, {"control": 90, "mail": 200})
    assert (worse.outcome, worse.severity) == (Outcome.FLAGGED, Severity.STOP)


def test_small_counts_are_exact():
    units, gone = {"control": 40, "mail": 60}, {"control": 0, "mail": 6}
    found = check(units, gone)
    one_sided = fisher_exact([[0, 6], [40, 54]], alternative="less").pvalue
    assert found.p_value == pytest.approx(2 * one_sided)
    assert found.outcome is Outcome.PASSED


def test_nobody_left_out_and_nobody_asked_are_not_the_same():
    none = check({"control": 10, "mail": 10}, {"control": 0, "mail": 0})
    assert none.outcome is Outcome.PASSED
    assert none.message.startswith("None of 20 units is left out")
    assert not_asked(ERASED, "no consents are loaded").outcome is Outcome.NOT_APPLICABLE


def test_a_sequential_plan_gets_the_test_that_may_be_repeated():
    plan = PLAN.model_copy(update={"sequential": True})
    found = check({"control": 5_000, "mail": 5_000}, {"control": 100, "mail": 140}, plan)
    usual = check({"control": 5_000, "mail": 5_000}, {"control": 100, "mail": 140})
    assert found.p_value > usual.p_value  # the price of looking often
