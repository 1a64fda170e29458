"""The identity graph over tables: what was known when, unlinked edges, shared identifiers."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from measure.engine.connection import connect
from measure.errors import InputError, MissingFile
from measure.journeys.timeline import customers_of_person
from measure.people.identities import IdentityRules, identity_graph, members

START = datetime(2025, 1, 1, tzinfo=UTC)
MOMENT = pa.timestamp("us", "UTC")


def day(number):
    return START + timedelta(days=number)


def table(names, rows, moments=()):
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table(
        {
            name: pa.array(column, MOMENT if name in moments else None)
            for name, column in zip(names, columns, strict=True)
        }
    )


def identities(rows):
    names = ("customer_id", "kind", "identifier", "seen_at")
    return table(names, [(*row[:3], day(row[3])) for row in rows], ("seen_at",))


def unlinks(rows):
    names = ("customer_id", "kind", "identifier", "unlinked_at")
    return table(names, [(*row[:3], day(row[3])) for row in rows], ("unlinked_at",))


def links(rows):
    names = ("customer_id", "other_customer_id", "probability", "model", "linked_at")
    return table(names, [(*row[:3], "m", day(row[3])) for row in rows], ("linked_at",))


def keys(graph):
    persons = graph.components.persons
    pairs = (persons[name].to_pylist() for name in ("customer_id", "person_key"))
    return dict(zip(*pairs, strict=True))


@pytest.fixture
def engine():
    with connect() as opened:
        yield opened


FAMILY = [
    ("b", "email_hash", "x", 0),
    ("c", "email_hash", "x", 1),
    ("a", "phone_hash", "p", 2),
    ("b", "phone_hash", "p", 5),
    ("b", "phone_hash", "p", 9),
    ("d", "device", "tablet", 0),
    ("a", "device", "tablet", 0),
]


def test_what_was_known_at_a_time(engine):
    engine.register("identities", identities(FAMILY))
    assert keys(identity_graph(engine)) == dict.fromkeys("abc", "a")
    assert keys(identity_graph(engine, at=day(4))) == dict.fromkeys("bc", "b")
    assert keys(identity_graph(engine, at=day(0))) == {}
    found = identity_graph(engine)
    # a, b, c and d are customers; two merges leave two persons.
    assert (found.customers, found.persons) == (4, 2)
    rows = {(r["customer_id"], r["kind"]): r for r in found.sightings.to_pylist()}
    again = rows["b", "phone_hash"]
    assert (again["at"], again["last_at"]) == (day(5), day(9))


def test_a_removed_edge_splits_the_person_from_its_time_on(engine):
    engine.register("identities", identities(FAMILY))
    engine.register("unlinks", unlinks([("b", "phone_hash", "p", 7)]))
    assert keys(identity_graph(engine, at=day(6))) == dict.fromkeys("abc", "a")
    assert keys(identity_graph(engine, at=day(7))) == dict.fromkeys("bc", "b")
    assert keys(identity_graph(engine)) == dict.fromkeys("bc", "b")


def test_an_identifier_that_too_many_carry_joins_nobody_and_is_reported(engine):
    crowd = [(f"c{n:02d}", "email_hash", "placeholder", n) for n in range(11)]
    engine.register("identities", identities([*crowd, *FAMILY]))
    found = identity_graph(engine)
    assert keys(found) == dict.fromkeys("abc", "a")
    shared = {"kind": "email_hash", "identifier": "placeholder", "customers": 11}
    assert found.shared.to_pylist() == [shared]
    # Ten may share it: as long as only ten were known, it joined them.
    assert len(keys(identity_graph(engine, at=day(9)))) == 10 + 3
    assert len(keys(identity_graph(engine, IdentityRules(most_customers=11)))) == 11 + 3


def test_other_kinds_join_where_the_rules_say_so(engine):
    engine.register("identities", identities(FAMILY))
    assert keys(identity_graph(engine, IdentityRules(kinds=("device",)))) == {"a": "a", "d": "a"}


def test_facts_of_customers_that_only_links_join_count_too(engine):
    engine.register("identities", identities([("a", "login", "1", 0), ("b", "login", "2", 0)]))
    names = ("customer_id", "first_seen_at", "birth_date")
    people = [("a", START, "1980-01-01"), ("b", START, ""), ("c", START, "1990-01-01")]
    engine.register("customers", table(names, people, ("first_seen_at",)))
    likely = [("c", "a", 0.9, 0), ("b", "c", 0.8, 0), ("b", "a", 0.95, 0), ("a", "b", 0.6, 0)]
    engine.register("links", links(likely))
    assert keys(identity_graph(engine)) == {}
    found = identity_graph(engine, threshold=0.5)
    assert keys(found) == {"b": "b", "c": "b"}
    rules = found.components.conflicts["rule"].to_pylist()
    assert sorted(rules) == ["birth_date", "login"]
    assert len(found.links) == 3  # a–b was judged twice; the likelier stands
    assert found.persons == 2
    assert len(identity_graph(engine, threshold=0.85).links) == 2
    assert len(identity_graph(engine, threshold=0.5, at=day(-1)).links) == 0


def test_customers_that_nothing_but_a_link_names_are_customers(engine):
    engine.register("identities", identities([("a", "login", "1", 0)]))
    engine.register("links", links([("x", "y", 0.9, 0), ("z", "y", 0.9, 0)]))
    found = identity_graph(engine, threshold=0.5)
    # a, x, y and z are customers; two links leave two persons.
    assert (found.customers, found.persons) == (4, 2)


def test_a_timeline_is_of_the_person_of_the_graph_and_shows_no_other(engine):
    crowd = [(f"c{n:02d}", "email_hash", "placeholder", n) for n in range(11)]
    engine.register("identities", identities([*crowd, *FAMILY]))
    assert customers_of_person(engine, "c00") == ("c00",)
    assert customers_of_person(engine, "c") == ("a", "b", "c")
    engine.register("unlinks", unlinks([("b", "phone_hash", "p", 7)]))
    assert customers_of_person(engine, "c") == ("b", "c")
    assert customers_of_person(engine, "a") == ("a",)


def test_persons_are_a_table_of_the_engine(engine):
    engine.register("identities", identities(FAMILY))
    persons = members(engine, identity_graph(engine))
    assert engine.fetch(persons.aggregate(n=persons.person_key.nunique()))["n"][0].as_py() == 1
    assert set(engine.fetch(persons)["customer_id"].to_pylist()) == set("abc")


def test_bad_input_is_named(engine):
    with pytest.raises(MissingFile, match="truelift load identities"):
        identity_graph(engine)
    engine.register("identities", identities(FAMILY))
    with pytest.raises(InputError, match="time zone"):
        identity_graph(engine, at=datetime(2025, 1, 1))  # noqa: DTZ001
    with pytest.raises(InputError, match="threshold"):
        identity_graph(engine, threshold=1.5)
    with pytest.raises(MissingFile, match="truelift load links"):
        identity_graph(engine, threshold=0.5)
