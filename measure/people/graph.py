"""The identity graph: who is one person, by which identifier, since when, and who can never be.

Customers that carry the same identifier are one person, and so are those linked to them in turn: a
person is a connected component. The components come from SciPy; a minimum spanning forest over the
edges in order of time is the log of merges, for it holds exactly the edges that ever joined two
components. Nothing depends on the order in which rows arrived: all ties are broken by values.

Some customers are certainly not one person (two logins, two dates of birth). A component that holds
such customers is built again edge by edge (Kruskal's order: time, then kind, then identifier), and
an edge that would join them is refused and written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from measure.people.edges import (
    Edges,
    coded_rows,
    codes_of,
    in_order,
    link_edges,
    pairs,
    sorted_unique,
    stars,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Integers = npt.NDArray[np.int64]

LINK = "link"
"""Kind of an edge that a probability stands for, in place of a shared identifier."""


@dataclass(frozen=True, slots=True)
class Components:
    """A partition of customers, and how it came about.

    ``persons`` has (customer_id, person_key, customers) for persons of two customer ids or more;
    everybody else is a person of their own, under their own id. The key is the smallest customer id
    by its UTF-8 bytes. ``merges`` has (at, kind, identifier, source, customer_id,
    other_customer_id, probability) in the order of time, ``conflicts`` (at, kind, identifier,
    customer_id, other_customer_id, rule): edges that were refused.
    """

    persons: pa.Table
    merges: pa.Table
    conflicts: pa.Table


def components(
    sightings: pa.Table,
    facts: pa.Table,
    links: pa.Table,
    kinds: Sequence[str],
) -> Components:
    """Join customers by identifiers and links, but never those whom a fact tells apart.

    ``sightings`` has (customer_id, kind, identifier, at, source), each customer and identifier
    once; ``facts`` (customer_id, rule, value): two customers with values of one rule but none in
    common are two people; ``links`` (customer_id, other_customer_id, probability). ``kinds`` gives
    the order of kinds where times are equal.
    """
    coded = coded_rows(sightings, links, kinds)
    values = _values(facts, coded.customers)
    edges = in_order(stars(coded), link_edges(coded))
    labels = _labels(edges, len(coded.customers))
    suspected = _suspected(values, labels)
    certain = edges.take(~suspected[labels[edges.one]]) if len(edges) else edges
    joined = _forest(certain, len(coded.customers))
    refused: list[tuple[int, str]] = []
    if suspected.any():
        doubtful = in_order(pairs(coded, suspected[labels]), link_edges(coded, suspected[labels]))
        kept, refused = _one_by_one(doubtful, values)
        joined = in_order(joined, doubtful.take(kept))
        conflicts = doubtful.take([position for position, _ in refused])
    else:
        conflicts = edges.take(slice(0, 0))
    labels = _labels(joined, len(coded.customers))
    return Components(
        _persons(coded.customers, labels),
        _described(joined, coded.customers, sightings, links),
        _refusals(conflicts, [rule for _, rule in refused], coded.customers, sightings, links),
    )


def partition(merges: pa.Table) -> pa.Table:
    """Persons that a log of merges makes: (customer_id, person_key, customers).

    Cut the log at a time (:func:`until`) to see who was one person then.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    ends = [merges["customer_id"], merges["other_customer_id"]]
    customers = sorted_unique(pa.chunked_array([c for end in ends for c in end.chunks], "string"))
    one, other = (np.asarray(pc.index_in(end, value_set=customers), dtype=np.int64) for end in ends)
    none = np.zeros(len(one), dtype=np.int64)
    return _persons(customers, _labels(Edges(one, other, none, none), len(customers)))


def until(merges: pa.Table, moment: Any) -> pa.Table:
    """Merges by identifiers seen by a moment (aware time)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return merges.filter(pc.less_equal(merges["at"], pa.scalar(moment, merges["at"].type)))


def _labels(edges: Edges, customers: int) -> Integers:
    """The smallest customer code of each customer's component."""
    from scipy.sparse.csgraph import connected_components

    matrix = _matrix(np.ones(len(edges)), edges.one, edges.other, customers)
    _, label = connected_components(matrix, directed=False)
    _, first = np.unique(label, return_index=True)
    smallest: Integers = first[label].astype(np.int64)
    return smallest


def _forest(edges: Edges, customers: int) -> Edges:
    """The edges that joined two components when their turn came."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    low, high = np.minimum(edges.one, edges.other), np.maximum(edges.one, edges.other)
    _, first = np.unique(low * customers + high, return_index=True)
    weight = first + 1.0  # the place in the order; exact below 2**53
    tree = minimum_spanning_tree(_matrix(weight, low[first], high[first], customers))
    return edges.take(np.sort(tree.data.astype(np.int64) - 1))


def _matrix(weight: Any, one: Integers, other: Integers, customers: int) -> Any:
    """A sparse matrix with the 32-bit indices that SciPy's spanning tree asks for."""
    from scipy.sparse import coo_array

    places = (one.astype(np.int32), other.astype(np.int32))
    return coo_array((weight, places), (customers, customers)).tocsr()


