import json
import math

import numpy as np
import pandas as pd
import pytest

from measure.incrementality import analyze, sample_ratio_check
from measure.incrementality.checks import run_checks
from measure.plan import AnalysisPlan, Metric
from measure.results import Outcome, Severity, Status
from tests.data import fixture_file
from tests.measure.incrementality.frames import FrameUnits

EVEN = {"none": 0.5, "mail": 0.5}


def frame(n=400, seed=2):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "arm": np.where(np.arange(n) % 2 == 0, "none", "mail"),
            "spend": rng.gamma(2.0, 3.0, n),
            "age": rng.normal(40, 9, n),
        }
    )


def plan(**changes):
    base = {"arms": EVEN, "control": "none", "metrics": [Metric(name="spend")]}
    return AnalysisPlan(**(base | changes))


def checks(data, a_plan):
    units = FrameUnits(data, "arm", a_plan)
    return {c.code: c for c in run_checks(a_plan, units.moments(), units.profile())}


@pytest.mark.parametrize("fixture_id", ["ep_test_conversion", "ep_test_srm"])
def test_chi_square_over_all_arms_equals_the_peer(fixture_id):
    # Source: peer_statistics.json, family srm, equal split.
    fixtures = json.loads(fixture_file("peer_statistics.json").read_text())["fixtures"]
    fixture = next(f for f in fixtures if f["id"] == fixture_id)
    observed = {str(i): int(n) for i, n in enumerate(fixture["input"]["observed"])}
    check = sample_ratio_check(observed, dict.fromkeys(observed, 1 / len(observed)))
    assert check.p_value == pytest.approx(fixture["expected"]["p_value"], rel=1e-9)
    assert check.outcome is Outcome.PASSED


def test_two_arms_equal_the_peer_without_correction():
    # Source: peer_statistics.json, tt_srm_norm (53 and 47 of an even split).
    check = sample_ratio_check({"none": 53, "mail": 47}, EVEN)
    assert check.p_value == pytest.approx(0.5485062355001472, rel=1e-9)


def test_tiny_expected_counts_use_the_exact_test():
    # Closed form: 4 or more of 1,004 at .0001, twice the tail 1 − Σ C(1004,k) p^k q^(1004−k).
    tail = 1 - sum(math.comb(1004, k) * 1e-4**k * (1 - 1e-4) ** (1004 - k) for k in range(4))
    check = sample_ratio_check({"a": 1000, "b": 4}, {"a": 0.9999, "b": 0.0001})
    assert check.p_value == pytest.approx(2 * tail, rel=1e-6)
    assert check.severity is Severity.STOP
    assert check.outcome is Outcome.FLAGGED


@pytest.mark.parametrize(
    ("mail", "outcome", "severity"),
    # Closed form: z = (2·mail − n)/√n gives p = .0455, .0040 and .0000634.
    [
        (5100, Outcome.PASSED, Severity.STOP),
        (5144, Outcome.FLAGGED, Severity.WARNING),
        (5200, Outcome.FLAGGED, Severity.STOP),
    ],
)
def test_bands_of_the_sample_ratio(mail, outcome, severity):
    check = sample_ratio_check({"none": 10_000 - mail, "mail": mail}, EVEN)
    assert (check.outcome, check.severity) == (outcome, severity)
    assert f"mail {mail:,}" in check.message
    assert f"+{mail / 100 - 50:.2f} points" in check.message


def test_an_empty_arm_stays_in_the_test():
    check = sample_ratio_check({"a": 600, "b": 400}, {"a": 0.5, "b": 0.4, "c": 0.1})
    assert check.severity is Severity.STOP
    assert "c 0, 0.00 %" in check.message


def test_unknown_is_never_passed():
    assert sample_ratio_check({}, EVEN).outcome is Outcome.FAILED
    assert sample_ratio_check({"none": 5, "mail": 5, "other": 1}, EVEN).outcome is Outcome.FLAGGED
    found = checks(frame(), plan())
    assert found["X4"].outcome is Outcome.NOT_APPLICABLE
    assert found["X5"].outcome is Outcome.NOT_APPLICABLE
    lonely = frame(12)
    found = checks(lonely, plan(covariates=["age"]))
    assert found["X5"].outcome is Outcome.FAILED


def test_clean_data_pass():
    found = checks(frame(), plan(covariates=["age"]))
    assert [c.outcome for c in found.values()] == [Outcome.PASSED] * 6
    assert list(found) == ["G5", "X1", "X2", "X3", "X4", "X5"]


def test_missing_values_that_differ_between_arms_withhold_the_metric():
    data = frame(4000)
    data.loc[(data.arm == "mail") & (data.index < 1200), "spend"] = np.nan
    data["orders"] = 1.0 * (data.age > 40)
    a_plan = plan(metrics=[Metric(name="spend"), Metric(name="orders", kind="proportion")])
    found = checks(data, a_plan)["X2"]
    assert (found.outcome, found.severity, found.rows) == (Outcome.FLAGGED, Severity.STOP, 600)
    assert "none 0.00 %, mail 30.00 %" in found.message
    analysis = analyze(FrameUnits(data, "arm", a_plan), a_plan, experiment="x")
    statuses = {e.metric: e.status for e in analysis.estimates}
    assert statuses == {"spend": Status.INVALID, "orders": Status.OK}
    assert analysis.status is Status.INVALID


def test_missing_values_like_in_both_arms_are_a_note():
    data = frame()
    data.loc[:39, "spend"] = np.nan
    found = checks(data, plan())["X2"]
    assert (found.outcome, found.severity, found.rows) == (Outcome.FLAGGED, Severity.NOTE, 40)
    assert "40 of 400 (10.00 %), left out" in found.message


def test_a_covariate_that_moved_with_the_treatment_is_named():
    data = frame()
    data["opened"] = data.age + 20 * (data.arm == "mail")
    found = checks(data, plan(covariates=["age", "opened"]))["X5"]
    assert (found.outcome, found.severity) == (Outcome.FLAGGED, Severity.WARNING)
    assert found.message.startswith("opened differs")


def test_constant_metrics_and_missing_covariates_are_named():
    data = frame()
    data["still"] = 3.0
    data.loc[:9, "age"] = np.nan
    metrics = [Metric(name="spend"), Metric(name="still")]
    found = checks(data, plan(metrics=metrics, covariates=["age"]))
    assert found["X3"].message == "still has one value for everybody."
    assert "age 10 of 400" in found["X4"].message


def test_a_failed_sample_ratio_withholds_every_number():
    data = frame()
    data = data[(data.arm == "mail") | (data.index % 4 == 0)]
    a_plan = plan()
    analysis = analyze(FrameUnits(data, "arm", a_plan), a_plan, experiment="x")
    assert analysis.status is Status.INVALID
    (estimate,) = analysis.estimates
    assert estimate.status is Status.INVALID
    assert (estimate.value, estimate.ci_low, estimate.p_value, estimate.relative) == (None,) * 4
    assert estimate.note.startswith("check G5 (sample ratio)")
