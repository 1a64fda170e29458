"""X7: one id with a hundred thousand clicks in one arm, and heavy tails that are no such thing."""

import numpy as np
import pandas as pd
import pytest

from measure.incrementality import analyze
from measure.moments import Moments
from measure.plan import AnalysisPlan, Metric
from measure.results import Outcome, Status
from tests.measure.incrementality.frames import FrameUnits

PLAN = AnalysisPlan(
    arms={"none": 0.5, "mail": 0.5},
    control="none",
    metrics=(Metric(name="clicks", kind="count", column="clicks"),),
)


def clicks(n=4_000, seed=1):
    rng = np.random.default_rng(seed)
    arm = np.repeat(["none", "mail"], n // 2)
    return pd.DataFrame({"arm": arm, "clicks": rng.poisson(3, n).astype(float)})


def flooded(**changes):
    frame = clicks(**changes)
    frame.loc[len(frame) - 1, "clicks"] = 100_000.0
    return frame


def analysed(frame, plan=PLAN):
    return analyze(FrameUnits(frame, "arm", plan), plan, experiment="x")


def outliers(analysis):
    return next(check for check in analysis.checks if check.code == "X7")


def test_a_flood_from_one_id_in_one_arm_is_flagged_and_the_capped_effect_is_shown():
    # The true effect is 0; one unit makes it 100,000 / 2,000 = 50 clicks a unit.
    frame = flooded()
    analysis = analysed(frame)
    found = outliers(analysis)
    assert found.outcome is Outcome.FLAGGED
    assert "clicks in mail hangs on 1 unit beyond" in found.message
    (row,) = found.evidence
    assert row["difference"] == pytest.approx(50, rel=0.02)
    # Capping by hand at the largest value but one gives the same as the plain difference does.
    cap = np.sort(frame["clicks"])[-2]
    capped = frame.assign(clicks=frame["clicks"].clip(upper=cap))
    plain = analysed(capped).find("clicks", "mail", "difference")
    assert row["cap"] == cap
    assert row["units"] == 1
    assert row["capped"] == pytest.approx(plain.value, rel=1e-12)
    assert row["capped_ci_low"] == pytest.approx(plain.ci_low, rel=1e-9)
    assert row["capped_ci_low"] < 0 < row["capped_ci_high"]
    # The estimate itself does not fall for it: the flood may as well have come to the other arm.
    assert analysis.find("clicks", "mail", "difference").p_value > 0.5
    assert outliers(analysed(capped)).outcome is Outcome.PASSED


def test_a_flood_of_refunds_is_found_too():
    frame = clicks()
    frame.loc[0, "clicks"] = -100_000.0
    (row,) = outliers(analysed(frame)).evidence
    assert row["difference"] == pytest.approx(50, rel=0.02)
    assert abs(row["capped"]) < 1


@pytest.mark.parametrize("seed", range(40))
def test_amounts_with_a_long_tail_are_no_outliers(seed):
    # Zero-inflated lognormal amounts (skewness about 30), 2,000 units a side, no effect.
    rng = np.random.default_rng([7, seed])
    frame = clicks()
    frame["clicks"] = (rng.random(len(frame)) < 0.02) * np.exp(rng.normal(4, 1, len(frame)))
    assert outliers(analysed(frame)).outcome is Outcome.PASSED


def test_proportions_have_no_outliers_and_withheld_metrics_show_none():
    proportion = PLAN.model_copy(update={"metrics": (Metric(name="clicks", kind="proportion"),)})
    bought = clicks().assign(clicks=lambda f: (f["clicks"] > 3).astype(float))
    assert outliers(analysed(bought, proportion)).outcome is Outcome.NOT_APPLICABLE
    skewed = flooded().iloc[300:]  # 1,700 against 2,000: the sample ratio stops the analysis
    analysis = analysed(skewed)
    assert analysis.status is Status.INVALID
    assert outliers(analysis).outcome is Outcome.NOT_APPLICABLE
    assert outliers(analysis).evidence == ()


def test_values_are_looked_at_only_where_skewness_asks_for_it(monkeypatch):
    asked = []
    monkeypatch.setattr(FrameUnits, "value_counts", lambda *args: asked.append(args))
    assert outliers(analysed(clicks())).outcome is Outcome.PASSED
    assert asked == []
    assert Moments.from_values(("clicks",), flooded()["clicks"]).skewness > 60