def _values(facts: pa.Table, customers: pa.Array) -> dict[str, dict[int, set[str]]]:
    """Values by rule and customer code, of customers that anything joins."""
    import pyarrow.compute as pc

    facts = facts.filter(pc.is_in(facts["customer_id"], value_set=customers))
    found: dict[str, dict[int, set[str]]] = {}
    codes = codes_of(facts["customer_id"], customers).tolist()
    for code, row in zip(codes, facts.select(["rule", "value"]).to_pylist(), strict=True):
        found.setdefault(row["rule"], {}).setdefault(code, set()).add(row["value"])
    return dict(sorted(found.items()))


def _suspected(values: dict[str, dict[int, set[str]]], labels: Integers) -> npt.NDArray[np.bool_]:
    """Labels of components in which two customers differ in a fact."""
    suspected = np.zeros(len(labels), dtype=np.bool_)
    for by_customer in values.values():
        seen: dict[int, set[str]] = {}
        for customer, mine in by_customer.items():
            label = int(labels[customer])
            if seen.setdefault(label, mine) != mine:
                suspected[label] = True
    return suspected


def _one_by_one(
    edges: Edges, values: dict[str, dict[int, set[str]]]
) -> tuple[list[int], list[tuple[int, str]]]:
    """Positions of edges that join, and of those refused with the rule that forbids them."""
    root: dict[int, int] = {}
    facts: dict[int, dict[str, set[str]]] = {}
    kept, refused = [], []

    def find(customer: int) -> int:
        while root.setdefault(customer, customer) != customer:
            root[customer] = root[root[customer]]
            customer = root[customer]
        return customer

    def known(top: int) -> dict[str, set[str]]:
        return facts.setdefault(
            top, {rule: set(mine[top]) for rule, mine in values.items() if top in mine}
        )

    ends = zip(edges.one.tolist(), edges.other.tolist(), strict=True)
    for position, (one, other) in enumerate(ends):
        left, right = sorted((find(one), find(other)))
        if left == right:
            continue
        mine, theirs = known(left), known(right)
        rule = next((r for r in mine if r in theirs and mine[r].isdisjoint(theirs[r])), None)
        if rule is not None:
            refused.append((position, rule))
            continue
        root[right] = left
        for name, more in theirs.items():
            mine.setdefault(name, set()).update(more)
        kept.append(position)
    return kept, refused


def _persons(customers: pa.Array, labels: Integers) -> pa.Table:
    import pyarrow as pa

    _, place, size = np.unique(labels, return_inverse=True, return_counts=True)
    sizes = size[place] if len(labels) else labels
    several = np.flatnonzero(sizes > 1)
    return pa.table(
        {
            "customer_id": customers.take(pa.array(several)),
            "person_key": customers.take(pa.array(labels[several])),
            "customers": pa.array(sizes[several], "int64"),
        }
    )


def _described(edges: Edges, customers: pa.Array, sightings: pa.Table, links: pa.Table) -> pa.Table:
    """Edges with the rows they come from."""
    import pyarrow as pa

    by_identifier = edges.row >= 0
    rows = pa.array(edges.row, mask=~by_identifier)
    link_rows = pa.array(-1 - edges.row, mask=by_identifier)
    kind = sightings["kind"].combine_chunks().cast("string").take(rows).fill_null(LINK)
    return pa.table(
        {
            "at": sightings["at"].cast(pa.timestamp("us", "UTC")).combine_chunks().take(rows),
            "kind": kind,
            "identifier": sightings["identifier"].combine_chunks().cast("string").take(rows),
            "source": sightings["source"].combine_chunks().cast("string").take(rows),
            "customer_id": customers.take(pa.array(np.minimum(edges.one, edges.other))),
            "other_customer_id": customers.take(pa.array(np.maximum(edges.one, edges.other))),
            "probability": links["probability"].combine_chunks().take(link_rows).fill_null(1.0),
        }
    )


def _refusals(
    edges: Edges,
    rules: Sequence[str],
    customers: pa.Array,
    sightings: pa.Table,
    links: pa.Table,
) -> pa.Table:
    import pyarrow as pa

    described = _described(edges, customers, sightings, links)
    names = ["at", "kind", "identifier", "customer_id", "other_customer_id"]
    return described.select(names).append_column("rule", pa.array(rules, "string"))
