"""Hierarchical families (Yekutieli 2008) by hand, and their share of false discoveries."""

import numpy as np
import pytest
from scipy import stats

from measure.incrementality.multiplicity import families
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Estimand, Estimate, Status

PLAN = AnalysisPlan(
    arms={"none": 0.4, "mail": 0.3, "call": 0.3},
    control="none",
    metrics=(Metric(name="spend"), Metric(name="visit")),
    cohorts=("channel", "city"),
    multiplicity="hierarchical",
)


def estimate(p_value, metric="spend", arm="mail", cohort=None, **changes):
    made = {
        "metric": metric, "arm": arm, "control": "none", "cohort": cohort,
        "estimand": Estimand.ITT, "estimator": "difference", "value": 0.1, "se": 0.05,
        "ci_low": 0.0, "ci_high": 0.2, "ci_level": 0.95, "p_value": p_value, "relative": None,
        "relative_ci_low": None, "relative_ci_high": None, "n_control": 100, "n_arm": 100,
        "status": Status.OK,
    }  # fmt: skip
    return Estimate(**(made | changes))


def cohorts(p_values, dimension="channel", **names):
    return [estimate(p, cohort=Cohort(dimension, f"c{i}"), **names) for i, p in enumerate(p_values)]


def test_cohorts_are_opened_by_everybodys_test():
    # By hand: everybody's four p-values .01, .02, .03, .6 become .04, .04, .04, .6 (BH, m = 4), so
    # three of four parents open; .01, .04 below them become .02, .04; below the fourth all are 1.
    found = families(
        [
            estimate(0.01),
            *cohorts([0.01, 0.04]),
            *cohorts([0.2], dimension="city"),
            estimate(0.02, arm="call"),
            estimate(0.03, metric="visit"),
            estimate(0.6, metric="visit", arm="call"),
            *cohorts([0.0001, 0.9], metric="visit", arm="call"),
        ],
        PLAN,
    )
    everybody, channel, city, closed = found
    assert (everybody.metric, everybody.arm, everybody.dimension) == ("", "", "")
    assert everybody.cohorts == ("spend: mail", "spend: call", "visit: mail", "visit: call")
    assert everybody.p_adjusted == pytest.approx((0.04, 0.04, 0.04, 0.6))
    assert everybody.rejected == 3
    assert channel.p_adjusted == pytest.approx((0.02, 0.04))
    assert channel.rejected == 2
    assert city.p_adjusted == pytest.approx((0.2,))
    assert closed.p_adjusted == (1.0, 1.0)
    assert {family.method for family in found} == {"hierarchical"}


def test_estimators_have_trees_of_their_own():
    cuped = {"estimator": "cuped"}
    found = families(
        [estimate(0.5), *cohorts([0.001]), estimate(0.001, **cuped), *cohorts([0.001], **cuped)],
        PLAN,
    )
    adjusted = {(f.estimator, f.dimension): f.p_adjusted for f in found}
    assert adjusted == {
        ("difference", ""): (0.5,),
        ("difference", "channel"): (1.0,),
        ("cuped", ""): (0.001,),
        ("cuped", "channel"): (0.001,),
    }


def test_a_test_that_is_not_usable_opens_nothing():
    found = families([estimate(None, status=Status.INSUFFICIENT), *cohorts([0.001])], PLAN)
    assert [(f.dimension, f.p_adjusted) for f in found] == [("channel", (1.0,))]
    assert families([], PLAN) == ()


@pytest.mark.parametrize("runs", [400, pytest.param(20_000, marks=pytest.mark.validation)])
def test_the_share_of_false_discoveries_stays_within_the_bound(runs):
    # Eight independent tests of everybody (four with an effect), each above five cohorts (two with
    # one). Yekutieli's bound for the whole tree is 2 × 1.44 × .05; everybody's family keeps .05,
    # here 4/8 of it. The band is four standard errors of the mean share.
    rng = np.random.default_rng(1)
    names = [(metric, arm) for metric in "abcd" for arm in ("mail", "call")]
    tree, root = [], []
    for _ in range(runs):
        tests, false = [], set()
        for place, (metric, arm) in enumerate(names):
            shift = 3.0 if place < 4 else 0.0
            tests.append(estimate(p_of(rng, shift), metric, arm))
            if not shift:
                false.add(("", f"{metric}: {arm}"))
            for i in range(5):
                below = 3.0 if shift and i < 2 else 0.0
                tests.append(estimate(p_of(rng, below), metric, arm, Cohort("city", f"c{i}")))
                if not below:
                    false.add((metric + arm, f"c{i}"))
        found = families(tests, PLAN)
        hits = [
            (f.metric + f.arm, name)
            for f in found
            for name, p in zip(f.cohorts, f.p_adjusted, strict=True)
            if p <= 0.05
        ]
        tree.append(np.mean([hit in false for hit in hits]) if hits else 0.0)
        above = [hit in false for hit in hits if not hit[0]]
        root.append(np.mean(above) if above else 0.0)
    assert np.mean(tree) <= 2 * 1.44 * 0.05 + 4 * np.std(tree) / np.sqrt(runs)
    assert np.mean(root) == pytest.approx(0.025, abs=4 * np.std(root) / np.sqrt(runs))


def p_of(rng, shift):
    return float(2 * stats.norm.sf(abs(rng.normal(shift))))
