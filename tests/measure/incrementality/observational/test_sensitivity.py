"""Closed forms of sensitivity against the numbers of their papers."""

import math

import numpy as np
import pytest

from measure.incrementality.observational import sensitivity
from measure.incrementality.observational.linear import partialled, regression
from measure.incrementality.observational.sample import Sample
from measure.incrementality.observational.sensitivity import Strength
from tests.measure.incrementality.observational.worlds import world


def sample(n: int = 800, effect: float = 0.5) -> Sample:
    return sample_of_frame(world(n, effect, 1))


def sample_of_frame(frame) -> Sample:
    return Sample(
        outcome=frame["y"].to_numpy(),
        treated=(frame["arm"] == "yes").to_numpy(float),
        covariates={name: frame[[name]].to_numpy() for name in "abc"},
        instruments=np.empty((len(frame), 0)),
        dimensions={},
        seed=1,
    )


def test_robustness_values_of_the_darfur_study():
    # Cinelli and Hazlett 2020, table 1: estimate 0.097, se 0.023, 783 degrees of freedom.
    statistic = 4.184
    assert round(sensitivity.robustness_value(statistic, 783), 3) == 0.139
    assert round(sensitivity.robustness_value(statistic, 783, 0.95), 3) == 0.076
    assert sensitivity.robustness_value(1.0, 783, 0.95) == 0.0


def test_e_values_of_breastfeeding_and_infant_deaths():
    # VanderWeele and Ding 2017: risk ratio 3.9 (1.8 to 8.7) has E-values 7.26 and 3.0.
    value, limit = sensitivity.e_values(3.9, 1.8, 8.7)
    assert round(value, 2) == 7.26
    assert round(limit, 1) == 3.0
    assert sensitivity.e_values(1 / 3.9, 1 / 8.7, 1 / 1.8) == pytest.approx((value, limit))
    assert sensitivity.e_values(1.1, 0.9, 1.3)[1] == 1.0


def test_a_confounder_at_the_robustness_value_takes_all_of_the_effect():
    # Cinelli and Hazlett 2020, section 4.2: by definition of the robustness value.
    rest = partialled(sample())
    value = sensitivity.robustness_value(rest.effect / rest.classical_se, rest.dof)
    assert Strength(value, value).bias(rest) == pytest.approx(abs(rest.effect), rel=1e-12)


@pytest.mark.parametrize("effect", [0.5, -0.5])
@pytest.mark.parametrize("strength", [Strength(0.01, 0.02), Strength(0.1, 0.3)])
def test_a_planted_confounder_moves_the_regression_by_exactly_its_bias(effect, strength):
    units = sample(effect=effect)
    rest = partialled(units)
    plant = sensitivity.planted(units, strength)
    # The column joins the model as it is: squares would be further covariates.
    terms = {**units.terms, "planted": plant[:, None]}
    wider = Sample(
        units.outcome, units.treated, units.covariates, units.instruments, {}, units.seed
    )
    wider.__dict__["terms"] = terms
    found = regression(wider).everybody[0]
    expected = rest.effect - math.copysign(strength.bias(rest), rest.effect)
    assert found == pytest.approx(expected, abs=1e-9)


def test_benchmarks_name_the_covariate_that_confounds_most():
    units = sample()
    name, _ = sensitivity.strongest(units, partialled(units))
    assert name == "a"
