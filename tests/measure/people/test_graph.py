"""Who is one person: the same whatever the order of arrival, and never against what is certain."""

import random
from datetime import UTC, datetime, timedelta

import networkx as nx
import pyarrow as pa
import pytest

from measure.people.bridges import bridges
from measure.people.graph import components, partition, until

START = datetime(2025, 1, 1, tzinfo=UTC)
KINDS = ("email_hash", "login", "phone_hash")
MOMENT = pa.timestamp("us", "UTC")


def seen(rows):
    """Sightings from (customer, kind, identifier, day)."""
    customer, kind, identifier, day = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "customer_id": pa.array(customer, "string"),
            "kind": pa.array(kind, "string"),
            "identifier": pa.array(identifier, "string"),
            "at": pa.array([START + timedelta(days=d) for d in day], MOMENT),
            "source": pa.array(["shop"] * len(day), "string"),
        }
    )


def facts(rows=()):
    customer, rule, value = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {"customer_id": customer, "rule": rule, "value": value}
    return pa.table({name: pa.array(column, "string") for name, column in columns.items()})


def links(rows=()):
    one, other, probability = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "customer_id": pa.array(one, "string"),
            "other_customer_id": pa.array(other, "string"),
            "probability": pa.array(probability, "float64"),
        }
    )


def keys(table):
    """Person key by customer id."""
    return dict(zip(table["customer_id"].to_pylist(), table["person_key"].to_pylist(), strict=True))


def crowd(seed, people=120, rows=170, days=40):
    """Random sightings, each customer and identifier once."""
    draw = random.Random(seed)
    pairs = {
        (f"c{draw.randrange(people):03d}", draw.choice(KINDS), f"i{draw.randrange(people)}")
        for _ in range(rows)
    }
    return [(*pair, draw.randrange(days)) for pair in sorted(pairs)]


def oracle(rows):
    """NetworkX on customers and identifiers; the smallest id of a component is its key."""
    graph = nx.Graph(((c,), (kind, name)) for c, kind, name, _ in rows)
    found = {}
    for component in nx.connected_components(graph):
        members = [node[0] for node in component if len(node) == 1]
        if len(members) > 1:
            found |= dict.fromkeys(members, min(members))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_persons_are_the_connected_components(seed):
    rows = crowd(seed)
    graph = components(seen(rows), facts(), links(), KINDS)
    assert keys(graph.persons) == oracle(rows)
    sizes = dict(
        zip(*(graph.persons[n].to_pylist() for n in ("person_key", "customers")), strict=True)
    )
    assert all(list(oracle(rows).values()).count(key) == size for key, size in sizes.items())
    # A forest has as many edges as nodes, less one per tree.
    assert len(graph.merges) == len(graph.persons) - len(set(oracle(rows).values()))
    assert len(graph.conflicts) == 0


def test_the_order_of_arrival_changes_nothing():
    """100 shuffles of rows, facts and links: equal persons, keys, log and conflicts."""
    rows = crowd(3, people=60, rows=120)
    told = [(f"c{n:03d}", "birth_date", f"{n % 3}") for n in range(0, 60, 2)]
    linked = [(f"c{n:03d}", f"c{(7 * n) % 60:03d}", 0.5 + n / 200) for n in range(1, 40, 3)]
    first = components(seen(rows), facts(told), links(linked), KINDS)
    assert len(first.conflicts) > 3
    assert "link" in first.merges["kind"].to_pylist()
    draw = random.Random(1)
    for _ in range(100):
        for part in (rows, told, linked):
            draw.shuffle(part)
        turned = [(b, a, p) if draw.random() < 0.5 else (a, b, p) for a, b, p in linked]
        again = components(seen(rows), facts(told), links(turned), KINDS)
        assert again.persons.equals(first.persons)
        assert again.merges.equals(first.merges)
        assert again.conflicts.equals(first.conflicts)


@pytest.mark.parametrize("day", [0, 5, 17, 39])
def test_the_log_of_merges_replays_the_past(day):
    """The log cut at a time makes the persons that the rows seen by then make."""
    rows = crowd(8)
    graph = components(seen(rows), facts(), links(), KINDS)
    then = partition(until(graph.merges, START + timedelta(days=day)))
    assert keys(then) == oracle([row for row in rows if row[3] <= day])
    assert graph.merges["at"].to_pylist() == sorted(graph.merges["at"].to_pylist())
    assert keys(partition(graph.merges)) == keys(graph.persons)


