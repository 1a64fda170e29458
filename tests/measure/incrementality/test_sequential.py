"""Looking before the end: p-values and intervals of the analysis, and their error in all looks."""

import math
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr

from measure.errors import InputError
from measure.incrementality import analyze
from measure.incrementality.contrast import Contrast, StudentT, infer
from measure.incrementality.difference import difference
from measure.incrementality.sequential import (
    ONE_LOOK_ONLY,
    ConfidenceSequence,
    GroupSequential,
    look_at,
    planned_look,
)
from measure.incrementality.sequential_boundaries import mixture_rate, plan_looks
from measure.incrementality.small_holdout import Judged, Method
from measure.methods import Sequential
from measure.moments import Moments
from measure.plan import AnalysisPlan, Metric
from measure.results import Status
from tests.designs.planning.fixtures import peer
from tests.measure.incrementality.frames import FrameUnits

QUARTERS = (0.25, 0.5, 0.75, 1.0)
FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
UNEVEN = (0.1, 0.15, 0.7, 1.0)


def obrien_fleming(units, looks=QUARTERS):
    return {"method": "obrien_fleming", "planned_units": units, "looks": looks}


def plan(sequential, arms=None, **changes):
    base = {
        "arms": arms or {"none": 0.5, "mail": 0.5},
        "control": "none",
        "metrics": [Metric(name="spend")],
        "sequential": sequential,
    }
    return AnalysisPlan(**(base | changes))


