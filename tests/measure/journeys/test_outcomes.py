"""Outcomes of assigned units against bookkeeping order by order; flows of journeys."""

from collections import Counter
from datetime import timedelta

import pytest

from measure.engine.connection import connect
from measure.errors import DataError, InputError, MissingFile, UnknownName
from measure.journeys.flows import OTHER, journey_flows
from measure.journeys.outcomes import unit_outcomes
from measure.journeys.rules import JourneyRules
from measure.journeys.sales import minor_units
from tests.measure.journeys import shop as world

WINDOW = 21


def expected_outcomes():
    customers = {row["customer_id"]: row for row in world.customers()}
    for row in world.assignments():
        if row["experiment"] != "spring":
            continue
        begin = row["assigned_at"]
        bought = [
            order
            for order in world.counted_orders()
            if order["customer_id"] == row["unit_id"]
            and begin <= order["ts"] < begin + timedelta(days=WINDOW)
        ]
        known = customers.get(row["unit_id"], {})
        before = known.get("prior_revenue")
        yield {
            "unit_id": row["unit_id"],
            "arm": row["arm"],
            "conversion": int(bool(bought)),
            "orders": len(bought),
            "revenue": sum(order["value"] for order in bought) / 100,
            "net_revenue": sum(o["value"] - o["refunded_value"] for o in bought) / 100,
            "segment": known.get("segment"),
            "prior_revenue": float(before) if before else None,
        }


def test_outcomes_equal_the_bookkeeping(shop):
    rows = shop.fetch(unit_outcomes(shop, "spring", WINDOW, numeric=["prior_revenue"])).to_pylist()
    expected = list(expected_outcomes())
    assert sorted(rows, key=lambda row: row["unit_id"]) == expected
    assert sum(row["orders"] for row in expected) > 20
    assert any(row["orders"] > 1 for row in expected)
    assert any(row["net_revenue"] < row["revenue"] for row in expected)


def test_who_was_reached_equals_the_log_row_by_row(shop):
    rows = shop.fetch(unit_outcomes(shop, "spring", WINDOW, campaigns=["c", "other"])).to_pylist()
    expected = {
        row["unit_id"]: int(
            any(
                touch["customer_id"] == row["unit_id"]
                and timedelta() <= touch["ts"] - row["assigned_at"] < timedelta(days=WINDOW)
                for touch in world.activations()
            )
        )
        for row in world.assignments()
        if row["experiment"] == "spring"
    }
    assert {row["unit_id"]: row["exposed"] for row in rows} == expected
    assert 0 < sum(expected.values()) < len(expected)
    nobody = shop.fetch(unit_outcomes(shop, "spring", WINDOW, campaigns=["other"]))
    assert set(nobody["exposed"].to_pylist()) == {0}


def test_a_touch_at_the_instant_of_assignment_reaches_and_one_at_the_end_does_not():
    one = [{**world.assignments()[1], "assigned_at": world.START}]
    for after, reached in ((timedelta(), 1), (timedelta(days=1), 0), (-timedelta(seconds=1), 0)):
        touch = [{**world.activations()[0], "customer_id": "u001", "ts": world.START + after}]
        with embedded(activations=world.table(touch), assignments=world.table(one)) as engine:
            row = engine.fetch(unit_outcomes(engine, "spring", 1, campaigns=["c"])).to_pylist()[0]
        assert row["exposed"] == reached


def test_reached_needs_a_log_and_a_name_of_its_own():
    with embedded(activations=None) as engine, pytest.raises(MissingFile, match="activations"):
        unit_outcomes(engine, "spring", WINDOW, campaigns=["c"])
    clash = world.tables()["customers"].rename_columns(
        ["customer_id", "first_seen_at", "exposed", "prior_revenue"]
    )
    with embedded(customers=clash) as engine:
        assert "exposed" in unit_outcomes(engine, "spring", WINDOW).columns
        with pytest.raises(DataError, match="Rename it"):
            unit_outcomes(engine, "spring", WINDOW, campaigns=["c"])


