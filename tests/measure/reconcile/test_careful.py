"""Checks of groups A, B and F that need more than logs and orders, against an oracle in pandas."""

import random
from datetime import date

import pytest

from measure.engine import connection
from measure.reconcile import CATALOGUE, Settings, reconcile, statement
from measure.reconcile.bridge import CLAIMED, RECONCILED
from measure.results import Outcome
from tests.measure.reconcile.by_pandas import IN_MICROS, ORACLES, frames
from tests.measure.reconcile.careful import INJECTORS, careful_world
from tests.measure.reconcile.test_bridge import assert_adds_up
from tests.measure.reconcile.world import EXPERIMENT, by_order
from tests.measure.reconcile.world import INJECTORS as BASIC

CODES = sorted(INJECTORS)


def run(world, codes=None, *, without=(), settings=None):
    """Results by code, of some checks or of all."""
    chosen = [check for check in CATALOGUE if codes is None or check.code in codes]
    with connection.connect() as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(statement, "CATALOGUE", chosen)
        world.register(engine, without)
        return reconcile(engine, settings=settings, experiment=EXPERIMENT)


def by_code(result):
    return {check.code: check for check in result.checks}


def expected(world, code):
    """Rows and money in cents, by hand."""
    flagged = ORACLES[code](frames(world))
    total = round(flagged.sum())
    return len(flagged), total // 10_000 if code in IN_MICROS else total


def test_a_clean_world_is_silent():
    world = careful_world()
    result = run(world)
    found = {c: check for c, check in by_code(result).items() if c in INJECTORS}
    assert {c: check.outcome for c, check in found.items()} == dict.fromkeys(CODES, Outcome.PASSED)
    assert all((check.rows, check.money) == (0, 0) for check in found.values())
    assert {code: expected(world, code) for code in CODES} == dict.fromkeys(CODES, (0, 0))
    assert not [c for c in result.checks if c.outcome is Outcome.FLAGGED]
    money = {step.money for step in result.bridge if step.step in (CLAIMED, RECONCILED)}
    assert len(money) == 1


@pytest.mark.parametrize("code", CODES)
def test_planted_defects_are_counted_exactly(code):
    world = careful_world()
    planted = INJECTORS[code](world)
    check = by_code(run(world, {code}))[code]
    assert check.outcome is Outcome.FLAGGED, check.message
    assert (check.rows, check.money) == (planted.rows, planted.money)
    assert (check.rows, check.money) == expected(world, code)
    assert check.anchor.startswith(code.lower() + "-")
    assert check.evidence
    raw = {str(row["raw_id"]) for row in check.evidence}
    ids = {
        str(row.get(key))
        for name, key in [
            ("claims", "claim_id"),
            ("conversions", "conversion_id"),
            ("activations", "activation_id"),
        ]
        for row in world.tables[name]
    }
    assert raw <= ids or code in {"F2", "F5", "F7", "F8"}  # whose rows have no id of their own


@pytest.mark.parametrize(
    ("code", "number"), [("B5", 6), ("B5", 60), ("B3", 4), ("B3", 20), ("F6", 20), ("B9", 20)]
)
def test_rates_from_a_thousandth_to_a_twentieth(code, number):
    """0.1 % and 1 % of about 6,000 touches, 1 % and 5 % of about 400 claims."""
    world = careful_world(seed=11)
    planted = INJECTORS[code](world, number)
    check = by_code(run(world, {code}))[code]
    assert (check.rows, check.money) == (planted.rows, planted.money) == expected(world, code)


def test_everything_at_once_is_found_in_full_and_the_bridge_adds_up():
    """Rows are all that a check flags, whatever others say; money is counted once."""
    world = careful_world(700, seed=3)
    for code in ("A1", "A3", "B1", "B2", "B8", "C3", "E6"):
        BASIC[code](world)
    for code in CODES:
        INJECTORS[code](world)
    BASIC["F4"](world)
    result = run(world)
    found = by_code(result)
    assert not [c.message for c in result.checks if c.outcome is Outcome.FAILED]
    kept = [row for row in world.tables["claims"] if row["currency"] == "EUR"]
    aside = [row for row in world.tables["claims"] if row["currency"] != "EUR"]
    world.tables["claims"] = kept
    rows = {code: expected(world, code)[0] for code in CODES if code != "A2"}
    assert {code: found[code].rows for code in rows} == rows
    assert len(aside) == 4
    assert_adds_up(result.bridge)
    taken = [s for s in result.bridge if s.step in ("in the wrong unit", "tax and shipping")]
    assert len(taken) == 2
    assert all(step.money < 0 and step.rows == 0 for step in taken)


