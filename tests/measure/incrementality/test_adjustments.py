"""Slopes by arm, post-stratification, scores as covariates and the two intervals of a lift."""

import math

import numpy as np
import pandas as pd
import pytest

from measure.incrementality import analyze, by_arm
from measure.incrementality.post_stratification import Stratum, post_stratified
from measure.moments import Moments
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Status
from tests.measure.incrementality.frames import FrameUnits

EVEN = {"none": 0.5, "mail": 0.5}
Z_999 = 3.2905267314919  # two-sided 99.9 % point of the normal


def people(n=4_000, seed=0, share=0.5):
    """Effects that grow with age, spread that differs between arms, regions of unlike means."""
    rng = np.random.default_rng(seed)
    arm = np.where(rng.permutation(n) < round(n * share), "none", "mail")
    age, tenure = rng.normal(40, 10, n), rng.gamma(2.0, 2.0, n)
    region = rng.choice(["north", "south", "west"], n, p=[0.5, 0.3, 0.2])
    level = pd.Series(region).map({"north": 0.0, "south": 6.0, "west": 15.0}).to_numpy()
    effect = np.where(arm == "mail", 1 + 0.2 * (age - 40), 0.0)
    noise = rng.normal(0, np.where(arm == "mail", 4.0, 2.0))
    spend = 30 + 0.5 * age + tenure + level + effect + noise
    # CUPAC: what a model trained before the test predicts of the outcome.
    score = 30 + 0.5 * age + tenure + rng.normal(0, 1, n)
    return pd.DataFrame(
        {"arm": arm, "spend": spend, "age": age, "tenure": tenure, "region": region, "score": score}
    )


def plan(**changes):
    base = {
        "arms": EVEN,
        "control": "none",
        "metrics": [Metric(name="spend")],
        "covariates": ["age", "tenure"],
        "strata": ["region"],
        "estimators": ["difference", "cuped", "cuped_by_arm", "post_stratification"],
    }
    chosen = base | changes
    if "post_stratification" not in chosen["estimators"]:
        chosen["strata"] = []
    return AnalysisPlan(**chosen)


def run(frame, chosen):
    return analyze(FrameUnits(frame, "arm", chosen), chosen, experiment="adjusted")


def find(frame, chosen, estimator, cohort=None):
    return run(frame, chosen).find("spend", "mail", estimator, cohort)


def test_slopes_by_arm_are_the_regression_with_all_interactions():
    # Source: statsmodels OLS with centred covariates and their products with the arm, HC2 errors,
    # to which the spread of the centre is added.
    import statsmodels.api as sm

    frame = people(share=0.2)
    found = find(frame, plan(arms={"none": 0.2, "mail": 0.8}), "cuped_by_arm")
    x = frame[["age", "tenure"]] - frame[["age", "tenure"]].mean()
    t = (frame.arm == "mail").astype(float)
    design = sm.add_constant(np.column_stack([t, x, x.mul(t, axis=0)]))
    fitted = sm.OLS(frame.spend.to_numpy(), design).fit(cov_type="HC2")
    apart = fitted.params[4:]
    centre = apart @ np.cov(x.T.to_numpy()) @ apart / len(frame)
    assert found.value == pytest.approx(fitted.params[1], rel=1e-9)
    assert found.se == pytest.approx(math.sqrt(fitted.bse[1] ** 2 + centre), rel=5e-3)


def test_slopes_by_arm_help_where_common_slopes_do_not():
    analysis = run(people(share=0.15), plan(arms={"none": 0.15, "mail": 0.85}))
    se = {e.estimator: e.se for e in analysis.estimates}
    assert se["cuped_by_arm"] < se["cuped"] < se["difference"]


def test_post_stratification_by_hand():
    # Closed form: Miratrix, Sekhon and Yu (2013), equation 3, with the spread of the effects.
    frame = people()
    found = find(frame, plan(), "post_stratification")
    value, variance, effects, shares = 0.0, 0.0, [], []
    for _, mine in frame.groupby("region"):
        a, b = (mine.spend[mine.arm == arm] for arm in ("mail", "none"))
        w = len(mine) / len(frame)
        value += w * (a.mean() - b.mean())
        variance += w**2 * (a.var() / len(a) + b.var() / len(b))
        effects.append(a.mean() - b.mean())
        shares.append(w)
    between = np.dot(shares, (np.array(effects) - value) ** 2) / len(frame)
    assert found.value == pytest.approx(value, rel=1e-9)
    assert found.se == pytest.approx(math.sqrt(variance + between), rel=1e-9)
    assert found.se < 0.9 * find(frame, plan(), "difference").se


def test_post_stratification_within_cohorts_and_too_fine_strata():
    frame = people()
    frame["tier"] = np.where(frame.age > 40, "old", "young")
    chosen = plan(cohorts=["tier"], estimators=["post_stratification"])
    alone = find(frame[frame.tier == "old"], plan(), "post_stratification")
    among = find(frame, chosen, "post_stratification", Cohort("tier", "old"))
    assert (among.value, among.se) == pytest.approx((alone.value, alone.se), rel=1e-9)
    frame.loc[0, "region"] = "island"
    refused = find(frame, plan(), "post_stratification")
    assert refused.status is Status.INSUFFICIENT
    assert refused.note.startswith("stratum island has ")
    bare = find(people(300), plan(strata=[]), "post_stratification")
    assert bare.note == "needs strata; name some in the plan"


