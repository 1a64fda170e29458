"""Balanced draws of small populations, randomisation inference that replays them, switchbacks."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from designs.assignment.assign import assign, population_query
from designs.assignment.balance import Small, balanced, randomisation_test, replayed
from designs.assignment.explain import Context, explain
from designs.assignment.small import balanced_population
from designs.assignment.switchback import round_of, switchback_schedule
from designs.specification import parse_specification
from measure.engine.connection import connect
from measure.errors import DataError, InputError, SpecError
from tests.designs.specs import experiment

START = datetime(2026, 3, 1, tzinfo=UTC)
BALANCE = "balance: {attributes: [size, age], strata: [region], draws: 200}"


def design(more=BALANCE, shares=(0.5, 0.5)):
    found = experiment(more=more)
    return found.model_copy(
        update={"arms": dict(zip(("newsletter", "control"), shares, strict=True))}
    )


def shops(n=60, seed=11):
    rng = np.random.default_rng(seed)
    values = np.column_stack([rng.lognormal(3, 1, n), rng.normal(40, 12, n)])
    ids = [f"shop-{i:03d}" for i in range(n)]
    return Small.of(ids, values, [("north", "south", "west")[i % 3] for i in range(n)])


def distance(arms, values, control="control"):
    """n p (1 − p) d'S⁻¹d of two arms, as Morgan and Rubin (2012, section 3) define M."""
    treated = np.array([arm != control for arm in arms])
    n, p = len(arms), treated.mean()
    gap = values[treated].mean(axis=0) - values[~treated].mean(axis=0)
    return n * p * (1 - p) * gap @ np.linalg.solve(np.cov(values, rowvar=False), gap)


def test_the_draw_taken_is_the_best_of_all_by_the_published_distance():
    small, plan = shops(), design()
    arms, report = balanced(plan, small)
    assert report.distance == pytest.approx(distance(arms, small.values), rel=1e-9)
    singles = [
        distance(replayed(design(BALANCE.replace("200", "1")), small, k), small.values)
        for k in range(200)
    ]
    assert report.chosen == int(np.argmin(singles))
    assert report.distance == pytest.approx(min(singles), rel=1e-9)
    assert report.median_distance == pytest.approx(np.median(singles), rel=1e-9)
    # Two attributes: M of one draw is about chi-square with 2 degrees, whose median is 1.386.
    assert 0.9 < report.median_distance < 1.9
    assert report.distance < 0.05


def test_each_stratum_has_its_shares_to_one_unit():
    for shares in ((0.5, 0.5), (0.7, 0.3)):
        small, plan = shops(61), design(shares=shares)
        arms, report = balanced(plan, small)
        for stratum in set(small.strata):
            mine = [a for a, s in zip(arms, small.strata, strict=True) if s == stratum]
            assert abs(mine.count("newsletter") - shares[0] * len(mine)) < 1
        assert report.strata == 3
        assert sum(report.units.values()) == 61


def test_what_is_left_over_goes_to_arms_by_their_shares():
    # 5 units in shares of 0.7 and 0.3 are 3.5 and 1.5: a draw gives 3 or 4, each half the time.
    small = Small.of([str(i) for i in range(5)], np.arange(5.0)[:, None])
    one = design("balance: {attributes: [size], draws: 1}", (0.7, 0.3))
    sizes = Counter(replayed(one, small, k).count("newsletter") for k in range(2_000))
    assert set(sizes) == {3, 4}
    assert abs(sizes[3] - 1_000) < 4.5 * np.sqrt(500)
    first = [
        sum(replayed(one, small, k)[i] == "newsletter" for k in range(2_000)) for i in range(5)
    ]
    assert max(abs(n - 1_400) for n in first) < 4.5 * np.sqrt(2_000 * 0.21)


def test_the_same_units_get_the_same_arms_whatever_their_order_for_ever():
    small, plan = shops(), design()
    turned = list(range(60))[::-1]
    again = Small.of(
        [small.unit_ids[i] for i in turned],
        small.values[turned],
        [small.strata[i] for i in turned],
    )
    assert balanced(plan, again) == balanced(plan, small)
    assert balanced(plan.model_copy(update={"salt": "other"}), small)[0] != balanced(plan, small)[0]
    # Recorded when the procedure was first published; a change here moves people between arms.
    tiny = Small.of([f"u{i}" for i in range(12)], np.arange(12.0)[:, None] ** 2)
    arms, report = balanced(design("balance: {attributes: [size], draws: 50}"), tiny)
    assert ("".join(arm[0] for arm in arms), report.chosen) == FROZEN


