"""Micro-conversions and windows: when they happen, as outcomes of units, as ends of journeys."""

from datetime import UTC, timedelta

import pytest
from pydantic import ValidationError

from designs.specification import load_model
from measure.attribution import attribute_engine
from measure.engine.connection import connect
from measure.engine.units import unit_table
from measure.errors import DataError, InputError, SpecError
from measure.incrementality import analyze
from measure.journeys.clusters import cluster_outcomes
from measure.journeys.flows import journey_flows
from measure.journeys.micro_conversions import micro_conversions, of_column
from measure.journeys.outcomes import unit_outcomes
from measure.journeys.paths import path_tables
from measure.journeys.rules import (
    JourneyRules,
    Journeys,
    MicroConversion,
    SessionRules,
    TouchWindow,
)
from measure.journeys.touches import ordered_touches
from measure.people.features import Features
from measure.plan import AnalysisPlan
from tests.measure.journeys import shop as world

START = world.START
MINUTE = timedelta(minutes=1)
CART = MicroConversion(name="cart", event="add_to_cart")
DEEP = MicroConversion(name="deep", depth=3)
LONG = MicroConversion(name="engaged", seconds=90)
ALONE = SessionRules(kinds=())


def event(minute, person="p", name="view"):
    return {"customer_id": person, "ts": START + minute * MINUTE, "name": name}


EVENTS = [
    # one session: three actions, the third 2 minutes after the first
    event(0), event(1), event(2, name="add_to_cart"), event(2.5, name="add_to_cart"),
    # another: two actions 90 seconds apart, then one that does not count again
    event(100), event(101.5), event(101.6, "q"),
    # too short and shallow
    event(300), event(301),
]  # fmt: skip


def engine_with(events=EVENTS, **more):
    engine = connect()
    rows = [{"event_id": f"e{i}", **row} for i, row in enumerate(events)]
    engine.register("events", world.table(rows))
    for name, given in more.items():
        engine.register(name, world.table(given))
    return engine


def test_each_happens_at_the_action_that_made_it_so():
    with engine_with() as engine:
        found = engine.fetch(micro_conversions(engine, [CART, DEEP, LONG], ALONE)).to_pylist()
    told = sorted((r["name"], r["customer_id"], (r["ts"] - START) / MINUTE) for r in found)
    assert told == [
        ("cart", "p", 2),
        ("cart", "p", 2.5),
        ("deep", "p", 2),
        ("engaged", "p", 2),
        ("engaged", "p", 101.5),
    ]


def assigned(*rows):
    return [
        {"experiment": "spring", "unit_id": unit, "arm": arm, "assigned_at": START + at * MINUTE}
        for unit, arm, at in rows
    ]


ORDER = {
    "conversion_id": "k", "order_id": "o", "customer_id": "p", "ts": START + 5 * MINUTE,
    "value": 100, "refunded_value": 0, "currency": "EUR", "status": "paid",
}  # fmt: skip


def test_units_reach_them_inside_their_own_window():
    units = assigned(("p", "mail", 2), ("late", "mail", 0), ("q", "none", 0))
    end = [event(24 * 60, "q", "add_to_cart"), event(24 * 60 - 0.001, "late", "add_to_cart")]
    with engine_with(EVENTS + end, assignments=units, conversions=[ORDER]) as engine:
        found = unit_outcomes(engine, "spring", 1, micro=[CART, DEEP, LONG], sessions=ALONE)
        rows = {row.pop("unit_id"): row for row in engine.fetch(found).to_pylist()}
    names = ("cart", "cart_count", "deep", "engaged_count", "orders")
    # an action at the very assignment counts, one at the end of the window does not
    assert {unit: tuple(row[n] for n in names) for unit, row in rows.items()} == {
        "p": (1, 2, 1, 2, 1),
        "late": (1, 1, 0, 0, 0),
        "q": (0, 0, 0, 0, 0),
    }