def frame(n, seed=1, effect=0.0, share=0.5):
    """Units in the order in which they came; the arms keep their shares at every size."""
    rng = np.random.default_rng(seed)
    treated = np.floor(np.arange(1, n + 1) * share) > np.floor(np.arange(n) * share)
    z = rng.normal(size=n)
    spend = 20 + 4 * rng.normal(size=n) + 3 * z + effect * treated
    arm = np.where(treated, "mail", "none")
    return pd.DataFrame({"arm": arm, "spend": spend, "z": z, "where": np.arange(n) // 2 % 4})


def run(data, a_plan):
    return analyze(FrameUnits(data, "arm", a_plan), a_plan, experiment="x").estimates


def single(dof=math.inf):
    return Judged(Method.NORMAL, "", StudentT(dof))


def reference(sequential, units, level=0.95):
    """What the analysis judges a comparison of two equal arms by, at so many units."""
    a_plan = plan(sequential, ci_level=level)
    look = look_at(a_plan, units, (units // 2, units - units // 2), 1.0)
    return look.judged(single()).reference


@pytest.mark.parametrize("name", ["gb_pipe_seq600", "gb_seq_prop"])
def test_confidence_sequences_are_growthbooks(name):
    # Source: peer fixtures gb_*. Their p-value belongs to the relative difference; ours, in the
    # result, to the absolute one, so the definition is checked on the relative statistic.
    fixture = peer(name)
    expected, arms = fixture["expected"], []
    for arm in ("control", "treatment"):
        given = fixture["input"][arm]
        squares = [[given.get("sum_squares", given["sum"])]]
        arms.append(
            Moments.from_shifted_sums(("x",), given["n"], [0.0], [given["sum"]], squares, [0.0])
        )
    kind = "proportion" if fixture["input"]["control"]["kind"] == "proportion" else "mean"
    contrast = difference(*arms, kind)
    n = sum(moments.n for moments in arms)
    tuned = {"planned_units": fixture["options"]["tuning_n"]}
    judged = look_at(plan(tuned), n, (arms[0].n, arms[1].n), 1.0).judged(single(contrast.dof))
    found = infer(contrast, judged.reference, 0.95)
    assert found.relative == pytest.approx(expected["point_estimate"], rel=1e-9)
    assert found.relative_ci_low == pytest.approx(expected["ci_low"], rel=1e-9)
    assert found.relative_ci_high == pytest.approx(expected["ci_high"], rel=1e-9)
    statistic = contrast.relative / contrast.relative_se
    assert judged.reference.p_value(statistic) == pytest.approx(expected["p_value"], rel=1e-9)


def test_a_confidence_sequence_of_an_adjusted_ratio_is_growthbooks():
    # Source: peer fixture gb_seq_cuped_ratio: its point and standard error, 200 units.
    fixture = peer("gb_seq_cuped_ratio")
    expected, tuned = fixture["expected"], fixture["options"]["tuning_n"]
    contrast = Contrast(expected["point_estimate"], expected["se"], math.inf, None, None)
    found = infer(contrast, reference({"planned_units": tuned}, 200), 0.95)
    assert found.ci_low == pytest.approx(expected["ci_low"], rel=1e-9)
    assert found.ci_high == pytest.approx(expected["ci_high"], rel=1e-9)
    assert found.p_value == expected["p_value"] == 1


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(
    "sequential",
    [True, {"planned_units": 300}, *(obrien_fleming(400, x) for x in (QUARTERS, FIFTHS, UNEVEN))],
)
def test_intervals_exclude_zero_exactly_when_p_is_at_most_alpha(sequential, level):
    declared = plan(sequential).sequential
    sizes = [int(400 * look) for look in declared.looks] or [100, 130, 400, 9_000]
    for units in sizes:
        if declared.looks and units < 100:
            continue  # a look at a tenth of the units has no finite interval at every level
        found = reference(sequential, units, level)
        for z in np.linspace(-9, 9, 181):
            numbers = infer(Contrast(float(z), 1.0, math.inf, None, None), found, level)
            excludes = numbers.ci_low > 0 or numbers.ci_high < 0
            assert excludes == (numbers.p_value <= 1 - level), (units, z)


@pytest.mark.parametrize(("looks", "at"), [(QUARTERS, 0.5), (FIFTHS, 0.8), (UNEVEN, 0.7)])
def test_repeated_p_values_invert_the_boundary(looks, at):
    # Definition (Jennison and Turnbull 1989): the level at which the boundary is met, by
    # root-finding on the boundary itself instead of the table.
    look = planned_look(looks, at)
    found = GroupSequential(StudentT(math.inf), look, 0.05)
    for z in (1.0, 1.7, 2.4, 3.3, 5.0):
        exact = brentq(lambda alpha, z=z: look.bound(alpha) - z, 1e-12, 0.999, xtol=1e-15)
        assert found.p_value(z) == pytest.approx(exact, rel=1e-3)
    assert found.p_value(0.0) == 1
    assert 0 < found.p_value(60.0) < 1e-100


def test_at_one_look_nothing_changes():
    # A plan with one look, at the end, is the fixed-sample test.
    judged = GroupSequential(StudentT(17.0), planned_look((1.0,), 1.0), 0.05)
    assert judged.quantiles(0.95) == pytest.approx(StudentT(17.0).quantiles(0.95), rel=1e-9)
    assert judged.p_value(2.2) == pytest.approx(StudentT(17.0).p_value(2.2), rel=1e-6)


def test_the_last_look_spends_what_is_left_wherever_it_falls():
    # Earlier looks keep what they spent; in the information of a longer test they came earlier.
    on_time, over = planned_look(QUARTERS, 1.0), planned_look(QUARTERS, 1.04)
    assert over.spent == on_time.spent == QUARTERS
    assert over.times == pytest.approx((0.25 / 1.04, 0.5 / 1.04, 0.75 / 1.04, 1.0))
    assert over.bound(0.05) > on_time.bound(0.05)
    late = planned_look(QUARTERS, 0.53)
    assert (late.number, late.times) == (2, (0.25, 0.53))


def test_looks_of_the_analysis_are_stated():
    data = frame(2_000, effect=0.5)
    base, anytime = run(data, plan(False))[0], run(data, plan(True))[0]
    assert anytime.note.startswith("confidence sequence, valid at every look")
    assert "narrowest at 5,000 units" in anytime.note
    tuned = run(data, plan({"planned_units": 2_000}))[0]
    # Source: statistics.md, trap 7: about 1.6 times the width (1.5486 where it is narrowest).
    width = (tuned.ci_high - tuned.ci_low) / (base.ci_high - base.ci_low)
    assert width == pytest.approx(1.5486, abs=2e-3)
    assert (tuned.value, tuned.se) == (base.value, base.se)
    second = run(data, plan(obrien_fleming(4_000)))[0]
    assert second.note.startswith("look 2 of 4 at 50 % of 4,000 planned units, O'Brien–Fleming")
    assert base.p_value < second.p_value < 1


@pytest.mark.parametrize(
    ("units", "word"), [(700, "no look is planned at 17.5 %"), (2_600, "65 %")]
)
def test_between_looks_there_is_no_estimate(units, word):
    (found,) = run(frame(units), plan(obrien_fleming(4_000)))
    assert (found.status, found.value, found.p_value) == (Status.INSUFFICIENT, None, None)
    assert word in found.note
    assert "looks are due at 25, 50, 75, 100 %" in found.note


def test_a_look_beyond_the_last_is_refused():
    with pytest.raises(InputError, match=r"units == 4400, the last planned look was at 4,000"):
        run(frame(4_400), plan(obrien_fleming(4_000)))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"method": "obrien_fleming", "looks": QUARTERS}, "planned_units"),
        ({"method": "obrien_fleming", "planned_units": 100}, "looks"),
        ({"method": "obrien_fleming", "planned_units": 100, "looks": (0.5, 0.9)}, "last must be 1"),
        ({"method": "obrien_fleming", "planned_units": 100, "looks": (0.5, 0.5, 1)}, "must rise"),
        ({"looks": (0.5, 1.0)}, "obrien_fleming"),
    ],
)
def test_plans_that_cannot_be_followed_are_refused(wrong, why):
    with pytest.raises(ValueError, match=why):
        Sequential(**wrong)