def test_one_stratum_is_the_plain_difference():
    rng = np.random.default_rng(1)
    pair = [Moments.from_values(("y",), rng.gamma(2, 3, n)) for n in (200, 300)]
    from measure.incrementality.difference import difference

    averaged, plain = post_stratified([Stratum("all", *pair)]), difference(*pair)
    assert averaged.value == pytest.approx(plain.value)
    assert (averaged.se, averaged.dof) == pytest.approx((plain.se, plain.dof))
    assert (averaged.relative, averaged.relative_se) == pytest.approx(
        (plain.relative, plain.relative_se)
    )


def test_a_score_is_a_covariate():
    # CUPAC (Tang et al. 2020): a prediction made before the test, used like any covariate.
    frame = people()
    scored = find(frame, plan(covariates=["score"]), "cuped")
    assert scored.status is Status.OK
    assert scored.se < 0.9 * find(frame, plan(), "difference").se


def test_slopes_of_its_own_need_units():
    frame = people(24)
    refused = find(frame, plan(covariates=["age", "tenure", "score"]), "cuped_by_arm")
    assert refused.status is Status.INSUFFICIENT
    assert refused.note == "12 units in the smaller arm; 13 are needed for its own slopes"


@pytest.mark.parametrize(
    "estimator", ["difference", "cuped", "cuped_by_arm", "post_stratification"]
)
def test_the_interval_of_a_lift_follows_the_plan(estimator):
    # Closed form: log interval = (1 + lift) exp(± quantile × se of the log ratio) − 1.
    frame = people(400)
    delta, log = (find(frame, plan(relative=way), estimator) for way in ("delta", "log"))
    assert (delta.value, delta.ci_low, delta.p_value) == (log.value, log.ci_low, log.p_value)
    assert delta.relative == log.relative
    ratio = 1 + delta.relative
    half = (delta.relative_ci_high - delta.relative_ci_low) / 2 / ratio
    tolerance = 1e-3 if estimator == "difference" else 1e-9  # its own degrees of freedom
    assert log.relative_ci_low == pytest.approx(ratio * math.exp(-half) - 1, rel=tolerance)
    assert log.relative_ci_high == pytest.approx(ratio * math.exp(half) - 1, rel=tolerance)


def test_provenance_names_the_definition_of_the_lift():
    frame = people(300)
    texts = {way: run(frame, plan(relative=way)).provenance["relative"] for way in ("delta", "log")}
    assert "symmetric interval by the delta method" in texts["delta"]
    assert "exp(interval of the log ratio) − 1" in texts["log"]


def test_a_negative_control_has_no_log_interval():
    found = find(people(300).assign(spend=lambda d: -d.spend), plan(relative="log"), "difference")
    assert found.status is Status.OK
    assert (found.relative_ci_low, found.relative_ci_high) == (None, None)


@pytest.mark.parametrize("estimator", ["cuped_by_arm", "post_stratification"])
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_intervals_cover_the_effect_of_the_population(estimator, share):
    trials, missed = 120, 0
    chosen = plan(arms={"none": share, "mail": 1 - share}, estimators=[estimator])
    for seed in range(trials):
        found = find(people(400, seed, share), chosen, estimator)
        missed += not found.ci_low <= 1.0 <= found.ci_high
    assert abs(missed / trials - 0.05) <= Z_999 * math.sqrt(0.05 * 0.95 / trials)


def test_without_the_spread_of_the_centre_intervals_would_be_too_narrow():
    # Closed form: the effect grows by .2 a year, ages vary by 10: (.2 × 10)² / n.
    frame = people(20_000, 3)
    columns = ["spend", "age", "tenure"]
    pair = [
        Moments.from_values(columns, frame.loc[frame.arm == arm, columns])
        for arm in ("none", "mail")
    ]
    slopes = by_arm.fit_by_arm(*pair)
    apart = slopes.arm.theta - slopes.control.theta
    centre = apart @ (pair[0] + pair[1]).covariance[1:, 1:] @ apart / len(frame)
    assert centre == pytest.approx(0.2**2 * 10**2 / len(frame), rel=0.25)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_the_error_of_a_lift_by_arm_is_the_delta_method(share):
    # Delta method by numbers: the lift as a function of the means of outcome and covariates in
    # each arm, its slope by central differences, the arms' covariances over their units.
    data = people(3_000, seed=5, share=share)
    columns = ["spend", "age", "tenure"]
    arms = [data.loc[data.arm == name, columns].to_numpy() for name in ("none", "mail")]
    moments = [
        Moments(
            tuple(columns),
            len(rows),
            rows.mean(axis=0),
            np.cov(rows, rowvar=False) * (len(rows) - 1),
            np.zeros(3),
        )
        for rows in arms
    ]
    slopes = by_arm.fit_by_arm(*moments)
    held = len(arms[0]) / len(data)

    def lift(control, arm):
        centre = held * control[1:] + (1 - held) * arm[1:]
        low = control[0] - slopes.control.theta @ (control[1:] - centre)
        high = arm[0] - slopes.arm.theta @ (arm[1:] - centre)
        return (high - low) / control[0]

    means = [rows.mean(axis=0) for rows in arms]
    variance = 0.0
    for which, rows in enumerate(arms):
        slope = np.empty(3)
        for column in range(3):
            ends = []
            for step in (1e-4, -1e-4):
                moved = [m.copy() for m in means]
                moved[which][column] += step
                ends.append(lift(*moved))
            slope[column] = (ends[0] - ends[1]) / 2e-4
        variance += slope @ np.cov(rows, rowvar=False) @ slope / len(rows)
    found = by_arm.difference_by_arm(*moments, slopes, fitted_here=False)
    assert found.relative == pytest.approx(lift(*means), rel=1e-12)
    assert found.relative_se == pytest.approx(math.sqrt(variance), rel=1e-6)
