"""Shares that differ by cohort: pooled by strata, never by raw units."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import binom, norm, ttest_ind

from measure.engine.connection import connect
from measure.engine.units import unit_table
from measure.errors import InputError
from measure.incrementality.stratified import analyze_strata
from measure.plan import AnalysisPlan, Metric
from measure.results import Status
from tests.measure.incrementality.frames import FrameUnits

SHARES = {"DE": {"mail": 0.5, "control": 0.5}, "FR": {"mail": 0.9, "control": 0.1}}
PLAN = AnalysisPlan(
    arms={"mail": 0.9, "control": 0.1},
    control="control",
    metrics=(Metric(name="spend", role="primary"),),
    cohorts=("country", "tier"),
)


def world(rng, n=2_000, effect=0.0, fault=0.0):
    """Germans spend ten times as much and are treated less: raw units mislead."""
    country = np.where(rng.random(n) < 0.4, "DE", "FR")
    share = np.where(country == "DE", 0.5 + fault, 0.9)
    arm = np.where(rng.random(n) < share, "mail", "control")
    base = np.where(country == "DE", 20.0, 2.0)
    spend = base + rng.normal(0, 3, n) + effect * (arm == "mail")
    tier = rng.choice(["a", "b"], n)
    return {"country": country, "arm": arm, "spend": spend, "tier": tier}


def analysis_of(engine, data, plan=PLAN):
    table = engine.register("units", pa.table(data))

    def units_of(stratum, own):
        return unit_table(engine, table.filter(table.country == stratum), "arm", own)

    return analyze_strata(units_of, plan, SHARES, experiment="allocated")


def test_the_pooled_effect_is_the_post_stratified_difference():
    data = world(np.random.default_rng(1), effect=1.0)
    with connect() as engine:
        found = analysis_of(engine, data)
    values, variances = [], []
    for country in ("DE", "FR"):
        mine = data["country"] == country
        mail = data["spend"][mine & (data["arm"] == "mail")]
        control = data["spend"][mine & (data["arm"] == "control")]
        weight = mine.mean()
        values.append(weight * (mail.mean() - control.mean()))
        welch = ttest_ind(mail, control, equal_var=False).confidence_interval()
        # The normal error whose interval is as long as Welch's.
        variances.append((weight * (welch.high - welch.low) / (2 * norm.ppf(0.975))) ** 2)
    everybody = found.find("spend", "mail", "difference")
    se = math.sqrt(sum(variances))
    assert everybody.value == pytest.approx(sum(values), rel=1e-9)
    assert everybody.se == pytest.approx(se, rel=1e-9)
    assert everybody.ci_high == pytest.approx(sum(values) + norm.ppf(0.975) * se, rel=1e-9)
    assert everybody.p_value == pytest.approx(2 * norm.sf(abs(sum(values)) / se), rel=1e-6)
    assert everybody.n_arm + everybody.n_control == 2_000
    assert "averaged over 2 strata" in everybody.note
    cohorts = {(e.cohort.dimension, e.cohort.value): e for e in found.estimates if e.cohort}
    assert set(cohorts) == {("country", "DE"), ("country", "FR"), ("tier", "a"), ("tier", "b")}
    assert cohorts["tier", "a"].n_arm + cohorts["tier", "b"].n_arm == everybody.n_arm
    assert found.status is Status.OK


def test_without_an_effect_there_is_none_where_raw_units_show_a_large_one():
    # 99.9 % band of a binomial; a sample ratio below .001 by chance withholds a run, rightly.
    rng, found = np.random.default_rng(2), []
    with connect() as engine:
        for _ in range(150):
            data = world(rng, n=800)
            estimate = analysis_of(engine, data).find("spend", "mail", "difference")
            if estimate.status is Status.OK:
                found.append(estimate.p_value)
    assert len(found) >= 147
    low, high = binom.ppf([0.0005, 0.9995], len(found), 0.05)
    assert low <= (np.array(found) < 0.05).sum() <= high
    mail, control = (data["spend"][data["arm"] == arm].mean() for arm in ("mail", "control"))
    assert mail - control < -4  # Simpson's paradox: the treated are mostly French


def test_a_sample_ratio_that_breaks_in_one_cohort_stops_the_whole():
    data = world(np.random.default_rng(3), fault=0.15)
    with connect() as engine:
        found = analysis_of(engine, data)
    assert found.status is Status.INVALID
    ratio = next(check for check in found.checks if check.code == "G5")
    assert ratio.message.startswith("DE: ")
    estimate = found.find("spend", "mail", "difference")
    assert (estimate.status, estimate.value) == (Status.INVALID, None)
    assert estimate.note.startswith("stratum DE")


def test_small_holdouts_of_skewed_metrics_do_not_claim_lift_once_averaged():
    # Two strata of which 2 % and 3 % are held out; 5 % buy, for lognormal amounts; no effect. With
    # the plain standard errors 28 of 300 such analyses lay above zero, where 2.5 % should.
    plan = AnalysisPlan(
        arms={"mail": 0.975, "control": 0.025}, control="control", metrics=(Metric(name="spend"),)
    )
    shares = {"DE": {"mail": 0.98, "control": 0.02}, "FR": {"mail": 0.97, "control": 0.03}}
    rng, runs, above = np.random.default_rng(11), 60, 0
    for _ in range(runs):
        frames = {name: skewed(rng, own["control"]) for name, own in shares.items()}
        found = analyze_strata(
            lambda name, own, frames=frames: FrameUnits(frames[name], "arm", own),
            plan,
            shares,
            experiment="x",
        )
        estimate = found.find("spend", "mail", "difference")
        parts = [f.spend[f.arm == a].var() / (f.arm == a).sum() / 4
                 for f in frames.values() for a in ("mail", "control")]  # fmt: skip
        assert estimate.se > 1.05 * math.sqrt(sum(parts))
        above += estimate.ci_low > 0
    assert above <= binom.ppf(0.9995, runs, 0.025)


def skewed(rng, share, n=6_000):
    held = int(n * share)
    spend = (rng.random(n) < 0.05) * np.exp(rng.normal(3, 1, n))
    return pd.DataFrame({"arm": ["control"] * held + ["mail"] * (n - held), "spend": spend})


def test_estimators_that_cannot_be_averaged_are_refused():
    data = world(np.random.default_rng(4), n=100)
    plan = PLAN.model_copy(update={"estimators": ("double_ml",)})
    with connect() as engine, pytest.raises(InputError, match="double_ml"):
        analysis_of(engine, data, plan)
