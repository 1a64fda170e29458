import json

import numpy as np
import pytest

from measure.incrementality import cuped
from measure.incrementality.contrast import StudentT, infer
from measure.incrementality.difference import difference
from measure.moments import Moments
from tests.data import fixture_file

COLUMNS = ("y", "x", "z")


@pytest.fixture(scope="module")
def peers():
    return {
        f["id"]: f for f in json.loads(fixture_file("peer_statistics.json").read_text())["fixtures"]
    }


def from_sums(given):
    n = given["n"]
    mean = np.array([given["sum"], given["covariate_sum"]]) / n
    raw = np.array(
        [
            [given["sum_squares"], given["sum_products"]],
            [given["sum_products"], given["covariate_sum_squares"]],
        ]
    )
    return Moments(("y", "x"), n, mean, raw - n * np.outer(mean, mean), np.zeros(2))


def from_aggregates(given):
    n, cov = given["n"], given["cov_ddof1"]["revenue|revenue_covariate"]
    var = given["var_ddof1"]
    comoment = np.array([[var["revenue"], cov], [cov, var["revenue_covariate"]]]) * (n - 1)
    mean = np.array([given["mean"]["revenue"], given["mean"]["revenue_covariate"]])
    return Moments(("y", "x"), n, mean, comoment, np.zeros(2))


def near(number):
    return pytest.approx(number, rel=1e-9, abs=1e-12)


def data(seed=1, n=400):
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, 2.0, n)
    y = 3 * x + rng.normal(0, 2, n)
    z = rng.normal(5, 1, n)
    half = n // 2
    y[half:] += 1.0
    return np.column_stack([y, x, z]), half


def test_theta_equals_the_peer(peers):
    # Source: peer_statistics.json, gb_theta.
    fixture = peers["gb_theta"]
    pair = from_sums(fixture["input"]["control"]), from_sums(fixture["input"]["treatment"])
    assert cuped.fit(*pair).theta[0] == near(fixture["expected"]["theta"])


def test_lift_against_the_unadjusted_control_equals_the_peer(peers):
    # Source: peer_statistics.json, gb_pipe_cuped_mean; its p-value is that of the lift.
    fixture = peers["gb_pipe_cuped_mean"]
    expected = fixture["expected"]
    control, arm = from_sums(fixture["input"]["control"]), from_sums(fixture["input"]["treatment"])
    contrast = cuped.cuped_difference(control, arm, cuped.fit(control, arm))
    found = infer(contrast, StudentT(contrast.dof), 0.95)
    assert found.relative == near(expected["point_estimate"])
    assert found.relative_ci_low == near(expected["ci_low"])
    assert found.relative_ci_high == near(expected["ci_high"])
    p_value = StudentT(contrast.dof).p_value(contrast.relative / contrast.relative_se)
    assert p_value == near(expected["p_value"])


def test_adjusted_means_and_interval_equal_the_peer(peers):
    # Source: peer_statistics.json, tt_cuped_mean_revenue.
    fixture = peers["tt_cuped_mean_revenue"]
    expected = fixture["expected"]
    control, arm = (from_aggregates(fixture["input"][side]) for side in ("control", "treatment"))
    adjustment = cuped.fit(control, arm)
    adjusted = cuped.adjust(control, adjustment), cuped.adjust(arm, adjustment)
    assert adjusted[0].mean[0] == near(expected["control"])
    assert adjusted[1].mean[0] == near(expected["treatment"])
    contrast = cuped.cuped_difference(control, arm, adjustment)
    found = infer(contrast, StudentT(contrast.dof), 0.95)
    assert found.value == near(expected["effect_size"])
    assert found.ci_low == near(expected["effect_size_ci_lower"])
    assert found.ci_high == near(expected["effect_size_ci_upper"])
    assert found.p_value == near(expected["pvalue"])
    plain = difference(*adjusted)
    lift = infer(plain, StudentT(plain.dof), 0.95)
    assert (lift.log_low, lift.log_high) == near(
        (expected["rel_effect_size_ci_lower"], expected["rel_effect_size_ci_upper"])
    )


def test_several_covariates_equal_least_squares():
    # Closed form: slopes of numpy's least squares on the centred union of both arms.
    values, half = data()
    control = Moments.from_values(COLUMNS, values[:half])
    arm = Moments.from_values(COLUMNS, values[half:])
    centred = values - values.mean(axis=0)
    expected = np.linalg.lstsq(centred[:, 1:], centred[:, 0], rcond=None)[0]
    adjustment = cuped.fit(control, arm)
    assert adjustment.theta == pytest.approx(expected, rel=1e-9)
    residual = values[:, 0] - (values[:, 1:] - values[:, 1:].mean(axis=0)) @ expected
    contrast = cuped.cuped_difference(control, arm, adjustment)
    assert contrast.value == near(residual[half:].mean() - residual[:half].mean())
    assert contrast.se < difference(control, arm).se / 2


def test_constant_and_collinear_covariates_change_nothing():
    values, half = data()
    lone = values[:, :2]
    wide = np.column_stack([lone, 2 * lone[:, 1] + 7, np.full(len(lone), 3.0)])
    names = ("y", "x", "twice", "still")
    one = [Moments.from_values(("y", "x"), part) for part in (lone[:half], lone[half:])]
    many = [Moments.from_values(names, part) for part in (wide[:half], wide[half:])]
    adjustment = cuped.fit(*many)
    found = cuped.cuped_difference(*many, adjustment)
    expected = cuped.cuped_difference(*one, cuped.fit(*one))
    assert (found.value, found.se) == pytest.approx((expected.value, expected.se), rel=1e-8)
    assert "still" in adjustment.note
    assert "repeat others" in adjustment.note


def test_skewness_of_what_is_left_is_not_played_down():
    values, half = data()
    control = Moments.from_values(COLUMNS, values[:half])
    adjusted = cuped.adjust(
        control, cuped.fit(control, Moments.from_values(COLUMNS, values[half:]))
    )
    assert abs(adjusted.third[0]) >= abs(control.third[0])
