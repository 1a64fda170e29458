"""The power a plan promises is the share of tests in which the shipped analysis finds the lift."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.designs.planning import shipped
from tests.designs.planning.shipped import Case

HALVES = {"control": 0.5, "newsletter": 0.5}
UNEQUAL = {"control": 0.2, "newsletter": 0.8}
THREE = {"control": 0.4, "newsletter": 0.3, "letter": 0.3}
RATIO = {"kind": "ratio", "column": "y", "denominator": "d"}
CASES = {
    "mean, more buyers": Case(shipped.buyers, {}, "buyers", 0.2, 2_400, HALVES),
    "mean, unequal split": Case(shipped.amounts, {}, "amounts", 0.06, 1_200, UNEQUAL),
    "mean, several arms": Case(shipped.amounts, {}, "amounts", 0.05, 1_500, THREE),
    "mean, CUPED": Case(shipped.amounts, {}, "amounts", 0.04, 1_200, HALVES, ("x",), "cuped"),
    "count": Case(shipped.counts, {"kind": "count"}, "amounts", 0.05, 2_600, HALVES),
    "proportion": Case(shipped.shares, {"kind": "proportion"}, "buyers", 0.2, 7_000, HALVES),
    "ratio": Case(shipped.sessions, RATIO, "amounts", 0.1, 2_400, HALVES),
    "ratio, unequal split": Case(shipped.sessions, RATIO, "amounts", 0.1, 4_000, UNEQUAL),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_promised_power_is_what_the_analysis_finds(case):
    # Source: 300 runs of `analyze` on fresh draws of the world; 99.9 % band (Wilson).
    promise = shipped.planned(case)
    assert promise.method == "normal"
    assert 0.5 < promise.power < 0.95  # where a wrong variance shows
    low, high = shipped.reached(case, 300)
    assert low <= promise.power <= high


@pytest.mark.validation
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_promised_power_holds_over_many_runs(case):
    # Source: 4,000 runs of `analyze`; 99.9 % band, about ± 2.5 points.
    low, high = shipped.reached(case, 4_000)
    assert low <= shipped.planned(case).power <= high


def test_a_textbook_variance_would_promise_too_much():
    # The same world by `shift`, which leaves the treated arm's variance as it was.
    case = replace(CASES["mean, more buyers"], lift=0.35, units=1_000)
    textbook, honest = shipped.planned(case, acts="shift"), shipped.planned(case)
    low, high = shipped.reached(case, 300, 0.99)
    assert low <= honest.power <= high
    assert textbook.power > honest.power + 0.03


def clustered(rng, households, lift):
    """People in households of different sizes who are alike; one row per person."""
    sizes = rng.integers(1, 7, households)
    which = np.repeat(np.arange(households), sizes)
    alike = rng.normal(0, np.sqrt(0.3), households)[which]
    value = (10 + 4 * (alike + rng.normal(0, np.sqrt(0.7), len(which)))) * (1 + lift)
    return pd.DataFrame({"which": which, "y": value})


def test_clusters_cost_what_the_plan_says():
    # Source: 300 runs of `analyze` on households, as the engine adds them up: the sum of a
    # household over its size. The plan knows sizes, likeness and the variance of persons only.
    def added_up(rng, households, lift):
        people = clustered(rng, households, lift).groupby("which").y.agg(["sum", "count"])
        return {"y": people["sum"].to_numpy(), "d": people["count"].to_numpy(float)}

    people = clustered(np.random.default_rng(1), 40_000, 0.0)
    sizes = people.groupby("which").size()
    households = 600
    persons = Case(
        lambda rng, n, _: {"y": rng.choice(people.y.to_numpy(), n)}, {}, "amounts", 0.06,
        round(households * sizes.mean()), HALVES,
    )  # fmt: skip
    likeness = {"size": sizes.mean(), "cv": sizes.std() / sizes.mean(), "icc": 0.3}
    promise = shipped.planned(persons, clusters=likeness)
    alone = shipped.planned(persons)
    low, high = shipped.reached(
        Case(added_up, {"kind": "ratio", "denominator": "d"}, "amounts", 0.06, households, HALVES),
        300,
    )
    assert low <= promise.power <= high
    assert alone.power > high


def test_a_confidence_sequence_costs_power():
    # Source: 300 runs of `analyze` under the plan that may be looked at at any time, at its end.
    case = Case(shipped.amounts, {}, "amounts", 0.07, 2_000, HALVES)
    of = shipped.experiment(case)
    sequential = of.plan.model_copy(update={"sequential": _anytime(2_000)})
    watched = of.model_copy(update={"plan": sequential})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "experiment", lambda _case: watched)
        promise = shipped.planned(case)
        low, high = shipped.reached(case, 300)
    assert low <= promise.power <= high
    assert shipped.planned(case).power > high


def _anytime(units):
    from measure.methods import Sequential

    return Sequential(planned_units=units)
