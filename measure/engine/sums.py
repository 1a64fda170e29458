"""What one grouped scan sums: blocks of columns, their scales, and the aggregates to ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from measure.engine.profile import Scale

if TYPE_CHECKING:
    from measure.engine.expressions import Column, Table


class NotFinite(Exception):
    """A value in the data is NaN or infinite; a look at the columns tells which."""


@dataclass(frozen=True, slots=True)
class Block:
    """Metrics over the same units, with covariates and companions: one set of sums.

    ``where`` names the column whose missing values leave the block; ``None`` takes every unit.
    ``companions`` has the role and column of what stands beside a metric (a ratio's denominator,
    the unit's exposure); several metrics may share one.
    """

    metrics: tuple[str, ...]
    covariates: tuple[str, ...]
    where: str | None
    companions: Mapping[str, tuple[tuple[str, str], ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """Metrics first, then covariates, then companions."""
        beside = (column for metric in self.metrics for column in self.beside(metric))
        return self.metrics + self.covariates + tuple(dict.fromkeys(beside))

    def beside(self, metric: str) -> tuple[str, ...]:
        """Columns of a metric's companions."""
        return tuple(column for _, column in self.companions.get(metric, ()))

    def of(self, metric: str) -> tuple[str, ...]:
        """Columns of a metric's cells: its own, covariates, companions."""
        return (metric, *self.covariates, *self.beside(metric))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Products that an estimator can ask for; two metrics are never multiplied."""
        wanted = {
            (left, right)
            for metric in self.metrics
            for place, left in enumerate(self.of(metric))
            for right in self.of(metric)[place:]
        }
        order = {name: place for place, name in enumerate(self.columns)}
        key = {pair: sorted((order[pair[0]], order[pair[1]])) for pair in wanted}
        seen = {tuple(places) for places in key.values()}
        yield from ((self.columns[i], self.columns[j]) for i, j in sorted(seen))

    def mixed(self) -> Iterator[tuple[str, str]]:
        """Each metric with each of its companions, for mixed third powers."""
        for metric in self.metrics:
            yield from ((metric, column) for column in self.beside(metric))


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
    strata: Mapping[str, str] = field(default_factory=dict)
    """Column of the source to column, where cells are wanted per combination of their values."""

    def without_companions(self) -> Query:
        """The same scan of metrics and covariates alone."""
        return replace(self, blocks=tuple(replace(b, companions={}) for b in self.blocks))

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
        sums |= {f"s3_{number}_{a}": (d[a] * d[a] * d[a]).sum() for a in block.columns}
        sums |= {f"s21_{number}_{a}_{b}": (d[a] * d[a] * d[b]).sum() for a, b in block.mixed()}
        return sums | {
            f"s12_{number}_{a}_{b}": (d[a] * d[b] * d[b]).sum() for a, b in block.mixed()
        }

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
