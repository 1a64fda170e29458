"""Pooled cohorts, normal model.

Calibration, the exact answer against the sampler, priors, what is refused.
"""

import json
import math

import numpy as np
import pytest

from measure.errors import InputError
from measure.incrementality.pooling import gate, marginal, nuts
from measure.incrementality.pooling.exact import draw, overall, pool_exactly, posterior
from measure.incrementality.pooling.gate import diagnose, diagnose_marginal
from measure.incrementality.pooling.marginal import pool_by_sampling
from measure.incrementality.pooling.mixture import drawn_effects
from measure.incrementality.pooling.priors import PastEffect, learned_prior
from measure.incrementality.pooling.values import Group, Observed
from tests.data import fixture_file

LEVEL = 0.95
Z = 1.959963984540054


def group(seed=0, cohorts=7):
    rng = np.random.default_rng(seed)
    se = rng.uniform(0.01, 0.05, cohorts)
    return Group(rng.normal(0.06, np.hypot(se, 0.02)), se, 0.0, 0.3, 0.03)


def observed(g):
    return [
        Observed(float(d), float(s), 0.5, 0.5 * s**2) for d, s in zip(g.estimate, g.se, strict=True)
    ]


def grid(g, tau):
    """Masses of τ and μ given τ, by the textbook's formulas on a fine grid."""
    variance = tau[:, None] ** 2 + g.se**2
    precision = (1 / variance).sum(axis=1) + g.mean_scale**-2
    weighted = (g.estimate / variance).sum(axis=1)
    log_density = (
        -0.5 * (tau / g.tau_scale) ** 2
        - 0.5 * np.log(variance).sum(axis=1)
        - 0.5 * np.log(precision)
        - 0.5 * ((g.estimate**2 / variance).sum(axis=1) - weighted**2 / precision)
    )
    mass = np.exp(log_density - log_density.max())
    return mass / mass.sum(), weighted / precision, 1 / precision


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
    found = posterior(g).summary()
    assert found.mean == pytest.approx((mass * m).sum(), rel=1e-4)
    assert found.tau == pytest.approx((mass * t).sum(), rel=1e-3)
    assert found.mean_sd == pytest.approx(math.sqrt((mass * (m - found.mean) ** 2).sum()), rel=1e-3)


@pytest.mark.parametrize(
    ("cohorts", "spread", "ratio", "scale"),
    [(2, 0.0, 1.1, 50.0), (3, 0.001, 1000, 10), (200, 0.03, 5, 0.1), (5000, 0.03, 5, 0.1)],
)
def test_quadrature_has_converged_where_it_is_hard(cohorts, spread, ratio, scale):
    rng = np.random.default_rng(cohorts)
    se = 0.02 * ratio ** rng.random(cohorts)
    g = Group(rng.normal(0.05, np.hypot(se, spread)), se, 0.0, 1.0, scale)
    ours, fine = posterior(g).summary(), posterior(g, nodes=1_000).summary()
    for name in ("mean", "mean_sd", "tau", "tau_sd"):
        assert getattr(ours, name) == pytest.approx(getattr(fine, name), abs=1e-9 * fine.tau_sd)


def test_cohorts_and_their_intervals_equal_a_grid():
    # Reference: a mixture of normals over 20,000 values of τ; its distribution at the endpoints.
    from scipy.special import ndtr

    g = group(1)
    tau = (np.arange(20_000) + 0.5) * 2e-5
    mass, mean, variance = grid(g, tau)
    weight = tau[:, None] ** 2 / (tau[:, None] ** 2 + g.se**2)
    centre = weight * g.estimate + (1 - weight) * mean[:, None]
    sd = np.sqrt(weight * g.se**2 + (1 - weight) ** 2 * variance[:, None])
    (found,) = pool_exactly([g], [observed(g)], LEVEL)
    for j, p in enumerate(found.posteriors):
        assert p.value == pytest.approx(mass @ centre[:, j], rel=1e-5)
        for end, share in ((p.ci_low, 0.025), (p.ci_high, 0.975)):
            assert mass @ ndtr((end - centre[:, j]) / sd[:, j]) == pytest.approx(share, abs=1e-6)


