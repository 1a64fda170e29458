"""Edges: what cannot be compared gets a status and a reason, never a number."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from measure.errors import InputError
from measure.incrementality.observational import comparing
from measure.incrementality.observational.effects import Effects
from measure.incrementality.observational.graph import read_graph
from measure.results import Outcome, Severity, Status
from tests.measure.incrementality.observational.worlds import CLOSED, check, plan_of, study, world


def statuses(analysis) -> set[Status]:
    return {estimate.status for estimate in analysis.estimates}


def test_shares_and_balance_by_chance_have_no_meaning():
    found = study(world(500, 1.0, 1))
    for code in ("G5", "X5"):
        assert check(found, code).outcome is Outcome.NOT_APPLICABLE
        assert "not randomised" in check(found, code).message
    assert found.status is Status.OK


def test_few_units_are_insufficient():
    found = study(world(50, 1.0, 1))
    assert statuses(found) == {Status.INSUFFICIENT}
    assert all("fewer than" in e.note and e.value is None for e in found.estimates)
    for code in ("O3", "O5", "O6", "O7", "O8", "O9", "O10", "O11"):
        assert check(found, code).outcome is Outcome.NOT_APPLICABLE


def test_a_metric_that_does_not_vary_is_degenerate():
    found = study(world(500, 1.0, 1), metrics=[{"name": "flat"}])
    assert statuses(found) == {Status.DEGENERATE}


def test_rare_events_are_insufficient():
    frame = world(500, 1.0, 1)
    rare = np.zeros(500)
    rare[:5] = 1
    found = study(frame.assign(rare=rare), metrics=[{"name": "rare", "kind": "proportion"}])
    assert statuses(found) == {Status.INSUFFICIENT}


def test_arms_that_do_not_overlap_stop_the_analysis():
    frame = world(600, 1.0, 1)
    frame = frame.assign(arm=np.where(frame["a"] + 0.05 * frame["b"] > 0, "yes", "no"))
    found = study(frame)
    overlap = check(found, "O3")
    assert overlap.outcome is Outcome.FLAGGED
    assert overlap.severity is Severity.STOP
    assert found.status is Status.INVALID
    assert all(estimate.value is None for estimate in found.estimates)


def test_units_without_a_counterpart_are_left_out_and_counted():
    frame = world(2000, 1.0, 1)
    lonely = frame["a"] > 1.8
    frame = frame.assign(arm=np.where(lonely, "yes", frame["arm"]), a=frame["a"] + 3 * lonely)
    found = study(frame)
    assert "without a counterpart left out" in found.estimates[0].note
    assert found.estimates[0].n_arm + found.estimates[0].n_control < 2000


def test_a_missing_confounder_is_a_warning_here():
    frame = world(500, 1.0, 1)
    frame.loc[:9, "a"] = np.nan
    assert check(study(frame), "X4").severity is Severity.WARNING


def test_an_estimator_that_finds_a_made_up_effect_is_withheld(monkeypatch):
    def credulous(sample):
        return Effects((5.0, 0.1), cohorts={("segment", "new"): (5.0, 0.1)})

    monkeypatch.setattr(comparing, "ADJUSTING", {**comparing.ADJUSTING, "weighting": credulous})
    found = study(world(500, 1.0, 1), cohorts=("segment",))
    assert found.find("y", "yes", "regression").status is Status.OK
    refuted = found.find("y", "yes", "weighting")
    assert refuted.status is Status.INVALID
    assert refuted.value is None
    assert "made-up treatment" in refuted.note
    assert check(found, "O5").outcome is Outcome.FLAGGED


def test_an_estimator_moved_by_noise_is_flagged(monkeypatch):
    def nervous(sample):
        return Effects((float(len(sample.covariates)), 0.1))

    monkeypatch.setattr(comparing, "ADJUSTING", {**comparing.ADJUSTING, "weighting": nervous})
    found = study(world(500, 1.0, 1))
    assert check(found, "O6").outcome is Outcome.FLAGGED
    # It also finds an effect of a made-up treatment: nothing may show what it says of the real one.
    assert found.find("y", "yes", "weighting").status is Status.INVALID
    for code in ("O6", "O7"):
        rows = {row["estimator"]: row["mean"] for row in check(found, code).evidence}
        assert rows["weighting"] is None
        assert rows["regression"] == pytest.approx(1.0, abs=0.3)
    assert check(found, "O10").outcome is Outcome.NOT_APPLICABLE  # one estimator is left


def test_lifts_are_bounded_as_the_plan_defines_them():
    # exp of the log ratio's interval, by hand: the log's error is the lift's over 1 + lift.
    frame = world(500, 1.0, 1).assign(y=lambda f: f.y - f.y.min() + 1)
    plain, log = (
        study(frame, relative=name, observational={"estimators": ("regression",)}).estimates[0]
        for name in ("delta", "log")
    )
    ratio, half = 1 + plain.relative, plain.relative_ci_high - plain.relative
    assert log.relative_ci_high == pytest.approx(ratio * math.exp(half / ratio) - 1)
    assert log.relative_ci_low == pytest.approx(ratio * math.exp(-half / ratio) - 1)


def test_arms_that_do_not_overlap_show_no_effect_anywhere():
    frame = world(2_000, 1.0, 1)
    frame["a"] += np.where(frame["arm"] == "yes", 4.0, 0.0)
    found = study(frame, observational={"estimators": ("regression", "weighting")})
    assert found.status is Status.INVALID
    for code in ("O6", "O7", "O8", "O10"):
        assert check(found, code).outcome is Outcome.NOT_APPLICABLE
        assert check(found, code).evidence == ()


def test_what_the_graph_does_not_identify_is_invalid_beside_instruments():
    graph = ("a, b -> treatment, y", "c -> treatment", "u -> treatment, y", "treatment -> y")
    declared = {"graph": graph, "unmeasured": ("u",), "instruments": ("c",)}
    found = study(world(800, 1.0, 1), observational=declared)
    assert found.find("y", "yes", "regression").status is Status.INVALID
    assert "leaves a path open" in found.find("y", "yes", "regression").note
    assert found.find("y", "yes", "two_stage_least_squares").status is Status.OK


def test_a_weak_instrument_is_flagged():
    rng = np.random.default_rng(1)
    frame = world(800, 1.0, 1).assign(coin=(rng.random(800) < 0.5) * 1.0)
    declared = {"instruments": ("coin",)}
    found = study(frame, covariates=("a", "coin"), observational=declared)
    assert check(found, "O11").outcome is Outcome.FLAGGED
    for name in ("two_stage_least_squares", "doubly_robust_instrument"):
        estimate = found.find("y", "yes", name)
        assert (estimate.status, estimate.value) == (Status.INSUFFICIENT, None)
        assert "must be at least 10" in estimate.note


def test_other_kinds_of_metric_are_refused():
    plan = plan_of(metrics=[{"name": "y", "kind": "quantile", "quantile": 0.5}])
    with pytest.raises(InputError, match="is a quantile"):
        read_graph(plan, plan.observational)


@pytest.mark.parametrize(
    "changes",
    [
        {"estimators": ("cuped",)},
        {"sequential": True},
        {"discovery": "honest_tree"},
        {"bayes": {"keep_draws": True}},
    ],
)
def test_methods_of_randomised_designs_are_refused(changes):
    with pytest.raises(ValidationError, match="is for randomised units"):
        plan_of(**changes)


def test_proportions_have_a_lift():
    metric = {"name": "binary", "kind": "proportion"}
    found = study(world(2000, 1.0, 1), metrics=[metric])
    for name in CLOSED:
        one = found.find("binary", "yes", name)
        assert one.relative_ci_low < one.relative < one.relative_ci_high
        assert one.ci_high < 1


def test_the_provenance_names_design_and_assumptions():
    found = study(world(500, 1.0, 1)).provenance
    assert found["design"] == "observational"
    assert "nothing but a, b, c moves both treatment and y" in found["assumptions"]
    assert "dowhy" in found["versions"]
