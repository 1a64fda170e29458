"""Power, detectable effects and sample sizes against peers, statsmodels and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from designs.planning.baseline import Baseline, Clusters
from designs.planning.power import (
    Significance,
    detectable,
    false_positive_risk,
    holdout_needed,
    more_units,
    more_units_with_prior,
    per_comparison,
    power,
    units_needed,
)
from measure.errors import InputError
from measure.moments import Moments
from tests.designs.planning.fixtures import peer

TEA = peer("tt_power_n")["input"]["pooled_pilot"]
ORDERS = Baseline(TEA["mean"]["orders"], TEA["var_ddof1"]["orders"])


def test_power_is_tea_tastings():
    # Source: peer fixture tt_power_power (Student t, Welch degrees of freedom, noncentral).
    expected = peer("tt_power_power")["expected"]
    found = power(ORDERS, 0.1 * ORDERS.mean, 5_000, 5_000, Significance(0.05, "greater"))
    assert found == pytest.approx(expected["power"], rel=1e-9)


def test_detectable_effect_is_tea_tastings():
    # Source: peer fixture tt_power_mde_less; an iterative solution, so 1e-6 (here 1e-9 holds).
    expected = peer("tt_power_mde_less")["expected"]
    found = detectable(ORDERS, 5_000, 5_000, 0.8, Significance(0.05, "less"))
    assert found == pytest.approx(expected["effect_size"], rel=1e-9)


def test_units_needed_are_tea_tastings():
    # Source: peer fixture tt_power_n, rounded up by the peer.
    found = units_needed(ORDERS, 0.05, 0.5, 0.5)
    assert math.ceil(found) == peer("tt_power_n")["expected"]["n_obs"]


@pytest.mark.parametrize("name", ["ep_n_mean_0", "ep_n_mean_1", "ep_n_mean_3", "ep_n_mean_4",
                                  "ep_n_prop_0", "ep_n_prop_1"])  # fmt: skip
def test_units_needed_are_ep_stats(name):
    # Source: peer fixtures ep_n_*: normal reference, Bonferroni over k − 1, rounded to the nearest.
    fixture = peer(name)
    given, arms = fixture["input"], fixture["input"]["n_variants"]
    if "p" in given:
        share = given["p"]
        baseline = Baseline(share, share * (1 - share), "proportion", treated="average")
    else:
        baseline = Baseline(given["mean"], given["sd"] ** 2)
    alpha = per_comparison(0.05, arms - 1, "bonferroni")
    test = Significance(alpha, reference="normal")
    total = units_needed(baseline, baseline.mean * given["rel_mde"], 1 / arms, 1 / arms, 0.8, test)
    assert round(total / arms) == fixture["expected"]["n_per_variant"]


@pytest.mark.parametrize("ratio", [0.25, 1.0, 9.0])
@pytest.mark.parametrize("effect", [0.05, 0.2, 0.8])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_power_is_statsmodels(ratio, effect, alternative):
    # Source: statsmodels TTestIndPower and NormalIndPower on the same inputs.
    from statsmodels.stats.power import NormalIndPower, TTestIndPower

    peer_name = {"greater": "larger", "less": "smaller"}.get(alternative, alternative)
    unit = Baseline(0.0, 1.0)
    t = power(unit, effect, 80, 80 * ratio, Significance(0.05, alternative, "pooled_t"))
    z = power(unit, effect, 80, 80 * ratio, Significance(0.05, alternative, "normal"))
    asked = {"nobs1": 80, "alpha": 0.05, "ratio": ratio, "alternative": peer_name}
    assert t == pytest.approx(TTestIndPower().power(effect, **asked), rel=1e-9, abs=1e-12)
    assert z == pytest.approx(NormalIndPower().power(effect, **asked), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("effect", "n_control", "n_arm"), [(0.02, 4_000, 2_000), (-0.03, 900, 900)]
)
def test_proportions_are_statsmodels(effect, n_control, n_arm):
    # Source: statsmodels power_proportions_2indep: pooled under no effect, own variances beyond;
    # its two-sided power leaves out the tail on the wrong side.
    from statsmodels.stats.proportion import power_proportions_2indep

    expected = power_proportions_2indep(
        effect, 0.1, n_arm, ratio=n_control / n_arm, alpha=0.05, return_results=False
    )
    test = Significance(reference="pooled_z")
    found = power(Baseline.of_proportion(0.1), effect, n_control, n_arm, test)
    assert found == pytest.approx(expected, abs=1e-5)


def test_welch_power_is_what_welch_tests_find():
    # Source: 20,000 Welch tests on normal draws with unequal variances and sizes; 99.9 % band.
    rng = np.random.default_rng(11)
    runs, p = 20_000, Baseline.of_proportion(0.4)
    expected = power(p, 0.12, 60, 240)
    control, arm = math.sqrt(0.24 / 60), math.sqrt(0.52 * 0.48 / 240)
    mean = 0.12 + rng.standard_normal(runs) * math.hypot(control, arm)
    v0 = 0.24 * rng.chisquare(59, runs) / 59 / 60
    v1 = 0.52 * 0.48 * rng.chisquare(239, runs) / 239 / 240
    dof = (v0 + v1) ** 2 / (v0**2 / 59 + v1**2 / 239)
    found = (2 * stats.t.sf(np.abs(mean / np.sqrt(v0 + v1)), dof) < 0.05).mean()
    assert found == pytest.approx(expected, abs=3.29 * math.sqrt(expected * (1 - expected) / runs))


def test_power_at_no_effect_is_alpha_and_far_away_is_one():
    assert power(ORDERS, 0.0, 500, 500) == pytest.approx(0.05, abs=1e-12)
    for shift in (8, 10, 12, 30, 60):  # the noncentral t's far tail is NaN in some libraries
        assert power(Baseline(0, 1), shift / math.sqrt(500), 1_000, 1_000) == pytest.approx(1)


def test_solutions_are_consistent():
    baseline = Baseline.of_proportion(0.03)
    effect = detectable(baseline, 4_000, 36_000, 0.9)
    assert power(baseline, effect, 4_000, 36_000) == pytest.approx(0.9, abs=1e-10)
    assert units_needed(baseline, effect, 0.1, 0.9, 0.9) == pytest.approx(40_000, rel=1e-8)
    share = holdout_needed(baseline, effect, 40_000, 0.9)
    assert share == pytest.approx(0.1, rel=1e-6)
    assert holdout_needed(baseline, effect / 10, 40_000, 0.9) is None


def test_no_effect_is_possible_beyond_everybody():
    # A share of 99.9 % cannot rise by what 20 units would need.
    assert detectable(Baseline.of_proportion(0.999), 10, 10) is None
    assert units_needed(ORDERS, 0.0, 0.5, 0.5) is None
    assert units_needed(ORDERS, -0.1, 0.5, 0.5, 0.8, Significance(0.05, "greater")) is None


def test_covariates_and_clusters_scale_the_variance():
    # Source: closed form; R² takes its share out, Kish's design effect 1 + (m − 1) ICC multiplies.
    plain = detectable(Baseline(1, 4), 1_000, 1_000, test=Significance(reference="normal"))
    adjusted = detectable(
        Baseline(1, 4, r_squared=0.36), 1_000, 1_000, test=Significance(reference="normal")
    )
    assert adjusted == pytest.approx(plain * 0.8, rel=1e-9)
    clustered = Baseline(1, 4, clusters=Clusters(21, 0.05))
    assert Clusters(21, 0.05).design_effect == pytest.approx(2.0)
    found = detectable(clustered, 1_000, 1_000, test=Significance(reference="normal"))
    assert found == pytest.approx(plain * math.sqrt(2), rel=1e-9)


def test_unequal_clusters_cost_more():
    # Source: Eldridge, Ashby and Kerry (2006), 1 + ((cv² + 1) m − 1) ICC: m 20, cv .6, ICC .05.
    assert Clusters(20, 0.05, 0.6).design_effect == pytest.approx(1 + (1.36 * 20 - 1) * 0.05)


def test_clusters_count_for_the_degrees_of_freedom():
    # 10 clusters of 100 units: about 18 degrees of freedom, not about 2,000.
    with_few = power(Baseline(0, 1, clusters=Clusters(100, 0.0)), 0.1, 1_000, 1_000)
    nc, critical = 0.1 / math.sqrt(2 / 1_000), stats.t.ppf(0.975, 18)
    expected = stats.nct.sf(critical, 18, nc) + stats.nct.cdf(-critical, 18, nc)
    assert with_few == pytest.approx(expected, rel=1e-9)


def test_ratio_variance_is_that_of_many_samples():
    # Source: 4,000 samples of 400 users with sessions and clicks; standard error of the ratio.
    rng = np.random.default_rng(3)
    sessions = rng.poisson(4, (4_000, 400)) + 1
    clicks = rng.binomial(sessions, rng.beta(2, 6, (4_000, 400)))
    pairs = np.column_stack([clicks.ravel(), sessions.ravel()])
    baseline = Baseline.of_ratio(Moments.from_values(("clicks", "sessions"), pairs))
    seen = (clicks.sum(axis=1) / sessions.sum(axis=1)).std(ddof=1)
    assert math.sqrt(baseline.variance / 400) == pytest.approx(seen, rel=0.04)
    per_session = math.sqrt(baseline.mean * (1 - baseline.mean) / (400 * sessions.mean()))
    assert per_session < 0.85 * seen  # trap 8: sessions are not independent


def test_more_units_are_growthbooks():
    # Source: peer fixtures gb_midexp_power_*: relative lift, its standard error by delta; the
    # peer bisects, so its own power at the factor is compared to 1e-9, the factor to its grid.
    given = peer("gb_midexp_power_freq")
    options, expected = given["options"], given["expected"]
    variance = (1_499.999999999999 - 500) / 499
    se = math.sqrt(variance / 500 + variance * 1.05**2 / 500)
    shift = options["target_mde"] / se * math.sqrt(1 + expected["scaling_factor"])
    z = stats.norm.ppf(0.975)
    reached = stats.norm.cdf(shift - z) + stats.norm.cdf(-shift - z)
    assert reached == pytest.approx(expected["power_at_scaling"], rel=1e-9)
    assert power(Baseline(0.0, 2.0), shift, 4, 4, Significance(reference="normal")) == (
        pytest.approx(reached, rel=1e-9)
    )
    assert more_units(se, 0.05) == pytest.approx(expected["scaling_factor"], abs=1e-3)
    prior = peer("gb_midexp_power_bayes")
    found = more_units_with_prior(se, 0.05, 0.05, math.sqrt(0.001))
    assert found == pytest.approx(prior["expected"]["scaling_factor"], abs=1e-3)


def test_false_positive_risk_is_ep_stats():
    # Source: peer fixture ep_false_positive_risk.
    fixture = peer("ep_false_positive_risk")
    given = fixture["input"]
    found = false_positive_risk(given["null_rate"], given["power"], given["p_value"])
    assert found == pytest.approx(fixture["expected"]["fpr"], rel=1e-9)


def test_levels_of_several_comparisons():
    # Source: definitions; Šidák is exact for independent comparisons.
    assert per_comparison(0.05, 4, "bonferroni") == pytest.approx(0.0125)
    assert per_comparison(0.05, 4, "holm") == per_comparison(0.05, 4, "bonferroni")
    assert 1 - (1 - per_comparison(0.05, 4, "sidak")) ** 4 == pytest.approx(0.05)
    assert per_comparison(0.05, 4, "none") == 0.05


@pytest.mark.parametrize(
    "ask",
    [
        lambda: power(ORDERS, 0.1, 1, 500),
        lambda: power(ORDERS, 0.1, 500, math.nan),
        lambda: Significance(alpha=1.0),
        lambda: Baseline.of_proportion(1.2),
        lambda: Baseline(1.0, math.nan),
        lambda: Clusters(0.5, 0.1),
        lambda: Clusters(5, 1.1),
        lambda: detectable(ORDERS, 50, 50, 1.0),
        lambda: units_needed(ORDERS, 0.1, 0.0, 0.5),
    ],
)
def test_impossible_questions_are_refused(ask):
    with pytest.raises(InputError):
        ask()


def test_growing_variance_may_hide_every_effect():
    # Source: closed form; when amounts grow, effect / error stays below mean / sd · √n_arm = 2.5.
    growing = Baseline(1.0, 16.0, acts="amounts")
    assert detectable(growing, 100, 100, 0.8) is None
    assert detectable(Baseline(1.0, 16.0), 100, 100, 0.8) is not None


@pytest.mark.parametrize("acts", ["buyers", "amounts", "shift"])
def test_treated_variance_is_that_of_treated_units(acts):
    # Source: a million units, each treated in its way.
    rng = np.random.default_rng(5)
    spent = (rng.random(1_000_000) < 0.2) * rng.gamma(2, 10, 1_000_000)
    baseline = Baseline(spent.mean(), spent.var(), acts=acts, acting=0.2)
    if acts == "buyers":
        treated = (rng.random(1_000_000) < 0.3) * rng.gamma(2, 10, 1_000_000)
    else:
        treated = spent * 1.5 if acts == "amounts" else spent + spent.mean() / 2
    assert baseline.variances(spent.mean() / 2)[1] == pytest.approx(treated.var(), rel=0.01)
