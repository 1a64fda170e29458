"""Group I against what is planted by hand: persons in pieces, persons in one, and weak links."""

import dataclasses
from datetime import timedelta

import pyarrow as pa
import pytest

from measure.engine import connection
from measure.engine.connection import connect
from measure.reconcile import CATALOGUE, Settings, reconcile, statement
from measure.results import Outcome
from tests.measure.reconcile.world import START, Planted, World, clean_world
from tests.services import postgres, spark_url

CODES = ("I1", "I2", "I3", "I4")
SETTINGS = Settings(click_window_days=7, fragmented_share=0.05, person_customers=3)


def known_world(customers=400, seed=7) -> World:
    """The clean world, in which some own several ids, all have logins, and links are strong."""
    world = clean_world(customers, seed)
    people = [row["customer_id"] for row in world.tables["customers"]]
    for person in people:
        see(world, person, "login", f"login of {person}")
    for person, other in zip(people[::50], people[1::50], strict=True):
        forget_login(world, other)
        for customer in (person, other):
            see(world, customer, "phone_hash", f"phone of {person}")
    for person, other in zip(people[3::20], people[4::20], strict=True):
        link(world, person, other, 0.99)
    return world


def see(world, customer, kind, identifier, later=timedelta()):
    world.tables["identities"].append(
        {
            "customer_id": customer,
            "kind": kind,
            "identifier": identifier,
            "seen_at": START - timedelta(days=1) + later,
        }
    )


def forget_login(world, customer):
    world.tables["identities"] = [
        row
        for row in world.tables["identities"]
        if (row["customer_id"], row["kind"]) != (customer, "login")
    ]


def link(world, one, other, probability):
    world.tables["links"].append(
        {
            "customer_id": one,
            "other_customer_id": other,
            "probability": probability,
            "model": "records",
            "linked_at": START,
        }
    )


def run(world, *, without=(), settings=SETTINGS, codes=CODES):
    with connection.connect() as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(statement, "CATALOGUE", [c for c in CATALOGUE if c.code in codes])
        world.register(engine, without)
        return {check.code: check for check in reconcile(engine, settings=settings).checks}


def late(world):
    """Orders so late that the log covers the seven days before them."""
    begins = min(touch["ts"] for touch in world.tables["activations"])
    return [o for o in world.tables["conversions"] if o["ts"] >= begins + timedelta(days=7)]


def own_clicks(world, customer):
    touches = world.tables["activations"]
    return [t for t in touches if t["customer_id"] == customer and t["kind"] == "click"]


def single(world):
    """Customers whose login is the only identifier of their own."""
    shared = {
        row["customer_id"] for row in world.tables["identities"] if row["kind"] == "phone_hash"
    }
    return [r["customer_id"] for r in world.tables["customers"] if r["customer_id"] not in shared]


def in_pieces(world, number=40) -> Planted:
    """Buyers lose their touches to an id of their own; every fourth is linked back to it."""
    linked = {r[k] for r in world.tables["links"] for k in ("customer_id", "other_customer_id")}
    alone = set(single(world)) - linked
    buyers = {}
    for order in late(world):
        buyers.setdefault(order["customer_id"], []).append(order)
    chosen = [b for b in sorted(buyers) if b in alone][:number]
    money = rows = 0
    for position, buyer in enumerate(chosen):
        forget_login(world, buyer)
        piece = world.fresh("customer")
        for touch in world.tables["activations"]:
            if touch["customer_id"] == buyer:
                touch["customer_id"] = piece
        rows += len(buyers[buyer])
        if position % 4 == 0:
            link(world, buyer, piece, 0.95)
            money += sum(order["value"] for order in buyers[buyer])
        if position % 4 == 1:
            link(world, buyer, piece, 0.49)
    return Planted(rows, money)


def merged(world) -> Planted:
    """Four ids on one e-mail, two logins of one id that another shares, and a bridge."""
    free = iter(single(world))
    groups = [[next(free) for _ in range(n)] for n in (4, 2, 6, 3)]
    for customer in [c for group in groups for c in group]:
        forget_login(world, customer)
    for name, group in zip(("four", "twin"), groups, strict=False):
        for customer in group:
            see(world, customer, "email_hash", name)
    see(world, groups[1][0], "login", "first")
    see(world, groups[1][0], "login", "second")
    for position, customer in enumerate(groups[2]):
        see(world, customer, "email_hash", f"side {position // 3}")
    for customer in groups[2][2:4]:
        see(world, customer, "phone_hash", "bridge")
    for customer in groups[3]:
        see(world, customer, "email_hash", "three are not too many")
    return Planted(4 + 2 + 6, None)


def in_conflict(world, number=6) -> Planted:
    """Pairs of two logins on one address; and one pair whose login is the same, which is fine."""
    people = single(world)
    for position in range(number):
        for customer in people[2 * position : 2 * position + 2]:
            see(world, customer, "email_hash", f"family {position}")
    same = people[2 * number : 2 * number + 2]
    forget_login(world, same[1])
    see(world, same[1], "login", f"login of {same[0]}")
    for customer in same:
        see(world, customer, "email_hash", "one person")
    return Planted(number, None)


