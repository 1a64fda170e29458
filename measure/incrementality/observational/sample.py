"""The units of one comparison: outcome, treatment and covariates as numbers, missing ones gone.

``basis`` is what the linear models see of the covariates: dummies for up to six distinct values,
standardised values and their squares for more.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from measure.errors import InputError
from measure.incrementality.rows import Rows

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]

FEW_VALUES = 6
MOST_LABELS = 50


@dataclass(frozen=True, eq=False)
class Sample:
    """``outcome`` (n,), ``treated`` (n,) of 0 and 1; each covariate (n, columns).

    ``instruments`` has shape (n, q); ``dimensions`` holds codes (n,) per cohort dimension, with
    the labels they stand for. ``seed`` feeds every draw made with this sample.
    """

    outcome: Vector
    treated: Vector
    covariates: Mapping[str, Vector]
    instruments: Vector
    dimensions: Mapping[str, tuple[Codes, tuple[str, ...]]]
    seed: int
    deals: int = 3
    """How often learners deal units into folds; nuisances are averaged over the deals."""

    @property
    def n(self) -> int:
        """Units."""
        return len(self.outcome)

    @property
    def n_treated(self) -> int:
        """Treated units."""
        return int(self.treated.sum())

    @cached_property
    def matrix(self) -> Vector:
        """Covariates side by side, (n, k)."""
        return np.column_stack([np.empty((self.n, 0)), *self.covariates.values()])

    @cached_property
    def basis(self) -> Vector:
        """What linear models see of the covariates, (n, m)."""
        return np.column_stack([np.empty((self.n, 0)), *self.terms.values()])

    @cached_property
    def terms(self) -> dict[str, Vector]:
        """Columns of the basis by covariate."""
        return {name: _terms(values) for name, values in self.covariates.items()}

    def generator(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def where(self, kept: Mask) -> Sample:
        """The units kept."""
        return replace(
            self,
            outcome=self.outcome[kept],
            treated=self.treated[kept],
            covariates={name: values[kept] for name, values in self.covariates.items()},
            instruments=self.instruments[kept],
            dimensions={k: (codes[kept], names) for k, (codes, names) in self.dimensions.items()},
        )

    def with_covariate(self, name: str, values: Vector) -> Sample:
        """The same units with one more covariate."""
        return replace(self, covariates={**self.covariates, name: values.reshape(-1, 1)})


def sample_of(
    rows: Rows,
    metric: str,
    arms: tuple[str, str],
    names: Sequence[str],
    instruments: Sequence[str],
    measured: Sequence[str],
    seed: int,
) -> Sample:
    """Units of control and arm that have the metric.

    ``names`` are the covariates to hold equal, numbers or cohort dimensions; ``measured`` names
    the columns of ``rows.covariates``. Raises :class:`InputError` for a dimension with more than
    fifty values, which cannot be held equal.
    """
    control, arm = (rows.arms.index(name) for name in arms)
    outcome = rows.outcomes[metric]
    kept = np.isin(rows.arm, (control, arm)) & ~np.isnan(outcome)
    columns = {name: rows.covariates[:, place] for place, name in enumerate(measured)}
    held = {
        name: columns[name][:, None] if name in columns else _dummies(rows, name) for name in names
    }
    chosen = [columns[name] for name in instruments]
    everybody = Sample(
        outcome=outcome,
        treated=(rows.arm == arm).astype(float),
        covariates=held,
        instruments=np.column_stack([np.empty((len(outcome), 0)), *chosen]),
        dimensions=rows.dimensions,
        seed=zlib.crc32(f"{seed}\x1f{metric}\x1f{arms[1]}".encode()),
    )
    return everybody.where(kept)


def cohort_masks(sample: Sample) -> Iterator[tuple[str, str, Mask]]:
    """Dimension, label and units of every cohort."""
    for dimension, (codes, labels) in sample.dimensions.items():
        for code, label in enumerate(labels):
            yield dimension, label, codes == code


def _dummies(rows: Rows, dimension: str) -> Vector:
    """One column per value of a dimension but the first."""
    codes, labels = rows.dimensions[dimension]
    if len(labels) > MOST_LABELS:
        raise InputError.rule(
            "cohort",
            dimension,
            f"has {len(labels):,} values; at most {MOST_LABELS} can be held equal",
            "Group them, or leave it out of the graph.",
        )
    order = np.argsort(np.array(labels))
    found: Vector = (codes[:, None] == order[1:]).astype(float)
    return found


def _terms(values: Vector) -> Vector:
    """Columns of the basis for one covariate; none where it does not vary."""
    if values.shape[1] != 1:
        varying: Vector = values[:, values.std(axis=0) > 0]
        return varying
    column = values[:, 0]
    distinct = np.unique(column)
    if len(distinct) < 2:
        return np.empty((len(column), 0))
    if len(distinct) <= FEW_VALUES:
        dummies: Vector = (values == distinct[1:]).astype(float)
        return dummies
    scaled = (column - column.mean()) / column.std()
    return np.column_stack([scaled, scaled**2])
