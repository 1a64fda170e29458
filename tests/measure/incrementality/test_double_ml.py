import numpy as np
import pandas as pd
import pytest

from measure.errors import InputError
from measure.incrementality import analyze
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Estimand, Status
from tests.measure.incrementality.frames import FrameUnits

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
        "estimators": ["difference", "double_ml"],
    }
    return AnalysisPlan(**(base | changes))


@pytest.fixture(scope="module")
def analysis():
    a_plan = plan()
    return analyze(FrameUnits(world(), "arm", a_plan), a_plan, experiment="world")


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
def test_planted_effects_are_found_more_precisely(analysis, arm, cohort, truth):
    where = Cohort("region", cohort) if cohort else None
    found = analysis.find("spend", arm, "double_ml", where)
    plain = analysis.find("spend", arm, "difference", where)
    assert abs(found.value - truth) < 4 * found.se
    assert found.se < 0.6 * plain.se
    assert found.estimand is (Estimand.CATE if cohort else Estimand.ATE)
    assert found.relative == pytest.approx(found.value / (plain.value / plain.relative))


def test_intervals_cover_the_truth():
    # Lower end of the 99.9 % binomial band around 95 % of two cohort effects in 40 worlds.
    worlds, covered = 40, 0
    a_plan = plan(estimators=["double_ml"], arms={"none": 4 / 7, "mail": 3 / 7})
    for seed in range(worlds):
        data = world(1_200, seed)
        units = FrameUnits(data[data.arm != "post"], "arm", a_plan)
        found = analyze(units, a_plan, experiment="world")
        for region, truth in (("north", 1.0), ("south", 3.0)):
            e = found.find("spend", "mail", "double_ml", Cohort("region", region))
            covered += e.ci_low <= truth <= e.ci_high
    trials = 2 * worlds
    assert covered >= 0.95 * trials - 3.2905 * (0.95 * 0.05 * trials) ** 0.5


def test_without_covariates_it_refuses():
    a_plan = plan(covariates=[], estimators=["double_ml", "cuped"])
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
    a_plan = plan(arms={"none": 0.1, "mail": 0.9}, cohorts=[], estimators=["cuped", "double_ml"])
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
