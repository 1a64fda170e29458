"""X8: strata that were measured after assignment, and strata that chance dealt out."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from measure.incrementality import analyze
from measure.incrementality.strata_balance import REST, strata_check
from measure.plan import AnalysisPlan, Metric
from measure.results import Outcome, Status
from tests.measure.incrementality.frames import FrameUnits

PLAN = AnalysisPlan(
    arms={"none": 0.25, "mail": 0.75},
    control="none",
    metrics=(Metric(name="spend"),),
    strata=("region",),
    estimators=("difference", "post_stratification"),
)


def people(n=8_000, seed=1, moved=0.0):
    """Some who got the mail move north because of it."""
    rng = np.random.default_rng(seed)
    arm = np.repeat(["none", "mail"], [n // 4, n - n // 4])
    region = rng.choice(["north", "south", "west"], n)
    region[(arm == "mail") & (rng.random(n) < moved)] = "north"
    return pd.DataFrame({"arm": arm, "region": region, "spend": rng.gamma(2.0, 3.0, n)})


def analysed(frame, plan=PLAN):
    analysis = analyze(FrameUnits(frame, "arm", plan), plan, experiment="x")
    return analysis, next(check for check in analysis.checks if check.code == "X8")


def test_strata_of_chance_pass_with_the_p_value_of_the_contingency_table():
    frame = people()
    analysis, check = analysed(frame)
    assert check.outcome is Outcome.PASSED
    # Oracle: scipy's Pearson chi-square of the same table.
    table = pd.crosstab(frame.region, frame.arm)
    assert check.p_value == pytest.approx(chi2_contingency(table, correction=False).pvalue)
    assert analysis.find("spend", "mail", "post_stratification").status is Status.OK


def test_strata_measured_after_assignment_withhold_what_averages_over_them():
    analysis, check = analysed(people(moved=0.1))
    assert check.outcome is Outcome.FLAGGED
    assert "measured after assignment?" in check.message
    averaged = analysis.find("spend", "mail", "post_stratification")
    assert averaged.status is Status.INVALID
    assert averaged.value is None
    assert "X8" in averaged.note
    assert analysis.find("spend", "mail", "difference").status is Status.OK


def test_small_strata_are_judged_together_and_one_stratum_is_no_question():
    frame = people()
    # 40 villages of 3, every fourth villager without mail, as everybody.
    villagers = frame.index[2_000 - 30 : 2_000 + 90]
    frame.loc[villagers, "region"] = [f"village {v % 40}" for v in range(120)]
    _, check = analysed(frame)
    assert check.outcome is Outcome.PASSED
    assert check.evidence[-1] == {"stratum": REST, "none": 30, "mail": 90}
    _, alone = analysed(frame.assign(region="north"))
    assert alone.outcome is Outcome.NOT_APPLICABLE


def test_a_plan_without_strata_asks_nothing():
    plan = PLAN.model_copy(update={"strata": (), "estimators": ("difference",)})
    analysis = analyze(FrameUnits(people(), "arm", plan), plan, experiment="x")
    assert "X8" not in {check.code for check in analysis.checks}


def test_chance_alone_never_withholds_in_a_thousand_deals():
    # p is uniform where nothing happened: of 1,000 deals about 50 lie below .05
    # (99.9 % of binomials: 29 to 74), none below 1e-6.
    units = (FrameUnits(people(800, seed), "arm", PLAN) for seed in range(1_000))
    found = [strata_check(PLAN, one.moments_by_stratum()).p_value for one in units]
    assert 29 <= sum(p < 0.05 for p in found) <= 74
    assert min(found) > 1e-6
