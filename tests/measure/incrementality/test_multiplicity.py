import json

import pytest

from measure.incrementality.multiplicity import benjamini_hochberg, families
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Estimand, Estimate, Status
from tests.data import fixture_file


def plan(**changes):
    base = {
        "arms": {"none": 0.5, "mail": 0.5},
        "control": "none",
        "metrics": [Metric(name="spend")],
        "cohorts": ["channel"],
    }
    return AnalysisPlan(**(base | changes))


def estimate(value, p_value, status=Status.OK):
    numbers = (0.1, 0.05, 0.0, 0.2)
    return Estimate(
        "spend", "mail", "none", Cohort("channel", value), Estimand.ITT, "difference", *numbers,
        0.95, p_value, None, None, None, 100, 100, status,
    )  # fmt: skip


def test_adjusted_p_values_equal_the_peer():
    # Source: peer_statistics.json, tt_bh.
    fixtures = json.loads(fixture_file("peer_statistics.json").read_text())["fixtures"]
    fixture = next(f for f in fixtures if f["id"] == "tt_bh")
    adjusted = benjamini_hochberg(fixture["input"]["pvalues"])
    assert adjusted == pytest.approx(fixture["expected"]["pvalue_adj"], rel=1e-12)
    assert [int(p <= 0.05) for p in adjusted] == fixture["expected"]["rejected"]


def test_a_family_judges_usable_cohorts_of_one_dimension():
    # Closed form: with two tests, .01 and .04 become .02 and .04.
    found = families(
        [
            estimate("web", 0.04),
            estimate("phone", 0.01),
            estimate("shop", None, Status.INSUFFICIENT),
        ],
        plan(),
    )
    assert len(found) == 1
    assert found[0].cohorts == ("web", "phone")
    assert found[0].p_adjusted == pytest.approx((0.04, 0.02))
    assert found[0].rejected == 2


def test_no_families_when_the_plan_wants_none():
    assert families([estimate("web", 0.04)], plan(multiplicity="none")) == ()
