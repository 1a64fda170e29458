"""Small holdouts.

Re-splits of the real control group of the Hillstrom data: nothing happened, so none is claimed.
"""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from measure.incrementality import analyze, permutation
from measure.incrementality.permutation import permute
from measure.incrementality.small_holdout import Method, judge
from measure.moments import Moments
from measure.plan import AnalysisPlan, Metric
from measure.results import Status
from tests.data import data_file
from tests.measure.incrementality.frames import FrameUnits

Z_999 = 3.2905267314919  # two-sided 99.9 % point of the normal


def tail_limit(trials):
    """Upper end of the 99.9 % binomial band around a tail of 2.5 %."""
    return 0.025 + Z_999 * math.sqrt(0.025 * 0.975 / trials)


@pytest.fixture(scope="module")
def control_spend():
    frame = pd.read_csv(data_file("hillstrom.csv"))
    return frame.spend[frame.segment == "No E-Mail"].to_numpy()


def a_a(values, holdout, trials, seed=5):
    """Re-split real values, nothing done to either arm; run what ships and count its claims."""
    plan = AnalysisPlan(
        arms={"none": holdout, "mail": 1 - holdout}, control="none", metrics=[Metric(name="spend")]
    )
    n_none = round(len(values) * holdout)
    codes = np.repeat([0, 1], [n_none, len(values) - n_none])
    rng = np.random.default_rng(seed)
    found = {"up": 0, "down": 0, "refused": 0, "permuted": 0}
    for _ in range(trials):
        arm = pd.Categorical.from_codes(rng.permutation(codes), ["none", "mail"])
        frame = pd.DataFrame({"spend": values, "arm": arm})
        analysis = analyze(FrameUnits(frame, "arm", plan), plan, experiment="a/a")
        (estimate,) = analysis.estimates
        if estimate.status is Status.INSUFFICIENT:
            found["refused"] += 1
            continue
        found["permuted"] += "studentized permutation" in estimate.note
        found["up"] += estimate.ci_low > 0
        found["down"] += estimate.ci_high < 0
        claims = estimate.ci_low > 0 or estimate.ci_high < 0
        assert claims == (estimate.p_value <= 0.05)
    return found


@pytest.mark.parametrize(
    ("holdout", "method"),
    [(0.5, "welch"), (0.1, "permuted"), (0.05, "permuted"), (0.02, "refused")],
)
def test_no_lift_is_claimed_where_there_is_none(control_spend, holdout, method):
    # Source: statistics.md, trap 1; Welch alone claims 12.0 % at 90/10 and 26.4 % at 98/2.
    trials = 150
    found = a_a(control_spend, holdout, trials)
    assert max(found["up"], found["down"]) <= trials * tail_limit(trials)
    assert found["permuted"] == (trials if method == "permuted" else 0)
    assert found["refused"] == (trials if method == "refused" else 0)


@pytest.mark.validation
@pytest.mark.parametrize("holdout", [0.5, 0.1, 0.05, 0.02])
def test_no_lift_is_claimed_in_3000_splits(control_spend, holdout, record_property):
    # Source: statistics.md, validation suite: 3,000 re-splits of Hillstrom's control spend.
    trials = 3_000
    found = a_a(control_spend, holdout, trials)
    record_property("holdout", f"{100 * holdout:.0f} %")
    for name in ("refused", "permuted"):
        record_property(name, f"{found[name]:,} of {trials:,}")
    for name, count in (("claims more", found["up"]), ("claims less", found["down"])):
        record_property(name, f"{100 * count / trials:.2f} %")
    record_property("limit per tail", f"{100 * tail_limit(trials):.2f} %")
    assert max(found["up"], found["down"]) <= trials * tail_limit(trials)


def test_welch_alone_would_fail_this_test(control_spend):
    # The band is narrow enough to see the trap: Welch at 90/10 on the same splits.
    rng = np.random.default_rng(5)
    n_none, down, trials = round(len(control_spend) * 0.1), 0, 250
    for _ in range(trials):
        mixed = rng.permutation(control_spend)
        a, b = mixed[:n_none], mixed[n_none:]
        se = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        down += (b.mean() - a.mean()) / se > 1.96
    assert down > trials * tail_limit(trials)


def test_draws_follow_the_exact_permutation_distribution():
    # Closed form: all C(9, 3) = 84 deals of nine values, studentized by hand.
    values = np.array([0.0, 0.0, 1.0, 2.0, 2.0, 5.0, 7.0, 7.0, 11.0])
    exact = []
    for chosen in itertools.combinations(range(9), 3):
        a = values[list(chosen)]
        b = np.delete(values, chosen)
        error = a.var(ddof=1) / 3 + b.var(ddof=1) / 6
        exact.append(round((a.mean() - b.mean()) / math.sqrt(error), 6))
    distinct, counts = np.unique(values, return_counts=True)
    draws = permute(distinct, counts, 3, "mean", np.random.default_rng(3)).draws
    for point in (-3.0, -1.0, 0.0, 1.0, 2.5):
        expected = np.mean(np.array(exact) <= point)
        band = Z_999 * math.sqrt(expected * (1 - expected) / len(draws)) + 1e-9
        assert np.mean(draws <= point) == pytest.approx(expected, abs=band)