def test_too_few_units_for_an_asymptotic_boundary():
    (few,) = run(frame(98), plan(True))
    assert few.status is Status.INSUFFICIENT
    assert few.note == "49 units in the smaller arm; an anytime-valid interval needs 50"
    assert run(frame(100), plan(True))[0].status is Status.OK


def test_where_a_permutation_test_takes_over():
    # A holdout of 5 % of a skewed metric: the anytime boundary refuses; planned looks use the
    # permutation test at their nominal level, unless 9,999 draws cannot reach it.
    rng = np.random.default_rng(3)
    data = frame(4_000, share=0.95)
    data["spend"] = np.where(rng.random(4_000) < 0.05, rng.lognormal(3, 1, 4_000), 0.0)
    arms = {"none": 0.05, "mail": 0.95}
    (single_look,) = run(data, plan(False, arms))
    (anytime,) = run(data, plan(True, arms))
    (last,) = run(data, plan(obrien_fleming(4_000), arms))
    (first,) = run(data, plan(obrien_fleming(16_000), arms))
    assert single_look.note.startswith("studentized permutation")
    assert anytime.status is Status.INSUFFICIENT
    assert "needs the normal approximation, not the studentized permutation" in anytime.note
    assert "look 4 of 4" in last.note
    assert "studentized permutation" in last.note
    assert last.ci_low < single_look.ci_low < single_look.ci_high < last.ci_high
    assert first.status is Status.INSUFFICIENT
    assert "out of reach" in first.note


def test_a_look_that_spends_next_to_nothing_shows_nothing():
    looks = (0.02, 0.5, 1.0)
    (found,) = run(frame(100), plan(obrien_fleming(5_000, looks)))
    assert found.status is Status.INSUFFICIENT
    assert found.note.endswith("nothing can be said this early")


def test_every_difference_like_estimator_is_judged_by_the_look():
    names = ["difference", "cuped", "hierarchical_bayes"]
    changes = {"estimators": names, "covariates": ["z"], "cohorts": ["where"]}
    found = run(frame(4_000), plan(True, **(changes | {"estimators": names[:2]})))
    assert all("valid at every look" in e.note for e in found)
    # Four cohorts: each is expected to get a quarter of the units.
    assert {e.note for e in found if e.cohort} == {
        "confidence sequence, valid at every look (narrowest at 1,250 units)"
    }
    (posterior,) = run(frame(4_000), plan(True, estimators=names[2:]))
    (fixed,) = run(frame(4_000), plan(False, estimators=names[2:]))
    assert posterior.note.startswith("standard error widened to the interval of the confidence")
    assert posterior.se > 1.4 * fixed.se


