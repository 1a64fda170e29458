"""Numbers that a check forbids are nowhere: not in other checks, not on disk, not in segments."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from console.draws import without_draws
from measure.incrementality import analyze
from measure.incrementality.left_out import ERASED, left_out_check, with_checks
from measure.incrementality.rerandomized import Redrawn, rerandomized
from measure.plan import AnalysisPlan, Metric
from measure.results import Outcome, Status
from tests.measure.incrementality.frames import FrameUnits

UNITS = {"none": 1_000, "mail": 1_000}


def plan_of(**changes):
    given = {"arms": {"none": 0.5, "mail": 0.5}, "control": "none", "metrics": [Metric(name="y")]}
    return AnalysisPlan(**{**given, **changes})


def frame(n=2_000, seed=1):
    rng = np.random.default_rng(seed)
    found = pd.DataFrame({"arm": np.repeat(["none", "mail"], n // 2)})
    found["y"] = rng.poisson(3.0, n).astype(float)
    found["x"] = rng.normal(size=n)
    found["reached"] = ((found["arm"] == "mail") & (rng.random(n) < 0.4)).astype(float)
    found["group"] = rng.choice(["a", "b"], n)
    return found


def analysed(data, plan, **more):
    return analyze(FrameUnits(data, "arm", plan), plan, experiment="x", **more)


def stopped(analysis, plan):
    """The analysis once it turns out that more units of one arm had to be left out."""
    check = left_out_check(ERASED, "because …", UNITS, {"none": 5, "mail": 90}, plan)
    return with_checks(analysis, [check], plan)


def codes(analysis):
    return {check.code: check for check in analysis.checks}


def test_checks_that_compare_effects_lose_them_when_a_later_check_stops():
    data = frame()
    data.loc[1_999, "y"] = 100_000.0
    plan = plan_of(exposure="reached")
    before = analysed(data, plan)
    for code in ("X6", "X7"):
        assert codes(before)[code].outcome is Outcome.FLAGGED
        assert codes(before)[code].evidence
    after = stopped(before, plan)
    assert after.status is Status.INVALID
    for code in ("X6", "X7"):
        assert codes(after)[code].outcome is Outcome.NOT_APPLICABLE
        assert codes(after)[code].evidence == ()
        assert "withhold" in codes(after)[code].message
    assert codes(after)["G5"] == codes(before)["G5"]


def test_draws_of_withheld_numbers_are_taken_off_the_disk(tmp_path):
    plan = plan_of(cohorts=["group"], estimators=["difference", "hierarchical_bayes"])
    kept = analysed(frame(400), plan, draws=tmp_path)
    (name,) = kept.provenance["hierarchical_bayes"]["draws"]
    assert without_draws(kept, tmp_path) is kept
    assert (tmp_path / name).is_dir()
    bare = without_draws(stopped(kept, plan), tmp_path)
    assert bare.provenance["hierarchical_bayes"]["draws"] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moved", [0.0, 1.0])
def test_no_segments_are_cut_by_a_covariate_that_the_treatment_changed(moved):
    data = frame(1_000)
    data["x"] += moved * (data["arm"] == "mail")
    found = analysed(data, plan_of(covariates=["x"], discovery="honest_tree"))
    assert codes(found)["X5"].outcome is (Outcome.FLAGGED if moved else Outcome.PASSED)
    assert bool(found.discovery) is not bool(moved)


def test_redrawn_assignments_do_not_adjust_by_a_covariate_that_the_treatment_changed():
    # Eight units of cohort b: too few for the usual interval, not for an exact test.
    data = frame(60)
    data["group"] = np.where(np.arange(60) % 30 < 4, "b", "a")
    data["id"] = [f"u{i:02d}" for i in range(60)]
    plan = plan_of(covariates=["x"], cohorts=["group"], estimators=["difference", "cuped"])
    rng = np.random.default_rng(2)
    codes = np.array([rng.permutation(np.repeat([0, 1], 30)) for _ in range(99)])
    redrawn = Redrawn(data["id"].tolist(), ["mail", "none"], codes)
    shown = {}
    for moved in (0.0, 9.0):
        data["x"] += moved * (data["arm"] == "mail")
        units = Identified(data, "arm", plan)
        found = rerandomized(analyze(units, plan, experiment="x"), units, plan, redrawn)
        shown[moved] = {e.cohort and e.cohort.value: e.value is not None
                        for e in found.estimates if e.estimator == "cuped"}  # fmt: skip
        assert all(e.value is not None for e in found.estimates if e.estimator == "difference")
    assert shown == {0.0: dict.fromkeys((None, "a", "b"), True),
                     9.0: dict.fromkeys((None, "a", "b"), False)}  # fmt: skip


class Identified(FrameUnits):
    """The same with ids."""

    def __init__(self, data, arm, plan):
        super().__init__(data, arm, plan)
        self.ids = data["id"].tolist()

    def rows(self, columns):
        found = super().rows([name for name in columns if name != "id"])
        return found.append_column("id", [self.ids]) if "id" in columns else found


def test_an_estimate_without_numbers_keeps_its_own_reason():
    plan = plan_of()
    analysis = analysed(frame(16), plan)
    (estimate,) = analysis.estimates
    assert estimate.status is Status.INSUFFICIENT
    (after,) = stopped(dataclasses.replace(analysis, status=Status.OK), plan).estimates
    assert after == estimate
