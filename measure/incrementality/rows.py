"""Rows of a unit table, integer-coded: for the few estimators that need units one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.inputs import Units
from measure.plan import AnalysisPlan
from measure.results import Cohort

if TYPE_CHECKING:
    import pyarrow as pa

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """``arm`` (n,) codes in the plan's order of ``arms``; outcomes (n,), NaN where missing.

    ``covariates`` has shape (n, k); ``dimensions`` maps a dimension to codes (n,) and the cohorts
    they stand for.
    """

    arms: tuple[str, ...]
    arm: Codes
    outcomes: Mapping[str, Vector]
    covariates: Vector
    dimensions: Mapping[str, tuple[Codes, tuple[str, ...]]]

    def members(self, cohort: Cohort | None) -> NDArray[np.bool_]:
        """Which rows belong to a cohort; all for ``None``."""
        if cohort is None:
            return np.ones(len(self.arm), dtype=bool)
        codes, values = self.dimensions[cohort.dimension]
        if cohort.value not in values:
            return np.zeros(len(self.arm), dtype=bool)
        found: NDArray[np.bool_] = codes == values.index(cohort.value)
        return found


def fetch_rows(units: Units, plan: AnalysisPlan) -> Rows:
    """Read the plan's columns once, as Arrow, and code them."""
    names = list(dict.fromkeys([*(m.name for m in plan.metrics), *plan.covariates, *plan.cohorts]))
    table = units.rows(names)
    arms = tuple(plan.arms)
    codes, labels = _encode(table["arm"])
    position = np.array([arms.index(label) for label in labels], dtype=np.int64)
    columns = [_numbers(table[name]) for name in plan.covariates]
    covariates = np.column_stack(columns) if columns else np.empty((table.num_rows, 0))
    gaps = np.isnan(covariates)
    if gaps.any():
        covariates = np.where(gaps, np.nanmean(covariates, axis=0), covariates)
    return Rows(
        arms=arms,
        arm=position[codes],
        outcomes={m.name: _numbers(table[m.name]) for m in plan.metrics},
        covariates=covariates,
        dimensions={name: _encode(table[name]) for name in plan.cohorts},
    )


def _numbers(column: pa.ChunkedArray) -> Vector:
    """64-bit floats with NaN for missing values."""
    return np.array(column.cast("float64").to_numpy(), dtype=float)


def _encode(column: pa.ChunkedArray) -> tuple[Codes, tuple[str, ...]]:
    """Codes and labels; a numeric dimension reads as it does in the cohort's name."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    labels = _labels(encoded.dictionary.to_pylist())
    return np.asarray(encoded.indices.to_numpy(), dtype=np.int64), labels


def _labels(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(
        str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        for value in values
    )
