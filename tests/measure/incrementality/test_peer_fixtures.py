"""Every published number of another package that has a definition here, definition by definition.

Numbers of families that other tests hold (power, sequential boundaries …) stay there; the last
tests see to it that none is forgotten.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from measure.incrementality import cuped
from measure.incrementality.contrast import Contrast, StudentT, infer
from measure.incrementality.cuped import Adjustment
from measure.incrementality.difference import difference
from measure.incrementality.multiplicity import METHODS
from measure.incrementality.post_stratification import Stratum, post_stratified
from measure.incrementality.ratio import linearised
from measure.moments import DENOMINATOR, Moments
from tests.measure.incrementality.peers import from_aggregates, from_sums, peers

EXACT = "an exact test of a 2×2 table, without an interval that agrees with its p-value; "
EXACT += "docs/statistics.md says what small cells get instead"
NOT_APPLICABLE = {
    "tt_prop_fisher": EXACT,
    "tt_prop_fisher_less": EXACT,
    "tt_prop_barnard": EXACT,
    "tt_prop_boschloo": EXACT,
    "tt_prop_chi2_corr": "a continuity correction, which makes the test of a large sample too wide",
    "tt_prop_gtest": "a likelihood ratio without an interval that would agree with its p-value",
    "tt_srm_norm_corr": "a continuity correction; the sample ratio check is Pearson's chi-square",
}
"""Fixtures without a definition here, and why; docs/statistics.md says so to users."""

HERE = "measure/incrementality/test_peer_fixtures.py"
TESTED = {
    HERE: """
        gb_onesided_less_absolute gb_onesided_greater_relative gb_onesided_less_relative
        gb_cuped_ratio_golden_improving_pos gb_cuped_ratio_golden_declining_pos
        gb_cuped_ratio_golden_declining_neg tt_ratio_cuped_less_z tt_ratio_pooled_greater
        gb_bayes_mean_informative gb_bayes_prop_flat gb_pipe_bayes_mean gb_bayes_quantile_n01_abs
        gb_bayes_quantile_n01_rel gb_bayes_quantile_v1e6_rel sp_cuped_z gb_poststrat_mean_rel
        tt_bh tt_by tt_hochberg tt_holm
    """,
    "measure/incrementality/test_difference.py": """
        gb_welch_relative gb_proportion_relative gb_welch_absolute gb_reldiff_-10_-15
        gb_reldiff_-2_3 gb_reldiff_10_15 tt_prop_z_nocorr_pooled
    """,
    "measure/incrementality/test_sequential_boundaries.py": """
        gb_seq_onesided_greater_absolute gb_seq_onesided_greater_relative
        gb_seq_onesided_less_absolute ep_obf_28_8 ep_obf_14_14 sp_bounds_10looks sp_bounds_4looks
        sp_seq_runover
    """,
    "measure/incrementality/test_sequential.py": "gb_pipe_seq600 gb_seq_cuped_ratio gb_seq_prop",
    "measure/incrementality/test_cuped.py": "gb_theta tt_cuped_mean_revenue gb_pipe_cuped_mean",
    "measure/incrementality/test_checks.py": "tt_srm_norm ep_test_conversion ep_test_srm",
    "designs/planning/test_power.py": """
        gb_midexp_power_bayes gb_midexp_power_freq tt_power_mde_less tt_power_n tt_power_power
        ep_n_mean_4 ep_n_mean_1 ep_n_mean_0 ep_n_mean_3 ep_n_prop_1 ep_n_prop_0
        ep_false_positive_risk
    """,
}
"""The file that holds the test of each other fixture."""


def near(number):
    return pytest.approx(number, rel=1e-9, abs=1e-12)


def sides(name, read=from_sums, **options):
    given = peers()[name]["input"]
    return read(given["control"], **options), read(given["treatment"], **options)


@pytest.mark.parametrize(
    "name",
    ["gb_onesided_less_absolute", "gb_onesided_greater_relative", "gb_onesided_less_relative"],
)
def test_one_sided_bounds_are_those_of_the_two_sided_interval_at_90(name):
    # A one-sided bound at 95 % is the bound of the two-sided interval at 90 %; the p-value of the
    # lift is the tail of its own studentized value, as in the peer.
    fixture = peers()[name]
    expected, options = fixture["expected"], fixture["options"]
    contrast = difference(*sides(name))
    found = infer(contrast, StudentT(contrast.dof), 0.9)
    point, se, low, high = contrast.value, contrast.se, found.ci_low, found.ci_high
    if options["difference"] == "relative":
        point, se = contrast.relative, contrast.relative_se
        low, high = found.relative_ci_low, found.relative_ci_high
    assert (point, se) == near((expected["point_estimate"], expected["se"]))
    less = options["alternative"] == "less"
    assert (high if less else low) == near(expected["ci_high" if less else "ci_low"])
    upper = StudentT(contrast.dof).p_value(point / se) / 2  # the estimates lie above zero
    assert (1 - upper if less else upper) == near(expected["p_value"])


def test_a_ratio_with_one_variance_for_both_arms():
    # tt_ratio_pooled_greater: Student's t over the linearised outcomes.
    name = "tt_ratio_pooled_greater"
    expected = peers()[name]["expected"]
    pair = sides(name, from_aggregates, columns={"orders": "y", "sessions": DENOMINATOR})
    control, arm = (linearised(moments) for moments in pair)
    assert (control.mean[0], arm.mean[0]) == near((expected["control"], expected["treatment"]))
    contrast = difference(control, arm, "ratio", "equal")
    found = infer(contrast, StudentT(contrast.dof), 0.9)
    assert found.value == near(expected["effect_size"])
    assert contrast.value / contrast.se == near(expected["statistic"])
    assert contrast.dof == 98
    assert found.ci_low == near(expected["effect_size_ci_lower"])
    assert found.relative == near(expected["rel_effect_size"])
    assert found.log_low == near(expected["rel_effect_size_ci_lower"])
    assert 1 - found.p_value / 2 == near(expected["pvalue"])


def test_cuped_of_a_ratio_with_a_ratio_as_covariate():
    # tt_ratio_cuped_less_z: the slope from both arms as one group, linearised at its own ratios.
    name = "tt_ratio_cuped_less_z"
    expected = peers()[name]["expected"]
    above = {"orders": "y", "sessions": DENOMINATOR}
    before = {"orders_covariate": "y", "sessions_covariate": DENOMINATOR}
    control, arm = (_two_ratios(side, above, before) for side in ("control", "treatment"))
    both = _two_ratios(None, above, before)
    adjustment = cuped.fit_one(both)
    adjusted = cuped.adjust(control, adjustment), cuped.adjust(arm, adjustment)
    assert adjusted[0].mean[0] == near(expected["control"])
    assert adjusted[1].mean[0] == near(expected["treatment"])
    contrast = difference(*adjusted)
    found = infer(contrast, StudentT(np.inf), 0.9)
    assert found.value == near(expected["effect_size"])
    assert contrast.value / contrast.se == near(expected["statistic"])
    assert found.ci_high == near(expected["effect_size_ci_upper"])
    assert found.relative == near(expected["rel_effect_size"])
    lift = contrast.log_se * StudentT(np.inf).quantiles(0.9)[1]
    assert (1 + found.relative) * np.exp(lift) - 1 == near(expected["rel_effect_size_ci_upper"])
    assert found.p_value / 2 == near(expected["pvalue"])


def _two_ratios(side, above, before):
    """Moments of two linearised ratios, outcome and covariate, of one arm or of both."""
    given = peers()["tt_ratio_cuped_less_z"]["input"]
    names = {name: name for name in (*above, *before)}
    parts = {arm: from_aggregates(given[arm], names) for arm in ("control", "treatment")}
    moments = parts["control"] + parts["treatment"] if side is None else parts[side]
    y, d, x, e = moments.mean
    combine = np.array([[1 / d, -y / d**2, 0, 0], [0, 0, 1 / e, -x / e**2]])
    comoment = combine @ moments.comoment @ combine.T
    return Moments(("y", "x"), moments.n, np.array([y / d, x / e]), comoment, np.zeros(2))


@pytest.mark.parametrize("way", ["improving_pos", "declining_pos", "declining_neg"])
def test_cuped_of_a_ratio_at_a_given_slope(way):
    # gb_cuped_ratio_golden_improving_pos, gb_cuped_ratio_golden_declining_pos and
    # gb_cuped_ratio_golden_declining_neg: the lift over the unadjusted control ratio.
    fixture = peers()[f"gb_cuped_ratio_golden_{way}"]
    control, arm = (_units(fixture["input"][side]) for side in ("control_raw", "treatment_raw"))
    theta = np.array([fixture["options"]["theta_fixed"]])
    adjustment = Adjustment(theta, (control + arm).mean[1:])
    contrast = cuped.cuped_difference(control, arm, adjustment, "ratio")
    assert contrast.relative == near(fixture["expected"]["point_estimate"])
    assert contrast.relative_se == near(fixture["expected"]["se"])


def _units(given):
    """The linearised outcome and the linearised covariate of eight units."""
    columns = []
    for when in ("post", "pre"):
        values = np.column_stack([given[f"num_{when}"], given[f"den_{when}"]])
        ratio = values[:, 0].sum() / values[:, 1].sum()
        columns.append(ratio + (values[:, 0] - ratio * values[:, 1]) / values[:, 1].mean())
    return Moments.from_values(("y", "x"), np.column_stack(columns))


def test_linearised_units_have_the_linearised_moments():
    given = peers()["gb_cuped_ratio_golden_improving_pos"]["input"]["control_raw"]
    raw = np.column_stack([given["num_post"], given["den_post"]])
    found = linearised(Moments.from_values(("y", DENOMINATOR), raw))
    wanted = _units(given)
    assert found.mean[0] == near(wanted.mean[0])
    assert found.comoment[0, 0] == near(wanted.comoment[0, 0])
    assert found.third[0] == near(wanted.third[0])


def test_cuped_with_a_normal_reference():
    # sp_cuped_z: the covariate's variances have n below the line, the outcome's n - 1.
    expected = peers()["sp_cuped_z"]["expected"]
    control, arm = sides("sp_cuped_z")
    adjustment = cuped.fit(control, arm)
    adjusted = cuped.adjust(control, adjustment), cuped.adjust(arm, adjustment)
    contrast = difference(*adjusted, "proportion")  # variances over n
    mixed = sum(m.comoment[0, 0] * (1 / (m.n - 1) - 1 / m.n) / m.n for m in (control, arm))
    contrast = replace(contrast, se=np.sqrt(contrast.se**2 + mixed))
    found = infer(contrast, StudentT(np.inf), 0.95)
    assert found.value == near(expected["difference"])
    assert found.se == near(expected["std_err"])
    assert (found.ci_low, found.ci_high) == near((expected["ci_lower"], expected["ci_upper"]))
    # The peer forms 1 - cdf, which loses digits of so small a number.
    assert found.p_value == pytest.approx(expected["p_value"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gb_bayes_prop_flat", "proportion"),
        ("gb_bayes_mean_informative", "mean"),
        ("gb_pipe_bayes_mean", "mean"),
    ],
)
def test_posterior_of_a_lift_under_a_normal_prior(name, kind):
    # Closed form: the normal of the lift and its error, times the prior where there is one.
    fixture = peers()[name]
    expected, prior = fixture["expected"], fixture["options"]["prior"]
    contrast = difference(*sides(name), kind)
    weight, mean = 1 / contrast.relative_se**2, contrast.relative
    if prior != "improper flat":
        total = weight + 1 / prior["variance"]
        mean = (weight * mean + prior["mean"] / prior["variance"]) / total
        weight = total
    posterior = Contrast(mean, weight**-0.5, np.inf, None, None)
    found = infer(posterior, StudentT(np.inf), 0.95)
    assert found.value == near(expected["posterior_mean"])
    assert (found.ci_low, found.ci_high) == near((expected["ci_low"], expected["ci_high"]))
    tail = StudentT(np.inf).p_value(mean / posterior.se) / 2
    assert (1 - tail if mean > 0 else tail) == near(expected["chance_to_win"])


def test_post_stratification_with_uncertain_shares():
    # gb_poststrat_mean_rel.
    fixture = peers()["gb_poststrat_mean_rel"]
    strata = [
        Stratum(str(place), from_sums(cell["control"]), from_sums(cell["treatment"]))
        for place, cell in enumerate(fixture["input"]["cells"])
    ]
    contrast = post_stratified(strata)
    assert contrast.relative == near(fixture["expected"]["point_estimate"])
    assert contrast.relative_se == near(fixture["expected"]["se"])


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("tt_bh", "benjamini-hochberg"),
        ("tt_by", "benjamini-yekutieli"),
        ("tt_hochberg", "hochberg"),
        ("tt_holm", "holm"),
    ],
)
def test_adjusted_p_values(name, method):
    fixture = peers()[name]
    adjusted = METHODS[method](fixture["input"]["pvalues"])
    assert adjusted == near(tuple(fixture["expected"]["pvalue_adj"]))
    assert [int(p <= 0.05) for p in adjusted] == fixture["expected"]["rejected"]


@pytest.mark.parametrize(
    "name", ["gb_bayes_quantile_n01_abs", "gb_bayes_quantile_n01_rel", "gb_bayes_quantile_v1e6_rel"]
)
def test_posterior_of_a_difference_of_quantiles(name):
    # The error of a quantile is its own interval's length over 2z (Deng, Knoblich and Lu 2018),
    # with n − 1 for n in the peer; then the closed form as above. The prior is of the lift.
    fixture = peers()[name]
    expected, prior = fixture["expected"], fixture["options"]["prior"]
    contrast = difference(*(_quantile(fixture["input"][s]) for s in ("control", "treatment")))
    relative = fixture["options"]["difference"] == "relative"
    point = contrast.relative if relative else contrast.value
    weight = 1 / (contrast.relative_se if relative else contrast.se) ** 2
    scale = 1.0 if relative else fixture["input"]["control"]["quantile"]
    total = weight + 1 / (prior["variance"] * scale**2)
    mean = (weight * point + prior["mean"] / (prior["variance"] * scale)) / total
    found = infer(Contrast(mean, total**-0.5, np.inf, None, None), StudentT(np.inf), 0.95)
    assert (found.value, found.se) == near((expected["posterior_mean"], expected["posterior_sd"]))
    assert (found.ci_low, found.ci_high) == near((expected["ci_low"], expected["ci_high"]))
    assert 1 - found.p_value / 2 == near(expected["chance_to_win"])


def _quantile(given):
    """A quantile as the mean of n units with the error that its interval tells."""
    n, z = given["n"], StudentT(np.inf).quantiles(0.95)[1]
    se = (given["ci_upper"] - given["ci_lower"]) / (2 * z)
    comoment = np.array([[se**2 * (n - 1) ** 2]])
    return Moments(("y",), n, np.array([given["quantile"]]), comoment, np.zeros(1))


def test_every_published_number_is_tested_or_has_a_reason():
    listed = [name for names in TESTED.values() for name in names.split()]
    assert len(listed) == len(set(listed))
    assert set(listed).isdisjoint(NOT_APPLICABLE)
    assert set(listed) | set(NOT_APPLICABLE) == set(peers())  # a new fixture belongs to neither
    assert all(NOT_APPLICABLE.values())


@pytest.mark.parametrize("file", TESTED)
def test_the_file_named_for_a_published_number_uses_it(file):
    text = (Path(__file__).resolve().parents[2] / file).read_text(encoding="utf-8")
    if file == HERE:
        text = text[text.index("def near(") :]
    missing = [name for name in TESTED[file].split() if name not in text]
    assert missing == []
