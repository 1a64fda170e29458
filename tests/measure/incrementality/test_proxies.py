"""Proxy metrics: effects across experiments, with sampling error taken out."""

from dataclasses import replace

import numpy as np
import pytest

from measure.errors import InputError
from measure.incrementality.difference import difference
from measure.incrementality.proxies import (
    FEWEST,
    PairedEffect,
    Population,
    check_proxy,
    fit,
    paired_effect,
)
from measure.moments import Moments
from measure.results import Status


def world(seed: int, experiments: int, correlation: float, noise: float) -> list[PairedEffect]:
    """Pairs whose true effects have unit variance; sampling errors are correlated by 0.4."""
    rng, shared = np.random.default_rng(seed), 0.4
    spread = np.array([[1.0, correlation], [correlation, 1.0]])
    found = []
    for place in range(experiments):
        se = noise * rng.uniform(0.6, 1.4, 2)
        errors = np.outer(se, se) * np.array([[1.0, shared], [shared, 1.0]])
        seen = rng.multivariate_normal(rng.multivariate_normal([0.2, 0.1], spread), errors)
        found.append(PairedEffect(str(place), seen[0], se[0], seen[1], se[1], shared))
    return found


def test_without_noise_the_fit_is_the_sample_covariance():
    # Closed form: the maximum-likelihood estimate of a bivariate normal.
    pairs = world(1, 40, 0.7, 1e-4)
    points = np.array([(p.proxy, p.target) for p in pairs])
    fitted = fit(pairs)
    assert fitted.mean == pytest.approx(points.mean(axis=0), abs=1e-3)
    assert fitted.covariance == pytest.approx(np.cov(points.T, bias=True), abs=1e-3)


def test_noise_is_taken_out_of_correlation_and_slope():
    # Truth .8 for both; regressing estimates flattens the slope to about .8 / (1 + noise²).
    pairs = world(2, 300, 0.8, 1.0)
    points = np.array([(p.proxy, p.target) for p in pairs])
    naive = float(np.cov(points.T)[0, 1] / points[:, 0].var(ddof=1))
    fitted = fit(pairs)
    assert fitted.slope == pytest.approx(0.8, abs=0.12)
    assert fitted.correlation == pytest.approx(0.8, abs=0.12)
    assert naive < 0.65


def test_prediction_shrinks_a_noisy_proxy():
    # Closed form: slope .5 on a proxy effect halved by noise as large as its spread.
    population = Population(np.zeros(2), np.array([[1.0, 0.5], [0.5, 1.0]]))
    mean, sd = population.predict(1.0, 1.0)
    assert mean == pytest.approx(0.25)
    assert sd == pytest.approx(np.sqrt(1 - 0.25 * 0.5))


def test_a_pair_from_moments_has_the_lift_and_error_of_the_difference():
    # Source: measure.incrementality.difference, which is held against published packages.
    rng = np.random.default_rng(4)
    visit = rng.binomial(1, 0.3, (2, 4_000)) * 1.0
    spend = visit * rng.exponential(10, (2, 4_000))
    control, arm = (
        Moments.from_values(("spend", "visit"), np.c_[spend[i], visit[i]]) for i in (0, 1)
    )
    pair = paired_effect("x", control, arm)
    plain = difference(control.outcome(), arm.outcome())
    assert pair.target == pytest.approx(plain.relative, rel=1e-12)
    assert pair.target_se == pytest.approx(plain.relative_se, rel=1e-12)
    assert 0.5 < pair.error_correlation < 0.9  # spend is visit times an independent amount


def test_a_pair_without_a_base_is_left_out():
    nothing = Moments.from_values(("y", "x"), np.zeros((5, 2)))
    assert paired_effect("x", nothing, nothing) is None


def test_too_few_experiments_are_insufficient():
    found = check_proxy(world(5, FEWEST - 1, 0.9, 0.3), proxy="visit", target="spend")
    assert found.status is Status.INSUFFICIENT
    assert found.correlation is None
    assert found.verdict is None


def test_effects_that_do_not_differ_teach_nothing():
    same = [replace(p, proxy=0.02 + p.proxy / 1e3) for p in world(6, 12, 0.5, 1.0)]
    found = check_proxy(same, proxy="visit", target="spend")
    assert found.status is Status.DEGENERATE
    assert found.note.startswith("effects on visit differ no more")


def test_a_good_proxy_and_a_bad_one():
    good = check_proxy(world(7, 40, 0.99, 0.1), proxy="visit", target="spend")
    bad = check_proxy(world(8, 40, 0.0, 0.1), proxy="visit", target="spend")
    assert good.verdict == "strong"
    assert good.left_out >= 0.8
    assert bad.verdict == "weak"
    assert bad.correlation.ci_low < 0 < bad.correlation.ci_high
    assert good.same_sign > bad.same_sign


@pytest.mark.parametrize("field", ["proxy_se", "target_se", "error_correlation"])
def test_impossible_errors_are_refused(field):
    with pytest.raises(InputError, match=field):
        replace(world(9, 1, 0.5, 1.0)[0], **{field: -1.0})


@pytest.mark.validation
@pytest.mark.parametrize(("experiments", "correlation"), [(15, 0.0), (20, 0.8), (30, 0.95)])
def test_intervals_cover_the_true_correlation_and_slope(experiments, correlation, record_property):
    # Source: nominal 95 %; 120 worlds of 88 % lie below 0.80 once in a thousand.
    worlds, covered, sloped = 120, 0, 0
    for seed in range(worlds):
        found = check_proxy(
            world(seed, experiments, correlation, 0.5), proxy="x", target="y", seed=seed
        )
        if found.status is not Status.OK:
            continue
        covered += found.correlation.ci_low <= correlation <= found.correlation.ci_high
        sloped += found.slope.ci_low <= correlation <= found.slope.ci_high
    record_property("proxy check", f"{experiments} experiments, true correlation {correlation}")
    record_property("correlation covered", f"{100 * covered / worlds:.0f} %")
    record_property("slope covered", f"{100 * sloped / worlds:.0f} %")
    assert min(covered, sloped) >= 0.88 * worlds
