"""Double machine learning through the shipped analysis.

Intervals of 95 % hold the planted effects as often as they say; errors are as large as they say.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from measure.engine.connection import connect
from measure.engine.units import open_source, unit_table
from measure.errors import InputError
from measure.incrementality import analyze
from measure.plan import AnalysisPlan, Metric, Source
from measure.results import Cohort, Estimand, Status
from tests.data import data_file
from tests.measure.incrementality.frames import FrameUnits

EXACT = ["double_ml", "double_ml_partialling_out"]
ECONML = ["double_ml_lightgbm", "doubly_robust", "causal_forest"]
ARMS = {"none": 0.4, "mail": 0.3, "post": 0.3}


def world(n=6_000, seed=11):
    """Mail adds 1 in the north and 3 in the south, post nothing; age explains most of spend."""
    rng = np.random.default_rng(seed)
    age = rng.normal(0, 1, n)
    south = rng.random(n) < 0.5
    arm = rng.choice(list(ARMS), n, p=list(ARMS.values()))
    effect = np.where(south, 3.0, 1.0) * (arm == "mail")
    spend = 20 + 4 * np.sin(age) + 2 * age + effect + rng.normal(0, 1.5, n)
    region = np.where(south, "south", "north")
    return pd.DataFrame({"arm": arm, "spend": spend, "age": age, "region": region})


def plan(**changes):
    base = {
        "arms": ARMS,
        "control": "none",
        "metrics": [Metric(name="spend")],
        "covariates": ["age"],
        "cohorts": ["region"],
        "estimators": ["difference", *EXACT, *ECONML],
    }
    return AnalysisPlan(**(base | changes))


@pytest.fixture(scope="module")
def analysis():
    a_plan = plan()
    return analyze(FrameUnits(world(), "arm", a_plan), a_plan, experiment="world")


@pytest.mark.parametrize("estimator", [*EXACT, *ECONML])
@pytest.mark.parametrize(
    ("arm", "cohort", "truth"),
    # Source: the generator above.
    [
        ("mail", None, 2.0),
        ("mail", "north", 1.0),
        ("mail", "south", 3.0),
        ("post", None, 0.0),
        ("post", "north", 0.0),
        ("post", "south", 0.0),
    ],
)
def test_planted_effects_are_found_more_precisely(analysis, estimator, arm, cohort, truth):
    where = Cohort("region", cohort) if cohort else None
    found = analysis.find("spend", arm, estimator, where)
    plain = analysis.find("spend", arm, "difference", where)
    assert abs(found.value - truth) < 4 * found.se
    assert found.se < 0.6 * plain.se
    assert found.estimand is (Estimand.CATE if cohort else Estimand.ATE)
    assert found.relative == pytest.approx(found.value / (plain.value / plain.relative))


@pytest.mark.parametrize("estimator", ECONML)
def test_engine_and_econml_agree_on_linear_data(estimator):
    # Both are unbiased for the same effects on the same units, so their difference is within the
    # sum of both errors; trees see the region too, lines do not.
    data = world(4_000, seed=3)
    data["spend"] = data.spend - 4 * np.sin(data.age)
    a_plan = plan(estimators=["double_ml", estimator])
    found = analyze(FrameUnits(data, "arm", a_plan), a_plan, experiment="world")
    for e in found.estimates:
        if e.estimator != "double_ml":
            exact = found.find(e.metric, e.arm, "double_ml", e.cohort)
            assert abs(e.value - exact.value) < exact.se + e.se
            assert 0.85 < e.se / exact.se < 1.6


def simulated(worlds, estimators, n, holdout):
    """Share of 95 % intervals that hold the truth, and root mean squared error over standard error.

    Effects +18 % and 0 in two regions, a skewed outcome of which a covariate explains a part.
    """
    a_plan = plan(estimators=estimators, arms={"none": holdout, "mail": 1 - holdout})
    hits = {name: [] for name in estimators}
    errors = {name: [] for name in estimators}
    for seed in range(worlds):
        rng = np.random.default_rng([seed, 7])
        age, south = rng.normal(0, 1, n), rng.random(n) < 0.5
        arm = np.where(rng.random(n) < holdout, "none", "mail")
        lift = np.where(south & (arm == "mail"), 0.9, 0.0)
        spend = 5 + 2 * age + lift + rng.exponential(2, n)
        region = np.where(south, "south", "north")
        data = pd.DataFrame({"arm": arm, "spend": spend, "age": age, "region": region})
        found = analyze(FrameUnits(data, "arm", a_plan), a_plan, experiment="world")
        for e in found.estimates:
            if e.cohort is not None and e.status is Status.OK:
                truth = 0.9 if e.cohort.value == "south" else 0.0
                hits[e.estimator].append(e.ci_low <= truth <= e.ci_high)
                errors[e.estimator].append((e.value - truth) / e.se)
    return {
        name: (np.mean(hits[name]), len(hits[name]), np.mean(np.square(errors[name])) ** 0.5)
        for name in estimators
    }


def assert_in_band(found, n, holdout):
    """99.9 % binomial band around 95 %; errors as large as they say, within their own band.

    A studentized mean of skewed values varies more than its standard error says: by 2 / n and 7/4
    of its squared skewness (Hall 1992, The Bootstrap and Edgeworth Expansion, section 2.6). The
    noise is exponential, with skewness 2; a region has half of the units.
    """
    control, treated = n / 2 * holdout, n / 2 * (1 - holdout)
    skewness = 2 * (control**-2 - treated**-2) / (1 / control + 1 / treated) ** 1.5
    expected = (1 + 2 / control + 7 / 4 * skewness**2) ** 0.5
    for name, (share, trials, ratio) in found.items():
        assert abs(share - 0.95) < 3.2905 * (0.95 * 0.05 / trials) ** 0.5 + 1 / trials, name
        assert abs(ratio - expected) < 3.2905 / (2 * trials) ** 0.5 + 0.02, name


def record(record_property, found, holdout):
    """Keep what was found for the page of validations."""
    record_property("estimator", ", ".join(found))
    record_property("holdout", f"{100 * holdout:.0f} %")
    shown = [f"{100 * share:.1f} % of {trials:,}" for share, trials, _ in found.values()]
    record_property("coverage", ", ".join(shown))
    ratios = [f"{ratio:.3f}" for _, _, ratio in found.values()]
    record_property("errors over standard errors", ", ".join(ratios))


@pytest.mark.parametrize("holdout", [0.5, 0.2])
def test_intervals_cover_the_truth(holdout):
    assert_in_band(simulated(60, EXACT, 600, holdout), 600, holdout)


def test_intervals_of_econml_cover_the_truth():
    for estimator in ECONML:
        assert_in_band(simulated(15, [estimator], 400, 0.5), 400, 0.5)


@pytest.mark.validation
@pytest.mark.parametrize("holdout", [0.5, 0.1])
def test_three_thousand_intervals_cover_the_truth(holdout, record_property):
    found = simulated(1_500, EXACT, 1_000, holdout)
    record(record_property, found, holdout)
    assert_in_band(found, 1_000, holdout)


@pytest.mark.validation
@pytest.mark.parametrize("estimator", ECONML)
def test_a_thousand_intervals_of_econml_cover_the_truth(estimator, record_property):
    found = simulated(500, [estimator], 1_000, 0.5)
    record(record_property, found, 0.5)
    assert_in_band(found, 1_000, 0.5)


@pytest.mark.parametrize("estimator", [*EXACT, *ECONML])
def test_swapping_the_arms_turns_the_sign(estimator):
    data = world(1_000)
    data = data[data.arm != "post"]
    values = []
    for control in ("none", "mail"):
        a_plan = plan(arms={"none": 0.57, "mail": 0.43}, control=control, estimators=[estimator])
        found = analyze(FrameUnits(data, "arm", a_plan), a_plan, experiment="world")
        values.append(found.estimates[0])
    one, other = values
    near = 1e-12 if estimator in EXACT else 0.5 * one.se  # a learner's folds and draws differ
    assert one.value == pytest.approx(-other.value, abs=near)


def test_a_third_arm_does_not_touch_the_exact_effects():
    data = world(2_000)
    three, two = plan(estimators=EXACT), plan(estimators=EXACT, arms={"none": 0.57, "mail": 0.43})
    # Folds are dealt by unit, so they are dealt to the same units first here.
    data = data.sort_values("arm", key=lambda arm: arm == "post", kind="stable")
    found = analyze(FrameUnits(data, "arm", three), three, experiment="world")
    alone = analyze(FrameUnits(data[data.arm != "post"], "arm", two), two, experiment="world")
    for e in alone.estimates:
        same = found.find(e.metric, e.arm, e.estimator, e.cohort)
        assert (same.value, same.se) == pytest.approx((e.value, e.se), rel=1e-9)


def test_units_without_a_value_are_left_out_of_their_metric_only():
    data = world(3_000)
    data["visits"] = data.spend.where(np.random.default_rng(0).random(3_000) > 0.2)
    a_plan = plan(estimators=EXACT, metrics=[Metric(name="spend"), Metric(name="visits")])
    found = analyze(FrameUnits(data, "arm", a_plan), a_plan, experiment="world")
    e = found.find("visits", "mail", "double_ml")
    assert e.n_arm == int(data[data.arm == "mail"].visits.notna().sum())
    assert abs(e.value - 2) < 4 * e.se
    assert found.find("spend", "mail", "double_ml").n_arm == int((data.arm == "mail").sum())


def test_a_metric_that_is_no_mean_over_units_is_refused():
    data = world(600).assign(orders=2.0)
    metric = Metric(name="basket", kind="ratio", column="spend", denominator="orders")
    a_plan = plan(estimators=EXACT, metrics=[metric])
    with connect() as engine:
        engine.register("units", pa.Table.from_pandas(data))
        units = unit_table(engine, engine.table("units"), "arm", a_plan)
        found = analyze(units, a_plan, experiment="world")
    assert {e.status for e in found.estimates} == {Status.INSUFFICIENT}


def test_more_cohorts_than_matrices_fit_are_told_to_use_another_estimator(monkeypatch):
    monkeypatch.setattr("measure.incrementality.cells.MOST_NUMBERS", 100)
    a_plan = plan(estimators=["double_ml"])
    found = analyze(FrameUnits(world(900), "arm", a_plan), a_plan, experiment="world")
    assert found.find("spend", "mail", "double_ml").status is Status.OK
    south = found.find("spend", "mail", "double_ml", Cohort("region", "south"))
    assert south.status is Status.INSUFFICIENT
    assert "too many for a Gram matrix each" in south.note


def test_hillstrom_estimators_agree_within_their_intervals():
    # Source: MANIFEST.md gives Mens − none +0.770 (0.485 to 1.055); adjusted estimators of the same
    # randomised effect lie well inside that interval.
    a_plan = AnalysisPlan(
        arms={"No E-Mail": 1 / 3, "Womens E-Mail": 1 / 3, "Mens E-Mail": 1 / 3},
        control="No E-Mail",
        metrics=[Metric(name="spend")],
        covariates=["recency", "history", "mens", "womens", "newbie"],
        estimators=[*EXACT, "double_ml_lightgbm", "doubly_robust"],
    )
    path = data_file("hillstrom.csv")
    with connect() as engine:
        units = open_source(engine, Source(path=path.name, arm="segment"), a_plan, path.parent)
        found = analyze(units, a_plan, experiment="hillstrom")
    for e in found.estimates:
        if e.arm == "Mens E-Mail":
            assert 0.70 < e.value < 0.84
            assert e.ci_low < 0.770 < e.ci_high
            assert e.se == pytest.approx((1.055 - 0.485) / 2 / 1.96, rel=0.02)


def test_without_covariates_it_refuses():
    a_plan = plan(covariates=[], estimators=[*EXACT, *ECONML, "cuped"])
    found = analyze(FrameUnits(world(600), "arm", a_plan), a_plan, experiment="world")
    assert {e.status for e in found.estimates} == {Status.INSUFFICIENT}
    assert {e.note for e in found.estimates} == {"needs covariates; name some in the plan"}


def test_a_small_holdout_is_judged_by_permuting_residuals():
    rng = np.random.default_rng(0)
    n = 8_000
    age = rng.normal(0, 1, n)
    data = pd.DataFrame(
        {
            "arm": np.where(rng.random(n) < 0.1, "none", "mail"),
            "spend": np.where(rng.random(n) < 0.05, rng.lognormal(3, 1, n), 0) + age,
            "age": age,
        }
    )
    estimators = ["cuped", *EXACT, *ECONML]
    a_plan = plan(arms={"none": 0.1, "mail": 0.9}, cohorts=[], estimators=estimators)
    found = analyze(FrameUnits(data, "arm", a_plan), a_plan, experiment="world")
    for estimate in found.estimates:
        assert estimate.status is Status.OK
        assert estimate.note.startswith("studentized permutation of the adjusted outcomes")
        assert (estimate.p_value <= 0.05) == (estimate.ci_low > 0 or estimate.ci_high < 0)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("copy", lambda d: 3 * d.spend + 1, "repeats the outcome 'spend'"),
        ("code", lambda d: d.arm.map({"none": 0, "mail": 1, "post": 2}), "repeats the assignment"),
    ],
)
def test_covariates_that_leak_are_refused_by_name(name, values, message):
    data = world(900)
    data[name] = values(data).astype(float)
    a_plan = plan(covariates=["age", name])
    with pytest.raises(InputError, match=f"'{name}', .*{message}"):
        analyze(FrameUnits(data, "arm", a_plan), a_plan, experiment="world")
