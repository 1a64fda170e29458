"""Posterior of an interval: closed forms, SciPy as the oracle, and agreement with the interval."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, stats

from measure.errors import InputError
from measure.results import Estimand, Estimate, Status
from measure.value import Posterior


def estimate(**changes: object) -> Estimate:
    fields = {
        "metric": "net_revenue",
        "arm": "winback",
        "control": "holdout",
        "cohort": None,
        "estimand": Estimand.ITT,
        "estimator": "difference",
        "value": 0.7,
        "se": 0.1,
        "ci_low": 0.5,
        "ci_high": 0.9,
        "ci_level": 0.95,
        "p_value": None,
        "relative": 0.2,
        "relative_ci_low": 0.1,
        "relative_ci_high": 0.3,
        "n_control": 1000,
        "n_arm": 9000,
        "status": Status.OK,
    }
    return Estimate(**{**fields, **changes})


@pytest.mark.parametrize(("value", "se", "x"), [(0.7, 0.13, 0.43), (-2.0, 0.5, 0.0), (0.0, 1.0, 0)])
def test_a_normal_interval_gives_the_normal_posterior(value: float, se: float, x: float) -> None:
    # Source: scipy.stats.norm.sf (flat prior, normal likelihood: BDA3 section 2.5).
    reach = stats.norm.ppf(0.975) * se
    posterior = Posterior.of_interval(value, value - reach, value + reach, 0.95)
    assert posterior.above(x) == pytest.approx(stats.norm.sf(x, value, se), rel=1e-12)
    assert posterior.mean == pytest.approx(value, abs=1e-12)
    assert posterior.sd == pytest.approx(se, rel=1e-12)


def test_a_tiny_probability_keeps_its_digits() -> None:
    # Source: scipy.stats.norm.sf(37) = 5.725571222524577e-300; 1 - cdf would be 0.
    posterior = Posterior(median=0.0, sd_below=1.0, sd_above=1.0)
    assert posterior.above(37.0) == pytest.approx(5.725571222524577e-300, rel=1e-9)


@given(
    value=st.floats(-100, 100),
    below=st.floats(0.01, 50),
    above=st.floats(0.01, 50),
    x=st.floats(-300, 300),
    level=st.sampled_from([0.8, 0.9, 0.95, 0.99]),
)
def test_interval_and_probability_never_contradict(
    value: float, below: float, above: float, x: float, level: float
) -> None:
    # Source: the definition of an equal-tailed interval: low > x exactly when P(> x) > 1 - tail.
    low, high = value - below, value + above
    assume(abs(low - x) > 1e-9 and abs(high - x) > 1e-9)
    posterior = Posterior.of_interval(value, low, high, level)
    tail = (1 - level) / 2
    assert (low > x) == (posterior.above(x) > 1 - tail)
    assert (high < x) == (posterior.above(x) < tail)
    assert posterior.interval(level) == pytest.approx((low, high), abs=1e-9)


def test_mean_and_sd_of_a_lopsided_posterior() -> None:
    # Source: numerical integration of the density.
    posterior = Posterior(median=1.0, sd_below=0.5, sd_above=2.0)

    def density(x: float) -> float:
        sd = posterior.sd_above if x > posterior.median else posterior.sd_below
        return stats.norm.pdf(x, posterior.median, sd)

    def moment(power: int) -> float:
        parts = [(-6, 1.0), (1.0, 30)]
        return sum(integrate.quad(lambda x: x**power * density(x), *p)[0] for p in parts)

    assert moment(0) == pytest.approx(1, abs=1e-9)
    assert posterior.mean == pytest.approx(moment(1), abs=1e-9)
    assert posterior.sd == pytest.approx(math.sqrt(moment(2) - moment(1) ** 2), abs=1e-9)


def test_an_interval_of_no_width_is_certain() -> None:
    posterior = Posterior.of_interval(1.0, 1.0, 1.0, 0.95)
    assert [posterior.above(x) for x in (0.9, 1.0, 1.1)] == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    "numbers",
    [(1.0, 1.5, 2.0, 0.95), (math.nan, 0, 1, 0.95), (0, -1, math.inf, 0.95), (0, -1, 1, 1)],
)
def test_what_is_no_interval_is_refused(numbers: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError):
        Posterior.of_interval(*numbers)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": Status.INSUFFICIENT},
        {"status": Status.NOT_CONVERGED},
        {"ci_low": None},
        {"value": math.nan},
        {"ci_high": math.inf},
        {"ci_low": 0.8},
    ],
)
def test_an_estimate_without_an_interval_has_no_posterior(changes: dict[str, object]) -> None:
    assert Posterior.of_effect(estimate(**changes)) is None


def test_lift_has_a_posterior_of_its_own() -> None:
    # Source: P(lift > 0.1) where 0.1 is the lower bound of a 95 % equal-tailed interval.
    posterior = Posterior.of_lift(estimate())
    assert posterior is not None
    assert posterior.above(0.1) == pytest.approx(0.975, abs=1e-12)
    assert Posterior.of_lift(estimate(relative=None)) is None
