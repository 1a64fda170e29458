"""Designs and their analysis together: balanced draws, switchbacks and factors, by simulation."""

import itertools
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.formula.api as smf
from scipy.stats import binom

from designs.assignment.balance import Small, balanced, redrawn
from designs.assignment.switchback import redrawn_schedules, round_of, switchback_schedule
from designs.specification import parse_specification
from measure.engine.connection import connect
from measure.engine.units import unit_table
from measure.incrementality import analyze
from measure.incrementality.factorial import factorial_effects, layout_of
from measure.incrementality.rerandomized import Redrawn, rerandomized
from measure.incrementality.switchback import Laid, analyze_blocks, switchback
from measure.moments import CellMoments, Moments
from measure.plan import AnalysisPlan, Metric
from measure.results import Status
from tests.designs.specs import experiment

BALANCE = "balance: {attributes: [size, age], draws: %d}"


def band(n, p):
    """Counts that a binomial exceeds with chance 1e-3, both sides together."""
    return binom.ppf([0.0005, 0.9995], n, p)


def plan_of(**changes):
    given = {
        "arms": {"newsletter": 0.5, "control": 0.5},
        "control": "control",
        "metrics": (Metric(name="revenue"),),
        "estimators": ("difference",),
    }
    return AnalysisPlan(**{**given, **changes})


def population(seed, n=24):
    """Attributes that explain most of an outcome in which nothing happens."""
    rng = np.random.default_rng(seed)
    values = np.column_stack([rng.lognormal(1, 0.7, n), rng.normal(40, 12, n)])
    outcome = 3 * values[:, 0] + 0.4 * values[:, 1] + rng.exponential(3, n)
    ids = [f"s{i:03d}" for i in range(n)]
    return Small.of(ids, values), outcome


def analysed(engine, small, outcome, salt, plan, *, draws=60, replicates=79, **columns):
    """The shipped analysis of one balanced experiment, and what it was before re-drawing."""
    design = experiment(more=BALANCE % draws).model_copy(
        update={"arms": {"newsletter": 0.5, "control": 0.5}, "salt": salt}
    )
    arms, _ = balanced(design, small)
    rows = {"unit_id": list(small.unit_ids), "arm": list(arms), "revenue": outcome(arms), **columns}
    units = unit_table(
        engine, engine.register("units", pa.table(rows)), "arm", plan, id_column="unit_id"
    )
    usual = analyze(units, plan, experiment="x")
    codes = redrawn(design, small, replicates)
    return usual, rerandomized(
        usual, units, plan, Redrawn(small.unit_ids, sorted(design.arms), codes)
    )


def size_and_coverage(runs, effect=5.0):
    """Rejections of the truth, and how often the usual and the re-drawn interval hold it."""
    usual_holds = holds = rejects = 0
    width = [0.0, 0.0]
    with connect() as engine:
        for k in range(runs):
            small, outcome = population(k)
            before, after = analysed(
                engine,
                small,
                lambda arms, y=outcome: y + effect * (np.array(arms) == "newsletter"),
                f"size-{k}",
                plan_of(),
            )
            (was,), (now,) = before.estimates, after.estimates
            assert now.status is Status.OK
            assert now.value == pytest.approx(was.value, rel=1e-9)
            usual_holds += was.ci_low <= effect <= was.ci_high
            holds += now.ci_low <= effect <= now.ci_high
            rejects += now.p_value <= 0.05
            width[0] += was.ci_high - was.ci_low
            width[1] += now.ci_high - now.ci_low
    return usual_holds, holds, rejects, width


def test_a_balanced_experiment_has_intervals_that_hold_the_effect_as_often_as_they_say():
    runs = 120
    usual, holds, rejects, width = size_and_coverage(runs)
    low, high = band(runs, 0.95)
    assert low <= holds <= high
    assert usual >= holds  # too wide, never too narrow
    assert width[1] < 0.75 * width[0]
    assert rejects > runs / 2


@pytest.mark.validation
def test_balanced_experiments_cover_in_two_thousand_simulations():
    runs = 2_000
    usual, holds, _, width = size_and_coverage(runs)
    low, high = band(runs, 0.95)
    assert low <= holds <= high, (usual, holds, width)
    assert usual > high


