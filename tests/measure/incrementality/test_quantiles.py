"""Differences of quantiles: definitions, exact ranks, simulated coverage, edges."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from measure.incrementality import analyze
from measure.incrementality.quantile import units_needed
from measure.methods import Sequential
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Status
from tests.measure.incrementality.frames import FrameUnits

NUMBERS = ("value", "se", "ci_low", "ci_high", "p_value", "relative")
Z = 1.959963984540054


def plan(q=0.9, share=0.5, **more):
    metric = Metric(name="spend", kind="quantile", quantile=q)
    chosen = {"arms": {"none": 1 - share, "mail": share}, "control": "none", "metrics": [metric]}
    return AnalysisPlan(**(chosen | {"estimators": ["difference"]} | more))


def run(frame, chosen):
    return analyze(FrameUnits(frame, "arm", chosen), chosen, experiment="quantiles")


def two_arms(control, arm):
    arms = ["none"] * len(control) + ["mail"] * len(arm)
    return pd.DataFrame({"arm": arms, "spend": np.concatenate([control, arm]).astype(float)})


def found(control, arm, q=0.9, **more):
    share = len(arm) / (len(control) + len(arm))
    return run(two_arms(control, arm), plan(q, share, **more)).find("spend", "mail", "difference")


def amounts(n, seed=0):
    return np.random.default_rng(seed).lognormal(3, 1.2, n).round(2)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.95])
def test_the_quantile_is_that_of_numpy(q):
    # numpy.quantile, linear interpolation, on the units themselves.
    control, arm = amounts(401), amounts(300, 1).round(0)
    estimate = found(control, arm, q)
    base, value = np.quantile(control, q), np.quantile(arm, q)
    assert estimate.value == pytest.approx(value - base, rel=1e-12)
    assert estimate.relative == pytest.approx(value / base - 1, rel=1e-12)


@pytest.mark.parametrize(("n", "q"), [(50, 0.5), (200, 0.9), (1_000, 0.99)])
def test_against_a_still_control_the_interval_is_that_of_one_sample(n, q):
    # Exact: rank k bounds the quantile with P(Beta(k, n + 1 − k) > q); scipy.stats has the beta
    # distribution, and quantile_test the interval of whole ranks around it (Conover 1999, 3.2).
    arm = np.sort(np.random.default_rng(n).exponential(10.0, n))
    estimate = found(np.full(400, 7.0), arm, q)
    reached = [estimate.ci_low + 7.0, estimate.ci_high + 7.0]
    ranks = np.interp(reached, arm, np.arange(1, n + 1))
    tails = stats.beta.cdf(q, ranks, n + 1 - ranks)
    assert tails == pytest.approx([0.975, 0.025], abs=2e-4)
    whole = stats.quantile_test(arm, p=q).confidence_interval(0.95)
    inner = [arm[np.searchsorted(arm, whole.low) + 1], arm[np.searchsorted(arm, whole.high) - 1]]
    assert whole.low <= reached[0] <= inner[0]
    assert inner[1] <= reached[1] <= whole.high


def test_the_standard_error_is_that_of_large_samples():
    # √(q (1 − q) / n) / f at the quantile, normal distribution.
    rng = np.random.default_rng(5)
    n, q = 40_000, 0.9
    estimate = found(rng.normal(size=n), rng.normal(size=n), q)
    density = stats.norm.pdf(stats.norm.ppf(q))
    assert estimate.se == pytest.approx(math.sqrt(2 * q * (1 - q) / n) / density, rel=0.1)
    half = (estimate.ci_high - estimate.ci_low) / 2
    assert half == pytest.approx(Z * estimate.se, rel=0.1)


def test_p_value_and_interval_never_contradict():
    for seed in range(25):
        control, arm = amounts(120, seed), amounts(120, 1_000 + seed) * 1.4
        estimate = found(control, arm, 0.5)
        assert (estimate.p_value <= 0.05) == (estimate.ci_low > 0 or estimate.ci_high < 0)
        assert estimate.ci_low <= estimate.value <= estimate.ci_high


def test_swapping_arms_mirrors_every_number():
    control, arm = amounts(700), 1.2 * amounts(300, 1)
    there, back = found(control, arm), found(arm, control)
    assert back.value == pytest.approx(-there.value, rel=1e-12)
    assert back.se == pytest.approx(there.se, rel=1e-12)
    assert (back.ci_low, back.ci_high) == pytest.approx((-there.ci_high, -there.ci_low), rel=1e-12)
    assert back.p_value == pytest.approx(there.p_value, rel=1e-9)


def test_money_in_cents_is_a_hundred_times_as_much():
    control, arm = amounts(500), amounts(500, 1)
    euros, cents = found(control, arm), found(control * 100, arm * 100)
    assert cents.value == pytest.approx(100 * euros.value)
    assert cents.ci_low == pytest.approx(100 * euros.ci_low)
    assert cents.p_value == pytest.approx(euros.p_value, rel=1e-6)


def test_order_of_rows_and_other_cohorts_change_no_byte():
    frame = two_arms(amounts(400), amounts(400, 1))
    frame["region"] = np.where(np.arange(800) % 3, "north", "south")
    more = two_arms(amounts(60, 7), amounts(60, 8)).assign(region="islands")
    chosen = plan(cohorts=["region"])
    north = Cohort("region", "north")
    first = run(frame, chosen)
    assert run(frame.sample(frac=1, random_state=3), chosen).estimates == first.estimates
    more = run(pd.concat([frame, more]), chosen)
    assert more.find("spend", "mail", "difference", north) == first.find(
        "spend", "mail", "difference", north
    )


@pytest.mark.parametrize("relative", ["delta", "log"])
def test_the_lift_is_defined_as_the_plan_says(relative):
    # Delta method by hand; each arm's error is half its own interval over the normal quantile.
    control, arm = amounts(900), 1.3 * amounts(900, 1)
    estimate = found(control, arm, relative=relative)
    alone = [found(np.full(900, 0.0), sample).se for sample in (control, arm)]
    base, value = np.quantile(control, 0.9), np.quantile(arm, 0.9)
    if relative == "delta":
        half = Z * math.hypot(alone[1] / base, alone[0] * value / base**2)
        wanted = value / base - 1 - half, value / base - 1 + half
    else:
        half = Z * math.hypot(alone[0] / base, alone[1] / value)
        wanted = value / base * math.exp(-half) - 1, value / base * math.exp(half) - 1
    assert (estimate.relative_ci_low, estimate.relative_ci_high) == pytest.approx(wanted, rel=1e-9)


def test_looks_before_the_end_widen_the_interval():
    control, arm = amounts(2_000), amounts(2_000, 1)
    once = found(control, arm)
    often = found(control, arm, sequential=Sequential(planned_units=4_000))
    assert often.ci_low < once.ci_low < once.ci_high < often.ci_high
    assert "one look only" not in often.note


def test_other_estimators():
    frame = two_arms(amounts(900), 1.1 * amounts(900, 1))
    frame["region"] = np.where(np.arange(1_800) % 2, "north", "south")
    chosen = plan(
        cohorts=["region"], estimators=["difference", "hierarchical_bayes", "cuped", "double_ml"]
    )
    analysis = run(frame, chosen)
    plain, pooled, cuped, ml = (analysis.find("spend", "mail", e) for e in chosen.estimators)
    assert pooled.status is Status.OK
    assert pooled.value == pytest.approx(plain.value, abs=plain.se / 2)
    for refused, name in ((cuped, "cuped"), (ml, "double_ml")):
        assert refused.status is Status.INSUFFICIENT
        assert refused.note == f"{name} cannot estimate metrics of kind quantile; use difference"


@pytest.mark.parametrize(
    ("control", "arm", "q", "status", "note"),
    [
        ([], [1.0, 2.0], 0.5, Status.INSUFFICIENT, "0 units in the smaller arm"),
        ([1.0], [2.0], 0.5, Status.INSUFFICIENT, "1 unit in the smaller arm"),
        (
            range(35),
            range(90),
            0.9,
            Status.INSUFFICIENT,
            "the 90th percentile needs 36 for an interval",
        ),
        (range(367), range(900), 0.99, Status.INSUFFICIENT, "the 99th percentile needs 368"),
        ([3.0] * 50, [3.0] * 50, 0.5, Status.DEGENERATE, "the median of spend is 3 in both"),
        ([0.0] * 90 + [5.0] * 10, [0.0] * 95 + [5.0] * 5, 0.5, Status.DEGENERATE, "is 0 in both"),
    ],
)
def test_edges_have_a_status_and_a_reason(control, arm, q, status, note):
    share = 0.5 if not len(control) else len(arm) / (len(control) + len(arm))
    analysis = run(two_arms(list(control), list(arm)), plan(q, share))
    estimate = analysis.find("spend", "mail", "difference")
    assert estimate.status is status
    assert note in estimate.note
    assert {getattr(estimate, name) for name in NUMBERS} == {None}


def test_whole_numbers_that_never_vary_still_differ():
    # Every rank that could be the median holds 1 in one arm and 2 in the other: no error is left.
    estimate = found([1.0] * 50, [2.0] * 50, 0.5)
    assert estimate.status is Status.OK
    assert (estimate.value, estimate.ci_low, estimate.ci_high, estimate.se) == (1, 1, 1, 0)
    assert 0 < estimate.p_value < 1e-6


def test_cohorts_whose_interval_is_one_value_are_not_pooled():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {"arm": np.repeat(["none", "mail"], 600), "spend": rng.normal(3, 1, 1_200)}
    )
    frame["region"] = np.tile(["a", "b", "c"], 400)
    still = frame["region"] == "a"
    frame.loc[still, "spend"] = np.where(frame.loc[still, "arm"] == "mail", 2.0, 1.0)
    chosen = plan(0.5, cohorts=("region",), estimators=("difference", "hierarchical_bayes"))
    analysis = run(frame, chosen)
    pooled = {e.cohort.value: e for e in analysis.estimates
              if e.cohort and e.estimator == "hierarchical_bayes"}  # fmt: skip
    assert pooled["a"].status is Status.DEGENERATE
    assert pooled["a"].value is None
    assert "single value" in pooled["a"].note
    assert pooled["b"].status is pooled["c"].status is Status.OK
    assert all(np.isfinite([e.value, e.se, e.ci_low]).all() for e in (pooled["b"], pooled["c"]))


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99, 0.01])
def test_units_needed_are_the_fewest_whose_extremes_bound_the_quantile(q):
    # The largest of n lies below the quantile with probability qⁿ, the least above with (1 − q)ⁿ.
    n = units_needed(q, 0.025)
    assert max(q, 1 - q) ** n <= 0.025 < max(q, 1 - q) ** (n - 1)


def test_winsorizing_a_quantile_is_refused():
    with pytest.raises(ValueError, match="winsorize does nothing for a quantile"):
        Metric(name="spend", kind="quantile", quantile=0.9, winsorize=0.99)


def skewed(rng, n):
    return rng.lognormal(0.0, 1.5, n)


def heavy(rng, n):
    return rng.pareto(1.2, n)


def whole(rng, n):
    return np.floor(rng.exponential(20.0, n))


def zeros(rng, n):
    return np.where(rng.random(n) < 0.8, 0.0, rng.lognormal(3, 1, n).round(2))


DISTRIBUTIONS = [skewed, heavy, whole, zeros]
AT_LENGTH = [
    ((200, 200), 0.5),
    ((200, 200), 0.9),
    ((200, 1_800), 0.9),
    ((1_000, 1_000), 0.99),
    ((500, 9_500), 0.5),
    ((500, 9_500), 0.9),
    ((500, 9_500), 0.99),
    ((20_000, 20_000), 0.99),
]


def misses(trials, draw, sizes, q, effect=1.0):
    """Intervals wholly above and wholly below the truth; the arm's values are ``effect`` times."""
    reference = np.random.default_rng(99)
    exact = {skewed: stats.lognorm(1.5), heavy: stats.lomax(1.2)}
    at = exact[draw].ppf(q) if draw in exact else np.quantile(draw(reference, 400_000), q)
    truth = (effect - 1) * at
    above = below = 0
    for trial in range(trials):
        rng = np.random.default_rng([trial, *sizes])
        estimate = found(draw(rng, sizes[0]), effect * draw(rng, sizes[1]), q)
        if estimate.status is Status.DEGENERATE:
            assert truth == 0
            continue
        assert estimate.status is Status.OK
        above += estimate.ci_low > truth
        below += estimate.ci_high < truth
    return above, below


def tail_limit(trials):
    """99.9 % upper limit of a binomial count at 2.5 % in each tail."""
    return stats.binom.ppf(0.999, trials, 0.025)


@pytest.mark.parametrize("draw", DISTRIBUTIONS)
@pytest.mark.parametrize(("sizes", "q"), [((200, 200), 0.5), ((200, 800), 0.9), ((500, 500), 0.99)])
def test_intervals_miss_as_often_as_they_say(draw, sizes, q):
    assert max(misses(150, draw, sizes, q)) <= tail_limit(150)


@pytest.mark.validation
@pytest.mark.parametrize("draw", DISTRIBUTIONS)
@pytest.mark.parametrize(("sizes", "q"), AT_LENGTH)
def test_intervals_miss_as_often_as_they_say_at_length(draw, sizes, q, record_property):
    effect = 1.2 if draw in (skewed, heavy) else 1.0
    above, below = misses(2_000, draw, sizes, q, effect)
    record_property("interval", f"quantile {q}, {draw.__name__}, {sizes}, effect {effect}")
    record_property("above the truth", f"{above / 2_000:.4f}")
    record_property("below the truth", f"{below / 2_000:.4f}")
    assert max(above, below) <= tail_limit(2_000)
