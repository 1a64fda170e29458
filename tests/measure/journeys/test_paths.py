"""The two tables from the engine against bookkeeping event by event."""

import csv
import itertools
from collections import defaultdict
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from designs.assignment.hashing import bucket
from measure.attribution import MODELS, attribute_engine, attribute_paths
from measure.engine.connection import connect
from measure.errors import DataError, InputError, MissingFile, UnknownName
from measure.journeys.paths import SALT, path_tables
from measure.journeys.rules import JourneyRules
from measure.journeys.tables import BUCKETS, RULES
from tests.data import data_file
from tests.measure.journeys import shop as world

RULES_OF_SHOP = JourneyRules(lookback_days=world.LOOKBACK)
HALF_LIFE = 7.0


def cohort_of(person):
    segments = {row["customer_id"]: row["segment"] for row in world.customers()}
    return segments.get(person) or "(unknown)"


def expected_tables(found, by_segment=True):
    """Transitions and credits of the oracle's journeys, keyed by names."""
    moves = defaultdict(lambda: np.zeros(2))
    given = defaultdict(lambda: np.zeros(2))
    for person, touches, net in found:
        group = (bucket(SALT, person) % BUCKETS, cohort_of(person) if by_segment else "")
        channels = [channel for channel, _ in touches]
        end = "(null)" if net is None else "(conversion)"
        states = ["(start)", *channels, end]
        for left, right in itertools.pairwise(states):
            money = net if right == "(conversion)" else 0
            moves[*group, left, right] += (1, money / 100)
        if net is None:
            continue
        last = touches[-1][1]
        ages = np.array([(last - ts) / timedelta(days=1) for _, ts in touches])
        decay = 0.5 ** (ages / HALF_LIFE)
        n = len(touches)
        shares = {
            "first": np.eye(n)[0],
            "last": np.eye(n)[-1],
            "linear": np.full(n, 1 / n),
            "time_decay": decay / decay.sum(),
            "shapley": np.array(
                [(channels.index(c) == i) / len(set(channels)) for i, c in enumerate(channels)]
            ),
        }
        for rule, weights in shares.items():
            for channel, share in zip(channels, weights, strict=True):
                given[*group, channel, rule] += (share, share * net / 100)
    return moves, given


def actual_tables(tables):
    names = ["(start)", *tables.channels, "(conversion)", "(null)"]
    cohorts = tables.cohorts or ("",)
    t, c = tables.transitions, tables.credits
    moves = {
        (int(t.bucket[i]), cohorts[t.cohort[i]], names[t.state_from[i]], names[t.state_to[i]]): (
            t.n[i],
            t.value[i],
        )
        for i in range(len(t.n))
    }
    given = {
        (int(c.bucket[i]), cohorts[c.cohort[i]], tables.channels[c.channel[i]], rule): (
            c.conversions[rule][i],
            c.value[rule][i],
        )
        for i in range(len(c.bucket))
        for rule in RULES
    }
    return moves, given


def same(found, expected):
    for key in set(found) | set(expected):
        assert found.get(key, (0, 0)) == pytest.approx(
            tuple(expected.get(key, (0, 0))), abs=1e-6
        ), key


def test_tables_equal_the_bookkeeping(shop):
    tables = path_tables(shop, RULES_OF_SHOP, cohort_dimension="segment", half_life_days=HALF_LIFE)
    moves, given = expected_tables(world.journeys())
    found_moves, found_given = actual_tables(tables)
    assert tables.channels == tuple(sorted(world.CHANNELS))
    assert tables.cohorts == ("(unknown)", "loyal", "new")
    assert tables.currency == "EUR"
    same(found_moves, moves)
    same(found_given, given)
    touched = [net for _, _, net in world.journeys() if net is not None]
    assert touched, "the shop must have conversions with touches"
    orders = world.counted_orders()
    assert tables.untouched_conversions == len(orders) - len(touched)
    everything = sum(row["value"] - row["refunded_value"] for row in orders)
    assert tables.untouched_value == pytest.approx((everything - sum(touched)) / 100)


def test_a_period_bounds_conversions_and_lets_touches_reach_back(shop):
    start, end = world.START + timedelta(days=30), world.START + timedelta(days=60, hours=6)
    rules = JourneyRules(lookback_days=world.LOOKBACK, start=start, end=end)
    tables = path_tables(shop, rules, half_life_days=HALF_LIFE)
    found = world.journeys(start, end)
    moves, given = expected_tables(found, by_segment=False)
    assert 0 < len(found) < len(world.journeys())
    same(actual_tables(tables)[0], moves)
    same(actual_tables(tables)[1], given)


def test_credits_divide_up_the_conversions_of_each_cohort(shop):
    result = attribute_engine(
        shop, models=MODELS, cohort_dimension="segment", lookback_days=world.LOOKBACK
    )
    totals = defaultdict(float)
    for person, _, net in world.journeys():
        if net is not None:
            totals[cohort_of(person)] += 1
            totals[None] += 1
    for model in MODELS:
        for cohort, total in totals.items():
            mine = [
                credit
                for credit in result.credits
                if credit.model == model
                and (credit.cohort.value if credit.cohort else None) == cohort
            ]
            assert sum(c.conversions for c in mine) == pytest.approx(total, rel=1e-9)
    assert result.total_conversions == totals[None]
    text = " ".join(result.definition["sentences"])
    assert f"at most {world.LOOKBACK} days before the conversion" in text
    assert "activation_id" in text


