"""False positives of adjusted estimators: nothing happened, and a covariate explains the outcome.

One world is analysed by all estimators at once, through the shipped path. Each tail must stay
within the 99.9 % band around 2.5 %, or the cell is refused or judged by permutation. Trials are
fewer where the small holdout makes every analysis deal its units anew.
"""

import numpy as np
import pandas as pd
import pytest

from measure.incrementality.analyze import analyze
from measure.plan import AnalysisPlan, Metric
from tests.measure.incrementality.frames import FrameUnits
from tests.validation.tally import Tally, band
from tests.validation.test_false_positives import ALLOCATIONS, judge
from tests.validation.worlds import clustered, ratio, sizes

MEANS = ("cuped", "cuped_by_arm", "post_stratification", "double_ml", "hierarchical_bayes")
RATIOS = ("cuped", "cuped_by_arm", "post_stratification")
PER_ARM = (50, 500, 5_000, 50_000)


def bought(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Buyers are likelier among those who bought before."""
    before = rng.gamma(1.0, 1.0, n)
    return pd.DataFrame({"y": (rng.random(n) < 0.03 * before) * 1.0, "x": before})


def spent(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Buyers spend a lognormal amount that goes with what they spent before."""
    before = rng.normal(0, 1, n)
    amount = np.exp(4 + 0.6 * before + rng.normal(0, 0.8, n))
    return pd.DataFrame({"y": np.round((rng.random(n) < 0.03) * amount, 2), "x": np.exp(before)})


def paired(sample):
    """A ratio with its denominator as what was known before, blurred."""

    def frame(rng: np.random.Generator, n: int) -> pd.DataFrame:
        found = sample(rng, n)
        known = found.below + rng.normal(0, 1, n)
        return pd.DataFrame({"y": found.above, "below": found.below, "x": known})

    return frame


OUTCOMES = {
    "binary, 3 %": (Metric(name="y", kind="proportion"), bought, MEANS),
    "zero-inflated, heavy tail": (Metric(name="y"), spent, MEANS),
    "ratio of two sums": (
        Metric(name="y", kind="ratio", denominator="below"),
        paired(ratio),
        RATIOS,
    ),
    "clusters of people": (
        Metric(name="y", kind="ratio", denominator="below"),
        paired(clustered),
        RATIOS,
    ),
}


def run(outcome: str, allocation: str, per_arm: int, trials: int, seed: int) -> dict[str, Tally]:
    """Analyse ``trials`` worlds without an effect by every estimator that takes the outcome."""
    metric, sample, estimators = OUTCOMES[outcome]
    share = ALLOCATIONS[allocation]
    plan = AnalysisPlan(
        arms={"control": share, "treated": 1 - share},
        control="control",
        metrics=(metric,),
        covariates=("x",),
        strata=("stratum",),
        estimators=estimators,
    )
    control, arm = sizes(per_arm, share)
    labels = np.repeat(["control", "treated"], [control, arm])
    rng, tallies = np.random.default_rng(seed), {name: Tally() for name in estimators}
    for _ in range(trials):
        frame = sample(rng, control + arm)
        frame["stratum"] = np.where(frame["x"] > 1, "high", "low")
        frame["arm"] = labels
        for estimate in analyze(FrameUnits(frame, "arm", plan), plan, experiment="x").estimates:
            tallies[estimate.estimator].add(estimate)
    return tallies


def test_adjusted_tails_stay_in_their_band():
    # Source: the nominal level, 2.5 % per tail; the ten counts are within bands of 99.99 %.
    for name, tally in run("binary, 3 %", "50/50", 1_000, trials=150, seed=41).items():
        high = band(tally.answered, 0.025, 0.9999)[1]
        assert tally.answered == 150, name
        assert max(tally.more, tally.less) <= high, name


@pytest.mark.validation
@pytest.mark.parametrize("per_arm", PER_ARM)
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_adjusted_cell(outcome, allocation, per_arm, record_property):
    # Source: the nominal level, 2.5 % per tail.
    trials = {50: 2_000, 500: 2_000, 5_000: 500, 50_000: 100}[per_arm]
    found = run(outcome, allocation, per_arm, trials, seed=42)
    record_property("outcome", outcome)
    record_property("allocation", allocation)
    record_property("units per arm on average", f"{per_arm:,}")
    record_property("trials", f"{trials:,}")
    for name, tally in found.items():
        record_property(name, shown(tally))
    for tally in found.values():
        judge(tally)


def shown(tally: Tally) -> str:
    """Rates of the two tails, more and less; ``refused`` where most trials had no answer."""
    if tally.answered < (tally.answered + tally.refused) / 2:
        return "refused"
    more, less = (100 * count / tally.answered for count in (tally.more, tally.less))
    return f"{more:.1f} / {less:.1f} %" + (" (permutation)" if tally.rerouted else "")