FROZEN = ("cnnccnnccncn", 18)


def test_four_arms_and_a_missing_value_are_balanced_too():
    small = shops()
    small.values[3, 0] = np.nan
    plan = design().model_copy(update={"arms": {"control": 0.25, "a": 0.25, "b": 0.25, "c": 0.25}})
    arms, report = balanced(plan, small)
    assert Counter(arms).keys() == {"control", "a", "b", "c"}
    assert report.distance < report.median_distance / 2
    size, age = report.attributes
    assert (size.missing, age.missing) == (1, 0)
    mine = [i for i, arm in enumerate(arms) if arm == "a"]
    assert age.means["a"] == pytest.approx(small.values[mine, 1].mean())


def test_the_randomisation_test_is_exact_without_an_effect_and_sees_one():
    # A/A: 400 populations, 39 replicates, so p ≤ .05 has chance exactly 2/40 (ties aside):
    # binomial(400, .05) lies in [7, 36] with 99.9 %.
    plan = design("balance: {attributes: [size, age], draws: 5}")
    hits = 0
    for k in range(400):
        small = shops(24, seed=k)
        outcome = np.random.default_rng(10_000 + k).normal(0, 5, 24) + small.values[:, 1]
        own = plan.model_copy(update={"salt": f"aa-{k}"})
        hits += randomisation_test(own, small, outcome, "newsletter", 39) <= 0.05
    assert 7 <= hits <= 36
    small = shops(40)
    treated = np.array([arm == "newsletter" for arm in balanced(plan, small)[0]])
    outcome = small.values[:, 1] + 15.0 * treated
    assert randomisation_test(plan, small, outcome, "newsletter", 199) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("ids", "values", "words"),
    [
        (["a"], [[1.0]], "units to balance"),
        (["a", "a"], [[1.0], [2.0]], "listed twice"),
        (["a", "b"], [[1.0]], "one row per unit"),
        (["a", "b", "c"], [[1.0], [1.0], [1.0]], "nothing to balance"),
        (["a", "b", "c"], [[np.nan], [np.nan], [np.nan]], "nothing to balance"),
    ],
)
def test_what_cannot_be_balanced_is_refused(ids, values, words):
    with pytest.raises(InputError, match=words):
        balanced(design(), Small.of(ids, np.array(values)))


def test_an_arm_without_units_is_refused():
    small = Small.of([str(i) for i in range(4)], np.arange(4.0)[:, None])
    with pytest.raises(InputError, match="leave no unit for arm"):
        balanced(design(shares=(0.99, 0.01)), small)


def customers(sizes):
    n = len(sizes)
    return pa.table(
        {
            "customer_id": [f"shop-{i:03d}" for i in range(n)],
            "first_seen_at": pa.array([START] * n, pa.timestamp("us", "UTC")),
            "size": pa.array(sizes, pa.string()),
            "age": [str(i * i % 17) for i in range(n)],
            "region": [("north", None)[i % 2] for i in range(n)],
        }
    )


def test_a_population_is_balanced_from_its_tables_behind_the_gates():
    plan = design(BALANCE + "\nholdout: {share: 0.3}")
    with connect() as engine:
        engine.register("customers", customers([str(i % 9) for i in range(80)] + [None]))
        rows, report = balanced_population(engine, plan)
        again, _ = balanced_population(engine, plan)
        with pytest.raises(InputError, match="the whole population or schedule is drawn at once"):
            population_query(engine, plan)
    assert rows.equals(again)
    found = {row["unit_id"]: row for row in rows.to_pylist()}
    assert len(found) == 81
    outcomes = Counter(row["outcome"] for row in found.values())
    assert set(outcomes) == {"assigned", "held_out"}
    assert sum(report.units.values()) == outcomes["assigned"]
    assert all((row["arm"] is None) == (row["outcome"] == "held_out") for row in found.values())
    assert set(rows["assigned_at"].to_pylist()) == {START}
    unit = next(u for u, row in found.items() if row["arm"])
    context = Context(START, START, {}, (), None, found[unit]["arm"])
    last = explain(plan, unit, context)[-1]
    assert (last.step, last.arm) == ("balance", found[unit]["arm"])
    assert "of 200 draws of the whole population within strata by region" in last.sentence
    assert explain(plan, unit)[-1].passed is False
    with pytest.raises(InputError, match="drawn at once"):
        assign(plan, ["a"])