def embedded(**changed):
    engine = connect("duckdb://")
    for name, data in (world.tables() | changed).items():
        if data is not None:
            engine.register(name, data)
    return engine


def test_shuffled_rows_give_identical_tables():
    def columns(engine):
        tables = path_tables(engine, RULES_OF_SHOP, cohort_dimension="segment")
        t, c = tables.transitions, tables.credits
        flat = [t.bucket, t.cohort, t.state_from, t.state_to, t.n, t.value, c.bucket, c.channel]
        return [array.tobytes() for array in (*flat, *c.conversions.values(), *c.value.values())]

    draw = np.random.default_rng(9)
    shuffled = {name: t.take(draw.permutation(t.num_rows)) for name, t in world.tables().items()}
    with embedded() as plain, embedded(**shuffled) as other:
        assert columns(plain) == columns(other)


def test_clear_refusals():
    with embedded() as engine:
        with pytest.raises(UnknownName, match=r"'segmnt'.*Did you mean 'segment'"):
            attribute_engine(engine, cohort_dimension="segmnt")
        with pytest.raises(UnknownName, match="Did you mean 'click'"):
            attribute_engine(engine, touch_kinds=["clik"])
        with pytest.raises(InputError, match="lookback_days == 0"):
            attribute_engine(engine, lookback_days=0)
        with pytest.raises(InputError, match="start"):
            attribute_engine(engine, start=world.START, end=world.START)
        with pytest.raises(UnknownName, match="model 'lst'"):
            attribute_engine(engine, models=["lst"])
    with (
        embedded(activations=None) as engine,
        pytest.raises(MissingFile, match="activations"),
    ):
        attribute_engine(engine)
    nothing = world.tables()["activations"].slice(0, 0)
    with embedded(activations=nothing) as engine, pytest.raises(DataError, match="no touch"):
        attribute_engine(engine)
    rows = [*world.conversions()[:-1], {**world.conversions()[-1], "status": "paid"}]
    rows[-1]["currency"] = "USD"
    with embedded(conversions=world.table(rows)) as engine:
        with pytest.raises(DataError, match="EUR, USD"):
            attribute_engine(engine)
        assert attribute_engine(engine, currency="EUR").definition["currency"] == "EUR"


def test_pathdata_as_event_logs_gives_the_same_credits():
    # coverage.md row 1: journeys rebuilt from an event log must be those of the file
    steps, orders = unrolled(data_file("pathdata.csv"))
    with connect("duckdb://") as engine:
        engine.register("activations", steps)
        engine.register("conversions", orders)
        found = attribute_engine(engine, models=MODELS)
    expected = attribute_paths(data_file("pathdata.csv"), MODELS)
    assert found.total_conversions == expected.total_conversions == 19_785
    assert found.total_value == pytest.approx(expected.total_value, abs=0.0005 * 10_000)
    assert found.definition["journeys"] == expected.definition["journeys"]
    for mine, theirs in zip(found.credits, expected.credits, strict=True):
        assert (mine.model, mine.channel) == (theirs.model, theirs.channel)
        if mine.model != "time_decay":  # days here, steps there
            assert mine.conversions == pytest.approx(theirs.conversions, abs=1e-6)


def unrolled(file):
    """One person per journey, one touch a minute; money in fils, thousandths like the file's."""
    channel, person, minute, buyer, fils, bought = [], [], [], [], [], []
    people = 0
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            path = row["path"].split(" > ")
            yes, no = int(row["total_conversions"]), int(row["total_null"])
            value = round(1000 * float(row["total_conversion_value"]))
            for i in range(yes + no):
                channel += path
                person += [people] * len(path)
                minute += range(len(path))
                if i < yes:
                    buyer.append(people)
                    fils.append(value if i == 0 else 0)
                    bought.append(len(path))
                people += 1
    begin = np.datetime64("2026-01-01", "us")

    def ids(prefix, numbers):
        return pa.array([f"{prefix}{number}" for number in numbers])

    def times(minutes):
        return pa.array(begin + np.array(minutes).astype("timedelta64[m]")).cast(MINUTES)

    touches, orders = len(channel), len(buyer)
    kinds = pa.array(["click"]).take(pa.array(np.zeros(touches, dtype=int)))
    steps = pa.table(
        {
            "activation_id": ids("a", range(touches)),
            "channel": channel,
            "kind": kinds,
            "ts": times(minute),
            "customer_id": ids("p", person),
        }
    )
    sold = pa.table(
        {
            "conversion_id": ids("k", range(orders)),
            "order_id": ids("o", range(orders)),
            "customer_id": ids("p", buyer),
            "ts": times(bought),
            "value": fils,
            "refunded_value": np.zeros(orders, dtype=np.int64),
            "currency": ["KWD"] * orders,
            "status": ["paid"] * orders,
        }
    )
    return steps, sold


MINUTES = pa.timestamp("us", tz="UTC")
