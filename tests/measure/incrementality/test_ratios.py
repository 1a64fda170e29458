"""Ratios of sums by the delta method at the unit, and means over the rows of clusters."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from measure.engine.connection import connect
from measure.engine.units import unit_table
from measure.errors import DataError
from measure.incrementality import analyze
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Status
from tests.measure.incrementality.frames import FrameUnits

EVEN = {"none": 0.5, "mail": 0.5}
RATE = Metric(name="rate", kind="ratio", column="clicks", denominator="visits")
LINEAR = ["difference", "cuped", "cuped_by_arm", "post_stratification"]
Z_999 = 3.2905267314919  # two-sided 99.9 % point of the normal
NUMBERS = ("value", "se", "ci_low", "ci_high", "p_value", "relative", "relative_ci_low",
           "relative_ci_high")  # fmt: skip


def band(trials, share=0.05):
    """Half width of the 99.9 % binomial band."""
    return Z_999 * math.sqrt(share * (1 - share) / trials)


def sessions(n=2_000, seed=0, holdout=0.5, lift=0.0):
    """People with visits and clicks; those who visit more click at another rate."""
    rng = np.random.default_rng(seed)
    eager = rng.beta(2, 6, n)
    visits = rng.poisson(1 + 6 * eager).astype(float)
    arm = np.where(rng.permutation(n) < round(n * holdout), "none", "mail")
    rate = np.clip(eager * (1 + lift * (arm == "mail")), 0, 1)
    clicks = rng.binomial(visits.astype(int), rate).astype(float)
    before = rng.poisson(1 + 6 * eager).astype(float)
    return pd.DataFrame(
        {"arm": arm, "clicks": clicks, "visits": visits, "before": before, "eager": eager > 0.25}
    )


def plan(arms=EVEN, metrics=(RATE,), **changes):
    base = {"covariates": ["before"], "strata": ["eager"], "estimators": LINEAR}
    chosen = base | changes
    if "post_stratification" not in chosen["estimators"]:
        chosen["strata"] = []
    return AnalysisPlan(arms=arms, control="none", metrics=list(metrics), **chosen)


def run(frame, chosen):
    analysis = analyze(FrameUnits(frame, "arm", chosen), chosen, experiment="ratio")
    for estimate in analysis.estimates:
        values = [getattr(estimate, name) for name in NUMBERS]
        assert all(v is None or math.isfinite(v) for v in values)
        if estimate.status is not Status.OK:
            assert values == [None] * 8
            assert estimate.note
    return analysis


def test_difference_and_error_by_hand():
    # Closed form: R = Σy/Σx; var R = Σ(y − R x)² / (n − 1) / (n x̄²) (Cochran 1977, 6.13).
    frame = sessions(lift=0.1)
    found = run(frame, plan()).find("rate", "mail", "difference")
    ratios, errors = {}, {}
    for arm, mine in frame.groupby("arm"):
        ratio = mine.clicks.sum() / mine.visits.sum()
        left = mine.clicks - ratio * mine.visits
        ratios[arm] = ratio
        errors[arm] = (left**2).sum() / (len(mine) - 1) / len(mine) / mine.visits.mean() ** 2
    assert found.value == pytest.approx(ratios["mail"] - ratios["none"], rel=1e-9)
    assert found.se == pytest.approx(math.sqrt(errors["mail"] + errors["none"]), rel=1e-9)
    assert found.relative == pytest.approx(ratios["mail"] / ratios["none"] - 1, rel=1e-9)
    assert (found.n_control, found.n_arm) == (1_000, 1_000)


def test_adjusted_ratios_agree_and_are_narrower():
    analysis = run(sessions(20_000, 3, lift=0.2), plan())
    plain = analysis.find("rate", "mail", "difference")
    for name in LINEAR[1:]:
        found = analysis.find("rate", "mail", name)
        assert found.value == pytest.approx(plain.value, abs=2 * plain.se)
        assert found.se < plain.se


def test_count_is_events_per_unit():
    frame = sessions()
    metrics = [Metric(name="clicks", kind="count"), Metric(name="same", column="clicks")]
    analysis = run(frame, plan(metrics=metrics, estimators=["difference"]))
    counted, mean = analysis.estimates
    assert dataclasses.replace(counted, metric="same") == mean


def test_an_engine_and_a_frame_give_the_same_numbers():
    frame = sessions(3_000, 5, holdout=0.1, lift=0.3)
    frame.loc[::7, "visits"] = np.nan
    chosen = plan({"none": 0.1, "mail": 0.9}, cohorts=["eager"])
    with connect() as engine:
        units = unit_table(engine, engine.register("units", _arrow(frame)), "arm", chosen)
        there = analyze(units, chosen, experiment="ratio")
    here = run(frame.assign(eager=frame.eager.map({True: "true", False: "false"})), chosen)
    for one, other in zip(there.estimates, here.estimates, strict=True):
        for name in NUMBERS[:4]:
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-7, abs=1e-9)


def _arrow(frame):
    import pyarrow as pa

    return pa.Table.from_pandas(frame, preserve_index=False)


# Metamorphic.


def numbers(estimate, *names):
    return tuple(getattr(estimate, name) for name in names)


@pytest.mark.parametrize("holdout", [0.5, 0.08])
@pytest.mark.parametrize("estimator", LINEAR)
def test_swapping_labels_mirrors_and_units_scale(holdout, estimator):
    frame = sessions(600, 1, holdout, lift=0.3)
    arms = {"none": holdout, "mail": 1 - holdout}
    plain = run(frame, plan(arms)).find("rate", "mail", estimator)
    swapped_plan = plan(arms).model_copy(update={"control": "mail"})
    swapped = run(frame, swapped_plan).find("rate", "none", estimator)
    mirrored = (-swapped.value, swapped.se, -swapped.ci_high, -swapped.ci_low, swapped.p_value)
    names = ("value", "se", "ci_low", "ci_high", "p_value")
    assert numbers(plain, *names) == pytest.approx(mirrored, rel=1e-6)
    scaled = run(frame.assign(clicks=frame.clicks * 100), plan(arms)).find(
        "rate", "mail", estimator
    )
    hundred = [v * 100 for v in numbers(plain, "value", "se", "ci_low", "ci_high")]
    assert numbers(scaled, "value", "se", "ci_low", "ci_high") == pytest.approx(hundred, rel=1e-6)
    assert scaled.p_value == pytest.approx(plain.p_value, rel=1e-6)
    assert scaled.relative == pytest.approx(plain.relative, rel=1e-6)
    sparse = run(frame.assign(visits=frame.visits * 4), plan(arms)).find("rate", "mail", estimator)
    assert sparse.value == pytest.approx(plain.value / 4, rel=1e-6)
    assert sparse.p_value == pytest.approx(plain.p_value, rel=1e-6)


@pytest.mark.parametrize("estimator", LINEAR)
def test_rows_in_another_order_and_another_cohort_change_nothing(estimator):
    frame = sessions(800, 2, lift=0.2)
    one = run(frame, plan()).find("rate", "mail", estimator)
    two = run(frame.sample(frac=1, random_state=1), plan()).find("rate", "mail", estimator)
    assert numbers(one, *NUMBERS) == pytest.approx(numbers(two, *NUMBERS), rel=1e-9)
    home = frame.assign(region="home")
    more = pd.concat([home, sessions(100, 9).assign(region="island")])
    cohort = Cohort("region", "home")
    chosen = plan(cohorts=["region"], estimators=["difference", "post_stratification"])
    if estimator in chosen.estimators:
        alone = run(home, chosen).find("rate", "mail", estimator, cohort)
        among = run(more, chosen).find("rate", "mail", estimator, cohort)
        assert numbers(alone, *NUMBERS) == pytest.approx(numbers(among, *NUMBERS), rel=1e-9)


# Edges.


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"visits": 0.0}, Status.DEGENERATE, "the denominator of rate in none is zero"),
        ({"clicks": 0.0}, Status.DEGENERATE, "rate does not vary"),
        ({"clicks": lambda d: d.visits * 3}, Status.DEGENERATE, "rate does not vary"),
        ({"visits": np.nan}, Status.INSUFFICIENT, "0 units in the smaller arm"),
        (
            {"visits": lambda d: np.where(np.arange(len(d)) % 40 < 2, d.visits, 0.0)},
            Status.INSUFFICIENT,
            "the denominator of rate in",
        ),
    ],
)
def test_ratios_that_cannot_be(change, status, words):
    found = run(sessions(400).assign(**change), plan())
    for estimate in found.estimates:
        assert estimate.status is status
        assert words in estimate.note


def test_one_unit_and_an_empty_arm():
    frame = sessions(200)
    lonely = pd.concat([frame, sessions(1).assign(arm="post")])
    arms = {"none": 0.497, "mail": 0.498, "post": 0.005}
    found = run(lonely, plan(arms))
    assert found.find("rate", "post", "difference").status is Status.INSUFFICIENT
    assert found.find("rate", "mail", "difference").status is Status.OK
    empty = run(frame, plan({"none": 0.5, "mail": 0.4, "post": 0.1}))
    assert empty.status is Status.INVALID
    assert empty.find("rate", "post", "difference").status is Status.INSUFFICIENT


def test_infinity_is_refused_by_name():
    frame = sessions(50)
    frame.loc[3, "visits"] = np.inf
    chosen = plan(estimators=["difference"], strata=[])
    with connect() as engine:
        units = unit_table(engine, engine.register("units", _arrow(frame)), "arm", chosen)
        with pytest.raises(DataError, match="column 'visits' holds inf"):
            units.moments()


def test_estimators_of_means_say_that_they_cannot():
    found = run(sessions(300), plan(estimators=["difference", "double_ml"]))
    refused = found.find("rate", "mail", "double_ml")
    assert refused.status is Status.INSUFFICIENT
    assert refused.note == "double_ml cannot estimate metrics of kind ratio; use difference"


def test_winsorizing_a_ratio_is_refused():
    with pytest.raises(ValueError, match="winsorize bends a ratio"):
        Metric(name="r", kind="ratio", column="a", denominator="b", winsorize=0.99)


# False positives of what ships.


def claims(trials, n, holdout, analysed, seed=0):
    """Claims of each side, and refusals, when nothing was done to either arm."""
    found = {"up": 0, "down": 0, "refused": 0}
    for trial in range(trials):
        estimate = analysed(sessions(n, 1_000 * seed + trial, holdout))
        if estimate.status is not Status.OK:
            found["refused"] += 1
            continue
        found["up"] += estimate.ci_low > 0
        found["down"] += estimate.ci_high < 0
        assert (estimate.ci_low > 0 or estimate.ci_high < 0) == (estimate.p_value <= 0.05)
    return found


def ratio_analysis(estimator, arms):
    chosen = plan(arms, estimators=[estimator])
    return lambda frame: run(frame, chosen).find("rate", "mail", estimator)


CELLS = [(0.5, 50), (0.5, 500), (0.1, 50), (0.1, 300)]


@pytest.mark.parametrize(("holdout", "smaller"), CELLS)
def test_no_ratio_moves_where_nothing_was_done(holdout, smaller):
    trials, n = 60, round(smaller / holdout)
    arms = {"none": holdout, "mail": 1 - holdout}
    found = claims(trials, n, holdout, ratio_analysis("difference", arms))
    used = trials - found["refused"]
    assert max(found["up"], found["down"]) <= used * (0.025 + band(max(used, 1), 0.025))


@pytest.mark.validation
@pytest.mark.parametrize("estimator", LINEAR)
@pytest.mark.parametrize(("holdout", "smaller"), CELLS)
def test_no_ratio_moves_in_many_trials(holdout, smaller, estimator):
    trials, n = 4_000, round(smaller / holdout)
    arms = {"none": holdout, "mail": 1 - holdout}
    found = claims(trials, n, holdout, ratio_analysis(estimator, arms))
    used = trials - found["refused"]
    for side in ("up", "down"):
        assert found[side] / max(used, 1) <= 0.025 + band(max(used, 1), 0.025)


def test_a_test_over_sessions_would_fail():
    # Trap 8 of ratio metrics: visits of one person are alike, so they are no independent units.
    trials, wrong = 100, 0
    for trial in range(trials):
        frame = sessions(500, trial)
        sums = frame.groupby("arm")[["clicks", "visits"]].sum()
        p = sums.clicks / sums.visits
        se = math.sqrt((p * (1 - p) / sums.visits).sum())
        wrong += abs(p["mail"] - p["none"]) / se > 1.96
    assert wrong > trials * (0.05 + band(trials))