def test_cohorts_cuped_and_what_cannot_be_judged_by_redrawing():
    small, outcome = population(3, 60)
    plan = plan_of(
        cohorts=("country",),
        covariates=("age",),
        estimators=("difference", "cuped", "hierarchical_bayes"),
    )
    with connect() as engine:
        before, after = analysed(
            engine,
            small,
            lambda arms: outcome + 5.0 * (np.array(arms) == "newsletter"),
            "cohorts",
            plan,
            replicates=199,
            age=small.values[:, 1],
            country=[("DE", "FR", "AT")[i % 3] for i in range(60)],
        )
    assert len(before.estimates) == len(after.estimates) == 12
    for was, now in zip(before.estimates, after.estimates, strict=True):
        if was.estimator == "hierarchical_bayes":
            assert now.status is not Status.OK or "too wide, never too narrow" in now.note
            continue
        assert now.status is Status.OK
        assert now.note == "p-value and interval from 199 re-drawn assignments"
        if was.value is not None:
            assert now.value == pytest.approx(was.value, rel=1e-6)
        assert now.ci_low <= now.value <= now.ci_high
        assert now.n_arm == was.n_arm
    # The same units, dealt with one covariate: intervals of cuped are the narrower ones.
    plain, adjusted = (after.find("revenue", "newsletter", e) for e in ("difference", "cuped"))
    assert adjusted.ci_high - adjusted.ci_low < 1.3 * (plain.ci_high - plain.ci_low)
    assert {f.estimator for f in after.multiplicity} >= {"difference", "cuped"}


SWITCHBACK = """\
key: {key}
hypothesis: Higher courier fees bring more couriers.
unit: region
switchback: {{units: [{units}], block_hours: 6, washout_hours: {washout}}}
arms: {{high: 0.5, usual: 0.5}}
control: usual
metrics: [{{name: orders, role: primary}}]
schedule: {{start: 2026-03-01, end: 2026-03-15}}
"""


def hours(rng, plan, effect, carry, hours_left):
    """Orders per unit, block and hour: drift, time of day, shared shocks; what a treated block
    leaves behind decays over ``hours_left`` hours of the next."""
    blocks = switchback_schedule(plan)
    total = 14 * 24
    shared = np.cumsum(rng.normal(0, 0.3, total)) + 3 * np.sin(np.arange(total) / 24 * 2 * np.pi)
    level = {unit: rng.normal(20, 5) for unit in plan.switchback.units}
    treated = {(b.unit, b.block): b.arm == "high" for b in blocks}
    washout = plan.switchback.washout_hours
    outcomes = []
    for b in blocks:
        found = []
        for hour in range(washout, 6):
            at = b.block * 6 + hour
            lift = effect * treated[b.unit, b.block]
            if hour < hours_left and b.block:
                lift += carry * (treated[b.unit, b.block - 1] - treated[b.unit, b.block])
            found.append(level[b.unit] + shared[at] + lift + rng.normal(0, 1))
        outcomes.append(np.mean(found))
    return blocks, np.array(outcomes)


