"""Gram matrices per fold × cohort × arm, aggregated where the data are.

PostgreSQL and Spark aggregate the sums of products in one grouped query. DuckDB hands its columns
over as Arrow, some hundred thousand rows at a time, and each group's matrix is one product of
matrices: the same sums in less time. Both sum deviations from a shift near the mean, so no digits
are lost.

A unit's fold follows from its id alone, by the bucket function of assignment under a salt of its
own, so it is the same on every engine and in every order of rows. Without ids a unit is named by
its values; units with the same values are numbered, since nothing tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from measure.engine.bucketing import bucket_column
from measure.engine.labels import label_of
from measure.engine.moments_query import MOST_JOINT_CELLS, Block, NotFinite, Query
from measure.engine.profile import Scanned, number
from measure.grams import Grams
from measure.results import Cohort

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.engine.connection import Engine
    from measure.engine.expressions import Column, Table

FOLD = "fold"
_CHUNK = 250_000
_DIGITS = 40
"""Binary digits of a value that name a unit without id."""
_LARGEST_POWER = 1_000
"""Largest power of two that values near zero are scaled by."""

Matrix = NDArray[np.float64]
Codes = NDArray[np.int64]


def with_folds(
    engine: Engine, table: Table, folds: int, seed: int, values: Mapping[str, float] | None
) -> Table:
    """``table`` with the fold of each unit, a number below ``folds``.

    Units are named by the column ``id``, or, when ``values`` is given, by the columns it names,
    whose largest magnitudes it holds (0: not a number).
    """
    name = table["id"] if values is None else _named_by_values(engine, table, values)
    bucketed = table.mutate(**{FOLD: bucket_column(name, f"folds {seed}", engine)})
    return bucketed.mutate(**{FOLD: bucketed[FOLD] % folds})


def values_that_name(table: Table, columns: Mapping[str, Scanned]) -> dict[str, float]:
    """Columns whose values name a unit without id, with their largest magnitudes."""
    reach = dict.fromkeys(table.columns, 0.0)
    for name, scanned in columns.items():
        p = scanned.profile
        for same in {name, f"raw_{name}"}.intersection(table.columns):
            reach[same] = max(abs(p.minimum or 0.0), abs(p.maximum or 0.0), 1e-300)
    return reach


def _named_by_values(engine: Engine, table: Table, values: Mapping[str, float]) -> Column:
    """A text per unit: its values, and its number among units with the same values."""
    from measure.engine.expressions import literal, row_number

    parts = [_text(table[name], reach) for name, reach in values.items()]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + literal("|") + part
    digest = bucket_column(joined, "values of a unit", engine)
    turn = row_number().over(group_by=digest)
    return digest.cast("string") + literal("|") + turn.cast("string")


def _text(column: Column, reach: float) -> Column:
    """A value as text that every engine writes alike; numbers as whole multiples of 2**−s."""
    if reach > 0:
        scale = 2.0 ** min(_DIGITS - math.ceil(math.log2(reach)), _LARGEST_POWER)
        column = (column * number(scale)).floor().cast("int64")
    elif column.type().is_boolean():
        column = column.ifelse(1, 0)
    return column.cast("string").fill_null("")


def gram_matrices(
    engine: Engine,
    table: Table,
    query: Query,
    dimensions: Sequence[str],
    axes: tuple[tuple[str, ...], int],
    joint_cells: float,
) -> dict[str | None, tuple[Grams, ...]]:
    """Gram matrices by dimension (``None``: everybody), one per block of metrics.

    ``table`` has the column ``fold``; ``query`` is that of the moments; ``axes`` are the arms and
    the number of folds.
    """
    folds = axes[1]
    joint = joint_cells * folds <= MOST_JOINT_CELLS or len(dimensions) < 2
    found: dict[str | None, tuple[Grams, ...]] = {}
    for dims in [list(dimensions)] if joint else [[dimension] for dimension in dimensions]:
        groups = (_streamed if engine.name == "duckdb" else _aggregated)(engine, table, query, dims)
        names: list[str | None] = [*dims] or [None]
        for dimension in names:
            found[dimension] = tuple(
                groups.matrix(query, block, dims, dimension, axes)
                for block in range(len(query.blocks))
            )
        if None not in found:
            found[None] = tuple(grams.everybody() for grams in found[dims[0]])
    return {name: found[name] for name in (None, *dimensions)}


def _columns(block: Block) -> tuple[str, ...]:
    return block.metrics + block.covariates


def _pairs(block: Block) -> Iterator[tuple[str, str]]:
    """Products in the matrices; two metrics are never multiplied."""
    columns = _columns(block)
    for place, left in enumerate(columns):
        yield left, left
        yield from ((left, right) for right in columns[place + 1 :] if right in block.covariates)


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Groups of one scan, in any order: ``keys`` are (fold, arm, cohort…) with cohorts as text.

    Per block, ``n`` has shape (groups,), ``first`` (groups, K) and ``second`` (groups, K, K).
    """

    keys: list[tuple[Any, ...]]
    n: list[Matrix]
    first: list[Matrix]
    second: list[Matrix]

    def matrix(
        self,
        query: Query,
        block: int,
        dims: Sequence[str],
        dimension: str | None,
        axes: tuple[tuple[str, ...], int],
    ) -> Grams:
        """Gram matrices of one block over one dimension of the scan."""
        arms, folds = axes
        columns = _columns(query.blocks[block])
        place = 2 + list(dims).index(dimension) if dimension else None
        values = sorted({key[place] for key in self.keys}) if place else [""]
        shape = (folds, len(values), len(arms))
        order = sorted(range(len(self.keys)), key=lambda i: self.keys[i])
        cell = np.array(
            [
                np.ravel_multi_index(
                    (
                        self.keys[i][0],
                        values.index(self.keys[i][place]) if place else 0,
                        list(arms).index(self.keys[i][1]),
                    ),
                    shape,
                )
                for i in order
            ],
            dtype=np.int64,
        )
        k = len(columns)
        n, first = np.zeros(math.prod(shape)), np.zeros((math.prod(shape), k))
        second = np.zeros((math.prod(shape), k, k))
        np.add.at(n, cell, self.n[block][order])
        np.add.at(first, cell, self.first[block][order])
        np.add.at(second, cell, self.second[block][order])
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            raise NotFinite
        shown = [query.names[name] for name in columns]
        scales = [query.scales[name] for name in columns]
        shift = np.array([scale.shift for scale in scales])
        unit = np.array([scale.unit for scale in scales])
        m = len(query.blocks[block].metrics)
        return Grams.from_sums(
            (shown[:m], shown[m:]),
            [Cohort(dimension, value) if dimension else None for value in values],
            arms,
            n.reshape(shape),
            (first.reshape(*shape, k), second.reshape(*shape, k, k)),
            (shift, unit),
        )


