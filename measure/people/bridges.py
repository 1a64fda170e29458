"""Identifiers that alone hold two groups of customers together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.people.graph import Components


def bridges(graph: Components, sightings: pa.Table, least: int) -> pa.Table:
    """Identifiers that alone hold two groups of ``least`` customers or more together.

    (person_key, kind, identifier), found among customers and identifiers of large persons.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    large = graph.persons.filter(pc.greater_equal(graph.persons["customers"], 2 * least))
    mine = sightings.join(
        large.select(["customer_id", "person_key"]), "customer_id", join_type="inner"
    )
    found: set[tuple[str, str, str]] = set()
    by_person: dict[str, list[tuple[str, tuple[str, str]]]] = {}
    for row in mine.select(["person_key", "customer_id", "kind", "identifier"]).to_pylist():
        node = (row["kind"], row["identifier"])
        by_person.setdefault(row["person_key"], []).append((row["customer_id"], node))
    for person, pairs in by_person.items():
        found |= {(person, *node) for node in _cutting(pairs, least)}
    names = ("person_key", "kind", "identifier")
    columns = zip(*sorted(found), strict=True) if found else ((), (), ())
    return pa.table({n: pa.array(c, "string") for n, c in zip(names, columns, strict=True)})


def _cutting(pairs: Sequence[tuple[str, tuple[str, str]]], least: int) -> Iterator[tuple[str, str]]:
    """Identifiers on an edge without which both sides keep ``least`` customers."""
    import networkx as nx

    graph = nx.Graph((("customer", customer), ("identifier", node)) for customer, node in pairs)
    total = sum(1 for kind, _ in graph if kind == "customer")
    for one, other in list(nx.bridges(graph)):
        graph.remove_edge(one, other)
        near = sum(1 for kind, _ in nx.node_connected_component(graph, one) if kind == "customer")
        graph.add_edge(one, other)
        if least <= near <= total - least:
            yield one[1] if one[0] == "identifier" else other[1]
