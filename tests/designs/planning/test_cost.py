"""Money and luck: closed forms, published examples and plain simulation."""

import math

import numpy as np
import pytest

from designs.decision_rule import parse_rule
from designs.experiment import Cost
from designs.planning.cost import (
    Prior,
    Stake,
    curse,
    money,
    unit_normal_loss,
    value_by_rule,
    value_of_information,
)
from measure.errors import InputError


def test_unit_normal_loss_is_the_tabled_one():
    # Source: Raiffa and Schlaifer (1961), table II: L(0) = .39894, L(1) = .08332, L(2) = .00849.
    found = [unit_normal_loss(u) for u in (0.0, 1.0, 2.0)]
    assert found == pytest.approx([0.39894, 0.08332, 0.00849], abs=5e-6)


@pytest.mark.parametrize(("mean", "sd", "se"), [(0.02, 0.05, 0.04), (-0.1, 0.05, 0.1), (0, 1, 3)])
def test_information_is_worth_what_better_decisions_bring(mean, sd, se):
    # Source: 400,000 worlds: the posterior mean's positive part over the best prior decision.
    rng = np.random.default_rng(6)
    truth = rng.normal(mean, sd, 400_000)
    seen = truth + rng.normal(0, se, len(truth))
    after = (mean / sd**2 + seen / se**2) / (sd**-2 + se**-2)
    gains = np.maximum(after, 0) - max(mean, 0)
    band = 3.3 * gains.std() / math.sqrt(len(gains))
    assert value_of_information(mean, sd, se) == pytest.approx(gains.mean(), abs=band)
    by_rule = truth * (seen > 0.03) - max(mean, 0)
    band = 3.3 * by_rule.std() / math.sqrt(len(gains))
    assert value_by_rule(mean, sd, se, 0.03) == pytest.approx(by_rule.mean(), abs=band)


def test_information_is_bounded_and_grows():
    # Perfect information at break-even is worth sd / sqrt(2π) (closed form).
    assert value_of_information(0, 2, 0) == pytest.approx(2 / math.sqrt(2 * math.pi))
    values = [value_of_information(0.3, 1, se) for se in (10, 3, 1, 0.1, 0)]
    assert values == sorted(values)
    assert value_of_information(0.3, 0, 1) == 0
    # Deciding by the posterior mean is the best rule; its hurdle makes the two equal.
    best = -0.3 * 0.5**2 / 1**2  # posterior mean is zero here
    assert value_by_rule(0.3, 1, 0.5, best) == pytest.approx(value_of_information(0.3, 1, 0.5))
    assert value_by_rule(0.3, 1, 0.5, 1.0) < value_of_information(0.3, 1, 0.5)


@pytest.mark.parametrize(
    ("effect", "se", "power", "sign", "exaggeration"),
    [(0.1, 3.28, 0.05, 0.46, 77), (2.0, 8.1, 0.06, 0.24, 9.7)],
)
def test_exaggeration_is_gelman_and_carlins(effect, se, power, sign, exaggeration):
    # Source: Gelman and Carlin (2014), both worked examples; theirs is simulated, hence the band.
    found = curse(effect, se)
    assert found.power == pytest.approx(power, abs=0.005)
    assert found.wrong_sign == pytest.approx(sign, abs=0.005)
    assert found.exaggeration == pytest.approx(exaggeration, rel=0.03)


def test_a_sharp_test_does_not_exaggerate():
    found = curse(1.0, 0.1)
    assert found.exaggeration == pytest.approx(1, abs=1e-6)
    assert found.wrong_sign < 1e-20
    assert curse(-2.0, 8.1) .exaggeration == curse(2.0, 8.1).exaggeration  # fmt: skip
    with pytest.raises(InputError):
        curse(0.0, 1.0)


def test_money_of_a_holdout_adds_up():
    # 1,000 units held out of 10,000; 20 of revenue each, lift 10 %, margin 50 %, 0.4 to treat.
    cost = Cost(per_unit=0.4, margin=0.5, currency="EUR")
    stake = Stake("mail", "revenue", 20.0, 1.5, 1_000, 10_000)
    found = money(stake, cost, Prior(0.1, 0.1, "given"), 2.0, parse_rule("P(roi > 1) >= 0.8"))
    assert found.forgone == pytest.approx(1_000 * 20 * 0.1 * 0.5)
    assert found.saved == pytest.approx(400)
    assert found.cost == pytest.approx(found.forgone - found.saved)
    assert found.decision_units == 20_000
    # Net benefit: mean .5 · 20 · .1 − .4 = .6, sd 1, seen with .5 · 1.5 = .75 (closed form above).
    assert found.information == pytest.approx(20_000 * value_of_information(0.6, 1.0, 0.75))
    assert found.perfect_information == pytest.approx(20_000 * value_of_information(0.6, 1.0, 0.0))
    # ROI above 1 with 80 %: the estimate must exceed 0.4 / 0.5 by .8416 standard errors.
    hurdle = 0.5 * (0.8 + 0.8416212335729143 * 1.5) - 0.4
    assert found.rule_value == pytest.approx(20_000 * value_by_rule(0.6, 1.0, 0.75, hurdle))
    assert found.break_even_repeats == pytest.approx(found.cost / (found.information / 2))


def test_a_refused_comparison_teaches_nothing():
    cost = Cost(per_unit=0.4, margin=0.5, currency="EUR")
    stake = Stake("mail", "revenue", 20.0, None, 5, 10_000, "too few")
    found = money(stake, cost, Prior(0.1, 0.1, "given"), 1.0)
    assert found.information == 0
    assert found.rule_value is None
    assert found.break_even_repeats is None


def test_a_holdout_that_saves_money_needs_no_break_even():
    cost = Cost(per_unit=5.0, margin=0.5, currency="EUR")
    stake = Stake("mail", "revenue", 20.0, 1.5, 1_000, 10_000)
    found = money(stake, cost, Prior(0.1, 0.1, "given"), 1.0)
    assert found.cost < 0
    assert found.break_even_repeats is None


def test_a_prior_must_be_a_belief():
    with pytest.raises(InputError):
        Prior(0.1, 0.0, "given")