def test_an_interval_that_does_not_know_of_looks_says_so(monkeypatch):
    from measure.incrementality import estimators
    from measure.incrementality.cells import Finding
    from measure.incrementality.estimators import Runner

    def stubborn(cells):
        for target in cells.targets():
            numbers = cells.difference(target).numbers
            yield Finding(target, Status.OK, "by a method of its own", numbers)

    patched = {**estimators.ESTIMATORS, "causal_forest": Runner(stubborn)}
    monkeypatch.setattr(sys.modules["measure.incrementality.analyze"], "ESTIMATORS", patched)
    (found,) = run(frame(400), plan(True, estimators=["causal_forest"]))
    assert found.note == f"by a method of its own; {ONE_LOOK_ONLY}"
    (found,) = run(frame(400), plan(False, estimators=["causal_forest"]))
    assert found.note == "by a method of its own"


def test_swapped_arms_mirror():
    data = frame(2_000, effect=0.4)
    swapped = data.assign(arm=np.where(data.arm == "mail", "none", "mail"))
    for sequential in (True, obrien_fleming(4_000)):
        (one,), (other,) = run(data, plan(sequential)), run(swapped, plan(sequential))
        assert one.p_value == pytest.approx(other.p_value, rel=1e-12)
        assert (one.ci_low, one.ci_high) == pytest.approx((-other.ci_high, -other.ci_low))


# --- error over all looks ------------------------------------------------------------------------


