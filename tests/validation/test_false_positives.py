"""False positives: experiments in which nothing happened, analysed by the shipped path.

Every allocation × outcome × size of the experiment is analysed many times; each tail on its own
must stay within the 99.9 % band around 2.5 %. A tail below its band is a test that is too careful,
which whole numbers of buyers make unavoidable in small samples; a tail above it is a failure. Cells
too small for an honest interval are refused.
"""

import numpy as np
import pytest

from measure.incrementality.analyze import analyze
from measure.plan import Metric
from tests.validation.tally import Tally, band
from tests.validation.worlds import (
    CountedUnits,
    PairedUnits,
    binary,
    clustered,
    heavy_tail,
    plan,
    ratio,
    sizes,
)

OUTCOMES = {
    "binary, 3 %": (Metric(name="bought", kind="proportion"), binary(0.03)),
    "zero-inflated, heavy tail": (Metric(name="spend"), heavy_tail(0.03)),
    "ratio of two sums": (Metric(name="orders", kind="ratio", denominator="sessions"), ratio),
    "clusters of people": (Metric(name="score", kind="ratio", denominator="people"), clustered),
}
ROWS = ("ratio of two sums", "clusters of people")
"""Outcomes that need their units one by one: fewer trials where there are many of them."""
ALLOCATIONS = {"50/50": 0.5, "90/10": 0.1, "98/2": 0.02}
PER_ARM = (50, 500, 5_000, 50_000)
DISCRETE = ("binary, 3 %",)
"""Outcomes whose p-values come in steps: they are not uniform, and need not be."""
LEVEL = 0.95
MOSTLY = 0.5
"""A cell that answers less often than this is a refused one: what it answers is a selection."""


def run(outcome: str, allocation: str, per_arm: int, trials: int, seed: int) -> Tally:
    """Analyse ``trials`` worlds without an effect."""
    metric, sample = OUTCOMES[outcome]
    declared = plan(metric, ALLOCATIONS[allocation], LEVEL)
    control, arm = sizes(per_arm, ALLOCATIONS[allocation])
    kind = PairedUnits if outcome in ROWS else CountedUnits
    rng, tally = np.random.default_rng(seed), Tally()
    for _ in range(trials):
        units = kind(metric, {"control": sample(rng, control), "treated": sample(rng, arm)})
        tally.add(analyze(units, declared, experiment="nothing").estimates[0])
    return tally


def judge(tally: Tally) -> str:
    """``refused``, ``in band`` or ``careful``; a tail above its band fails the test."""
    if tally.answered < MOSTLY * (tally.answered + tally.refused):
        return "refused"
    low, high = band(tally.answered, (1 - LEVEL) / 2)
    assert max(tally.more, tally.less) <= high, tally.row()
    return "in band" if min(tally.more, tally.less) >= low else "careful"


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize(("allocation", "per_arm"), [("50/50", 500), ("90/10", 5_000)])
def test_tails_stay_in_their_band(outcome, allocation, per_arm):
    # Source: the nominal level, 2.5 % per tail.
    assert judge(run(outcome, allocation, per_arm, trials=200, seed=11)) != "refused"


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_holdout_of_two_units_is_refused(outcome):
    # 2 % of a hundred units: two, below the ten that the shipped rule asks for.
    tally = run(outcome, "98/2", 50, trials=50, seed=12)
    assert tally.refused == 50


@pytest.mark.validation
@pytest.mark.parametrize("per_arm", PER_ARM)
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_cell_of_the_grid(outcome, allocation, per_arm, record_property):
    # Source: the nominal level, 2.5 % per tail.
    first = run(outcome, allocation, per_arm, trials=300, seed=20)
    slow = first.rerouted or not first.answered or (outcome in ROWS and per_arm > 5_000)
    trials = 2_000 if slow else 10_000
    tally = run(outcome, allocation, per_arm, trials, seed=21)
    row = {"outcome": outcome, "allocation": allocation, "units per arm on average": f"{per_arm:,}"}
    for name, value in (row | tally.row()).items():
        record_property(name, value)
    record_property("verdict", judge(tally))
    if tally.answered == trials and per_arm >= 5_000 and outcome not in DISCRETE:
        assert tally.uniformity() > 0.001