def test_a_wide_and_a_narrow_prior_of_the_spread_reach_their_limits():
    # Closed form: τ → 0 pools completely (precision-weighted mean), τ → ∞ not at all.
    g = group(4)
    (one,) = pool_exactly([Group(g.estimate, g.se, 0.0, 1e3, 1e-7)], [observed(g)], LEVEL)
    common = float(np.average(g.estimate, weights=g.se**-2.0))
    assert [p.value for p in one.posteriors] == pytest.approx([common] * 7, rel=1e-6)
    far = Group(1e3 * g.estimate, g.se, 0.0, 1e6, 1e3)
    (apart,) = pool_exactly([far], [observed(far)], LEVEL)
    assert [p.value for p in apart.posteriors] == pytest.approx(list(far.estimate), rel=1e-4)


def test_the_overall_posterior_is_conjugate():
    # Closed form: prior N(0, 2²), estimate 1 ± 1 gives mean 4/5 and variance 4/5.
    found = overall(Observed(1.0, 1.0, 0.0, 0.5), 0.0, 2.0, LEVEL)
    assert found.value == pytest.approx(0.8)
    assert found.sd == pytest.approx(math.sqrt(0.8))
    assert found.ci_high - found.value == pytest.approx(Z * math.sqrt(0.8))
    assert found.relative is None


def test_with_a_flat_prior_the_lift_is_that_of_the_delta_method():
    # Closed form: (σₜ²/c² + σ꜀² t²/c⁴)^½ with c = .5, t = .6, both means ± .01.
    found = overall(Observed(0.1, math.sqrt(2e-4), 0.5, 1e-4), 0.0, 1e6, LEVEL)
    se = math.sqrt(1e-4 / 0.25 + 1e-4 * 0.36 / 0.0625)
    assert found.relative_ci_high - found.relative == pytest.approx(Z * se, rel=1e-6)


def peer_cases(family):
    fixtures = json.loads(fixture_file("peer_statistics.json").read_text())["fixtures"]
    return [case for case in fixtures if case["family"] == family]


def peer_lift(case):
    """Effect and standard error as the peer defines them (delta method), from its sums."""
    arms = []
    for name in ("control", "treatment"):
        side = case["input"][name]
        if side["kind"] == "quantile":
            # Deng, Knoblich and Lu 2018: the error of a quantile from its interval; the peer has
            # the variance over n − 1 and the error over n.
            error = ((side["ci_upper"] - side["ci_lower"]) / (2 * Z)) ** 2
            arms.append((side["quantile"], error * (side["n"] - 1) / side["n"]))
            continue
        n, mean = side["n"], side["sum"] / side["n"]
        if side["kind"] == "proportion":
            arms.append((mean, mean * (1 - mean) / n))
        else:
            arms.append((mean, (side["sum_squares"] - n * mean**2) / (n - 1) / n))
    (base, error_base), (mean, error) = arms
    if case["options"]["difference"] == "absolute":
        return mean - base, math.sqrt(error + error_base), base
    return mean / base - 1, math.sqrt(error / base**2 + error_base * mean**2 / base**4), 1.0


@pytest.mark.parametrize("family", ["bayes_normal_effect", "bayes_quantile"])
def test_the_overall_posterior_equals_the_peers(family):
    # Source: fixtures of these families (GrowthBook's gbstats), normal prior on a normal effect.
    cases = peer_cases(family)
    assert len(cases) == 3
    for case in cases:
        prior, expected = case["options"]["prior"], case["expected"]
        if prior == "improper flat":
            prior = {"mean": 0, "variance": 1e20}
        effect, se, unit = peer_lift(case)  # the peer's priors, like ours, are relative
        scale = unit * math.sqrt(prior["variance"])
        found = overall(Observed(effect, se, 0.0, 0.0), unit * prior["mean"], scale, LEVEL)
        assert found.value == pytest.approx(expected["posterior_mean"], rel=1e-9), case["id"]
        assert found.ci_low == pytest.approx(expected["ci_low"], rel=1e-8), case["id"]
        assert found.ci_high == pytest.approx(expected["ci_high"], rel=1e-8), case["id"]


