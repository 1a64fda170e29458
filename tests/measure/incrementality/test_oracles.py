"""Standard errors of shipped estimates against the delete-one jackknife of the estimator by hand.

The jackknife knows no formula of ours: it takes each unit away and computes the estimate again from
rows (Efron and Tibshirani 1993, chapter 11). It agrees with the delta method up to terms of 1/n.
"""

import math
from functools import cache

import numpy as np
import pandas as pd
import pytest

from measure.incrementality import analyze
from measure.methods import Sequential
from measure.plan import AnalysisPlan, Metric
from measure.results import Status
from tests.measure.incrementality.frames import FrameUnits

UNITS, SHARE = 900, 0.3
PLAN = AnalysisPlan(
    arms={"none": SHARE, "mail": 1 - SHARE},
    control="none",
    metrics=[Metric(name="spend"), Metric(name="ctr", kind="ratio", column="clicks",
                                          denominator="visits")],
    covariates=["before"],
    strata=["tier"],
    exposure="reached",
    estimators=["difference", "cuped", "cuped_by_arm", "post_stratification", "double_ml",
                "double_ml_partialling_out", "complier_effect"],
)  # fmt: skip


@cache
def people():
    """Arms of unequal size and spread; the effect grows with the covariate and differs by tier."""
    rng = np.random.default_rng(3)
    mail = rng.permutation(UNITS) >= SHARE * UNITS
    before, tier = rng.gamma(4, 0.5, UNITS), rng.integers(0, 3, UNITS)
    reached = (mail & (rng.random(UNITS) < 0.7)) | (rng.random(UNITS) < 0.1)
    noise = rng.normal(0, np.where(mail, 1.5, 0.8))
    visits = rng.poisson(3 + before) + 1
    return pd.DataFrame(
        {
            "arm": np.where(mail, "mail", "none"),
            "mail": mail,
            "spend": 6 + before * (1 + 0.5 * mail) + (1 + 0.4 * mail) * tier + reached + noise,
            "before": before,
            "tier": tier,
            "reached": reached.astype(float),
            "clicks": rng.binomial(visits, 0.3 + 0.05 * mail).astype(float),
            "visits": visits.astype(float),
        }
    )


@cache
def shipped(looks=False):
    plan = PLAN.model_copy(update={"sequential": Sequential() if looks else False})
    return analyze(FrameUnits(people(), "arm", plan), plan, experiment="oracle")


def halves(mail, *columns):
    return [[column[mail == arm] for column in columns] for arm in (True, False)]


def slope(outcome, covariate):
    centred = covariate - covariate.mean()
    return centred @ outcome / (centred @ centred)


def plain(d):
    (arm,), (control,) = halves(d["mail"], d["spend"])
    return arm.mean() - control.mean(), control.mean()


def pooled_slope(d):
    (y1, x1), (y0, x0) = halves(d["mail"], d["spend"], d["before"])
    theta = slope(d["spend"], d["before"])
    return y1.mean() - y0.mean() - theta * (x1.mean() - x0.mean()), y0.mean()


def own_slopes(d):
    (y1, x1), (y0, x0) = halves(d["mail"], d["spend"], d["before"])
    centre = d["before"].mean()
    arm = y1.mean() - slope(y1, x1) * (x1.mean() - centre)
    return arm - (y0.mean() - slope(y0, x0) * (x0.mean() - centre)), y0.mean()


def averaged(d):
    arm = control = 0.0
    for tier in range(3):
        mine = d["tier"] == tier
        (y1,), (y0,) = halves(d["mail"][mine], d["spend"][mine])
        arm, control = arm + mine.mean() * y1.mean(), control + mine.mean() * y0.mean()
    return arm - control, control


def sums(d):
    (c1, v1), (c0, v0) = halves(d["mail"], d["clicks"], d["visits"])
    return c1.sum() / v1.sum() - c0.sum() / v0.sum(), c0.sum() / v0.sum()


def averaged_sums(d):
    total = np.zeros((2, 2))
    for tier in range(3):
        mine = d["tier"] == tier
        both = halves(d["mail"][mine], d["clicks"][mine], d["visits"][mine])
        total += mine.mean() * np.array([[c.mean(), v.mean()] for c, v in both])
    arm, control = total[:, 0] / total[:, 1]
    return arm - control, control


BY_HAND = {
    ("spend", "difference"): plain,
    ("spend", "cuped"): pooled_slope,
    ("spend", "cuped_by_arm"): own_slopes,
    ("spend", "double_ml"): own_slopes,
    ("spend", "post_stratification"): averaged,
    ("ctr", "difference"): sums,
    ("ctr", "post_stratification"): averaged_sums,
}


@pytest.mark.parametrize(("metric", "estimator"), BY_HAND)
def test_errors_of_effect_and_lift_are_the_jackknifes(metric, estimator):
    by_hand = BY_HAND[metric, estimator]
    rows = {name: column.to_numpy() for name, column in people().items()}
    effect, base = by_hand(rows)
    left = []
    for unit in range(UNITS):
        value, below = by_hand({name: np.delete(column, unit) for name, column in rows.items()})
        left.append((value, value / below))
    error, lift_error = np.sqrt((UNITS - 1) * np.var(left, axis=0))
    found = shipped().find(metric, "mail", estimator)
    assert found.status is Status.OK
    # Cross-fitted slopes differ from those of all units.
    close = 2e-3 if estimator == "double_ml" else 1e-9
    assert found.value == pytest.approx(effect, rel=close)
    assert found.relative == pytest.approx(effect / base, rel=close)
    assert found.se == pytest.approx(error, rel=0.02)
    whole = (found.relative_ci_high - found.relative_ci_low) / (found.ci_high - found.ci_low)
    assert whole * found.se == pytest.approx(lift_error, rel=0.02)


def test_complier_effects_have_the_error_of_two_stage_least_squares_or_more():
    # Closed form: Var(y − βd) of each arm over its units, over the squared first stage; or with
    # outcome and exposure taken as independent, whichever is larger.
    d = people()
    found = shipped().find("spend", "mail", "complier_effect")
    means = d.groupby("arm")[["spend", "reached"]].mean()
    gap = means.loc["mail"] - means.loc["none"]
    effect = gap.spend / gap.reached
    variances = []
    for together in (True, False):
        total = 0.0
        for _, mine in d.groupby("arm"):
            covariance = mine[["spend", "reached"]].cov().to_numpy()
            cross = 2 * effect * covariance[0, 1] if together else 0.0
            total += (covariance[0, 0] + effect**2 * covariance[1, 1] - cross) / len(mine)
        variances.append(total)
    assert found.value == pytest.approx(effect, rel=1e-9)
    assert found.se == pytest.approx(math.sqrt(max(variances)) / gap.reached, rel=1e-9)


@pytest.mark.parametrize("estimator", PLAN.estimators)
def test_a_look_widens_every_estimator_alike(estimator):
    # The boundary is a number of standard errors that depends on the units alone.
    plain = shipped(True).find("spend", "mail", "difference")
    bound = (plain.ci_high - plain.value) / plain.se
    once, look = (shipped(way).find("spend", "mail", estimator) for way in (False, True))
    assert (look.value, look.se) == (once.value, once.se)
    assert (look.ci_high - look.value) / look.se == pytest.approx(bound, rel=1e-9)
    assert (look.value - look.ci_low) / look.se == pytest.approx(bound, rel=1e-9)