def laid(plan, blocks, outcomes, replicates):
    arms, units = {"high": 0, "usual": 1}, list(plan.switchback.units)
    drawn = [
        [arms[one[b.unit, b.block]] for b in blocks] for one in redrawn_schedules(plan, replicates)
    ]
    return Laid(
        {"orders": outcomes},
        np.array([arms[b.arm] for b in blocks]),
        np.array([units.index(b.unit) for b in blocks]),
        np.array([b.block // len(round_of(plan)) for b in blocks]),
        np.array(drawn),
    )


def switchbacks(runs, washout, carry, units="a, b, c", effect=1.0):
    """Coverage of the effect, and the mean estimate."""
    holds, values = 0, []
    for k in range(runs):
        text = SWITCHBACK.format(key=f"surge-{k}", units=units, washout=washout)
        plan = parse_specification(text, "test.yaml").experiment
        rng = np.random.default_rng(50_000 + k)
        blocks, outcomes = hours(rng, plan, effect, carry, 2)
        contrast, test = switchback(laid(plan, blocks, outcomes, 39), "orders", 0, 1)
        assert contrast.value == test.value
        holds += test.p_value(effect) > 0.05
        values.append(test.value)
    return holds, float(np.mean(values)), float(np.std(values) / math.sqrt(runs))


@pytest.mark.parametrize("units", ["a, b, c", "a"])
def test_a_switchback_with_washout_finds_the_effect_whatever_is_carried_over(units):
    runs = 100
    holds, mean, error = switchbacks(runs, washout=2, carry=0.6, units=units)
    low, high = band(runs, 0.95)
    assert low <= holds <= high
    assert abs(mean - 1.0) < 4.5 * error


def test_without_washout_what_is_carried_over_waters_the_effect_down():
    # Two of six hours lose 0.6 × share of changed blocks: in rounds of two at least half change.
    _, mean, error = switchbacks(60, washout=0, carry=0.6)
    assert mean + 4.5 * error < 1.0


@pytest.mark.validation
def test_switchbacks_cover_in_a_thousand_simulations():
    for units in ("a, b, c", "a"):
        holds, mean, error = switchbacks(1_000, washout=2, carry=0.6, units=units)
        low, high = band(1_000, 0.95)
        assert low <= holds <= high, (units, holds)
        assert abs(mean - 1.0) < 4.5 * error


def test_the_switchback_estimate_is_the_mean_of_paired_rounds():
    text = SWITCHBACK.format(key="surge", units="a, b", washout=1)
    plan = parse_specification(text, "test.yaml").experiment
    rng = np.random.default_rng(1)
    blocks, outcomes = hours(rng, plan, 1.0, 0.0, 0)
    found = laid(plan, blocks, outcomes, 99)
    contrast, _ = switchback(found, "orders", 0, 1)
    frame = pd.DataFrame({"y": outcomes, "w": found.arms == 0, "r": found.rounds, "u": found.units})
    paired = frame.pivot_table(index="r", columns=["u", "w"], values="y")
    gaps = pd.concat([paired[u][True] - paired[u][False] for u in (0, 1)], axis=1).mean(axis=1)
    assert contrast.value == pytest.approx(gaps.mean(), rel=1e-12)
    assert contrast.se == pytest.approx(gaps.std(ddof=1) / math.sqrt(len(gaps)), rel=1e-12)
    outcomes[:4] = np.nan  # the first round is lost
    fewer, _ = switchback(found, "orders", 0, 1)
    assert fewer.value == pytest.approx(gaps[1:].mean(), rel=1e-12)
    outcomes[12:] = np.nan  # two rounds are left
    assert switchback(found, "orders", 0, 1) is None


def test_the_lift_of_a_switchback_knows_that_the_control_is_measured_too():
    # Arms of independent rounds, lift +100 %: by the delta method its variance is that of
    # arm − 2 × control, (1 + 4) σ² against the (1 + 1) σ² of a control taken as known.
    rng, rounds = np.random.default_rng(4), 4_000
    outcomes = np.ravel(np.column_stack([rng.normal(20, 2, rounds), rng.normal(10, 2, rounds)]))
    arms = np.tile([0, 1], rounds)
    found = Laid(
        {"orders": outcomes},
        arms,
        np.zeros(2 * rounds, dtype=int),
        np.repeat(np.arange(rounds), 2),
        arms[None],
    )
    contrast, _ = switchback(found, "orders", 0, 1)
    assert contrast.relative == pytest.approx(1.0, abs=0.02)
    assert contrast.relative_se == pytest.approx(
        math.sqrt(5) * 2 / math.sqrt(rounds) / 10, rel=0.05
    )


def test_a_switchback_is_judged_by_its_own_p_values_in_a_hierarchical_plan():
    text = SWITCHBACK.format(key="surge", units="a, b", washout=1)
    design = parse_specification(text, "test.yaml").experiment
    blocks, outcomes = hours(np.random.default_rng(1), design, 1.0, 0.0, 0)
    found = laid(design, blocks, outcomes, 99)
    arms = [("high", "usual")[code] for code in found.arms]
    plans = [
        plan_of(
            arms={"high": 0.5, "usual": 0.5},
            control="usual",
            metrics=(Metric(name="orders"),),
            multiplicity="hierarchical",
            relative=relative,
        )
        for relative in ("delta", "log")
    ]
    with connect() as engine:
        table = engine.register("blocks", pa.table({"arm": arms, "orders": outcomes}))
        usual = analyze(unit_table(engine, table, "arm", plans[0]), plans[0], experiment="x")
    plain, log = (analyze_blocks(usual, plan, found) for plan in plans)
    (estimate,) = plain.estimates
    assert plain.multiplicity[0].p_adjusted == (estimate.p_value,)
    assert usual.multiplicity[0].p_adjusted != (estimate.p_value,)
    # The reach of the interval to each side, on the log scale instead.
    ratio = 1 + estimate.relative
    high = ratio * math.exp((estimate.relative_ci_high - estimate.relative) / ratio) - 1
    assert log.estimates[0].relative_ci_high == pytest.approx(high, rel=1e-9)


def test_redrawn_schedules_follow_the_rules_and_differ():
    text = SWITCHBACK.format(key="surge", units="a, b, c", washout=1)
    plan = parse_specification(text, "test.yaml").experiment
    real = {(b.unit, b.block): b.arm for b in switchback_schedule(plan)}
    seen = list(redrawn_schedules(plan, 50))
    assert real not in seen
    assert len({tuple(sorted(one.items())) for one in seen}) == 50
    for one in seen:
        assert one.keys() == real.keys()
        for unit, number in itertools.product("abc", range(28)):
            assert {one[unit, 2 * number], one[unit, 2 * number + 1]} == {"high", "usual"}


FACTORS = {"subject": ("long", "short"), "offer": ("none", "voucher", "gift")}


def factorial(seed, n=300, interaction=0.0):
    rng = np.random.default_rng(seed)
    rows = []
    for subject, offer in itertools.product(*FACTORS.values()):
        mean = 10 + 1.0 * (subject == "short") + 0.5 * (offer == "voucher")
        mean += interaction * (subject == "short" and offer == "gift")
        size = n + 20 * (offer == "gift")
        rows += [(subject, offer, value) for value in rng.exponential(mean, size)]
    return pd.DataFrame(rows, columns=["subject", "offer", "y"])


def effects_of(frame, relative="delta"):
    layout = layout_of(FACTORS, " + ".join, "long + none")
    cells = {
        ("y", None, " + ".join(levels)): Moments.from_values(("y",), part["y"])
        for levels, part in frame.groupby(["subject", "offer"])
    }
    plan = plan_of(
        arms=dict.fromkeys(layout.arms.values(), 1 / 6),
        control="long + none",
        metrics=(Metric(name="y"),),
        relative=relative,
    )
    found = factorial_effects(CellMoments(cells, {}, {}), plan, layout)
    return {(one.arm, one.control): one for one in found}


def test_main_effects_and_interactions_are_those_of_a_saturated_regression():
    frame = factorial(1)
    found = effects_of(frame)
    assert list(found) == [
        ("subject = short", "subject = long"),
        ("offer = voucher", "offer = none"),
        ("offer = gift", "offer = none"),
        ("subject = short × offer = voucher", "subject = long × offer = none"),
        ("subject = short × offer = gift", "subject = long × offer = none"),
    ]
    # Cell means with variances of their own: OLS of the saturated model with HC2 errors.
    fit = smf.ols("y ~ C(subject) * C(offer, Treatment('none'))", frame).fit(cov_type="HC2")
    offer = "C(offer, Treatment('none'))"
    hand = {
        "subject = short": {
            "C(subject)[T.short]": 1,
            f"C(subject)[T.short]:{offer}[T.voucher]": 1 / 3,
            f"C(subject)[T.short]:{offer}[T.gift]": 1 / 3,
        },
        "offer = gift": {
            f"{offer}[T.gift]": 1,
            f"C(subject)[T.short]:{offer}[T.gift]": 1 / 2,
        },
        "subject = short × offer = gift": {f"C(subject)[T.short]:{offer}[T.gift]": 1},
    }
    for (arm, _), one in found.items():
        if arm in hand:
            weights = [hand[arm].get(name, 0.0) for name in fit.params.index]
            test = fit.t_test(weights)
            assert one.value == pytest.approx(test.effect.item(), rel=1e-9)
            assert one.se == pytest.approx(test.sd.item(), rel=1e-9)
    main = found["subject = short", "subject = long"]
    base = frame[frame.subject == "long"].groupby("offer")["y"].mean().mean()
    assert main.relative == pytest.approx(main.value / base)
    assert (main.n_arm, main.n_control) == (920, 920)
    mixed = found["subject = short × offer = gift", "subject = long × offer = none"]
    assert (mixed.n_arm, mixed.n_control, mixed.relative) == (320, 300, None)


def test_factorial_intervals_hold_the_truth_as_often_as_they_say():
    runs, truth = 400, {"subject = short": 1.0, "offer = voucher": 0.5, "offer = gift": 0.0}
    truth |= {"subject = short × offer = voucher": 0.0, "subject = short × offer = gift": 0.0}
    holds, lifts = dict.fromkeys(truth, 0), 0
    for k in range(runs):
        for (arm, _), one in effects_of(factorial(100 + k, n=200)).items():
            holds[arm] += one.ci_low <= truth[arm] <= one.ci_high
            if arm == "subject = short":
                lifts += one.relative_ci_low <= 1.0 / (10 + 0.5 / 3) <= one.relative_ci_high
    low, high = band(runs, 0.95)
    for arm, count in {**holds, "lift": lifts}.items():
        assert low <= count <= high, (arm, count)


def test_lifts_of_factors_are_bounded_as_the_plan_defines_them():
    key = ("subject = short", "subject = long")
    plain, log = (effects_of(factorial(1), name)[key] for name in ("delta", "log"))
    ratio, half = 1 + plain.relative, plain.relative_ci_high - plain.relative
    assert log.relative_ci_low == pytest.approx(ratio * math.exp(-half / ratio) - 1, rel=1e-9)
    assert log.relative_ci_high == pytest.approx(ratio * math.exp(half / ratio) - 1, rel=1e-9)


def test_factors_of_a_skewed_metric_with_a_small_base_are_refused():
    # Arms of 4,000, one of 1,200, amounts that 25 % have, lognormal: enough units for a skewness of
    # about 5.5, but not in so small a corner (4.7 % of 750 simulated nulls lay above zero where
    # 2.5 % should, with 400 of 20,000 units in the corner).
    rng, frame = np.random.default_rng(3), None
    for corner in (1_200, 4_000):
        rows = []
        for subject, offer in itertools.product(*FACTORS.values()):
            n = corner if (subject, offer) == ("long", "none") else 4_000
            amounts = (rng.random(n) < 0.25) * np.exp(rng.normal(0, 0.9, n))
            rows += [(subject, offer, value) for value in amounts]
        frame = pd.DataFrame(rows, columns=["subject", "offer", "y"])
        found = effects_of(frame)["subject = short × offer = gift", "subject = long × offer = none"]
        expected = Status.INSUFFICIENT if corner == 1_200 else Status.OK
        assert found.status is expected, found.note


def test_factors_over_clusters_are_of_members_as_all_else_is():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"home": np.arange(4_000) // 4, "y": rng.normal(5, 1, 4_000)})
    arms = np.array([f"{a} + {b}" for a in ("long", "short") for b in ("none", "gift")])
    frame["arm"] = arms[frame["home"] % 4]
    factors = {"subject": ("long", "short"), "offer": ("none", "gift")}
    layout = layout_of(factors, " + ".join, "long + none")
    plan = plan_of(
        arms=dict.fromkeys(arms.tolist(), 0.25), control="long + none", metrics=(Metric(name="y"),)
    )
    with connect() as engine:
        table = engine.register("people", pa.Table.from_pandas(frame))
        moments = unit_table(engine, table, "arm", plan, cluster_column="home").moments()
    found = factorial_effects(moments, plan, layout)[0]
    # All homes have four members: the mean over homes of their means, 250 homes in each arm.
    homes = frame.groupby(["arm", "home"])["y"].mean().groupby("arm")
    means, errors = homes.mean(), homes.var() / 250
    short, long = (means[[arm for arm in arms if name in arm]] for name in ("short", "long"))
    assert found.value == pytest.approx(short.mean() - long.mean())
    assert found.se == pytest.approx(math.sqrt(errors.sum()) / 2, rel=1e-9)
    assert found.n_arm == 500


def test_arms_too_small_or_without_spread_give_no_factor_effects():
    frame = factorial(2)
    small = frame[(frame.subject == "long") | (frame.offer == "none")]
    few = pd.concat([small, frame[~frame.index.isin(small.index)].groupby("offer").head(5)])
    found = effects_of(few)
    assert {one.status for one in found.values()} == {Status.INSUFFICIENT}
    assert all(one.value is None and "5 units in the smallest arm" in one.note
               for one in found.values())  # fmt: skip
    assert {o.status for o in effects_of(frame.assign(y=1.0)).values()} == {Status.DEGENERATE}
    heavy = frame.assign(y=np.where(frame.index % 290 == 0, 1000.0, frame.y))
    assert Status.INSUFFICIENT in {one.status for one in effects_of(heavy).values()}
