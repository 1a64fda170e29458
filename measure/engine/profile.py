"""A light look at each column before the scan that counts: how many, where, on which grid.

Floating sums depend on their order, and a threaded engine has none. Sums of integers below 2⁵³ do
not. So a column whose values are whole numbers, or have two decimals as money does, is summed in
whole units, and its moments are the same bits in any order, on any number of threads, on any
engine. Other columns are summed as they are.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ibis

from measure.errors import DataError

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Column, Table
    from measure.engine.files import Range

LARGEST = 1e75
"""Magnitude above which third powers would no longer be finite."""
_GRID_LIMIT = 2.0**50
_ROUNDER = 1.5 * 2.0**52
"""Adding and subtracting it rounds to the nearest integer, with the same bits on every engine."""
_SAMPLE = 2_000
_GRIDS = (1, 100)
MOST_EXACT_ROWS = 2_000_000
"""Rows of a file up to which sums are made independent of the order of rows."""


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """Counts and range of a numeric column; ``None`` when every value is missing."""

    n: int
    missing: int
    mean: float | None
    minimum: float | None
    maximum: float | None

    def rounded(self) -> ColumnProfile:
        """The same with a mean of 12 digits, which does not depend on the order of summation."""
        return replace(self, mean=None if self.mean is None else float(f"{self.mean:.12g}"))


@dataclass(frozen=True, slots=True)
class Scale:
    """How values become deviations: ``d = whole(x · scale) − shift``; ``scale`` 0 leaves x alone.

    ``shift`` lies within 1/1000 of the range from the mean, so no digits are lost to it.
    """

    scale: int
    shift: float

    @property
    def unit(self) -> float:
        """What ``d`` is a multiple of, in units of x per unit of d."""
        return 1.0 / self.scale if self.scale else 1.0

    def deviation(self, column: Column) -> Column:
        """``d`` as an expression."""
        if self.scale > 1:
            column = nearest(column * number(float(self.scale)))
        return column - number(self.shift)


@dataclass(frozen=True, slots=True)
class Scanned:
    """What one pass over a column tells: the profile and how many values lie off each grid."""

    profile: ColumnProfile
    off_grid: Mapping[int, int]

    def scale(self) -> Scale:
        """The coarsest grid that holds every value, and a shift near the mean."""
        p = self.profile
        if p.mean is None or p.minimum is None or p.maximum is None:
            return Scale(1, 0.0)
        reach = max(abs(p.minimum), abs(p.maximum))
        grids = [g for g in _GRIDS if not self.off_grid.get(g, 1) and reach * g < _GRID_LIMIT]
        scale = grids[0] if grids else 0
        return Scale(scale, _shift(p.minimum, p.mean, p.maximum, scale))


def _shift(low: float, mean: float, high: float, scale: int) -> float:
    """A short number near the mean; the same one whatever the last bits of the mean are."""
    factor = scale or 1
    span = (high - low) * factor
    if span <= 0:
        return round(low * factor) if scale else low
    step = 2.0 ** math.floor(math.log2(span / 1024))
    if scale:
        step = max(step, 1.0)
    return round(mean * factor / step) * step


def number(value: float) -> Column:
    """A 64-bit float constant; written as text, because engines read decimals differently."""
    return ibis.literal(repr(float(value))).cast("float64")


def nearest(column: Column) -> Column:
    """The nearest whole number of values below 2⁵¹, in plain arithmetic."""
    return column + number(_ROUNDER) - number(_ROUNDER)


def off_grid(column: Column, grid: int) -> Column:
    """How many values are no multiple of 1/grid, the nearest decimals taken for the same."""
    there = nearest(column)
    if grid > 1:
        there = nearest(column * number(float(grid))) / number(float(grid))
    return (there != column).ifelse(1, 0).sum()


@dataclass(frozen=True, slots=True)
class Scan:
    """Rows of the table, what is known of each column, about how many cohorts a dimension has.

    Columns in ``guessed`` were not read: their range is the file's own and their mean a sample's.
    """

    rows: int
    columns: Mapping[str, Scanned]
    distinct: Mapping[str, int]
    guessed: frozenset[str] = frozenset()


def scan(
    engine: Engine,
    table: Table,
    columns: Mapping[str, str],
    cohorts: Sequence[str] = (),
    known: Mapping[str, Range] | None = None,
    shares: Container[str] = (),
) -> Scan:
    """Profile columns in one pass; ``columns`` gives the name that messages use.

    A column with ``known`` range is not read when its values lie on no grid, or when there are so
    many that exact sums would cost more than they give; ``shares``, which must be 0 or 1, always
    are. Values that no statistic can be computed from (NaN, infinite, above 1e75) are refused.
    """
    ranges = known or {}
    sample = _sample(engine, table, list(columns))
    grids = {name: _grid_so_far(sample[name]) for name in columns}
    guessed = {
        name
        for name, r in ranges.items()
        if name in columns and sample[name] and r.missing < r.rows
        if not grids[name] or (r.rows > MOST_EXACT_ROWS and name not in shares)
    }
    wanted = {"rows": table.count()}
    for name in columns:
        if name not in guessed:
            wanted |= _summary(table[name], name, grids[name])
    if len(cohorts) > 1:
        wanted |= {f"distinct_{name}": table[name].approx_nunique() for name in cohorts}
    row = engine.fetch(table.aggregate(**wanted)).to_pylist()[0]
    for name in guessed:
        row |= _guess(name, ranges[name], sample[name])
    found = {name: _scanned(row, name, label, grids[name]) for name, label in columns.items()}
    _try_coarser(engine, table, found, grids)
    distinct = {name: int(row.get(f"distinct_{name}") or 1) for name in cohorts}
    return Scan(int(row["rows"]), found, distinct, frozenset(guessed))


def _summary(column: Column, name: str, grid: int) -> dict[str, Any]:
    summary = {
        f"n_{name}": column.count(),
        f"mean_{name}": column.mean(),
        f"low_{name}": column.min(),
        f"high_{name}": column.max(),
    }
    if grid:
        summary[f"off_{name}"] = off_grid(column, grid)
    return summary


def _sample(engine: Engine, table: Table, names: list[str]) -> dict[str, list[float]]:
    """Some finite values of each column."""
    if not names:
        return {}
    rows = engine.fetch(table.select(*names).limit(_SAMPLE))
    return {
        name: [v for v in rows[name].to_pylist() if v is not None and math.isfinite(v)]
        for name in names
    }


def _grid_so_far(values: list[float]) -> int:
    """The coarsest grid that holds a few values: whole numbers, two decimals, or none (0)."""
    return next((g for g in _GRIDS if all(round(v * g) / g == v for v in values)), 0)


def _guess(name: str, known: Range, sample: list[float]) -> dict[str, Any]:
    mean = min(max(math.fsum(sample) / len(sample), known.low), known.high)
    return {
        f"n_{name}": known.rows - known.missing,
        f"mean_{name}": mean,
        f"low_{name}": known.low,
        f"high_{name}": known.high,
    }


def _try_coarser(
    engine: Engine, table: Table, found: dict[str, Scanned], grids: Mapping[str, int]
) -> None:
    """Columns that began with whole numbers and went on with cents are tried on the finer grid."""
    wanted = {
        name: off_grid(table[name], _GRIDS[1])
        for name, scanned in found.items()
        if grids[name] == 1 and scanned.off_grid.get(1)
    }
    if wanted:
        row = engine.fetch(table.aggregate(**wanted)).to_pylist()[0]
        for name, off in row.items():
            found[name] = replace(found[name], off_grid={**found[name].off_grid, _GRIDS[1]: off})


def _scanned(row: Mapping[str, Any], name: str, label: str, grid: int) -> Scanned:
    n = int(row[f"n_{name}"])
    if n == 0:
        return Scanned(ColumnProfile(0, int(row["rows"]), None, None, None), {})
    low, high = float(row[f"low_{name}"]), float(row[f"high_{name}"])
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = low if math.isinf(low) else high
        raise DataError(
            f"column {label!r} holds {bad}, which is not a number to average. "
            "Leave the value empty where nothing was measured."
        )
    if max(abs(low), abs(high)) > LARGEST:
        raise DataError(
            f"column {label!r} holds {low if abs(low) > LARGEST else high!r}, must be within "
            f"±{LARGEST:g}. Correct the value or leave it empty."
        )
    profile = ColumnProfile(n, int(row["rows"]) - n, float(row[f"mean_{name}"]), low, high)
    off = row.get(f"off_{name}")
    return Scanned(profile, {} if off is None else {grid: int(off)})


def with_zeros(scanned: Scanned) -> Scanned:
    """The profile after every missing value has become 0."""
    p = scanned.profile
    if not p.missing:
        return scanned
    n = p.n + p.missing
    if p.mean is None or p.minimum is None or p.maximum is None:
        return Scanned(ColumnProfile(n, 0, 0.0, 0.0, 0.0), dict.fromkeys(_GRIDS, 0))
    mean = p.mean * p.n / n
    filled = ColumnProfile(n, 0, mean, min(p.minimum, 0.0), max(p.maximum, 0.0))
    return replace(scanned, profile=filled)