@pytest.mark.parametrize(
    ("table", "codes"),
    [
        ("events", {"A6"}),
        ("platforms", {"B9"}),
        ("invoices", {"F2", "F8"}),
        ("activations", {"A2", "A4", "A5", "A6", "A7", "A8", "B5", "B6", "B7", "F3"}),
        ("conversions", {"A2", "A7", "B3", "F5", "F6"}),
        ("spend", {"A8", "F2", "F7", "F8"}),
        ("claims", {"A2", "A4", "A5", "B3", "B4", "B9", "F5", "F6"}),
    ],
)
def test_a_missing_table_makes_its_checks_not_applicable(table, codes):
    found = by_code(run(careful_world(80), codes | {"B5", "F7"}, without=(table,)))
    silent = {c for c, check in found.items() if check.outcome is Outcome.NOT_APPLICABLE}
    assert silent == codes
    assert all(f"no table {table}" in found[code].message for code in codes)


def test_a_missing_column_is_named():
    gone = [
        ("claims", "event_name", "B3"),
        ("claims", "action", "B4"),
        ("platforms", "count_mode", "B9"),
        ("conversions", "tax", "F6"),
        ("activations", "creative", "F3"),
        ("events", "click_id", "A6"),
    ]
    world = careful_world(80)
    with connection.connect() as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(statement, "CATALOGUE", [c for c in CATALOGUE if c.code in INJECTORS])
        world.register(engine)
        for table in {table for table, _, _ in gone}:
            columns = [column for name, column, _ in gone if name == table]
            engine.register(table, world.arrow(table).drop_columns(columns))
        found = by_code(reconcile(engine))
    silent = {c for c, check in found.items() if check.outcome is Outcome.NOT_APPLICABLE}
    assert silent == {code for _, _, code in gone}
    for table, column, code in gone:
        assert f"{table} has no column {column}" in found[code].message


def test_nothing_to_look_at_is_never_passed():
    world = careful_world(80)
    for claim in world.tables["claims"]:
        claim["event_name"] = claim["action"] = claim["click_id"] = None
    for order in world.tables["conversions"]:
        order["tax"] = order["shipping"] = order["click_id"] = None
    for touch in world.tables["activations"]:
        touch["creative"] = None
    world.tables["spend"] = world.tables["campaigns"] = world.tables["invoices"] = []
    codes = {"A4", "A5", "A8", "B3", "B4", "B9", "F2", "F3", "F6", "F7", "F8"}
    found = by_code(run(world, codes))
    assert {check.outcome for check in found.values()} == {Outcome.NOT_APPLICABLE}
    assert "states its tax" in found["F6"].message


def test_a_note_on_orders_says_its_money_and_leaves_the_bridge_alone():
    world = careful_world()
    few = {"A1", "A2", "A3", "B1", "B2", "E6"}
    before = run(world, few).bridge
    planted = INJECTORS["A2"](world)
    after = run(world, few)
    assert by_code(after)["A2"].money == planted.money
    assert by_code(after)["A2"].disposition == "note"
    assert before[0].money - after.bridge[0].money >= planted.money  # claims gone, nothing taken
    assert after.bridge[0].money == after.bridge[-1].money


def test_what_a_refund_has_taken_gross_does_not_take_again():
    """119 claimed of 100 net with 30 refunded: E6 takes 49, F6 counts the row and takes nothing."""
    world = careful_world(300)
    claim = world.pick("claims", "claim_id", 1, by_order)[0]
    order = next(r for r in world.tables["conversions"] if r["order_id"] == claim["order_id"])
    order.update(value=10_000, tax=1_900, shipping=0, refunded_value=3_000)
    claim["value"] = 11_900
    result = run(world, {"B1", "E6", "F5", "F6"})
    found = by_code(result)
    assert (found["E6"].rows, found["E6"].money) == (1, 4_900)
    assert (found["F6"].rows, found["F6"].money) == (1, 0)
    assert_adds_up(result.bridge)