def test_text_where_a_number_is_balanced_is_named():
    with connect() as engine:
        engine.register("customers", customers(["1", "2", "large", "4"]))
        with pytest.raises(DataError, match="size == 'large', must be a number"):
            balanced_population(engine, design())


SWITCHBACK = """\
key: surge
hypothesis: Higher courier fees bring more couriers.
unit: region
switchback: {units: [berlin, hamburg, köln, münchen, bremen], block_hours: 6, washout_hours: 1}
arms: {high: 0.5, usual: 0.5}
control: usual
metrics: [{name: orders, role: primary}]
schedule: {start: 2026-03-01, end: 2026-03-15}
"""


def switchback(text=SWITCHBACK):
    return parse_specification(text, "test.yaml").experiment


@pytest.mark.parametrize(
    ("arms", "length"),
    [
        ("{high: 0.5, usual: 0.5}", 2),
        ("{high: 0.25, usual: 0.75}", 4),
        ("{high: 0.25, low: 0.25, usual: 0.5}", 4),
    ],
)
def test_a_switchback_is_balanced_in_every_round_and_at_every_moment(arms, length):
    plan = switchback(SWITCHBACK.replace("{high: 0.5, usual: 0.5}", arms))
    assert len(round_of(plan)) == length
    blocks = switchback_schedule(plan)
    assert len(blocks) == 14 * 4 * 5
    assert blocks == switchback_schedule(plan)
    rounds, moments = Counter(), Counter()
    for b in blocks:
        rounds[b.unit, b.block // length, b.arm] += 1
        moments[b.block, b.arm] += 1
        assert b.end - b.begin == timedelta(hours=6)
        assert b.measured_from - b.begin == timedelta(hours=1)
        assert b.begin == plan.schedule.start + timedelta(hours=6) * b.block
    for unit in plan.switchback.units:
        for number in range(56 // length):
            for arm, share in plan.arms.items():
                assert rounds[unit, number, arm] == share * length
    # Five units enter the round one step apart: a slot is used floor or ceil of 5 / length times.
    for block in range(56):
        for arm, share in plan.arms.items():
            slots = share * length
            low, high = slots * (5 // length), slots * -(-5 // length)
            assert low <= moments[block, arm] <= high


def test_the_order_of_a_switchback_is_random():
    arms = {
        tuple(b.arm for b in switchback_schedule(switchback(SWITCHBACK.replace("surge", f"s{i}"))))
        for i in range(10)
    }
    assert len(arms) == 10
    first = Counter(
        switchback_schedule(switchback(SWITCHBACK.replace("surge", f"s{i}")))[0].arm
        for i in range(200)
    )
    assert abs(first["high"] - 100) < 4.5 * np.sqrt(50)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("washout_hours: 1", "washout_hours: 6", "must be < block_hours"),
        ("unit: region\n", "", "unit: name what switches"),
        (", end: 2026-03-15", "", "needs start and end"),
        ("hamburg", "berlin", "a unit is named twice"),
        ("control: usual", "control: usual\nrollout: 0.5", "has no effect on a switchback"),
    ],
)
def test_switchbacks_that_do_not_fit_are_refused(old, new, words):
    assert old in SWITCHBACK
    with pytest.raises(SpecError, match=words):
        switchback(SWITCHBACK.replace(old, new))


def test_blocks_must_fill_whole_rounds_of_simple_shares():
    odd = switchback(SWITCHBACK.replace("2026-03-15", "2026-03-01T18:00:00Z"))
    with pytest.raises(InputError, match="End it at 2026-03-01T12:00Z"):
        switchback_schedule(odd)
    uneven = switchback(SWITCHBACK.replace("{high: 0.5, usual: 0.5}", "{high: 0.49, usual: 0.51}"))
    with pytest.raises(InputError, match="parts of at most 24 blocks"):
        switchback_schedule(uneven)
    with pytest.raises(InputError, match="is no switchback"):
        switchback_schedule(experiment())
    with pytest.raises(InputError, match="drawn at once"):
        assign(odd, ["berlin"])
