"""Sightings and links as integer codes, and the edges between customers in their one order.

Codes follow the order of the values they stand for, so that no order here depends on the order in
which rows arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Integers = npt.NDArray[np.int64]

_LAST = np.iinfo(np.int64).max
"""Links come after all identifiers: what is certain is joined first."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Pairs of customer codes in the one order in which they count."""

    one: Integers
    other: Integers
    at: Integers
    row: Integers
    """Row of the sightings, or −1 − row of the links."""

    def __len__(self) -> int:
        return len(self.one)

    def take(self, rows: Any) -> Edges:
        """Return some of the edges, by position or mask."""
        return Edges(self.one[rows], self.other[rows], self.at[rows], self.row[rows])


@dataclass(frozen=True, slots=True)
class Coded:
    """Sightings and links as integers; codes are in the order of the values they stand for."""

    customers: pa.Array
    customer: Integers
    group: Integers
    """One number per kind and identifier."""
    at: Integers
    link_one: Integers
    link_other: Integers
    link_order: Integers
    """0 for the likeliest link."""


def coded_rows(sightings: pa.Table, links: pa.Table, kinds: Sequence[str]) -> Coded:
    """Return everything as integers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ends = (sightings["customer_id"], links["customer_id"], links["other_customer_id"])
    everybody = [chunk.cast("string") for column in ends for chunk in column.chunks]
    customers = sorted_unique(pa.chunked_array(everybody, "string"))
    identifiers = sorted_unique(sightings["identifier"])
    place = np.asarray(pc.index_in(sightings["kind"], value_set=pa.array(kinds, "string")))
    name = codes_of(sightings["identifier"], identifiers)
    one, other = (codes_of(links[n], customers) for n in ("customer_id", "other_customer_id"))
    one, other = np.minimum(one, other), np.maximum(one, other)
    probability = np.asarray(links["probability"], dtype=np.float64)
    order = np.empty(len(one), dtype=np.int64)
    order[np.lexsort((other, one, -probability))] = np.arange(len(one))
    return Coded(
        customers,
        codes_of(sightings["customer_id"], customers),
        place.astype(np.int64) * max(len(identifiers), 1) + name,
        np.asarray(sightings["at"].cast(pa.timestamp("us", "UTC")).cast("int64"), dtype=np.int64),
        one,
        other,
        order,
    )


def sorted_unique(column: pa.ChunkedArray) -> pa.Array:
    """Distinct texts in the order of their bytes."""
    import pyarrow.compute as pc

    values = pc.unique(column)
    return values.take(pc.sort_indices(values))


def codes_of(column: pa.ChunkedArray, values: pa.Array) -> Integers:
    """Place of each text among sorted ones."""
    import pyarrow.compute as pc

    return np.asarray(pc.index_in(column, value_set=values)).astype(np.int64)


def stars(coded: Coded) -> Edges:
    """Each carrier of an identifier joined to its first one, at the time it was seen."""
    rows = np.lexsort((coded.customer, coded.at, coded.group))
    group = coded.group[rows]
    begins = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(rows) else rows
    first = rows[np.repeat(begins, np.diff(np.r_[begins, len(rows)]))] if len(rows) else rows
    return _edges_of(coded, first, rows)


def pairs(coded: Coded, wanted: npt.NDArray[np.bool_]) -> Edges:
    """Every two wanted carriers of an identifier, at the time the later one was seen."""
    rows = np.lexsort((coded.customer, coded.at, coded.group))
    rows = rows[wanted[coded.customer[rows]]]
    group, one, other = coded.group[rows], [rows[:0]], [rows[:0]]
    for apart in range(1, len(rows)):
        same = group[apart:] == group[:-apart]
        if not same.any():
            break
        one.append(rows[:-apart][same])
        other.append(rows[apart:][same])
    return _edges_of(coded, np.concatenate(one), np.concatenate(other))


def _edges_of(coded: Coded, first: Integers, rows: Integers) -> Edges:
    """Edges between rows that follow each other in their group, in order of group and time."""
    apart = coded.customer[first] != coded.customer[rows]
    first, rows = first[apart], rows[apart]
    return _ordered(
        Edges(coded.customer[first], coded.customer[rows], coded.at[rows], rows),
        coded.group[rows],
    )


def link_edges(coded: Coded, wanted: npt.NDArray[np.bool_] | None = None) -> Edges:
    """Links, the likeliest first."""
    rows = np.argsort(coded.link_order)
    rows = rows[coded.link_one[rows] != coded.link_other[rows]]
    if wanted is not None:
        rows = rows[wanted[coded.link_one[rows]]]
    at = np.full(len(rows), _LAST, dtype=np.int64)
    return Edges(coded.link_one[rows], coded.link_other[rows], at, -1 - rows)


def _ordered(edges: Edges, group: Integers) -> Edges:
    low, high = np.minimum(edges.one, edges.other), np.maximum(edges.one, edges.other)
    return edges.take(np.lexsort((high, low, group, edges.at)))


def in_order(one: Edges, other: Edges) -> Edges:
    """Two ordered lists as one, by time; both orders stay."""
    both = Edges(*(np.concatenate(pair) for pair in zip(_parts(one), _parts(other), strict=True)))
    return both.take(np.argsort(both.at, kind="stable"))


def _parts(edges: Edges) -> tuple[Integers, ...]:
    return edges.one, edges.other, edges.at, edges.row