def _aggregated(engine: Engine, table: Table, query: Query, dims: Sequence[str]) -> _Groups:
    """Sums of products by one grouped query."""
    prepared = table.mutate(**_all_deviations(table, query))
    keys = [FOLD, query.arm, *(query.dimensions[d] for d in dims)]
    wanted: dict[str, Column] = {}
    for place, block in enumerate(query.blocks):
        wanted |= _products(prepared, place, block)
    with nullcontext() if query.exact else engine.in_order():
        fetched = engine.fetch(prepared.group_by(keys).aggregate(**wanted))
    columns = {name: fetched[name].to_pylist() for name in keys}
    groups = [
        (int(columns[FOLD][i]), *(label_of(columns[name][i]) for name in keys[1:]))
        for i in range(fetched.num_rows)
    ]
    n, first, second = [], [], []
    for place, block in enumerate(query.blocks):
        n.append(_floats(fetched, f"n_{place}"))
        first.append(
            np.column_stack([_floats(fetched, f"s1_{place}_{c}") for c in _columns(block)])
        )
        second.append(_square(fetched, place, block))
    return _Groups(groups, n, first, second)


def _all_deviations(table: Table, query: Query) -> dict[str, Column]:
    """The deviation of every column in every block; missing where the block leaves a unit."""
    wanted = {}
    for place, block in enumerate(query.blocks):
        for name in _columns(block):
            deviation = query.scales[name].deviation(table[name])
            if block.where not in (None, name):
                deviation = table[block.where].notnull().ifelse(deviation, None)
            wanted[f"d{place}_{name}"] = deviation
    return wanted


def _products(table: Table, place: int, block: Block) -> dict[str, Column]:
    """Sums of one block as named aggregates."""
    d = {name: table[f"d{place}_{name}"] for name in _columns(block)}
    sums = {f"n_{place}": d[block.where].count() if block.where else table.count()}
    sums |= {f"s1_{place}_{name}": d[name].sum() for name in _columns(block)}
    return sums | {f"s2_{place}_{a}_{b}": (d[a] * d[b]).sum() for a, b in _pairs(block)}


def _square(fetched: pa.Table, place: int, block: Block) -> Matrix:
    """Sums of products as symmetric matrices (groups, K, K)."""
    at = {name: i for i, name in enumerate(_columns(block))}
    second = np.zeros((fetched.num_rows, len(at), len(at)))
    for left, right in _pairs(block):
        sums = _floats(fetched, f"s2_{place}_{left}_{right}")
        second[:, at[left], at[right]] = second[:, at[right], at[left]] = sums
    return second


