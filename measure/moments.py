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

DENOMINATOR = "(denominator)"
"""Companion column of a ratio: what the outcome is divided by, unit by unit."""
EXPOSURE = "(exposure)"
"""Companion column of every metric of a plan with an exposure: 1 where the unit was reached."""
COMPANIONS = (DENOMINATOR, EXPOSURE)
"""Columns that stand beside an outcome and are no covariates, in the order in which they come."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Statistics of ``k`` columns over ``n`` units.

    ``mean`` has shape (k,), ``comoment`` (k, k) holds Σ(x−x̄)(y−ȳ), ``third`` (k,) holds Σ(x−x̄)³.
    By convention the first column is the outcome y, then come covariates, then companions
    (:data:`COMPANIONS`). ``mixed`` (2, k) holds Σ(y−ȳ)²(x−x̄) and Σ(y−ȳ)(x−x̄)², from which the
    third power of a combination of outcome and companion follows; NaN where it was not asked for.
    """

    columns: tuple[str, ...]
    n: int
    mean: Vector
    comoment: Vector
    third: Vector
    mixed: Vector | None = None

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
        y = centred[:, 0]
        mixed = np.stack([y**2 @ centred, y @ centred**2])
        third = (centred**3).sum(axis=0)
        return cls(tuple(columns), len(x), mean, centred.T @ centred, third, mixed)

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
        mixed = None
        if self.mixed is not None and other.mixed is not None:
            mixed = self._mixed_around(self.mixed, -delta * other.n / n)
            mixed = mixed + other._mixed_around(other.mixed, delta * self.n / n)
        return Moments(self.columns, n, self.mean + delta * other.n / n, comoment, third, mixed)

    def _mixed_around(self, mixed: Vector, offset: Vector) -> Vector:
        """``mixed`` with deviations from a point that lies ``offset`` below each mean."""
        y, squares, products = offset[0], np.diag(self.comoment), self.comoment[0]
        first = mixed[0] + offset * squares[0] + 2 * y * products + self.n * y**2 * offset
        second = mixed[1] + y * squares + 2 * offset * products + self.n * y * offset**2
        return np.stack([first, second])

    def at(self, column: str) -> int:
        """Position of a column; :class:`KeyError` when there is none of that name."""
        if column not in self.columns:
            raise KeyError(column)
        return self.columns.index(column)

    def pick(self, *columns: str) -> Moments:
        """The same statistics of some columns, in the order given."""
        chosen = [self.at(column) for column in columns]
        same_outcome = self.mixed is not None and chosen[:1] == [0]
        return Moments(
            tuple(columns),
            self.n,
            self.mean[chosen],
            self.comoment[np.ix_(chosen, chosen)],
            self.third[chosen],
            self.mixed[:, chosen] if self.mixed is not None and same_outcome else None,
        )

    def without_companions(self) -> Moments:
        """The outcome and its covariates."""
        kept = [name for name in self.columns if name not in COMPANIONS]
        return self if len(kept) == len(self.columns) else self.pick(*kept)

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
        if found is None:
            everybody = self.cells.get((metric, None, arm))
            return Moments.empty(everybody.columns if everybody else (metric,))
        return found

    def has(self, metric: str, companion: str) -> bool:
        """Whether the cells of a metric carry a companion column (:data:`COMPANIONS`)."""
        whole = (self.cells.get((metric, None, arm)) for arm in self.units)
        return any(companion in moments.columns for moments in whole if moments is not None)

    def cohorts(self, dimension: str) -> tuple[Cohort, ...]:
        """Cohorts of a dimension in sorted order."""
        found = {c for _, c, _ in self.cells if c is not None and c.dimension == dimension}
        return tuple(sorted(found, key=lambda cohort: cohort.value))


JointMoments = Mapping[tuple[str, tuple[str, ...], str], Moments]
"""Moments by metric, combination of cohorts (a value of every dimension, in order) and arm."""


def total(parts: Iterable[Moments]) -> Moments:
    """Sum of one or more moments."""
    return reduce(add, parts)