def test_each_merge_names_the_identifier_that_made_it():
    rows = [("b", "email_hash", "x", 0), ("a", "email_hash", "x", 2), ("c", "login", "y", 1)]
    rows += [("a", "login", "y", 3), ("c", "email_hash", "x", 9)]
    merges = components(seen(rows), facts(), links(), KINDS).merges.to_pylist()
    assert [(m["customer_id"], m["other_customer_id"], m["kind"]) for m in merges] == [
        ("a", "b", "email_hash"),
        ("a", "c", "login"),
    ]
    assert [m["at"] for m in merges] == [START + timedelta(days=d) for d in (2, 3)]
    assert {m["source"] for m in merges} == {"shop"}


def test_two_logins_never_become_one_person():
    rows = [("a", "email_hash", "x", 0), ("b", "email_hash", "x", 1), ("c", "email_hash", "x", 2)]
    rows += [("c", "phone_hash", "p", 3), ("d", "phone_hash", "p", 4)]
    told = [("a", "login", "anna"), ("b", "login", "bert"), ("d", "login", "bert")]
    graph = components(seen(rows), facts(told), links(), KINDS)
    # In time: a–b is refused, c joins a, then d (bert) may not join anna through c.
    assert keys(graph.persons) == {"a": "a", "c": "a"}
    refused = graph.conflicts.to_pylist()
    pairs = [(r["customer_id"], r["other_customer_id"], r["kind"]) for r in refused]
    assert pairs == [("a", "b", "email_hash"), ("b", "c", "email_hash"), ("c", "d", "phone_hash")]
    assert {r["rule"] for r in refused} == {"login"}


def test_the_others_on_a_disputed_identifier_still_find_each_other():
    """Two with one birth date, beside a first one with another: they are joined to each other."""
    rows = [(c, "email_hash", "x", day) for day, c in enumerate("abc")]
    told = [("a", "birth_date", "1980-01-01"), *((c, "birth_date", "2010-01-01") for c in "bc")]
    graph = components(seen(rows), facts(told), links(), KINDS)
    assert keys(graph.persons) == {"b": "b", "c": "b"}
    assert len(graph.conflicts) == 2


def test_one_customer_with_two_logins_is_no_conflict_by_itself():
    rows = [("a", "login", "x", 0), ("b", "login", "x", 1)]
    told = [("a", "login", "x"), ("a", "login", "y"), ("b", "login", "x")]
    graph = components(seen(rows), facts(told), links(), KINDS)
    assert keys(graph.persons) == {"a": "a", "b": "a"}
    assert len(graph.conflicts) == 0


def test_links_come_after_identifiers_the_likeliest_first():
    rows = [("a", "login", "x", 0), ("b", "login", "x", 1)]
    told = [("a", "birth_date", "1"), ("c", "birth_date", "2"), ("d", "birth_date", "2")]
    likely = links([("b", "d", 0.6), ("d", "c", 0.7), ("e", "a", 0.9), ("d", "a", 0.95)])
    graph = components(seen(rows), facts(told), likely, KINDS)
    assert keys(graph.persons) == {"a": "a", "b": "a", "e": "a", "c": "c", "d": "c"}
    assert [m["probability"] for m in graph.merges.to_pylist()] == [1.0, 0.9, 0.7]
    assert [(c["customer_id"], c["kind"]) for c in graph.conflicts.to_pylist()] == [
        ("a", "link"),
        ("b", "link"),
    ]


def test_without_rows_there_are_no_persons():
    graph = components(seen([]), facts(), links(), KINDS)
    assert (len(graph.persons), len(graph.merges), len(graph.conflicts)) == (0, 0, 0)


def test_an_identifier_that_alone_joins_two_groups_is_a_bridge():
    rows = [(c, "login", "left", 0) for c in "abc"] + [(c, "login", "right", 0) for c in "def"]
    rows += [("c", "phone_hash", "p", 1), ("d", "phone_hash", "p", 1)]
    graph = components(seen(rows), facts(), links(), KINDS)
    found = bridges(graph, seen(rows), 3).to_pylist()
    assert {(r["person_key"], r["kind"], r["identifier"]) for r in found} == {
        ("a", "phone_hash", "p")
    }
    assert len(bridges(graph, seen(rows), 4)) == 0
    twice = [*rows, ("a", "email_hash", "e", 2), ("f", "email_hash", "e", 2)]
    graph = components(seen(twice), facts(), links(), KINDS)
    assert len(bridges(graph, seen(twice), 3)) == 0