def _floats(fetched: pa.Table, name: str) -> Matrix:
    return np.array(fetched[name].fill_null(0).to_numpy(), dtype=float)


def _streamed(engine: Engine, table: Table, query: Query, dims: Sequence[str]) -> _Groups:
    """Sums of products by products of matrices over rows handed over as Arrow."""
    keys = [FOLD, query.arm, *(query.dimensions[d] for d in dims)]
    columns = list(dict.fromkeys(name for block in query.blocks for name in _columns(block)))
    coder = _Coder()
    sums = [_Sums(block) for block in query.blocks]
    for batch in engine.batches(table.select(*keys, *columns), _CHUNK):
        code = coder.codes([batch[name] for name in keys])
        order = np.argsort(code, kind="stable")
        starts, ends, present = _runs(code[order])
        data = {name: _deviations(batch[name], query, name)[order] for name in columns}
        for block in sums:
            block.add(data, starts, ends, present)
    groups = coder.groups
    filled = [block.stacked(len(groups)) for block in sums]
    return _Groups(groups, *(list(part) for part in zip(*filled, strict=True)))


def _deviations(column: pa.Array, query: Query, name: str) -> Matrix:
    """Deviations whole(x · scale) − shift as floats, NaN where missing."""
    values = column.to_numpy(zero_copy_only=False).astype(float, copy=False)
    scale = query.scales[name]
    if scale.scale > 1:
        values = np.rint(values * scale.scale)
    return np.asarray(values - scale.shift)


def _runs(code: Codes) -> tuple[Codes, Codes, Codes]:
    """Where each run of a sorted array starts and ends, and its code."""
    if not len(code):
        return code, code, code
    starts = np.concatenate([[0], np.flatnonzero(code[1:] != code[:-1]) + 1])
    return starts, np.append(starts[1:], len(code)), code[starts]


class _Coder:
    """Codes of groups that stay the same over all batches."""

    def __init__(self) -> None:
        self.groups: list[tuple[Any, ...]] = []
        self._known: dict[tuple[Any, ...], int] = {}

    def codes(self, keys: Sequence[pa.Array]) -> Codes:
        """Code of each row's group."""
        found: Codes = np.zeros(len(keys[0]), dtype=np.int64)
        labels: list[list[Any]] = []
        for position, column in enumerate(keys):
            encoded = column.dictionary_encode(null_encoding="encode")
            values = encoded.dictionary.to_pylist()
            found = found * len(values) + encoded.indices.to_numpy().astype(np.int64)
            labels.append([int(v) if position == 0 else label_of(v) for v in values])
        distinct, inverse = np.unique(found, return_inverse=True)
        sizes = tuple(len(values) for values in labels)
        known = np.array(
            [self._code(tuple(v[i] for v, i in zip(labels, at, strict=True)))
             for at in zip(*np.unravel_index(distinct, sizes), strict=True)],
            dtype=np.int64,
        )  # fmt: skip
        return known[inverse]

    def _code(self, group: tuple[Any, ...]) -> int:
        if group not in self._known:
            self._known[group] = len(self.groups)
            self.groups.append(group)
        return self._known[group]


class _Sums:
    """Running sums of one block, by code of the group."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._found: dict[int, tuple[float, Matrix, Matrix]] = {}

    def add(self, data: Mapping[str, Matrix], starts: Codes, ends: Codes, present: Codes) -> None:
        """Add the rows of one batch, sorted by group."""
        block, metrics = self._block, len(self._block.metrics)
        values = np.stack([data[name] for name in _columns(block)])
        for start, end, code in zip(starts, ends, present, strict=True):
            part = values[:, start:end]
            if block.where is not None:
                part = part[:, ~np.isnan(part[_columns(block).index(block.where)])]
            second = part @ part.T
            second[:metrics, :metrics] *= np.eye(metrics)
            n, s1, s2 = self._found.get(int(code), (0.0, 0.0, 0.0))
            self._found[int(code)] = (n + part.shape[1], s1 + part.sum(axis=1), s2 + second)

    def stacked(self, groups: int) -> tuple[Matrix, Matrix, Matrix]:
        """Sums of all groups in order of their codes."""
        ordered = [self._found[code] for code in range(groups)]
        return (
            np.array([n for n, _, _ in ordered]),
            np.stack([first for _, first, _ in ordered]),
            np.stack([second for _, _, second in ordered]),
        )