def test_a_pattern_of_ones_own_is_asked_of_click_ids():
    world = careful_world(300)
    claims = [c for c in world.tables["claims"] if c["platform"] == "search" and c["click_id"]]
    settings = Settings(click_id_patterns={"search": "^gclid-"})
    check = by_code(run(world, {"A4"}, settings=settings))["A4"]
    assert check.rows == len(claims) > 0
    fits = Settings(click_id_patterns={"search": "^click-[0-9]{6}$"})
    assert by_code(run(world, {"A4"}, settings=fits))["A4"].outcome is Outcome.PASSED


def test_a_day_without_click_ids_is_found_and_ordinary_days_are_not():
    """Of 27 days in the clean world none alarms; the planted one does, with all its orders."""
    settings = Settings(match_rate_rows=10)
    world = careful_world(1_200)
    assert by_code(run(world, {"A7"}, settings=settings))["A7"].outcome is Outcome.PASSED
    days: dict = {}
    for order in world.tables["conversions"]:
        days.setdefault(order["ts"].date(), []).append(order)
    late = sorted(day for day, orders in days.items() if len(orders) >= 10)[-3]
    lost = [order for order in days[late] if order["click_id"]]
    for order in lost:
        order["click_id"] = None
    check = by_code(run(world, {"A7"}, settings=settings))["A7"]
    assert (check.outcome, check.rows) == (Outcome.FLAGGED, 1)
    assert check.money == sum(order["value"] for order in days[late])
    assert {row["entity_id"] for row in check.evidence} == {late.isoformat()}


def test_match_rates_that_wander_by_chance_raise_no_alarm():
    """200 days of 40 orders, 70 % matched: at most one alarm where 0.006 are expected."""
    world = careful_world(50)
    draw = random.Random(20)
    known = next(row for row in world.tables["activations"] if row["click_id"])["click_id"]
    pattern = world.tables["conversions"][0]
    world.tables["conversions"] = [
        {
            **pattern,
            "conversion_id": f"v{day}-{n}",
            "order_id": f"o{day}-{n}",
            "ts": pattern["ts"].replace(year=2024, month=1 + day // 28, day=1 + day % 28),
            "click_id": known if draw.random() < 0.7 else None,
        }
        for day in range(200)
        for n in range(40)
    ]
    assert by_code(run(world, {"A7"}))["A7"].outcome is Outcome.PASSED


def test_orders_in_another_currency_are_held_at_the_rate_of_their_day():
    """At 0.8 euro a dollar, 200.00 USD are 160.00 EUR; the yen has no minor unit (ISO 4217).

    Two claims are right (one of them on a Sunday, at Friday's rate), one says the dollars as euros,
    one has a rate that is eight days old, and one order is in a currency without any.
    """
    world = careful_world(300)
    claims = world.pick("claims", "claim_id", 5, by_order)
    orders = {row["order_id"]: row for row in world.tables["conversions"]}
    stated = [
        ("USD", 20_000, 16_000, date(2025, 3, 14)),
        ("JPY", 20_000, 12_500, date(2025, 3, 16)),
        ("USD", 20_000, 20_000, date(2025, 3, 14)),
        ("USD", 20_000, 16_000, date(2025, 3, 24)),
        ("GBP", 20_000, 24_000, date(2025, 3, 14)),
    ]
    for claim, (currency, value, claimed, day) in zip(claims, stated, strict=True):
        order = orders[claim["order_id"]]
        when = order["ts"].replace(month=day.month, day=day.day)
        order.update(currency=currency, value=value, ts=when)
        claim.update(value=claimed, converted_at=when)
    rate = {"date": date(2025, 3, 14), "to_currency": "EUR"}
    old = date(2025, 3, 1)
    world.tables["rates"] = [
        {**rate, "from_currency": "USD", "rate": 0.8},
        {**rate, "from_currency": "USD", "rate": 0.5, "date": old},
        {**rate, "from_currency": "JPY", "rate": 0.00625},
        {**rate, "from_currency": "GBP", "to_currency": "USD", "rate": 1.3},
    ]
    result = run(world, {"B1", "E6", "F4", "F5", "F6"})
    check = by_code(result)["F4"]
    assert check.rows == 3 + 5  # three claims and five conversions
    assert check.money == (20_000 - 16_000) + 16_000 + 24_000
    assert "; 1 claim differs from its order at the rate of its day" in check.message
    assert by_code(result)["F5"].outcome is Outcome.PASSED
    assert by_code(result)["B1"].outcome is Outcome.PASSED
    assert_adds_up(result.bridge)
    world.tables["rates"] = []
    assert by_code(run(world, {"F4"}))["F4"].rows == 5 + 5