def test_a_metric_names_its_step_and_is_judged_like_any_other():
    # 200 units in each arm; 80 and 40 of them put something into the cart, half of those twice
    draws = [("mail", 80), ("none", 40)]
    units = [(f"{arm}{i}", arm, 0) for arm, _ in draws for i in range(200)]
    events = [event(i % 9, f"{arm}{i}", "add_to_cart") for arm, n in draws for i in range(n)]
    events += [
        event(60 + i % 9, f"{arm}{i}", "add_to_cart") for arm, n in draws for i in range(n // 2)
    ]
    metrics = [
        {"name": "cart", "kind": "proportion", "column": "event:add_to_cart", "role": "primary"},
        {"name": "carts", "kind": "count", "column": "event:add_to_cart:count"},
        {"name": "deep", "kind": "count", "column": "session_depth:2:count"},
    ]
    plan = AnalysisPlan.model_validate(
        {"arms": {"mail": 0.5, "none": 0.5}, "control": "none", "metrics": metrics,
         "estimators": ["difference"]}
    )  # fmt: skip
    long = SessionRules(gap_minutes=90)
    with engine_with(events, assignments=assigned(*units), conversions=[ORDER]) as engine:
        columns = [metric.column for metric in plan.metrics]
        found = unit_outcomes(engine, "spring", 1, columns=columns, sessions=long)
        analysis = analyze(unit_table(engine, found, "arm", plan), plan, experiment="spring")
    values = {e.metric: e.value for e in analysis.estimates}
    # shares 80/200 and 40/200; carts 120/200 and 60/200; sessions of two 40/200 and 20/200
    assert values == pytest.approx({"cart": 0.2, "carts": 0.3, "deep": 0.1}, abs=1e-12)


def test_a_cluster_reaches_a_step_when_a_member_does():
    units = assigned(("a", "mail", 0), ("b", "mail", 0), ("c", "none", 0))
    events = [event(1, unit, "add_to_cart") for unit in ("a", "a", "b", "x")]
    columns = ("event:add_to_cart", "event:add_to_cart:count")
    keys = [{"customer_id": u, "cluster_key": "home" if u in "ab" else u} for u in "abc"]
    with engine_with(events, assignments=units, conversions=[ORDER], keys=keys) as engine:
        members = unit_outcomes(engine, "spring", 1, columns=columns)
        found = cluster_outcomes(engine, members, engine.table("keys"))
        rows = {r["unit_id"]: tuple(r[c] for c in columns) for r in engine.fetch(found).to_pylist()}
    assert rows == {"home": (1, 3), "c": (0, 0)}


@pytest.mark.parametrize("column", ["event:", "session_depth:1", "session_seconds:soon:count"])
def test_a_column_that_names_no_step_is_refused(column):
    with pytest.raises(InputError, match=f"column == '{column}', must be"):
        of_column(column)


def test_other_columns_are_left_alone():
    assert of_column("revenue") is None
    assert of_column("event") is None


def test_features_of_units_know_nothing_of_their_assignment_or_later():
    features = Features.declared(
        {"features": [{"name": "seen", "version": 1, "owner": "crm", "kind": "frequency"}]}
    )
    units = assigned(("p", "mail", 2), ("late", "mail", 0), ("q", "none", 500))
    with engine_with(assignments=units, conversions=[ORDER]) as engine:
        found = unit_outcomes(engine, "spring", 1, numeric=["seen"], features=features)
        rows = {row["unit_id"]: row["seen"] for row in engine.fetch(found).to_pylist()}
        assert rows == {"p": 2, "late": 0, "q": 1}
        clash = MicroConversion(name="orders", event="view")
        with pytest.raises(DataError, match="'orders' is the name of an outcome"):
            unit_outcomes(engine, "spring", 1, micro=[clash])


WINDOWS = (
    TouchWindow(days=2, kinds=("impression",)),
    TouchWindow(days=5, channel="email"),
    TouchWindow(days=9, channel="email", kinds=("click", "impression")),
)


def window_of(touch):
    """The window of a touch of the shop under WINDOWS."""
    if touch["channel"] == "email":
        return 9 if touch["kind"] in ("click", "impression") else 5
    return 2 if touch["kind"] == "impression" else world.LOOKBACK


def claimed():
    """Touches that claim an order, by a walk over the shop's people."""
    rows = [
        (touch["customer_id"], touch["ts"], 0, touch["activation_id"], touch)
        for touch in world.activations()
        if touch["kind"] in world.COUNTED_KINDS
    ]
    rows += [
        (order["customer_id"], order["ts"], 1, order["conversion_id"], None)
        for order in world.counted_orders()
    ]
    waiting = []
    for person, ts, _, _, touch in sorted(rows, key=lambda row: row[:4]):
        if touch is not None:
            waiting.append(touch)
            continue
        for one in waiting:
            if one["customer_id"] == person and one["ts"] > ts - timedelta(days=window_of(one)):
                yield person, one["channel"], one["kind"], one["ts"]
        waiting = []


def test_the_most_particular_window_holds_for_a_touch(shop):
    rules = JourneyRules(lookback_days=world.LOOKBACK, windows=WINDOWS)
    touches = ordered_touches(shop, rules)
    touches = touches.filter(touches.converted == 1).select("person", "channel", "kind", "ts")
    found = sorted(
        (row["person"], row["channel"], row["kind"], row["ts"].replace(tzinfo=UTC))
        for row in shop.fetch(touches).to_pylist()
    )
    assert found == sorted(claimed())
    told = {(channel == "email", kind) for _, channel, kind, _ in found}
    assert told >= {(True, "click"), (True, "open"), (False, "click"), (False, "impression")}
    plain = JourneyRules(lookback_days=world.LOOKBACK)
    # paths are counted from the same touches, so their windows are the same
    fewer, more = (path_tables(shop, r).credits.conversions["last"].sum() for r in (rules, plain))
    assert 0 < fewer < more


def test_journeys_to_a_micro_conversion():
    touches = [
        {
            "activation_id": f"a{i}", "platform": "p", "channel": channel, "campaign": "c",
            "kind": kind, "ts": START + minute * MINUTE, "customer_id": "p",
        }
        for i, (minute, channel, kind) in enumerate(
            [(-10, "email", "send"), (-5, "search", "click"), (2.2, "email", "click"),
             (400, "search", "click")]
        )
    ]  # fmt: skip
    with engine_with(activations=touches) as engine:
        rules = JourneyRules(outcome=CART)
        flows = {(f.first, f.second, f.converted, f.journeys) for f in journey_flows(engine, rules)}
        tables = path_tables(engine, rules)
    # two carts, each with the touches before it, and a last touch that led nowhere
    assert flows == {
        ("email", "search", True, 1),
        ("email", None, True, 1),
        ("search", None, False, 1),
    }
    assert tables.currency is None
    assert tables.transitions.n[tables.transitions.state_to == tables.conversion_state].sum() == 2
    assert tables.untouched_conversions == 0


def test_credits_name_the_windows_they_were_given_under():
    with connect() as engine:
        for name, data in world.tables().items():
            engine.register(name, data)
        found = attribute_engine(engine, models=["last"], windows=WINDOWS)
    text = " ".join(found.definition["sentences"])
    assert "email: 5 days" in text
    assert "click, impression of email: 9 days" in text
    assert found.definition["windows"] == [window.words() for window in WINDOWS]


def test_declared_in_one_file(tmp_path):
    path = tmp_path / "journeys.yaml"
    path.write_text(
        """
lookback_days: 20
windows:
  - {kinds: [impression], days: 1}
  - {channel: search, kinds: [click], days: 30}
sessions: {gap_minutes: 45, midnight: true, time_zone: Europe/Berlin}
micro_conversions:
  - {name: cart, event: add_to_cart}
  - {name: deep, depth: 3}
"""
    )
    declared = load_model(path, Journeys)
    rules = declared.rules(currency="EUR", outcome=declared.micro_conversions[0])
    assert (rules.lookback_days, rules.longest) == (20, timedelta(days=30))
    assert rules.sessions.time_zone == "Europe/Berlin"
    assert rules.outcome == CART
    assert declared.micro_conversions[1].words() == "a session of at least 3 actions"
    assert declared.windows[1].words() == "click of search: 30 days"
    path.write_text("windows:\n  - {days: 3}\n")
    with pytest.raises(SpecError, match=r"line 2.*name a channel, kinds, or both"):
        load_model(path, Journeys)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"windows": [{"days": 1, "kinds": ["clik"]}]}, "must be one of"),
        ({"windows": [{"days": 0, "channel": "x"}]}, "greater than or equal to 1"),
        ({"windows": [{"days": 1, "channel": "x"}, {"days": 2, "channel": "x"}]}, "two windows"),
        ({"micro_conversions": [{"name": "x"}]}, "exactly one of"),
        ({"micro_conversions": [{"name": "x", "depth": 1}]}, "greater than or equal to 2"),
        ({"micro_conversions": [{"name": "x", "depth": 3}] * 2}, "stands there twice"),
    ],
)
def test_declarations_that_cannot_be(given, said):
    with pytest.raises(ValidationError, match=said):
        Journeys.model_validate(given)