def looked_at_every_unit(runs, units, effect=0.0, seed=11, skewed=False):
    """Studentized differences after every unit from the hundredth on, (runs, units − 99).

    Units come in pairs, one per arm; ``effect`` is in standard deviations and is left out of the
    statistic, so that zero is the truth. Also returns 1 / standard error, (runs, units − 99).
    """
    rng = np.random.default_rng(seed)
    size = (runs, units)
    outcome = rng.exponential(size=size) if skewed else rng.normal(size=size)
    odd = np.arange(units) % 2 == 1
    parts = []
    for arm in (odd, ~odd):
        n = np.cumsum(arm)
        total = np.cumsum(np.where(arm, outcome, 0.0), axis=1)
        squares = np.cumsum(np.where(arm, outcome**2, 0.0), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / n
            parts.append((mean, (squares - n * mean**2) / (n - 1) / n))
    with np.errstate(invalid="ignore"):
        se = np.sqrt(parts[0][1] + parts[1][1])[:, 99:]
        return (parts[0][0] - parts[1][0])[:, 99:] / se, 1 / se


def bounds_at_every_unit(units, planned):
    return np.array(
        [reference({"planned_units": planned}, n).quantiles(0.95)[1] for n in range(100, units + 1)]
    )


def test_the_simulated_statistic_is_the_analysis():
    # What the simulations below vectorise is what the command computes, to rounding.
    z, precision = looked_at_every_unit(1, 400)
    rng = np.random.default_rng(11)
    data = pd.DataFrame({"spend": rng.normal(size=400), "arm": np.tile(["none", "mail"], 200)})
    bounds = bounds_at_every_unit(400, 300)
    for n in (100, 233, 400):
        (found,) = run(data[:n], plan({"planned_units": 300}))
        assert found.value * precision[0, n - 100] == pytest.approx(z[0, n - 100], rel=1e-9)
        half = (found.ci_high - found.ci_low) / 2
        assert half * precision[0, n - 100] == pytest.approx(bounds[n - 100], rel=1e-9)


@pytest.mark.parametrize("skewed", [False, True])
def test_looking_after_every_unit_keeps_the_error(skewed):
    # All intervals cover the truth together, so this is false positives and coverage at once.
    runs, units = 1_000, 1_000
    z, _ = looked_at_every_unit(runs, units, skewed=skewed)
    ever = (np.abs(z) > bounds_at_every_unit(units, units)).any(axis=1).mean()
    assert ever <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    naive = (np.abs(z) > 1.959964).any(axis=1).mean()
    assert naive > 0.2  # what it would be without the boundary


@pytest.mark.validation
@pytest.mark.parametrize("skewed", [False, True])
def test_five_thousand_looks(skewed):
    # Source: reliability.md, R5: look after every observation, 5,000 looks, 4,000 simulations,
    # ever-rejects ≤ α + 3 se, for each tail too; power at the planned size.
    runs, units, block = 4_000, 5_099, 500
    bounds = bounds_at_every_unit(units, 5_000)
    drift = 2.8015852  # found with power .8 by one look at 5,000 units, two-sided 5 %
    effect = drift / math.sqrt(5_000 / 4)
    above = below = found = 0
    for part in range(runs // block):
        z, precision = looked_at_every_unit(block, units, seed=100 + part, skewed=skewed)
        above += int((z > bounds).any(axis=1).sum())
        below += int((z < -bounds).any(axis=1).sum())
        shifted = z + effect * precision
        found += int((shifted[:, :4_901] > bounds[:4_901]).any(axis=1).sum())
    assert (above + below) / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert max(above, below) / runs <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / runs)
    # Source: exact recursion over 500 looks, .536; looking at every unit finds a little more.
    assert found / runs == pytest.approx(0.545, abs=0.025)


def walks(times, runs, seed, drift=0.0):
    """Studentized differences of random walks at fractions of the planned units, (runs, looks)."""
    rng = np.random.default_rng(seed)
    steps = np.diff(np.concatenate([[0.0], times]))
    walk = rng.normal(size=(runs, len(times))) * np.sqrt(steps) + drift * steps
    return np.cumsum(walk, axis=1) / np.sqrt(times)


def planned_bounds(looks, times, planned=100_000):
    sequential = obrien_fleming(planned, looks)
    return [reference(sequential, round(planned * t)).quantiles(0.95)[1] for t in times]


OFF_PLAN = [
    (QUARTERS, (0.21, 0.54, 0.71, 1.05)),
    (QUARTERS, (0.30, 0.45, 0.80, 0.95)),
    (FIFTHS, (0.15, 0.45, 0.55, 0.85, 0.95)),
    (FIFTHS, (0.25, 0.35, 0.65, 0.75, 1.05)),
    (UNEVEN, (0.14, 0.16, 0.66, 1.03)),
]


@pytest.mark.parametrize(
    ("looks", "times"), [*((looks, looks) for looks in (QUARTERS, FIFTHS, UNEVEN)), *OFF_PLAN]
)
def test_planned_looks_keep_the_error_also_when_they_come_early_or_late(looks, times):
    runs = 40_000
    bounds = planned_bounds(looks, times)
    ever = (np.abs(walks(times, runs, seed=5)) > bounds).any(axis=1).mean()
    band = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert ever <= 0.05 + band
    if looks == times:
        assert ever >= 0.05 - band  # all error is spent


@pytest.mark.parametrize("looks", [QUARTERS, FIFTHS, UNEVEN])
def test_power_of_planned_looks_at_the_planned_size(looks):
    # Source: exact recursion over the boundary; one look has .8 at this drift.
    drift = 2.8015852
    expected = plan_looks("obrien_fleming", looks).reach(drift)
    assert 0.77 < expected < 0.8
    found = (np.abs(walks(looks, 40_000, 6, drift)) > planned_bounds(looks, looks)).any(axis=1)
    assert found.mean() == pytest.approx(expected, abs=0.0066)  # 99.9 % band


def test_planned_looks_through_the_analysis():
    # 150 experiments without effect, four looks each; 99.9 % band around .05.
    runs, rejected = 150, 0
    for seed in range(runs):
        data = frame(400, seed)
        p_values = [
            run(data[:n], plan(obrien_fleming(400)))[0].p_value for n in (100, 200, 300, 400)
        ]
        rejected += min(p_values) <= 0.05
    assert 1 / runs <= rejected / runs <= 0.115


def test_a_confidence_sequence_is_tightest_where_it_was_planned():
    widths = {n: ConfidenceSequence(n * mixture_rate(1_000)).quantiles(0.95)[1] for n in
              (100, 500, 1_000, 4_000, 100_000)}  # fmt: skip
    assert min(widths, key=widths.get) == 1_000
    assert 2 * float(ndtr(-widths[1_000])) == pytest.approx(0.0024, abs=1e-4)
