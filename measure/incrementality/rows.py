"""Rows of a unit table, integer-coded: for the few estimators that need units one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.inputs import Units
from measure.moments import DENOMINATOR, EXPOSURE
from measure.plan import AnalysisPlan
from measure.results import Cohort

if TYPE_CHECKING:
    import pyarrow as pa

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rows:
    """``arm`` (n,) codes in the plan's order of ``arms``; outcomes (n,), NaN where missing.

    ``covariates`` has shape (n, k); ``dimensions`` maps a dimension to codes (n,) and the cohorts
    they stand for. Metrics that are ratios have ``denominators`` (n,). ``strata`` (n,) are codes of
    the combinations of the plan's strata.
    """

    arms: tuple[str, ...]
    arm: Codes
    outcomes: Mapping[str, Vector]
    covariates: Vector
    dimensions: Mapping[str, tuple[Codes, tuple[str, ...]]]
    denominators: Mapping[str, Vector]
    strata: Codes
    exposures: Mapping[str, Vector] = field(default_factory=dict)
    """1 where a unit was reached, per metric (n,); empty when the plan names no exposure."""

    def members(self, cohort: Cohort | None) -> NDArray[np.bool_]:
        """Which rows belong to a cohort; all for ``None``."""
        if cohort is None:
            return np.ones(len(self.arm), dtype=bool)
        found = np.zeros(len(self.arm), dtype=bool)
        found[self.places(cohort)] = True
        return found

    def places(self, cohort: Cohort | None) -> Codes:
        """Places of the rows of a cohort, ascending; all for ``None``."""
        if cohort is None:
            return np.arange(len(self.arm))
        order, ends = self._sorted[cohort.dimension]
        code = self.code(cohort)
        return order[:0] if code is None else order[ends[code] : ends[code + 1]]

    def compared(
        self, cohort: Cohort | None, pair: tuple[str, str]
    ) -> tuple[Codes, NDArray[np.bool_]]:
        """Places of the rows of a control and an arm in a cohort, and which are of the arm."""
        control, arm = (self.arms.index(name) for name in pair)
        places = self.places(cohort)
        codes = self.arm[places]
        used = (codes == control) | (codes == arm)
        return places[used], codes[used] == arm

    def code(self, cohort: Cohort) -> int | None:
        """Code of a cohort in its dimension; ``None`` when no row is in it."""
        return self._codes[cohort.dimension].get(cohort.value)

    @cached_property
    def _codes(self) -> Mapping[str, Mapping[str, int]]:
        named = self.dimensions.items()
        return {name: {v: i for i, v in enumerate(values)} for name, (_, values) in named}

    @cached_property
    def _sorted(self) -> Mapping[str, tuple[Codes, Codes]]:
        """Rows by cohort of each dimension, and where each cohort begins."""
        found = {}
        for name, (codes, values) in self.dimensions.items():
            counts = np.bincount(codes, minlength=len(values))
            ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            found[name] = (np.argsort(codes, kind="stable").astype(np.int64), ends)
        return found


def fetch_rows(units: Units, plan: AnalysisPlan, ratios: Sequence[str] = ()) -> Rows:
    """Read the plan's columns once, as Arrow, and code them; ``ratios`` have denominators."""
    below = {name: f"{name} {DENOMINATOR}" for name in ratios}
    metrics = [m.name for m in plan.metrics] if plan.exposure else []
    reached = {name: f"{name} {EXPOSURE}" for name in metrics}
    groups = (*plan.cohorts, *plan.strata)
    beside = (*below.values(), *reached.values())
    wanted = (*(m.name for m in plan.metrics), *plan.covariates, *groups, *beside)
    table = units.rows(list(dict.fromkeys(wanted)))
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
        denominators={name: _numbers(table[column]) for name, column in below.items()},
        strata=_combined([_encode(table[name])[0] for name in plan.strata], table.num_rows),
        exposures={name: _numbers(table[column]) for name, column in reached.items()},
    )


def _combined(parts: Sequence[Codes], n: int) -> Codes:
    """One code (n,) per combination of several codes."""
    if not parts:
        return np.zeros(n, dtype=np.int64)
    found = np.unique(np.stack(parts, axis=1), axis=0, return_inverse=True)[1]
    return np.asarray(found, dtype=np.int64).reshape(-1)


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
