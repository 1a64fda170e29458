import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from measure.incrementality import analyze
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Status
from tests.measure.incrementality.frames import FrameUnits

ALL = ["difference", "cuped", "hierarchical_bayes", "double_ml"]
NUMBERS = ("value", "se", "ci_low", "ci_high", "relative", "relative_ci_low", "relative_ci_high")


def analysis(data, arms, metrics=("spend",), cohorts=(), estimators=ALL, kind="mean"):
    plan = AnalysisPlan(
        arms=arms,
        control="none",
        metrics=[Metric(name=name, kind=kind) for name in metrics],
        covariates=["age"],
        cohorts=list(cohorts),
        estimators=estimators,
    )
    found = analyze(FrameUnits(data, "arm", plan), plan, experiment="edge")
    for estimate in found.estimates:
        values = [getattr(estimate, name) for name in (*NUMBERS, "p_value")]
        assert all(v is None or math.isfinite(v) for v in values)
        if estimate.status is not Status.OK:
            assert values == [None] * 8
            assert estimate.note
        else:
            assert estimate.ci_low <= estimate.value <= estimate.ci_high
    return found


def frame(n=300, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "arm": np.where(np.arange(n) % 2 == 0, "none", "mail"),
            "spend": rng.gamma(3.0, 3.0, n),
            "age": rng.normal(40, 9, n),
            "region": np.where(np.arange(n) % 3 == 0, "north", "south"),
        }
    )


EVEN = {"none": 0.5, "mail": 0.5}


def statuses(found, cohort=None):
    return {e.estimator: e.status for e in found.estimates if e.cohort == cohort}


def test_a_constant_metric_is_degenerate():
    data = frame().assign(still=7.5, zero=0.0)
    found = analysis(data, EVEN, ("still", "zero"), ["region"])
    assert {e.status for e in found.estimates} == {Status.DEGENERATE}
    assert found.status is Status.OK


def test_a_metric_constant_within_arms_is_degenerate():
    data = frame()
    data["spend"] = np.where(data.arm == "mail", 1.0, 0.0)
    found = analysis(data, EVEN, kind="proportion")
    assert set(statuses(found).values()) == {Status.DEGENERATE}


def test_an_arm_of_one_unit_is_insufficient_and_the_other_arm_stands():
    data = pd.concat([frame(), frame(1).assign(arm="post")])
    arms = {"none": 0.4983, "mail": 0.4984, "post": 0.0033}
    found = analysis(data, arms)
    assert found.status is Status.OK
    for estimate in found.estimates:
        expected = Status.INSUFFICIENT if estimate.arm == "post" else Status.OK
        assert estimate.status is expected
    lonely = found.find("spend", "post", "difference")
    assert (lonely.n_control, lonely.n_arm) == (150, 1)
    assert lonely.note == "1 unit in the smaller arm; at least 10 are needed"


def test_an_arm_without_units_stops_the_analysis():
    found = analysis(frame(), {"none": 0.5, "mail": 0.4, "post": 0.1})
    assert found.status is Status.INVALID
    assert found.find("spend", "post", "difference").status is Status.INSUFFICIENT
    assert found.find("spend", "mail", "difference").status is Status.INVALID


def test_a_cohort_of_three_is_insufficient_and_kept_out_of_the_pool():
    data = frame()
    data.loc[:2, "region"] = "island"
    found = analysis(data, EVEN, cohorts=["region"])
    assert set(statuses(found, Cohort("region", "island")).values()) == {Status.INSUFFICIENT}
    assert set(statuses(found, Cohort("region", "south")).values()) == {Status.OK}
    for family in found.multiplicity:
        assert family.cohorts == ("north", "south")


def test_one_row_and_all_missing_get_a_status():
    tiny = analysis(frame(1), EVEN)
    assert all(e.status is not Status.OK for e in tiny.estimates)
    gone = analysis(frame().assign(spend=np.nan), EVEN)
    assert {e.status for e in gone.estimates} == {Status.INSUFFICIENT}


def test_a_constant_covariate_is_said_and_harmless():
    data = frame().assign(age=1.0)
    found = analysis(data, EVEN, estimators=["difference", "cuped"])
    plain, adjusted = (
        found.find("spend", "mail", "difference"),
        found.find("spend", "mail", "cuped"),
    )
    assert adjusted.value == pytest.approx(plain.value)
    assert "constant covariates left out: age" in adjusted.note


def test_one_cohort_alone_cannot_be_pooled():
    found = analysis(frame().assign(region="all"), EVEN, cohorts=["region"])
    lonely = found.find("spend", "mail", "hierarchical_bayes", Cohort("region", "all"))
    assert lonely.status is Status.INSUFFICIENT


def test_an_unrelated_cohort_changes_no_other_number():
    base = frame()
    more = pd.concat([base, frame(40, 5).assign(region="island")])
    one = analysis(base, EVEN, cohorts=["region"], estimators=["difference"])
    two = analysis(more, EVEN, cohorts=["region"], estimators=["difference"])
    for value in ("north", "south"):
        cohort = Cohort("region", value)
        assert dataclasses.asdict(one.find("spend", "mail", "difference", cohort)) == (
            dataclasses.asdict(two.find("spend", "mail", "difference", cohort))
        )


def test_results_are_plain_json():
    import json

    document = analysis(frame(), EVEN, estimators=["difference"]).to_dict()
    assert json.loads(json.dumps(document)) == document
    assert document["provenance"]["seed"] == 20080320