def test_prior_sensitivity_equals_recomputation():
    # Reference: the posterior computed anew under the other prior.
    g = group(5)
    (found,) = pool_exactly([g], [observed(g)], LEVEL)
    value, sd = posterior(g).effects(g)
    for shift in found.shifts:
        scales = {"average effect": (shift.factor, 1), "spread of cohorts": (1, shift.factor)}
        a, b = scales[shift.prior]
        other = Group(g.estimate, g.se, g.mean_prior, g.mean_scale * a, g.tau_scale * b)
        move = np.abs(posterior(other).effects(other)[0] - value) / sd
        assert shift.shift == pytest.approx(move.max(), rel=1e-4)
        assert shift.member == int(move.argmax())


def simulated(seed, cohorts=6):
    """Truth and data from the model's own priors; standard errors of cohorts of 20 to 100,000."""
    rng = np.random.default_rng([7, seed])
    mean, tau = rng.normal(0, 0.3), abs(rng.normal(0, 0.1))
    effect = rng.normal(mean, tau, cohorts)
    se = np.sqrt(2 / np.exp(rng.uniform(math.log(20), math.log(100_000), cohorts)))
    return effect, Group(rng.normal(effect, se), se, 0.0, 0.3, 0.1)


def uniform(found, bins):
    """P-value of χ² for ranks 0 … 63 in equal bins."""
    from scipy.special import chdtrc

    counts = np.histogram(found, bins=bins, range=(0, 64))[0]
    expected = len(found) / bins
    return float(chdtrc(bins - 1, ((counts - expected) ** 2 / expected).sum()))


def normal_ranks(runs):
    found = []
    for seed in range(runs):
        effect, g = simulated(seed)
        drawn = drawn_effects(g, draw(g, (1, 63), seed), (1, 63), seed)[0]
        found.append(int((drawn[:, 0] < effect[0]).sum()))
    return np.array(found)


def coverage(runs):
    """How many of the pooled intervals at nominal 95 % hold the truth, and how many there are."""
    held = 0
    for seed in range(runs):
        effect, g = simulated(seed)
        (found,) = pool_exactly([g], [observed(g)], LEVEL)
        held += sum(
            p.ci_low <= t <= p.ci_high for p, t in zip(found.posteriors, effect, strict=True)
        )
    return held / (6 * runs)


def test_simulation_based_calibration_of_the_normal_model():
    # Source: Talts et al. 2018; ranks of the truth are uniform. α = .001.
    assert uniform(normal_ranks(400), 16) > 0.001
    # 2,400 intervals: ± 3.3 standard errors of 95 %.
    assert coverage(400) == pytest.approx(0.95, abs=0.015)


@pytest.mark.validation
def test_simulation_based_calibration_of_the_normal_model_at_length(record_property):
    p_value, held = uniform(normal_ranks(4_000), 32), coverage(4_000)
    record_property("model", "normal, exact")
    record_property("worlds", "4,000")
    record_property("ranks uniform, p", f"{p_value:.3f}")
    record_property("coverage", f"{100 * held:.1f} %")
    assert p_value > 0.001
    assert 0.935 <= held <= 0.965


@pytest.fixture(scope="module")
def sampled():
    groups = [group(1), group(2, cohorts=3)]
    members = [observed(g) for g in groups]
    return groups, members, pool_by_sampling(groups, members, LEVEL, seed=7)


def test_the_sampler_passes_its_gates_agrees_with_quadrature_and_is_seeded(sampled):
    groups, members, found = sampled
    assert [p.complaint for p in found] == ["", ""]
    exactly = pool_exactly(groups, members, LEVEL)
    for one, other in zip(found, exactly, strict=True):
        for p, q in zip(one.posteriors, other.posteriors, strict=True):
            # 400 effective draws at least: five Monte Carlo standard errors are a quarter of a sd.
            assert p.value == pytest.approx(q.value, abs=0.25 * q.sd)
            assert p.ci_low == pytest.approx(q.ci_low, abs=0.5 * q.sd)
            assert p.ci_high == pytest.approx(q.ci_high, abs=0.5 * q.sd)
    again = pool_by_sampling(groups, members, LEVEL, seed=7)
    assert [p.posteriors for p in again] == [p.posteriors for p in found]


def test_cohorts_are_pulled_together():
    g = group(1)
    (found,) = pool_exactly([g], [observed(g)], LEVEL)
    assert np.std([p.value for p in found.posteriors]) < g.estimate.std()
    for s, p in zip(g.se, found.posteriors, strict=True):
        assert p.sd < s
        assert p.ci_low < p.value < p.ci_high


