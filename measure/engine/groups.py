"""The groups of one scan, cut into cells and turned into moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from measure.engine.sums import Block, NotFinite, Query
from measure.moments import Moments
from measure.results import Cohort

if TYPE_CHECKING:
    import pyarrow as pa

_STRATA = "\x1fstrata"
_JOINT = "\x1fjoint"
_NOISE = 1e-12
"""Share of Σd² below which a cell's own variation is rounding: the cell does not vary."""

Matrix = NDArray[np.float64]
Codes = NDArray[np.int64]
Label = Callable[[Any], str]
Key = tuple[str, Cohort | None, str]
Coded = tuple[Codes, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one scan: an arm code, a cohort code per dimension, and the sums of each."""

    query: Query
    arms: tuple[str, ...]
    arm: Codes
    codes: Mapping[str, Coded]
    sums: Matrix
    position: Mapping[str, int]

    @classmethod
    def of(
        cls,
        fetched: pa.Table,
        query: Query,
        arms: Sequence[str],
        dims: Mapping[str, str],
        label: Label,
    ) -> Groups:
        """Read a fetched table, in an order that depends on the labels alone."""
        arm, known = _encode(fetched, query.arm, label, arms)
        codes = {d: _encode(fetched, column, label, ()) for d, column in dims.items()}
        if query.strata:
            codes[_STRATA] = _combined(
                {d: _encode(fetched, column, label, ()) for d, column in query.strata.items()}
            )
        names = [name for name in fetched.column_names if name.startswith(("n_", "s", "rows", "h"))]
        sums = np.column_stack([_floats(fetched, name) for name in names])
        order = np.lexsort([code for code, _ in codes.values()] + [arm])
        position = {name: index for index, name in enumerate(names)}
        sorted_codes = {d: (code[order], values) for d, (code, values) in codes.items()}
        return cls(query, known, arm[order], sorted_codes, sums[order], position)

    def strata(self) -> dict[str, Groups]:
        """The groups of each stratum, with every arm and cohort that the whole has."""
        code, labels = self.codes[_STRATA]
        found = {}
        for number, name in enumerate(labels):
            inside = code == number
            codes = {d: (some[inside], values) for d, (some, values) in self.codes.items()}
            found[name] = replace(self, arm=self.arm[inside], codes=codes, sums=self.sums[inside])
        return found

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

    def combinations(self) -> dict[tuple[str, tuple[str, ...], str], Moments]:
        """Cells of the combinations of all dimensions' cohorts that occur."""
        parts = [self.codes[dimension] for dimension in self.query.dimensions]
        occurring, code = np.unique(
            np.column_stack([codes for codes, _ in parts]), axis=0, return_inverse=True
        )
        numbers = tuple(str(number) for number in range(len(occurring)))
        joint = replace(self, codes={_JOINT: (code.reshape(-1), numbers)})
        values = {
            number: tuple(labels[place] for place, (_, labels) in zip(row, parts, strict=True))
            for number, row in zip(numbers, occurring.tolist(), strict=True)
        }
        return {
            (metric, values[cohort.value], arm): moments
            for (metric, cohort, arm), moments in joint.cells(_JOINT).items()
            if cohort is not None
        }

    def _block(
        self, merged: Matrix, number: int, block: Block, cohorts: Sequence[Cohort | None]
    ) -> dict[Key, Moments]:
        n = merged[:, self.position[f"n_{number}"]]
        mean, comoment, third, mixed = self._statistics(merged, number, block, n)
        kept = np.flatnonzero((merged[:, self.position["rows"]] > 0) | (len(cohorts) == 1))
        found: dict[Key, Moments] = {}
        for metric in block.metrics:
            beside = block.companions.get(metric, ())
            chosen = [block.columns.index(name) for name in block.of(metric)]
            shown = (
                *(self.query.names[name] for name in (metric, *block.covariates)),
                *(role for role, _ in beside),
            )
            part = (mean[:, chosen], comoment[:, chosen][:, :, chosen], third[:, chosen])
            both = mixed[metric][:, :, chosen] if beside else None
            for cell in kept:
                cohort, arm = divmod(int(cell), len(self.arms))
                found[(self.query.names[metric], cohorts[cohort], self.arms[arm])] = Moments(
                    shown,
                    int(n[cell]),
                    part[0][cell],
                    part[1][cell],
                    part[2][cell],
                    None if both is None else both[cell],
                )
        return found

    def _statistics(
        self, merged: Matrix, number: int, block: Block, n: Matrix
    ) -> tuple[Matrix, Matrix, Matrix, dict[str, Matrix]]:
        """Mean (cells, k), co-moments (cells, k, k) and third powers (cells, k) in original units.

        The same algebra as ``Moments.from_shifted_sums``, over all cells at once. Mixed third
        powers (cells, 2, k) exist for metrics with companions.
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
        mixed = {
            metric: self._mixed(merged, number, block, metric, offset, s2, some)
            for metric in block.metrics
            if block.beside(metric)
        }
        scales = [self.query.scales[name] for name in columns]
        unit = np.array([scale.unit for scale in scales])
        factor = np.array([scale.scale or 1.0 for scale in scales])
        shift = np.array([scale.shift for scale in scales])
        mean = np.where(n[:, None] > 0, (shift + offset) / factor, 0.0)
        for metric, powers in mixed.items():
            own = unit[columns.index(metric)]
            powers[:, 0] *= own**2 * unit
            powers[:, 1] *= own * unit**2
        return mean, comoment * unit[:, None] * unit[None, :], third * unit**3, mixed

    def _mixed(
        self,
        merged: Matrix,
        number: int,
        block: Block,
        metric: str,
        offset: Matrix,
        s2: Matrix,
        some: Matrix,
    ) -> Matrix:
        """Σ(y−ȳ)²(x−x̄) and Σ(y−ȳ)(x−x̄)² of a metric with its companions (cells, 2, k)."""
        i = block.columns.index(metric)
        y, n = offset[:, i], some[:, 0]
        powers = np.full((len(merged), 2, len(block.columns)), np.nan)
        for column in block.beside(metric):
            j = block.columns.index(column)
            x = offset[:, j]
            s21 = merged[:, self.position[f"s21_{number}_{metric}_{column}"]]
            s12 = merged[:, self.position[f"s12_{number}_{metric}_{column}"]]
            powers[:, 0, j] = s21 - x * s2[:, i, i] - 2 * y * s2[:, i, j] + 2 * n * y**2 * x
            powers[:, 1, j] = s12 - y * s2[:, j, j] - 2 * x * s2[:, i, j] + 2 * n * y * x**2
        return powers

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


def _combined(
    parts: Mapping[str, Coded],
) -> Coded:
    """Codes and labels of the combinations that occur, in sorted order of their labels."""
    columns = [np.array(labels, dtype=object)[code] for code, labels in parts.values()]
    texts = [" · ".join(row) for row in zip(*columns, strict=True)]
    labels = tuple(sorted(set(texts)))
    lookup = {text: code for code, text in enumerate(labels)}
    return np.array([lookup[text] for text in texts], dtype=np.int64), labels


def _encode(fetched: pa.Table, column: str, label: Label, known: Sequence[str]) -> Coded:
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
