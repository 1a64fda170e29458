"""Guardrails: harm is ruled out, has happened, or is undecided; unknown is never ruled out."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from measure.incrementality.analyze import analyze
from measure.incrementality.guardrails import judge_guardrails
from measure.plan import AnalysisPlan, Metric
from measure.results import GuardrailVerdict, Status
from tests.measure.incrementality.frames import FrameUnits


def plan(**limits) -> AnalysisPlan:
    metric = Metric(name="visit", role="guardrail", **limits)
    return AnalysisPlan(arms={"none": 0.5, "mail": 0.5}, control="none", metrics=(metric,))


def units(effect: float, declared: AnalysisPlan, n: int = 400, seed: int = 3) -> FrameUnits:
    rng = np.random.default_rng(seed)
    arm = np.repeat(["none", "mail"], n // 2)
    visit = rng.normal(10, 1, n) + effect * (arm == "mail")
    return FrameUnits(pd.DataFrame({"arm": arm, "visit": visit}), "arm", declared)


@pytest.mark.parametrize(
    ("effect", "limits", "verdict"),
    [
        (0.0, {"harm_below": -1.0}, GuardrailVerdict.RULED_OUT),
        (-2.0, {"harm_below": -1.0}, GuardrailVerdict.HARMED),
        (-1.0, {"harm_below": -1.0}, GuardrailVerdict.UNDECIDED),
        (0.0, {"harm_above": 1.0}, GuardrailVerdict.RULED_OUT),
        (2.0, {"harm_above": 1.0}, GuardrailVerdict.HARMED),
        (1.0, {"harm_above": 1.0}, GuardrailVerdict.UNDECIDED),
    ],
)
def test_verdict_follows_the_interval(effect, limits, verdict):
    # Standard error 0.1: every effect but the limit itself is ten standard errors away from it.
    declared = plan(**limits)
    (found,) = analyze(units(effect, declared), declared, experiment="x").guardrails
    assert found.verdict is verdict
    assert found.limit == next(iter(limits.values()))


def test_harm_is_wrongly_ruled_out_in_one_tail_of_the_level():
    # Source: non-inferiority at the limit errs at (1 - ci_level) / 2; 2.5 % of 1,200, 99.9 % band.
    declared, trials = plan(harm_below=-0.5), 1_200
    wrong = sum(
        analyze(units(-0.5, declared, 200, seed), declared, experiment="x").guardrails[0].verdict
        is GuardrailVerdict.RULED_OUT
        for seed in range(trials)
    )
    half = norm.isf(0.0005) * np.sqrt(trials * 0.025 * 0.975)
    assert abs(wrong - 0.025 * trials) <= half


def test_no_interval_means_unknown():
    declared = plan(harm_below=-1.0)
    analysis = analyze(units(0.0, declared), declared, experiment="x")
    withheld = replace(analysis.estimates[0], status=Status.INVALID, ci_low=None, ci_high=None)
    (found,) = judge_guardrails([withheld], declared)
    assert found.verdict is GuardrailVerdict.UNKNOWN


def test_a_guardrail_without_a_limit_has_no_verdict():
    declared = plan()
    assert analyze(units(0.0, declared), declared, experiment="x").guardrails == ()