def test_money_in_cents_gives_the_same_answer():
    g = group(1)
    cents = Group(100 * g.estimate, 100 * g.se, 0.0, 30.0, 3.0)
    (one,) = pool_exactly([g], [observed(g)], LEVEL)
    (other,) = pool_exactly([cents], [observed(cents)], LEVEL)
    for p, q in zip(one.posteriors, other.posteriors, strict=True):
        assert q.value == pytest.approx(100 * p.value, rel=1e-9)
        assert q.ci_low == pytest.approx(100 * p.ci_low, rel=1e-6)


def chains(seed=0, shape=(4, 1000)):
    g = group()
    found = posterior(g).summary()
    rng = np.random.default_rng(seed)
    # τ from its own posterior mean and spread is enough for the gates.
    return (
        rng.normal(found.mean, found.mean_sd, shape),
        rng.normal(found.tau, found.tau_sd, shape),
        g,
    )


def test_the_gate_opens_only_for_good_chains():
    mean, tau, g = chains()
    assert diagnose_marginal(mean, tau, g, 0).complaint == ""
    assert "divergent" in diagnose_marginal(mean, tau, g, 1).complaint


def test_the_gate_fails_closed():
    # Source: statistics.md, trap 13.
    mean, tau, g = chains()
    stuck = np.full_like(mean, 0.06)
    assert "R-hat nan" in diagnose_marginal(stuck, tau, g, 0).complaint
    apart = mean + np.arange(4)[:, None]
    assert "R-hat" in diagnose_marginal(apart, tau, g, 0).complaint
    slow = np.repeat(mean[:, ::100], 100, axis=1)
    assert diagnose_marginal(slow, tau, g, 0).complaint != ""
    shifted = mean + 10 * mean.std() / math.sqrt(mean.size)
    assert "quadrature" in diagnose_marginal(shifted, tau, g, 0).complaint


def test_what_was_not_measured_does_not_pass():
    mean, _, g = chains()
    assert diagnose({}, 0).complaint != ""
    assert diagnose({"mean": np.empty((4, 0))}, 0).complaint != ""
    assert diagnose_marginal(np.empty((4, 0)), np.empty((4, 0)), g, 0).complaint != ""
    assert "divergent" in diagnose({"mean": mean}, math.nan).complaint
    assert nuts.Trace({}, {}).divergences != 0
    assert "sample size" in gate.Diagnostics(1.0, math.nan, 0).complaint
    unlucky = np.concatenate([mean[..., None], np.full((4, 1000, 1), np.nan)], axis=2)
    assert diagnose({"effects": unlucky}, 0).complaint != ""


def test_a_failed_gate_withholds_numbers(monkeypatch, sampled):
    short = nuts.Attempt(50, 50, 0.9)
    monkeypatch.setattr(marginal, "ATTEMPTS", (short, short))
    groups, members, _ = sampled
    found = pool_by_sampling(groups, members, LEVEL, seed=7)
    assert found[0].posteriors == ()
    assert "must be" in found[0].complaint


def recorded(seed, kept):
    """Lifts of 60 experiments, N(.02, .03²), the quiet ones kept rarely."""
    rng = np.random.default_rng(seed)
    se = rng.uniform(0.01, 0.04, 60)
    lift = rng.normal(rng.normal(0.02, 0.03, 60), se)
    on_record = (np.abs(lift / se) >= 1.96) | (rng.random(60) < kept)
    return [
        PastEffect(float(d), float(s)) for d, s in zip(lift[on_record], se[on_record], strict=True)
    ]


def test_a_learned_prior_knows_that_winners_were_kept():
    # Source: simulation with known truth; the plain mean on record is the winner's curse.
    learned, plain = [], []
    for seed in range(20):
        past = recorded(seed, 0.2)
        learned.append(learned_prior(past).mean)
        plain.append(np.average([p.lift for p in past], weights=[p.se**-2.0 for p in past]))
    assert abs(np.mean(learned) - 0.02) < 0.5 * abs(np.mean(plain) - 0.02)
    everything = learned_prior(recorded(3, 1.0))
    assert everything.sd == pytest.approx(0.03, abs=0.012)


def test_a_prior_is_not_learned_from_a_handful():
    with pytest.raises(InputError, match="there are 4"):
        learned_prior([PastEffect(0.01, 0.02)] * 4)
