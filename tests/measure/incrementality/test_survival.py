"""Retention and duration: Kaplan–Meier against lifelines, textbooks, closed forms, simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.datasets import load_leukemia, load_rossi
from lifelines.utils import restricted_mean_survival_time

from measure.incrementality import analyze
from measure.incrementality.survival import Times, influence_of, summary
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Status
from tests.measure.incrementality.frames import FrameUnits

NUMBERS = ("value", "se", "ci_low", "ci_high", "p_value", "relative")


def plan(horizon=30.0, kind=None, **more):
    kinds = ["retention", "duration"] if kind is None else [kind]
    metrics = [Metric(name=k, kind=k, column="days", event="left", horizon=horizon) for k in kinds]
    chosen = {"arms": {"none": 0.5, "mail": 0.5}, "control": "none", "metrics": metrics}
    return AnalysisPlan(**(chosen | {"estimators": ["difference"]} | more))


def run(frame, chosen):
    return analyze(FrameUnits(frame, "arm", chosen), chosen, experiment="survival")


def found(frame, metric="retention", **more):
    chosen = plan(**more)
    return run(frame, chosen).find(metric, "mail", chosen.estimators[0])


def people(n=800, seed=0, slower=1.0, share=0.5, censored=True, scale=40.0):
    """Exponential times, whole and tied; observation ends between 25 and 90 days."""
    rng = np.random.default_rng(seed)
    arm = np.where(rng.random(n) < share, "mail", "none")
    time = np.floor(rng.exponential(np.where(arm == "mail", scale * slower, scale)))
    end = np.floor(rng.uniform(25, 90, n)) if censored else np.full(n, 1e4)
    days, left = np.minimum(time, end), (time <= end).astype(float)
    region = rng.choice(["north", "south"], n)
    return pd.DataFrame({"arm": arm, "days": days, "left": left, "region": region})


def fitted(frame, arm):
    part = frame[frame.arm == arm]
    return KaplanMeierFitter().fit(part.days, part.left)


def times(durations, events, horizon=math.inf):
    at = np.unique(durations[durations <= horizon])
    ended = [int(((durations == t) & (events == 1)).sum()) for t in at]
    lost = [int(((durations == t) & (events == 0)).sum()) for t in at]
    return Times(at, np.array(ended), np.array(lost), int((durations > horizon).sum()))


@pytest.mark.parametrize("horizon", [0.5, 7, 24.5, 30, 60])
def test_lifelines_gives_the_same_curves(horizon):
    frame = people(slower=1.4)
    control, mail = (fitted(frame, arm) for arm in ("none", "mail"))
    kept = found(frame, "retention", horizon=horizon)
    assert kept.value == pytest.approx(mail.predict(horizon) - control.predict(horizon), rel=1e-9)
    mean = found(frame, "duration", horizon=horizon)
    areas = [restricted_mean_survival_time(fit, horizon) for fit in (control, mail)]
    assert mean.value == pytest.approx(areas[1] - areas[0], rel=1e-9)
    assert mean.relative == pytest.approx(areas[1] / areas[0] - 1, rel=1e-9)


def test_greenwoods_variance_is_that_of_lifelines():
    # lifelines keeps Σ d / (Y (Y − d)) as ``_cumulative_sq_``.
    frame = people(slower=1.4)
    variance = 0.0
    for arm in ("none", "mail"):
        fit = fitted(frame, arm)
        steps = fit._cumulative_sq_
        variance += fit.predict(30.0) ** 2 * float(steps[steps.index <= 30].iloc[-1])
    assert found(frame).se == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_leukemia_remission_as_in_the_textbook():
    # 6-MP arm of Freireich et al. 1963. Klein and Moeschberger 2003: table 4.1 has S(10) = .753
    # with standard error .0963 and S(23) = .448 with .1346; example 4.1 (continued) a mean of
    # 23.3 weeks up to 35, standard error 2.83.
    data = load_leukemia()
    drug = data[data.Rx == 0]
    weeks, relapsed = drug.t.to_numpy(dtype=float), drug.status.to_numpy()

    def said(kind, horizon):
        arm = times(weeks, relapsed, horizon)
        assert arm.n == 21
        metric = Metric(name="t", kind=kind, event="status", horizon=horizon)
        moments = summary(arm, metric)
        return float(moments.mean[0]), math.sqrt(float(moments.comoment[0, 0])) / moments.n

    assert said("retention", 10) == (
        pytest.approx(0.753, abs=5e-4),
        pytest.approx(0.0963, abs=5e-5),
    )
    assert said("retention", 23) == (
        pytest.approx(0.448, abs=5e-4),
        pytest.approx(0.1346, abs=5e-5),
    )
    assert said("duration", 35) == (pytest.approx(23.3, abs=0.05), pytest.approx(2.83, abs=5e-3))


def test_financial_aid_of_released_prisoners():
    # Rossi, Berk and Lenihan 1980: 432 randomised men, 48 of 216 with aid and 66 of 216 without
    # arrested within 52 weeks; everybody was observed to the end, so retention is a proportion.
    data = load_rossi()
    frame = pd.DataFrame(
        {"arm": np.where(data.fin == 1, "mail", "none"), "days": data.week, "left": data.arrest}
    ).astype({"days": float, "left": float})
    shares = np.array([66, 48]) / 216
    estimate = found(frame, horizon=52.0)
    assert estimate.value == pytest.approx(shares[0] - shares[1], abs=1e-12)
    assert estimate.se == pytest.approx(math.sqrt((shares * (1 - shares)).sum() / 216), rel=1e-12)
    fits = [fitted(frame, arm) for arm in ("none", "mail")]
    areas = [restricted_mean_survival_time(fit, 52.0) for fit in fits]
    assert found(frame, "duration", horizon=52.0).value == pytest.approx(areas[1] - areas[0])


@pytest.mark.parametrize("share", [0.5, 0.06], ids=["even", "small arm"])
def test_without_censoring_retention_is_a_proportion(share):
    # Closed form: then the curve is the share of units whose time is longer.
    frame = people(3_000, share=share, censored=False, scale=400.0)
    frame["kept"] = (frame.days > 30).astype(float)
    arms = {"none": 1 - share, "mail": share}
    as_share = Metric(name="kept", kind="proportion")
    chosen = plan(arms=arms)
    chosen = chosen.model_copy(update={"metrics": (*chosen.metrics, as_share)})
    analysis = run(frame, chosen)
    ours, plain = (analysis.find(name, "mail", "difference") for name in ("retention", "kept"))
    for name in (*NUMBERS, "relative_ci_low", "relative_ci_high"):
        rel = 1e-9 if share == 0.5 or name in ("value", "se", "relative") else 0.1
        assert getattr(ours, name) == pytest.approx(getattr(plain, name), rel=rel)
    assert bool(ours.note) == bool(plain.note) == (share < 0.5)


def test_without_censoring_duration_is_a_mean():
    # Closed form: the mean of min(time, horizon), with variance over n.
    frame = people(2_000, slower=1.3, censored=False)
    frame["within"] = frame.days.clip(upper=30)
    groups = [frame[frame.arm == arm].within for arm in ("none", "mail")]
    estimate = found(frame, "duration")
    assert estimate.value == pytest.approx(groups[1].mean() - groups[0].mean(), rel=1e-12)
    variance = sum(group.var(ddof=0) / len(group) for group in groups)
    assert estimate.se == pytest.approx(math.sqrt(variance), rel=1e-12)


def test_influences_are_derivatives_by_the_weight_of_a_unit():
    # Numerical derivative: one more unit in a million copies of the sample.
    rng = np.random.default_rng(4)
    group = times(rng.integers(0, 12, 60).astype(float), rng.integers(0, 2, 60))
    many = 1_000_000
    for kind in ("retention", "duration"):
        metric = Metric(name="t", kind=kind, event="e", horizon=11.0)
        at = influence_of(group, metric)
        for place in (0, 3, 7):
            one = np.zeros_like(group.events)
            one[place] = 1
            for event, wanted in ((1, at.event[place]), (0, at.censored[place])):
                more = Times(
                    group.times,
                    group.events * many + one * event,
                    group.censored * many + one * (1 - event),
                    0,
                )
                moved = (influence_of(more, metric).estimate - at.estimate) * group.n * many
                assert moved == pytest.approx(wanted, rel=1e-3, abs=1e-3)
        units = at.event @ group.events + at.censored @ group.censored
        assert units == pytest.approx(0, abs=1e-9)


def test_swapping_arms_mirrors_every_number():
    for frame in (people(slower=1.5), people(3_000, share=0.06, scale=400.0)):
        other = frame.assign(arm=frame.arm.map({"mail": "none", "none": "mail"}))
        share = float((frame.arm == "mail").mean())
        for metric in ("retention", "duration"):
            there = found(frame, metric, arms={"none": 1 - share, "mail": share})
            back = found(other, metric, arms={"none": share, "mail": 1 - share})
            assert back.value == pytest.approx(-there.value, rel=1e-12)
            assert back.ci_low == pytest.approx(-there.ci_high, rel=1e-9)
            assert back.p_value == pytest.approx(there.p_value, rel=1e-9)


def test_order_of_rows_and_other_cohorts_change_no_byte():
    frame = people(slower=1.2)
    more = pd.concat([frame, people(300, seed=9).assign(region="islands")])
    chosen = plan(cohorts=["region"])
    north = Cohort("region", "north")
    first = run(frame, chosen)
    assert run(frame.sample(frac=1, random_state=3), chosen).estimates == first.estimates
    assert run(more, chosen).find("duration", "mail", "difference", north) == first.find(
        "duration", "mail", "difference", north
    )


def test_other_estimators():
    chosen = plan(
        cohorts=["region"], estimators=["difference", "hierarchical_bayes", "cuped", "double_ml"]
    )
    analysis = run(people(2_000, slower=1.3), chosen)
    for metric in ("retention", "duration"):
        plain, pooled, cuped, ml = (analysis.find(metric, "mail", e) for e in chosen.estimators)
        assert pooled.status is Status.OK
        assert pooled.value == pytest.approx(plain.value, rel=0.01)
        for refused, name in ((cuped, "cuped"), (ml, "double_ml")):
            assert refused.status is Status.INSUFFICIENT
            assert (
                refused.note == f"{name} cannot estimate metrics of kind {metric}; use difference"
            )


def even(n):
    return pd.Series(np.where(np.arange(n) % 2, "mail", "none"))


EDGES = [
    (0, 0, 30, Status.INSUFFICIENT, "0 units in the smaller arm"),
    (1, 1, 30, Status.INSUFFICIENT, "1 unit in the smaller arm"),
    (40, lambda n: np.full(n, 31.0), np.zeros, Status.DEGENERATE, "does not vary"),
    (40, np.zeros, np.ones, Status.DEGENERATE, "does not vary"),
    (
        40,
        lambda n: np.arange(n) % 20.0,
        np.zeros,
        Status.INSUFFICIENT,
        "nobody in none was observed up to the horizon of 30: observation ends at 18",
    ),
    (
        40,
        lambda n: np.where(np.arange(n) < 4, 5.0, 40.0),
        lambda n: (np.arange(n) < 4) * 1.0,
        Status.INSUFFICIENT,
        "2.0 of 4 events are expected in the smaller arm; at least 5 are needed",
    ),
]


@pytest.mark.parametrize(("pairs", "days", "left", "status", "note"), EDGES)
@pytest.mark.parametrize("metric", ["retention", "duration"])
def test_edges_have_a_status_and_a_reason(metric, pairs, days, left, status, note):
    n = max(pairs, 1) * 2
    arms = even(n) if pairs else pd.Series(["mail"] * 2)
    values = [part(n) if callable(part) else np.full(n, float(part)) for part in (days, left)]
    frame = pd.DataFrame({"arm": arms, "days": values[0], "left": np.minimum(values[1], 1)})
    estimate = found(frame, metric)
    assert estimate.status is status
    assert note in estimate.note
    assert {getattr(estimate, name) for name in NUMBERS} == {None}


def test_a_curve_that_reached_zero_is_known_ever_after():
    # All of the control left by day 20; nothing was censored before.
    frame = pd.DataFrame({"arm": even(60), "days": np.arange(60) % 20.0 + 1, "left": 1.0})
    frame.loc[frame.arm == "mail", "days"] *= 3
    kept = found(frame, horizon=30.0)
    assert kept.status is Status.OK
    assert kept.value == float((frame[frame.arm == "mail"].days > 30).mean())


def test_missing_times_and_events_are_left_out_and_counted():
    frame = people(600)
    frame.loc[:9, "days"] = np.nan
    frame.loc[5:14, "left"] = np.nan
    analysis = run(frame, plan())
    whole = frame.dropna()
    estimate = analysis.find("retention", "mail", "difference")
    assert estimate.value == found(whole).value
    assert estimate.n_arm + estimate.n_control == len(whole)
    missing = next(check for check in analysis.checks if check.code == "X2")
    assert missing.rows == 15


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        ({"null": "zero"}, "null: zero would end a missing time at the start"),
        ({"winsorize": 0.99}, "winsorize does nothing for a retention"),
        ({"event": None}, "event is needed by a metric of kind retention"),
        ({"horizon": None}, "horizon is needed by a metric of kind retention"),
    ],
)
def test_declarations_that_mean_nothing_are_refused(field, rule):
    with pytest.raises(ValueError, match=rule):
        Metric(**({"name": "t", "kind": "retention", "event": "e", "horizon": 3.0} | field))


def rates(trials, n, share, scale, horizon, kind, slower=1.0):
    """Shares of intervals wholly above and wholly below the truth, and of refusals."""
    rate, wider = 1 / scale, 1 / (scale * slower)
    truth = {
        "retention": math.exp(-horizon * wider) - math.exp(-horizon * rate),
        "duration": (1 - math.exp(-horizon * wider)) / wider
        - (1 - math.exp(-horizon * rate)) / rate,
    }[kind]
    chosen = plan(horizon, kind, arms={"none": 1 - share, "mail": share})
    above = below = without = 0
    for trial in range(trials):
        rng = np.random.default_rng([n, trial])
        arm = np.where(np.arange(n) < round(n * share), "mail", "none")
        time = rng.exponential(np.where(arm == "mail", scale * slower, scale))
        end = rng.uniform(0.5 * horizon, 3 * horizon, n)
        if slower == 1:  # days are whole, and nothing happened all the same
            time, end = np.floor(time), np.floor(end)
        frame = pd.DataFrame(
            {"arm": arm, "days": np.minimum(time, end), "left": (time <= end).astype(float)}
        )
        estimate = run(frame, chosen).find(kind, "mail", "difference")
        if estimate.status is not Status.OK:
            without += 1
            continue
        above += estimate.ci_low > truth
        below += estimate.ci_high < truth
    return above, below, without


WORLDS = {
    # units, share of the arm, mean time, horizon, effect on the mean time
    "even": (400, 0.5, 40.0, 30.0, 1.0),
    "even, effect": (400, 0.5, 40.0, 30.0, 1.5),
    "few events": (2_000, 0.5, 600.0, 30.0, 1.0),
    "small holdout": (3_000, 0.9, 130.0, 10.0, 1.0),
    "tiny holdout": (20_000, 0.98, 130.0, 10.0, 1.0),
}


def tail_limit(trials):
    """99.9 % upper limit of a binomial count at 2.5 % in each tail."""
    from scipy.stats import binom

    return binom.ppf(0.999, trials, 0.025)


@pytest.mark.parametrize("kind", ["retention", "duration"])
@pytest.mark.parametrize("world", ["even, effect", "small holdout"])
def test_intervals_miss_as_often_as_they_say(world, kind):
    n, share, scale, horizon, slower = WORLDS[world]
    above, below, without = rates(150, n, share, scale, horizon, kind, slower)
    assert without == 0
    assert max(above, below) <= tail_limit(150)


@pytest.mark.validation
@pytest.mark.parametrize("kind", ["retention", "duration"])
@pytest.mark.parametrize("world", WORLDS)
def test_intervals_miss_as_often_as_they_say_at_length(world, kind, record_property):
    n, share, scale, horizon, slower = WORLDS[world]
    above, below, without = rates(2_000, n, share, scale, horizon, kind, slower)
    judged = 2_000 - without
    record_property("interval", f"{kind}, {world}")
    record_property("above the truth", f"{above / judged:.4f}")
    record_property("below the truth", f"{below / judged:.4f}")
    assert judged >= 1_000
    assert max(above, below) <= tail_limit(judged)
