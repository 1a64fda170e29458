"""Moments of all metrics × cohorts × arms from one grouped scan of shifted sums.

The engine groups by the arm and all cohort dimensions at once and returns Σd, Σdd′ and Σd³ of
deviations d = x − shift, with a shift near the mean (Chan, Golub and LeVeque 1983: no digits are
lost as they would be with raw sums of squares). Cells of one dimension, and the total, are sums of
joint cells. When the joint cells would be too many, each dimension has a scan of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from measure.engine.groups import Groups, Key, Label
from measure.engine.sums import Block, NotFinite, Query
from measure.errors import InputError
from measure.moments import CellMoments, JointMoments, Moments

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Table

__all__ = [
    "MOST_JOINT_CELLS",
    "Block",
    "NotFinite",
    "Query",
    "cell_moments",
    "combination_moments",
    "joint_cells",
    "stratum_moments",
]

MOST_JOINT_CELLS = 50_000


def cell_moments(
    engine: Engine,
    table: Table,
    query: Query,
    arms: Sequence[str],
    label: Label,
    joint_cells: float,
) -> CellMoments:
    """Run the scan (or one per dimension) and cut it into cells.

    ``label`` turns a raw arm or cohort value into text; ``joint_cells`` is about how many
    groups the joint scan would return.
    """
    cells: dict[Key, Moments] = {}
    counts: tuple[dict[str, int], dict[tuple[str, str], int]] = ({}, {})
    for turn, (groups, dims) in enumerate(_scans(engine, table, query, arms, label, joint_cells)):
        if turn == 0:
            cells |= groups.cells(None)
            counts = groups.counts()
        for dimension in dims:
            cells |= groups.cells(dimension)
    return CellMoments(cells, *counts)


def stratum_moments(
    engine: Engine,
    table: Table,
    query: Query,
    arms: Sequence[str],
    label: Label,
    joint_cells: float,
) -> dict[str, CellMoments]:
    """The same per stratum, a combination of the query's ``strata``; they add up to the whole."""
    cells: dict[str, dict[Key, Moments]] = {}
    counts: dict[str, tuple[dict[str, int], dict[tuple[str, str], int]]] = {}
    for groups, dims in _scans(engine, table, query, arms, label, joint_cells):
        for stratum, part in groups.strata().items():
            if stratum not in counts:
                cells[stratum] = part.cells(None)
                counts[stratum] = part.counts()
            for dimension in dims:
                cells[stratum] |= part.cells(dimension)
    return {stratum: CellMoments(cells[stratum], *counts[stratum]) for stratum in sorted(cells)}


def combination_moments(
    engine: Engine,
    table: Table,
    query: Query,
    arms: Sequence[str],
    label: Label,
    _: float,
) -> JointMoments:
    """Moments per combination of all dimensions' cohorts that occurs; too many are refused."""
    prepared = table.mutate(**query.deviations(table))
    keys = [query.arm, *query.dimensions.values()]
    grouped = prepared.group_by(keys).aggregate(**query.aggregates(prepared))
    with nullcontext() if query.exact else engine.in_order():
        fetched = engine.fetch(grouped.limit(MOST_JOINT_CELLS + 1))
    if fetched.num_rows > MOST_JOINT_CELLS:
        raise InputError.rule(
            "cohorts",
            list(query.dimensions),
            f"have more than {MOST_JOINT_CELLS:,} combinations with arms",
            "Name fewer or coarser dimensions, or pool them apart.",
        )
    return Groups.of(fetched, query, arms, query.dimensions, label).combinations()


def _scans(
    engine: Engine,
    table: Table,
    query: Query,
    arms: Sequence[str],
    label: Label,
    joint_cells: float,
) -> Iterator[tuple[Groups, list[str]]]:
    """Groups of the joint scan, or of one scan per dimension, and the dimensions in them."""
    dimensions = list(query.dimensions)
    joint = joint_cells <= MOST_JOINT_CELLS or len(dimensions) < 2
    prepared = table.mutate(**query.deviations(table))
    for dims in [dimensions] if joint else [[dimension] for dimension in dimensions]:
        chosen = {name: query.dimensions[name] for name in dims}
        keys = [query.arm, *chosen.values(), *query.strata.values()]
        with nullcontext() if query.exact else engine.in_order():
            fetched = engine.fetch(prepared.group_by(keys).aggregate(**query.aggregates(prepared)))
        yield Groups.of(fetched, query, arms, chosen, label), dims


def joint_cells(arms: int, distinct: Mapping[str, int]) -> float:
    """How many groups the joint scan could return at most."""
    return float(arms) * math.prod(distinct.values())
