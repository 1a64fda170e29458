import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from measure.incrementality.contrast import SMALLEST_P, StudentT, infer
from measure.incrementality.difference import difference
from measure.moments import Moments
from tests.data import fixture_file


@pytest.fixture(scope="module")
def peers():
    return {
        f["id"]: f for f in json.loads(fixture_file("peer_statistics.json").read_text())["fixtures"]
    }


def from_sums(given):
    n, total = given["n"], given.get("sum", given.get("successes"))
    squares = given.get("sum_squares", total)
    mean = total / n
    return Moments(("y",), n, np.array([mean]), np.array([[squares - n * mean**2]]), np.zeros(1))


def pair(fixture):
    return from_sums(fixture["input"]["control"]), from_sums(fixture["input"]["treatment"])


def near(number):
    return pytest.approx(number, rel=1e-9, abs=1e-12)


def test_welch_absolute_equals_the_peer(peers):
    # Source: peer_statistics.json, gb_welch_absolute.
    fixture = peers["gb_welch_absolute"]
    expected = fixture["expected"]
    contrast = difference(*pair(fixture))
    found = infer(contrast, StudentT(contrast.dof), 0.95)
    assert (found.value, found.se) == near((expected["point_estimate"], expected["se"]))
    assert (found.ci_low, found.ci_high) == near((expected["ci_low"], expected["ci_high"]))
    assert found.p_value == near(expected["p_value"])


@pytest.mark.parametrize(
    ("fixture_id", "kind"),
    [("gb_welch_relative", "mean"), ("gb_proportion_relative", "proportion")],
)
def test_relative_lift_equals_the_peer(peers, fixture_id, kind):
    # Source: peer_statistics.json, gb_welch_relative and gb_proportion_relative.
    fixture = peers[fixture_id]
    expected = fixture["expected"]
    contrast = difference(*pair(fixture), kind)
    found = infer(contrast, StudentT(contrast.dof), 0.95)
    assert found.relative == near(expected["point_estimate"])
    assert contrast.relative_se == near(expected["se"])
    assert found.relative_ci_low == near(expected["ci_low"])
    assert found.relative_ci_high == near(expected["ci_high"])
    # The peer's p-value there is that of the lift itself.
    p_value = StudentT(contrast.dof).p_value(contrast.relative / contrast.relative_se)
    assert p_value == near(expected["p_value"])


def test_pooled_proportion_test_equals_the_peer(peers):
    # Source: peer_statistics.json, tt_prop_z_nocorr_pooled.
    fixture = peers["tt_prop_z_nocorr_pooled"]
    expected = fixture["expected"]
    control, arm = pair(fixture)
    contrast = difference(control, arm, "proportion", "pooled")
    found = infer(contrast, StudentT(contrast.dof), 0.95)
    assert found.value == near(expected["effect_size"])
    assert found.ci_low == near(expected["effect_size_ci_lower"])
    assert found.ci_high == near(expected["effect_size_ci_upper"])
    assert found.p_value == near(expected["pvalue"])
    assert found.relative == near(expected["rel_effect_size"])
    assert (found.log_low, found.log_high) == near(
        (expected["rel_effect_size_ci_lower"], expected["rel_effect_size_ci_upper"])
    )


@pytest.mark.parametrize(
    "fixture_id", ["gb_reldiff_-10_-15", "gb_reldiff_-2_3", "gb_reldiff_10_15"]
)
def test_lift_is_relative_to_the_size_of_the_control_mean(peers, fixture_id):
    # Source: peer_statistics.json, family relative_difference.
    fixture = peers[fixture_id]
    control, arm = (
        Moments(
            ("y",), 10, np.array([float(fixture["input"][f"{side}_mean"])]), np.eye(1), np.zeros(1)
        )
        for side in ("control", "treatment")
    )
    assert difference(control, arm).relative == near(fixture["expected"]["relative"])


def test_tails_do_not_vanish():
    # Closed form: P(|Z| > 10) = 1.523970604832e-23 (Mills ratio series); 1 − cdf would give 0.
    assert StudentT(math.inf).p_value(10.0) == pytest.approx(1.523970604832e-23, rel=1e-9)
    assert StudentT(math.inf).p_value(60.0) == SMALLEST_P > 0


def test_a_control_mean_of_zero_has_no_lift():
    contrast = difference(
        Moments.from_values(("y",), [-1.0, 0.0, 1.0]), Moments.from_values(("y",), [1.0, 2.0, 4.0])
    )
    assert contrast.relative is None
    assert infer(contrast, StudentT(contrast.dof), 0.9).relative_ci_low is None


@given(
    st.lists(st.integers(0, 50), min_size=3, max_size=30),
    st.lists(st.integers(0, 50), min_size=3, max_size=30),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_interval_and_p_value_agree_and_swapping_arms_mirrors(a, b, level):
    if len(set(a)) == 1 and len(set(b)) == 1:
        return
    control, arm = Moments.from_values(("y",), a), Moments.from_values(("y",), b)
    forward, backward = difference(control, arm), difference(arm, control)
    found = infer(forward, StudentT(forward.dof), level)
    mirrored = infer(backward, StudentT(backward.dof), level)
    assert (found.p_value <= 1 - level) == (found.ci_low > 0 or found.ci_high < 0)
    assert (mirrored.value, mirrored.ci_low, mirrored.ci_high) == near(
        (-found.value, -found.ci_high, -found.ci_low)
    )