def test_many_distinct_values_are_dealt_as_exactly(monkeypatch):
    # The exact deal of every value is the reference for the shortcut above 300 distinct values.
    rng = np.random.default_rng(8)
    spend = np.where(rng.random(20_000) < 0.06, np.round(rng.lognormal(3, 1.3, 20_000), 2), 0.0)
    values, counts = np.unique(spend, return_counts=True)
    assert len(values) > 2 * permutation.EXACT_VALUES
    short = permute(values, counts, 18_000, "mean", np.random.default_rng(1)).draws
    monkeypatch.setattr(permutation, "EXACT_VALUES", len(values))
    full = permute(values, counts, 18_000, "mean", np.random.default_rng(2)).draws
    for share in (0.005, 0.025, 0.5, 0.975, 0.995):
        inside = np.mean(short <= np.quantile(full, share))
        band = Z_999 * math.sqrt(2 * share * (1 - share) / len(full))
        assert inside == pytest.approx(share, abs=band)


def test_p_value_and_interval_share_their_draws():
    rng = np.random.default_rng(4)
    values, counts = np.unique(rng.poisson(0.2, 3_000).astype(float), return_counts=True)
    reference = permute(values, counts, 2_700, "mean", rng)
    for level in (0.8, 0.95, 0.99):
        low, high = reference.quantiles(level)
        for statistic in (*reference.draws[::97], low, high, low - 1e-6, high + 1e-6):
            outside = round(statistic, 9) < low or round(statistic, 9) > high
            assert (reference.p_value(statistic) <= 1 - level + 1e-12) == outside


def skewed(n, share, seed=0):
    rng = np.random.default_rng(seed)
    return Moments.from_values(("y",), np.where(rng.random(n) < share, 1.0, 0.0))


@pytest.mark.parametrize(
    ("control", "arm", "method"),
    [
        (skewed(9, 0.5), skewed(500, 0.5), Method.REFUSE),
        (skewed(5_000, 0.1), skewed(5_000, 0.1), Method.NORMAL),
        (skewed(500, 0.1), skewed(4_500, 0.1), Method.PERMUTATION),
        (skewed(20_000, 0.3), skewed(180_000, 0.3), Method.NORMAL),
        (skewed(50, 0.0), skewed(50, 0.0), Method.DEGENERATE),
        (skewed(100, 0.02, 3), skewed(100, 0.02, 4), Method.PERMUTATION),
    ],
)
def test_the_method_follows_allocation_and_skewness(control, arm, method):
    assert judge(control, arm, "y", 0.95).method is method


def test_the_note_says_what_was_done_and_why(control_spend):
    rng = np.random.default_rng(0)
    arm = np.where(rng.random(len(control_spend)) < 0.1, "none", "mail")
    plan = AnalysisPlan(
        arms={"none": 0.1, "mail": 0.9}, control="none", metrics=[Metric(name="spend")]
    )
    frame = pd.DataFrame({"spend": control_spend, "arm": arm})
    (estimate,) = analyze(FrameUnits(frame, "arm", plan), plan, experiment="x").estimates
    assert estimate.note.startswith("studentized permutation (9,999 draws): the holdout has 1")
    assert estimate.note.endswith("% of 21,306 units and spend has skewness 26")


def test_swapping_labels_and_changing_currency_mirror_and_scale(control_spend):
    rng = np.random.default_rng(1)
    arm = np.where(rng.random(len(control_spend)) < 0.1, "none", "mail")
    shares = {"none": 0.1, "mail": 0.9}

    def run(control, factor):
        plan = AnalysisPlan(arms=shares, control=control, metrics=[Metric(name="spend")])
        frame = pd.DataFrame({"spend": control_spend * factor, "arm": arm})
        return analyze(FrameUnits(frame, "arm", plan), plan, experiment="x").estimates[0]

    plain, swapped, cents = run("none", 1), run("mail", 1), run("none", 100)
    assert (swapped.value, swapped.ci_low, swapped.ci_high) == pytest.approx(
        (-plain.value, -plain.ci_high, -plain.ci_low)
    )
    assert swapped.p_value == plain.p_value
    assert (cents.value, cents.ci_low, cents.ci_high) == pytest.approx(
        (100 * plain.value, 100 * plain.ci_low, 100 * plain.ci_high)
    )
    assert cents.p_value == plain.p_value