def test_an_order_at_the_instant_of_assignment_counts_and_one_at_the_end_does_not():
    begin = world.START
    orders = [
        {**world.conversions()[0], "conversion_id": name, "order_id": name, "customer_id": "u001"}
        | {"ts": begin + after, "status": "paid", "value": 100, "refunded_value": 0}
        for name, after in (("at", timedelta()), ("end", timedelta(days=1)))
    ]
    one = [{**world.assignments()[1], "assigned_at": begin}]
    with embedded(conversions=world.table(orders), assignments=world.table(one)) as engine:
        row = engine.fetch(unit_outcomes(engine, "spring", 1)).to_pylist()[0]
    assert (row["orders"], row["revenue"]) == (1, 1.0)


def embedded(**changed):
    engine = connect("duckdb://")
    for name, data in (world.tables() | changed).items():
        if data is not None:
            engine.register(name, data)
    return engine


def test_clear_refusals():
    with embedded() as engine:
        with pytest.raises(UnknownName, match="Did you mean 'spring'"):
            unit_outcomes(engine, "sprung", WINDOW)
        with pytest.raises(InputError, match="window_days == 0"):
            unit_outcomes(engine, "spring", 0)
        with pytest.raises(UnknownName, match="Did you mean 'prior_revenue'"):
            unit_outcomes(engine, "spring", WINDOW, numeric=["prior_revenu"])
        with pytest.raises(DataError, match="segment == 'loyal', must be a number"):
            unit_outcomes(engine, "spring", WINDOW, numeric=["segment"])
    with embedded(assignments=None) as engine, pytest.raises(MissingFile, match="assignments"):
        unit_outcomes(engine, "spring", WINDOW)
    clash = world.tables()["customers"].rename_columns(
        ["customer_id", "first_seen_at", "orders", "prior_revenue"]
    )
    with embedded(customers=clash) as engine, pytest.raises(DataError, match="Rename it"):
        unit_outcomes(engine, "spring", WINDOW)


def test_blanks_are_trimmed_and_letters_stay(shop):
    # Source: the text itself; a backend that takes "v" for white space would return "5" and "".
    import pyarrow as pa

    from measure.engine.expressions import trimmed

    shop.register("trimming", pa.table({"text": [" 5v", "v", "\t7.5 ", "", "a b"]}))
    texts = shop.table("trimming")
    found = shop.fetch(texts.select(text=trimmed(texts.text)))["text"].to_pylist()
    assert sorted(found) == ["", "5v", "7.5", "a b", "v"]


def test_without_customers_there_are_no_attributes():
    with embedded(customers=None) as engine:
        columns = unit_outcomes(engine, "spring", WINDOW).columns
    assert columns == ("unit_id", "arm", "conversion", "orders", "revenue", "net_revenue")


@pytest.mark.parametrize(
    ("currency", "units"), [("EUR", 100), ("USD", 100), ("JPY", 1), ("KWD", 1000), (None, 100)]
)
def test_minor_units(currency, units):
    assert minor_units(currency) == units  # ISO 4217


def test_flows_count_every_journey(shop):
    rules = JourneyRules(lookback_days=world.LOOKBACK)
    found = journey_flows(shop, rules, most_channels=2)
    expected, money, seen = Counter(), Counter(), Counter()
    for _, touches, _ in world.journeys():
        seen.update(channel for channel, _ in touches[:2])
    kept = sorted(seen, key=lambda channel: (-seen[channel], channel))[:2]
    for _, touches, net in world.journeys():
        names = [channel if channel in kept else OTHER for channel, _ in touches[:2]]
        key = (names[0], names[1] if len(names) > 1 else None, net is not None)
        expected[key] += 1
        money[key] += net or 0
    assert {(f.first, f.second, f.converted): f.journeys for f in found} == expected
    for flow in found:
        key = (flow.first, flow.second, flow.converted)
        assert flow.value == pytest.approx(money[key] / 100)
    with pytest.raises(InputError, match="most_channels"):
        journey_flows(shop, rules, most_channels=0)
