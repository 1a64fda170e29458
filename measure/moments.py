"""Centred, additive sufficient statistics: all that the closed-form estimators need of the data.

``n``, the mean, the centred cross-products and the centred third powers of a few columns. They form
a commutative monoid: ``f(x ∪ y) == f(x) + f(y)`` (Chan, Golub and LeVeque 1983; third powers after
Pébay 2008, SAND2008-6212). Nothing is ever computed from raw sums of squares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import ArrayLike, NDArray

from measure.results import Cohort

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Statistics of ``k`` columns over ``n`` units.

    ``mean`` has shape (k,), ``comoment`` (k, k) holds Σ(x−x̄)(y−ȳ), ``third`` (k,) holds Σ(x−x̄)³.
    By convention the first column is the outcome and the rest are covariates.
    """

    columns: tuple[str, ...]
    n: int
    mean: Vector
    comoment: Vector
    third: Vector

    @classmethod
    def empty(cls, columns: Sequence[str]) -> Moments:
        """The neutral element."""
        k = len(columns)
        return cls(tuple(columns), 0, np.zeros(k), np.zeros((k, k)), np.zeros(k))

    @classmethod
    def from_values(cls, columns: Sequence[str], values: ArrayLike) -> Moments:
        """From a matrix of shape (n, k), or (n,) for one column."""
        x = np.asarray(values, dtype=float).reshape(-1, len(columns))
        if not len(x):
            return cls.empty(columns)
        mean = x.mean(axis=0)
        centred = x - mean
        return cls(tuple(columns), len(x), mean, centred.T @ centred, (centred**3).sum(axis=0))

    @classmethod
    def from_counts(cls, column: str, counts: Mapping[float, int]) -> Moments:
        """From the number of units at each value, for example ``{0: 915, 1: 85}``."""
        values = np.array(sorted(counts), dtype=float)
        weights = np.array([counts[value] for value in sorted(counts)], dtype=float)
        n = int(weights.sum())
        if n == 0:
            return cls.empty((column,))
        mean = float(weights @ values) / n
        centred = values - mean
        second = np.array([[weights @ centred**2]])
        return cls((column,), n, np.array([mean]), second, np.array([weights @ centred**3]))

    @classmethod
    def from_shifted_sums(
        cls,
        columns: Sequence[str],
        n: int,
        shift: ArrayLike,
        s1: ArrayLike,
        s2: ArrayLike,
        s3: ArrayLike,
    ) -> Moments:
        """From Σd, Σdd′ and Σd³ of d = x − shift, where the shift lies near the mean."""
        if n == 0:
            return cls.empty(columns)
        first, second = np.asarray(s1, dtype=float), np.asarray(s2, dtype=float)
        offset = first / n
        comoment = second - n * np.outer(offset, offset)
        np.fill_diagonal(comoment, np.maximum(np.diag(comoment), 0.0))
        third = np.asarray(s3, dtype=float) - 3 * offset * np.diag(second) + 2 * n * offset**3
        return cls(tuple(columns), n, np.asarray(shift, dtype=float) + offset, comoment, third)

    def __add__(self, other: Moments) -> Moments:
        """Statistics of both groups of units together."""
        if self.columns != other.columns:
            raise ValueError(f"columns differ: {self.columns} and {other.columns}")
        if self.n == 0 or other.n == 0:
            return other if self.n == 0 else self
        n = self.n + other.n
        delta = other.mean - self.mean
        weight = self.n * other.n / n
        comoment = self.comoment + other.comoment + weight * np.outer(delta, delta)
        third = (
            self.third
            + other.third
            + weight * (self.n - other.n) / n * delta**3
            + 3 * delta * (self.n * np.diag(other.comoment) - other.n * np.diag(self.comoment)) / n
        )
        return Moments(self.columns, n, self.mean + delta * other.n / n, comoment, third)

    @property
    def covariance(self) -> Vector:
        """Sample covariance matrix (k, k), ddof = 1; NaN below two units."""
        return self.comoment / (self.n - 1) if self.n > 1 else np.full_like(self.comoment, np.nan)

    @property
    def variance(self) -> float:
        """Sample variance of the outcome."""
        return float(self.covariance[0, 0])

    @property
    def skewness(self) -> float:
        """Moment skewness of the outcome, NaN when it does not vary."""
        second = self.comoment[0, 0] / self.n if self.n else 0.0
        return float(self.third[0] / self.n / second**1.5) if second > 0 else float("nan")

    def outcome(self) -> Moments:
        """The same statistics of the outcome alone."""
        return Moments(
            self.columns[:1], self.n, self.mean[:1], self.comoment[:1, :1], self.third[:1]
        )


@dataclass(frozen=True, slots=True, eq=False)
class CellMoments:
    """Moments per (metric, cohort, arm), as one scan of the unit table returns them.

    ``cells`` are keyed by ``(metric, cohort, arm)``; ``cohort`` is ``None`` for everybody.
    ``missing`` counts units without a value per ``(metric, arm)``, ``units`` all units per arm.
    """

    cells: Mapping[tuple[str, Cohort | None, str], Moments]
    units: Mapping[str, int]
    missing: Mapping[tuple[str, str], int]

    def get(self, metric: str, arm: str, cohort: Cohort | None = None) -> Moments:
        """Moments of one cell; an empty one when nobody is in it."""
        found = self.cells.get((metric, cohort, arm))
        return found if found is not None else Moments.empty((metric,))

    def cohorts(self, dimension: str) -> tuple[Cohort, ...]:
        """Cohorts of a dimension in sorted order."""
        found = {c for _, c, _ in self.cells if c is not None and c.dimension == dimension}
        return tuple(sorted(found, key=lambda cohort: cohort.value))


def total(parts: Iterable[Moments]) -> Moments:
    """Sum of one or more moments."""
    return reduce(add, parts)
