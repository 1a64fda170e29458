import math

import numpy as np
import pytest

from measure.incrementality import sampling
from measure.incrementality.bayes import Observed, overall, pool
from measure.incrementality.quadrature import Group, posterior
from measure.incrementality.sampling import diagnose


def group(seed=0, cohorts=7):
    rng = np.random.default_rng(seed)
    se = rng.uniform(0.01, 0.05, cohorts)
    return Group(rng.normal(0.06, np.hypot(se, 0.02)), se, 0.0, 0.3, 0.03)


def observed(estimates, ses):
    return [
        Observed(float(d), float(s), 0.5, 0.5 * s**2) for d, s in zip(estimates, ses, strict=True)
    ]


def test_quadrature_equals_a_brute_force_grid():
    # Reference: the joint density of (μ, τ) summed over a fine two-dimensional grid.
    g = group()
    mean, tau = np.linspace(-0.1, 0.25, 1501), (np.arange(2000) + 0.5) * 1e-4
    m, t = np.meshgrid(mean, tau, indexing="ij")
    log_density = -0.5 * (m / g.mean_scale) ** 2 - 0.5 * (t / g.tau_scale) ** 2
    for d, s in zip(g.estimate, g.se, strict=True):
        variance = t**2 + s**2
        log_density += -0.5 * np.log(variance) - 0.5 * (d - m) ** 2 / variance
    mass = np.exp(log_density - log_density.max())
    mass /= mass.sum()
    exact = posterior(g)
    assert exact.mean == pytest.approx((mass * m).sum(), rel=1e-4)
    assert exact.tau == pytest.approx((mass * t).sum(), rel=1e-3)
    assert exact.mean_sd == pytest.approx(math.sqrt((mass * (m - exact.mean) ** 2).sum()), rel=1e-3)


def test_quadrature_has_converged():
    g = group(3)
    assert posterior(g, nodes=400).tau == pytest.approx(posterior(g, nodes=200).tau, rel=1e-9)


def test_the_overall_posterior_is_conjugate():
    # Closed form: prior N(0, 2²), estimate 1 ± 1 gives mean 4/5 and variance 4/5.
    found = overall(Observed(1.0, 1.0, 0.0, 0.5), 2.0, 0.95)
    assert found.value == pytest.approx(0.8)
    assert found.sd == pytest.approx(math.sqrt(0.8))
    assert found.ci_high - found.value == pytest.approx(1.959963984540054 * math.sqrt(0.8))
    assert found.relative is None


def test_with_a_flat_prior_the_lift_is_that_of_the_delta_method():
    # Closed form: (σₜ²/c² + σ꜀² t²/c⁴)^½ with c = .5, t = .6, both means ± .01.
    found = overall(Observed(0.1, math.sqrt(2e-4), 0.5, 1e-4), 1e6, 0.95)
    se = math.sqrt(1e-4 / 0.25 + 1e-4 * 0.36 / 0.0625)
    assert found.relative_ci_high - found.relative == pytest.approx(
        1.959963984540054 * se, rel=1e-6
    )


@pytest.fixture(scope="module")
def pooled():
    groups = [observed(g.estimate, g.se) for g in (group(1), group(2, cohorts=3))]
    return groups, pool(groups, [0.3, 0.3], 0.95, seed=7)


def test_the_sampler_passes_its_gates_and_is_seeded(pooled):
    groups, found = pooled
    assert [p.complaint for p in found] == ["", ""]
    again = pool(groups, [0.3, 0.3], 0.95, seed=7)
    assert again == found


def test_cohort_posteriors_equal_quadrature(pooled):
    # Reference: E θⱼ over a fine grid of τ with μ in closed form.
    groups, found = pooled
    d, s = (np.array([getattr(o, name) for o in groups[0]]) for name in ("estimate", "se"))
    tau = np.linspace(1e-6, 0.2, 4000)[:, None]
    variance = tau**2 + s**2
    precision = (1 / variance).sum(axis=1) + 0.3**-2
    weighted = (d / variance).sum(axis=1)
    log_density = (
        -0.5 * (tau[:, 0] / 0.03) ** 2
        - 0.5 * np.log(variance).sum(axis=1)
        - 0.5 * np.log(precision)
        - 0.5 * ((d**2 / variance).sum(axis=1) - weighted**2 / precision)
    )
    mass = np.exp(log_density - log_density.max())
    mass /= mass.sum()
    weight = tau**2 / variance
    expected = mass @ (weight * d + (1 - weight) * (weighted / precision)[:, None])
    for posterior_, mean in zip(found[0].posteriors, expected, strict=True):
        assert posterior_.value == pytest.approx(mean, abs=0.05 * posterior_.sd)


def test_cohorts_are_pulled_together_and_intervals_are_equal_tailed(pooled):
    groups, found = pooled
    raw = np.array([o.estimate for o in groups[0]])
    pulled = np.array([p.value for p in found[0].posteriors])
    assert pulled.std() < raw.std()
    for o, p in zip(groups[0], found[0].posteriors, strict=True):
        assert p.sd < o.se
        assert p.ci_low < p.value < p.ci_high


def test_money_in_cents_gives_the_same_answer(pooled):
    groups, found = pooled
    cents = [
        [Observed(100 * o.estimate, 100 * o.se, 50.0, 1e4 * o.control_error) for o in members]
        for members in groups
    ]
    scaled = pool(cents, [30.0, 30.0], 0.95, seed=7)
    for one, other in zip(found[0].posteriors, scaled[0].posteriors, strict=True):
        assert other.value == pytest.approx(100 * one.value, abs=5 * one.sd)
        assert other.relative == pytest.approx(other.value / 50.0)


def chains(seed=0, shape=(4, 1000)):
    g = group()
    exact = posterior(g)
    rng = np.random.default_rng(seed)
    mean = rng.normal(exact.mean, exact.mean_sd, shape)
    # τ from its own posterior mean and spread is enough for the gates.
    tau = rng.normal(exact.tau, exact.tau_sd, shape)
    return mean, tau, g


def test_the_gate_opens_only_for_good_chains():
    mean, tau, g = chains()
    assert diagnose(mean, tau, g, 0).complaint == ""
    assert "divergent" in diagnose(mean, tau, g, 1).complaint


def test_the_gate_fails_closed():
    # Source: statistics.md, trap 13.
    mean, tau, g = chains()
    stuck = np.full_like(mean, 0.06)
    assert "R-hat nan" in diagnose(stuck, tau, g, 0).complaint
    apart = mean + np.arange(4)[:, None]
    assert "R-hat" in diagnose(apart, tau, g, 0).complaint
    slow = np.repeat(mean[:, ::100], 100, axis=1)
    assert diagnose(slow, tau, g, 0).complaint != ""
    shifted = mean + 10 * mean.std() / math.sqrt(mean.size)
    assert "quadrature" in diagnose(shifted, tau, g, 0).complaint


def test_a_failed_gate_withholds_numbers(monkeypatch):
    monkeypatch.setattr(sampling, "DRAWS", 50)
    monkeypatch.setattr(sampling, "TUNE", 50)
    found = pool([observed(group(1).estimate, group(1).se)], [0.3], 0.95, seed=7)
    assert found[0].posteriors == ()
    assert "must be" in found[0].complaint
