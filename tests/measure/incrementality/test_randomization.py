"""Randomisation inference: against full enumeration, exact size, and rerandomised designs."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom

from measure.incrementality.contrast import Contrast
from measure.incrementality.randomization import infer_randomized, randomization


def every_split(n, treated):
    """All assignments of ``treated`` of ``n`` units, as codes 0 and 1."""
    chosen = list(itertools.combinations(range(n), treated))
    found = np.zeros((len(chosen), n), dtype=np.int64)
    for row, units in enumerate(chosen):
        found[row, list(units)] = 1
    return found


def dealt(rng, n, r):
    return np.array([rng.permutation(n) % 2 for _ in range(r)])


def band(n, p):
    """Counts that a binomial exceeds with chance 1e-3, both sides together."""
    return binom.ppf([0.0005, 0.9995], n, p)


def test_all_splits_give_the_p_value_that_scipy_enumerates():
    y = np.array([1.2, 3.1, 0.4, 2.2, 5.0, 4.1, 7.3, 2.9, 6.6, 3.8])
    real = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    splits = every_split(10, 5)
    others = splits[(splits != real).any(axis=1)]
    found = randomization(y, real, others, 1, 0)
    expected = stats.permutation_test(  # Welch's statistic over all 252 splits
        (y[real == 1], y[real == 0]),
        lambda a, b: stats.ttest_ind(a, b, equal_var=False).statistic,
        n_resamples=math.inf,
        alternative="two-sided",
    )
    assert found.draws == 251
    assert found.p_value() == pytest.approx(expected.pvalue, rel=1e-12)
    welch = stats.ttest_ind(y[real == 1], y[real == 0], equal_var=False)
    assert found.value / found.se == pytest.approx(welch.statistic, rel=1e-12)


@pytest.mark.parametrize("effect", [-2.0, 0.0, 0.7])
def test_taking_the_effect_away_by_hand_gives_the_same_p_value(effect):
    rng = np.random.default_rng(4)
    y, drawn = rng.lognormal(0, 1, 24), dealt(rng, 24, 199)
    real = rng.permutation(24) % 2
    by_hand = randomization(y - effect * real, real, drawn, 1, 0).p_value()
    assert randomization(y, real, drawn, 1, 0).p_value(effect) == pytest.approx(by_hand, abs=1e-12)


def test_the_interval_holds_what_is_not_rejected():
    rng = np.random.default_rng(5)
    for _ in range(20):
        y, drawn, real = rng.lognormal(0, 1, 30), dealt(rng, 30, 199), rng.permutation(30) % 2
        found = randomization(y, real, drawn, 1, 0)
        low, high = found.interval(0.9)
        inside = np.linspace(low + 1e-4 * found.se, high - 1e-4 * found.se, 41)
        assert min(map(found.p_value, inside)) > 0.1
        for end, step in ((low, -1e-4), (high, 1e-4)):
            assert found.p_value(end + step * found.se) <= 0.1
        whole = infer_randomized(Contrast(found.value, found.se, 1, 0.5, 0.2), found, 0.9)
        assert (whole.p_value <= 0.1) == (not whole.ci_low <= 0 <= whole.ci_high)
        assert whole.relative_ci_high - 0.5 == pytest.approx(
            (whole.ci_high - found.value) / found.se * 0.2
        )


def test_scale_and_origin_of_the_outcome_do_not_matter():
    rng = np.random.default_rng(6)
    y, drawn, real = rng.normal(size=20), dealt(rng, 20, 199), rng.permutation(20) % 2
    plain, moved = (randomization(v, real, drawn, 1, 0) for v in (y, 1e9 + 100 * y))
    assert moved.p_value() == plain.p_value()
    swapped = randomization(y, 1 - real, 1 - drawn, 1, 0)
    assert swapped.p_value() == plain.p_value()
    assert swapped.value == pytest.approx(-plain.value)


@pytest.mark.parametrize("kind", ["mean", "proportion"])
def test_size_and_coverage_are_exact_in_twenty_units(kind):
    # Complete randomisation of 20 skewed outcomes, 39 draws: P(p ≤ .05) is 2/40 (ties below).
    rng, runs, effect = np.random.default_rng(7), 1_500, 3.0
    hits = 0
    for _ in range(runs):
        y = rng.exponential(1, 20) ** 2 if kind == "mean" else (rng.random(20) < 0.4) * 1.0
        real, drawn = rng.permutation(20) % 2, dealt(rng, 20, 39)
        found = randomization(y + effect * real * (kind == "mean"), real, drawn, 1, 0, kind)
        hits += found is not None and found.p_value(effect * (kind == "mean")) <= 0.05
    low, high = band(runs, 0.05)
    assert hits <= high
    assert kind == "proportion" or low <= hits  # 0/1 outcomes tie, so their test may be stricter


def test_missing_outcomes_and_third_arms():
    rng = np.random.default_rng(8)
    y, real = rng.normal(size=30), np.arange(30) % 3
    drawn = np.array([rng.permutation(real) for _ in range(99)])
    assert randomization(y, real, drawn, 1, 0).draws == 99
    gaps = np.where(np.arange(30) < 3, np.nan, y)
    known = ~np.isnan(gaps)
    assert randomization(gaps, real, drawn, 1, 0).p_value() == (
        randomization(y[known], real[known], drawn[:, known], 1, 0).p_value()
    )
    # What the third arm does to everybody in it does not reach the comparison of the other two.
    moved = randomization(y + 50.0 * (real == 2), real, drawn, 1, 0)
    assert moved.p_value() == randomization(y, real, drawn, 1, 0).p_value()


def test_where_nothing_can_be_said_there_is_nothing():
    rng = np.random.default_rng(9)
    drawn = dealt(rng, 10, 99)
    real = np.arange(10) % 2
    assert randomization(np.ones(10), real, drawn, 1, 0) is None
    assert randomization(np.arange(10.0), np.eye(10, dtype=int)[0], drawn, 1, 0) is None
    assert randomization(np.arange(10.0), real, np.zeros((9, 10), dtype=int), 1, 0) is None
    # Of four units there are six splits: no p-value can be .05, so no interval has an end.
    few = randomization(np.array([1.0, 2, 4, 8]), np.array([0, 0, 1, 1]), every_split(4, 2), 1, 0)
    assert few.interval(0.95) is None
    assert infer_randomized(Contrast(1.0, 1.0, 2, None, None), few, 0.95) is None
