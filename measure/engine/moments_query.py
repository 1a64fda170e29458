"""Moments of all metrics × cohorts × arms from one grouped scan of shifted sums.

The engine groups by the arm and all cohort dimensions at once and returns Σd, Σdd′ and Σd³ of
deviations d = x − shift, with a shift near the mean (Chan, Golub and LeVeque 1983: no digits are
lost as they would be with raw sums of squares). Cells of one dimension, and the total, are sums of
joint cells. When the joint cells would be too many, each dimension has a scan of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from measure.engine.profile import Scale
from measure.moments import CellMoments, Moments
from measure.results import Cohort

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.engine.connection import Engine
    from measure.engine.expressions import Column, Table

MOST_JOINT_CELLS = 50_000
_NOISE = 1e-12
"""Share of Σd² below which a cell's own variation is rounding: the cell does not vary."""


class NotFinite(Exception):
    """A value in the data is NaN or infinite; a look at the columns tells which."""


Matrix = NDArray[np.float64]
Label = Callable[[Any], str]
Key = tuple[str, Cohort | None, str]


@dataclass(frozen=True, slots=True)
class Block:
    """Metrics over the same units, with the covariates: one set of sums.

    ``where`` names the column whose missing values leave the block; ``None`` takes every unit.
    """

    metrics: tuple[str, ...]
    covariates: tuple[str, ...]
    where: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Metrics first, then covariates."""
        return self.metrics + self.covariates

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Products that an estimator can ask for; two metrics are never multiplied."""
        for index, left in enumerate(self.columns):
            yield left, left
            for right in self.columns[index + 1 :]:
                if right in self.covariates:
                    yield left, right


@dataclass(frozen=True, slots=True)
class Query:
    """What one scan needs: the table's columns by role, their scales and the blocks of sums."""

    arm: str
    dimensions: Mapping[str, str]
    """Cohort dimension to column."""
    names: Mapping[str, str]
    """Column to the name under which results show it."""
    scales: Mapping[str, Scale]
    blocks: tuple[Block, ...]
    counted: Mapping[str, str]
    """Metric to the column whose missing values are to be counted per arm."""

    @property
    def exact(self) -> bool:
        """Whether every column lies on a grid, so that the order of summation does not matter."""
        return all(scale.scale for scale in self.scales.values())

    def aggregates(self, table: Table) -> dict[str, Column]:
        """All sums of all blocks as named aggregates over ``table``."""
        wanted: dict[str, Column] = {"rows": table.count()}
        wanted |= {f"has_{name}": table[column].count() for name, column in self.counted.items()}
        for number, block in enumerate(self.blocks):
            wanted |= self._sums(table, number, block)
        return wanted

    def _sums(self, table: Table, number: int, block: Block) -> dict[str, Column]:
        d = {name: table[_deviation(number, name)] for name in block.columns}
        sums = {f"n_{number}": table.count() if block.where is None else d[block.where].count()}
        sums |= {f"s1_{number}_{name}": d[name].sum() for name in block.columns}
        sums |= {f"s2_{number}_{a}_{b}": (d[a] * d[b]).sum() for a, b in block.pairs()}
        return sums | {f"s3_{number}_{a}": (d[a] * d[a] * d[a]).sum() for a in block.columns}

    def deviations(self, table: Table) -> dict[str, Column]:
        """The deviation of every column in every block; missing where the block leaves a unit."""
        wanted = {}
        for number, block in enumerate(self.blocks):
            for name in block.columns:
                deviation = self.scales[name].deviation(table[name])
                if block.where is not None and name != block.where:
                    deviation = table[block.where].notnull().ifelse(deviation, None)
                wanted[_deviation(number, name)] = deviation
        return wanted


def _deviation(block: int, name: str) -> str:
    return f"d{block}_{name}"


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
    dimensions = list(query.dimensions)
    joint = joint_cells <= MOST_JOINT_CELLS or len(dimensions) < 2
    scans = [dimensions] if joint else [[dimension] for dimension in dimensions]
    cells: dict[Key, Moments] = {}
    counts: tuple[dict[str, int], dict[tuple[str, str], int]] = ({}, {})
    prepared = table.mutate(**query.deviations(table))
    for turn, dims in enumerate(scans):
        keys = [query.arm, *(query.dimensions[d] for d in dims)]
        with nullcontext() if query.exact else engine.in_order():
            fetched = engine.fetch(prepared.group_by(keys).aggregate(**query.aggregates(prepared)))
        groups = _Groups.of(fetched, query, arms, dims, label)
        if turn == 0:
            cells |= groups.cells(None)
            counts = groups.counts()
        for dimension in dims:
            cells |= groups.cells(dimension)
    return CellMoments(cells, *counts)