def weakly_linked(world, number=9) -> Planted:
    """A linked id clicks an hour before the order: weak, weak and wrong in part, or strong."""
    linked = {r[k] for r in world.tables["links"] for k in ("customer_id", "other_customer_id")}
    people = set(single(world)) - linked
    orders = [o for o in world.tables["conversions"] if o["customer_id"] in people][:number]
    money = rows = 0
    for position, order in enumerate(orders):
        other, p = world.fresh("customer"), (0.5, 0.8, 0.95)[position % 3]
        link(world, other, order["customer_id"], p)
        click = own_clicks(world, order["customer_id"])[0]
        at = order["ts"] - timedelta(seconds=1)
        again = {
            **click,
            "activation_id": world.fresh("activation"),
            "customer_id": other,
            "ts": at,
        }
        world.tables["activations"].append({**again, "click_id": world.fresh("click")})
        if p < 0.9:
            rows += 1
            money += int(order["value"] * (1 - p) + 0.5)
    return Planted(rows, money)


INJECTORS = {"I1": in_pieces, "I2": merged, "I3": in_conflict, "I4": weakly_linked}


def test_a_clean_world_is_silent():
    world = known_world()
    for customer in single(world)[:11]:
        see(world, customer, "email_hash", "placeholder that eleven share")
    found = run(world)
    assert {c: check.outcome for c, check in found.items()} == dict.fromkeys(CODES, Outcome.PASSED)
    assert all(not check.rows and not check.money for check in found.values())
    assert "1 identifier that more than 10 customers carry" in found["I2"].message


@pytest.mark.parametrize("code", CODES)
def test_planted_defects_are_counted_exactly_and_alone(code):
    world = known_world()
    planted = INJECTORS[code](world)
    found = run(world)
    check = found.pop(code)
    assert check.outcome is Outcome.FLAGGED, check.message
    assert (check.rows, check.money) == (planted.rows, planted.money)
    assert check.evidence
    assert check.anchor.startswith(code.lower() + "-")
    loud = {c for c, other in found.items() if other.outcome is not Outcome.PASSED}
    assert loud == set()


def test_a_bridge_is_told_from_a_large_person():
    world = known_world()
    merged(world)
    check = run(world, settings=SETTINGS.model_copy(update={"person_customers": 6}))["I2"]
    assert {row["reason"] for row in check.evidence} == {"bridge", "logins"}
    assert check.rows == 8
    assert "make up 2 persons" in check.message


def test_dates_of_birth_tell_people_apart_too():
    world = known_world(200)
    one, other = single(world)[:2]
    forget_login(world, one)
    for customer in (one, other):
        see(world, customer, "email_hash", "parent and child")
    data = world.arrow("customers")
    births = {one: "1980-02-03", other: "2012-05-06"}
    dates = [births.get(c.as_py(), "") for c in data["customer_id"]]
    with connect() as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(statement, "CATALOGUE", [c for c in CATALOGUE if c.code == "I3"])
        world.register(engine)
        engine.register("customers", data.append_column("birth_date", pa.array(dates)))
        (check,) = reconcile(engine).checks
    assert check.rows == 1
    assert [(row["rule"], row["kind"]) for row in check.evidence] == [("birth_date", "email_hash")]
    assert "1980" not in str(dataclasses.asdict(check))


def test_an_unlinked_edge_no_longer_conflicts():
    world = known_world(200)
    planted = in_conflict(world, 3)
    first = single(world)[0]
    world.tables["unlinks"].append(
        {
            "customer_id": first,
            "kind": "email_hash",
            "identifier": "family 0",
            "unlinked_at": START,
        }
    )
    assert run(world)["I3"].rows == planted.rows - 1


@pytest.mark.parametrize(
    ("table", "codes"),
    [
        ("identities", set(CODES)),
        ("links", {"I4"}),
        ("conversions", {"I1", "I4"}),
        ("activations", {"I1", "I4"}),
    ],
)
def test_a_missing_table_makes_its_checks_not_applicable(table, codes):
    found = run(known_world(200), without=(table,))
    silent = {c for c, check in found.items() if check.outcome is Outcome.NOT_APPLICABLE}
    assert silent == codes
    assert all(f"no table {table}" in found[code].message for code in codes)


def test_what_cannot_be_judged_is_said():
    world = clean_world(200)
    found = run(world, settings=Settings())
    assert found["I1"].outcome is Outcome.NOT_APPLICABLE  # the log is shorter than the window
    assert "log covers the whole click window" in found["I1"].message
    assert "login or a date of birth" in found["I3"].message
    assert "no link likely enough" in found["I4"].message


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("postgres", marks=pytest.mark.xdist_group("postgres")),
        pytest.param("spark", marks=pytest.mark.xdist_group("spark")),
    ],
)
def test_engines_find_the_same(name, monkeypatch):
    world = known_world(200)
    for inject in (merged, in_conflict, weakly_linked):
        inject(world)
    monkeypatch.setattr(statement, "CATALOGUE", [c for c in CATALOGUE if c.code in CODES])
    with connect() as engine:
        world.register(engine)
        expected = reconcile(engine, settings=SETTINGS)
    assert {c.outcome for c in expected.checks} <= {Outcome.FLAGGED, Outcome.PASSED}
    if name == "spark":
        with connect(spark_url()) as engine:
            world.register(engine)
            assert reconcile(engine, settings=SETTINGS) == expected
    else:
        with postgres() as url, connect(url) as engine:
            world.register(engine)
            assert reconcile(engine, settings=SETTINGS) == expected
