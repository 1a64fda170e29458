"""Which test next: closed-form cases of the prior and of the order."""

import math

import pytest

from designs.planning.cost import value_of_information
from designs.planning.ranking import Evidence, prior_from, rank
from tests.designs.planning import plans

COST = {"cost": {"per_unit": 0.0, "margin": 0.4, "currency": "EUR"}}


def test_nothing_known_is_said():
    found = prior_from([])
    assert (found.mean, found.sd) == (0.05, 0.05)
    assert "no test has been analysed" in found.source


def test_one_test_is_widened_by_the_default_spread():
    # Source: definition; one test cannot tell the spread between tests, so .05 stands for it:
    # weight 1 / (se² + .05²), new test sqrt(.05² + se² + .05²).
    found = prior_from([Evidence("a", 0.08, 0.02, ("email",))])
    assert found.mean == pytest.approx(0.08)
    assert found.sd == pytest.approx(math.sqrt(0.05**2 + 0.02**2 + 0.05**2))


def test_several_tests_are_pooled_by_der_simonian_and_laird():
    # Equal standard errors (closed form): τ² is the sample variance minus se².
    lifts, se = (0.02, 0.06, 0.16), 0.03
    found = prior_from([Evidence(str(i), lift, se) for i, lift in enumerate(lifts)])
    mean = sum(lifts) / 3
    tau2 = sum((lift - mean) ** 2 for lift in lifts) / 2 - se**2
    assert found.mean == pytest.approx(mean)
    assert found.sd == pytest.approx(math.sqrt(tau2 + (tau2 + se**2) / 3))


def test_tests_that_agree_have_no_spread():
    found = prior_from([Evidence(str(i), 0.05, 0.03) for i in range(4)])
    assert found.sd == pytest.approx(0.03 / 2)


def test_tests_on_the_same_channel_count_alone():
    evidence = [Evidence("a", 0.08, 0.02, ("email",)), Evidence("b", 0.5, 0.02, ("sms",))]
    assert prior_from(evidence, ("email",)).mean == pytest.approx(0.08)
    assert prior_from(evidence, ("tv",)).mean == pytest.approx(0.29)


def test_the_more_a_holdout_teaches_for_its_money_the_earlier_it_stands():
    # At break-even prior information is worth closed-form amounts; costs scale with the holdout.
    unsure = plans.plan(plans.experiment("unsure", **COST), lift=0.02, lift_sd=0.4)
    sure = plans.plan(plans.experiment("sure", **COST), lift=0.02, lift_sd=0.02)
    free = plans.plan(plans.experiment("free", **COST), lift=-0.02, lift_sd=0.02)
    nothing = plans.plan(plans.experiment("nothing"))
    ranking = rank([sure, nothing, unsure, free], [("broken", "no history")])
    assert [c.experiment for c in ranking.candidates] == [
        "free", "unsure", "sure", "broken", "nothing",
    ]  # fmt: skip
    assert [c.rank for c in ranking.candidates] == [1, 2, 3, 4, 5]
    first, second = ranking.candidates[:2]
    assert first.ratio is None
    assert first.cost < 0
    (money,) = unsure.money
    assert second.ratio == pytest.approx(money.information / money.cost)
    past = plans.history(plans.experiment()).outcomes["revenue"].moments
    se = 0.4 * math.sqrt(past.variance / 2_000 + past.variance / 18_000)
    worth = 20_000 * value_of_information(0.4 * 7 * 0.02, 0.4 * 7 * 0.4, se)
    assert second.information == pytest.approx(worth)
    assert "give cost" in ranking.candidates[-1].note