@dataclass(frozen=True, slots=True)
class _Groups:
    """The groups of one scan: an arm code, a cohort code per dimension, and the sums of each."""

    query: Query
    arms: tuple[str, ...]
    arm: NDArray[np.int64]
    codes: Mapping[str, tuple[NDArray[np.int64], tuple[str, ...]]]
    sums: Matrix
    position: Mapping[str, int]

    @classmethod
    def of(
        cls,
        fetched: pa.Table,
        query: Query,
        arms: Sequence[str],
        dims: Sequence[str],
        label: Label,
    ) -> _Groups:
        """Read a fetched table, in an order that depends on the labels alone."""
        arm, known = _encode(fetched, query.arm, label, arms)
        codes = {d: _encode(fetched, query.dimensions[d], label, ()) for d in dims}
        names = [name for name in fetched.column_names if name.startswith(("n_", "s", "rows", "h"))]
        sums = np.column_stack([_floats(fetched, name) for name in names])
        order = np.lexsort([code for code, _ in codes.values()] + [arm])
        position = {name: index for index, name in enumerate(names)}
        sorted_codes = {d: (code[order], values) for d, (code, values) in codes.items()}
        return cls(query, known, arm[order], sorted_codes, sums[order], position)

    def cells(self, dimension: str | None) -> dict[Key, Moments]:
        """Cells of one dimension, or of everybody."""
        code, values = (
            self.codes[dimension] if dimension else (np.zeros_like(self.arm), ("everybody",))
        )
        merged = np.zeros((len(values) * len(self.arms), self.sums.shape[1]))
        np.add.at(merged, code * len(self.arms) + self.arm, self.sums)
        cohorts = [Cohort(dimension, value) if dimension else None for value in values]
        found: dict[Key, Moments] = {}
        for number, block in enumerate(self.query.blocks):
            found |= self._block(merged, number, block, cohorts)
        return found

    def _block(
        self, merged: Matrix, number: int, block: Block, cohorts: Sequence[Cohort | None]
    ) -> dict[Key, Moments]:
        n = merged[:, self.position[f"n_{number}"]]
        mean, comoment, third = self._statistics(merged, number, block, n)
        kept = np.flatnonzero((merged[:, self.position["rows"]] > 0) | (len(cohorts) == 1))
        found: dict[Key, Moments] = {}
        first = len(block.metrics)
        for index, metric in enumerate(block.metrics):
            chosen = [index, *range(first, len(block.columns))]
            shown = tuple(self.query.names[block.columns[i]] for i in chosen)
            part = (mean[:, chosen], comoment[:, chosen][:, :, chosen], third[:, chosen])
            for cell in kept:
                cohort, arm = divmod(int(cell), len(self.arms))
                found[(self.query.names[metric], cohorts[cohort], self.arms[arm])] = Moments(
                    shown, int(n[cell]), part[0][cell], part[1][cell], part[2][cell]
                )
        return found

    def _statistics(
        self, merged: Matrix, number: int, block: Block, n: NDArray[np.float64]
    ) -> tuple[Matrix, Matrix, Matrix]:
        """Mean (cells, k), co-moments (cells, k, k) and third powers (cells, k) in original units.

        The same algebra as ``Moments.from_shifted_sums``, over all cells at once.
        """
        columns = block.columns
        k, at = len(columns), self.position
        s1 = merged[:, [at[f"s1_{number}_{name}"] for name in columns]]
        s3 = merged[:, [at[f"s3_{number}_{name}"] for name in columns]]
        s2 = np.zeros((len(merged), k, k))
        for left, right in block.pairs():
            i, j = columns.index(left), columns.index(right)
            s2[:, i, j] = s2[:, j, i] = merged[:, at[f"s2_{number}_{left}_{right}"]]
        some = np.maximum(n, 1.0)[:, None]
        offset = s1 / some
        comoment = s2 - some[:, :, None] * offset[:, :, None] * offset[:, None, :]
        square = np.einsum("cii->ci", s2)
        third = s3 - 3 * offset * square + 2 * some * offset**3
        still = np.einsum("cii->ci", comoment) <= _NOISE * square
        comoment[still[:, :, None] | still[:, None, :]] = 0.0
        third[still] = 0.0
        scales = [self.query.scales[name] for name in columns]
        unit = np.array([scale.unit for scale in scales])
        factor = np.array([scale.scale or 1.0 for scale in scales])
        shift = np.array([scale.shift for scale in scales])
        mean = np.where(n[:, None] > 0, (shift + offset) / factor, 0.0)
        return mean, comoment * unit[:, None] * unit[None, :], third * unit**3

    def counts(self) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
        """Units per arm, and units without a value per metric and arm."""
        per_arm = np.zeros((len(self.arms), self.sums.shape[1]))
        np.add.at(per_arm, self.arm, self.sums)
        rows = per_arm[:, self.position["rows"]]
        units = {arm: int(rows[index]) for index, arm in enumerate(self.arms)}
        missing: dict[tuple[str, str], int] = {}
        for name in (self.query.names[m] for block in self.query.blocks for m in block.metrics):
            has = per_arm[:, self.position[f"has_{name}"]] if name in self.query.counted else rows
            missing |= {(name, arm): int(rows[i] - has[i]) for i, arm in enumerate(self.arms)}
        return units, missing


def _encode(
    fetched: pa.Table, column: str, label: Label, known: Sequence[str]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Integer codes of a key column and what they stand for: the known values, then the others."""
    encoded = fetched[column].combine_chunks().dictionary_encode(null_encoding="encode")
    raw = [label(value) for value in encoded.dictionary.to_pylist()]
    values = tuple(known) + tuple(sorted(set(raw) - set(known)))
    lookup = {value: code for code, value in enumerate(values)}
    recoded = np.array([lookup[value] for value in raw], dtype=np.int64)
    return recoded[encoded.indices.to_numpy()], values


def _floats(fetched: pa.Table, name: str) -> Matrix:
    """A column of sums; a sum over nothing is 0."""
    values = np.array(fetched[name].fill_null(0).to_numpy(), dtype=float)
    if not np.isfinite(values).all():
        raise NotFinite
    return values


def joint_cells(arms: int, distinct: Mapping[str, int]) -> float:
    """How many groups the joint scan could return at most."""
    return float(arms) * math.prod(distinct.values())
