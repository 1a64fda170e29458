"""EconML with explicit LightGBM nuisances: one cross-fit for everybody and all cohorts.

A learner predicts outcomes from covariates and cohort codes in three folds, then its final stage
is run over the same out-of-fold predictions: once with one effect per arm, and once per dimension
with an effect per cohort. The propensity is the share of each arm, as randomisation made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.borders import econml_border
from measure.incrementality.rows import Rows

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]

FOLDS = 3
TREES = 50
MOST_DUMMIES = 50


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Rows of one metric that take part, n of them.

    ``treatment`` holds codes with control 0; ``features`` (n, 1 + dimensions) a column of zeros and
    the codes of the cohorts; ``covariates`` (n, k); ``exposure`` is empty where a plan names none.
    """

    outcome: Vector
    treatment: Codes
    features: Vector
    covariates: Vector
    exposure: Vector
    seed: int


class Fitted(Protocol):
    """A cross-fitted model that can be asked for averages of its effects."""

    def effects(self, featurizer: Ones) -> tuple[Vector, Vector]:
        """Points and standard errors of the featurizer's cohorts, (treatments, cohorts) each."""

    @property
    def residual(self) -> Vector:
        """Outcome minus its prediction from covariates alone, whatever the arm, (n,)."""


Learner = Callable[[Sample], Fitted]


@dataclass(frozen=True, slots=True, eq=False)
class CrossFit:
    """Effects and residuals of one metric.

    ``point`` and ``se`` are keyed by dimension (``None``: everybody) and have shape
    (treatments, cohorts); ``residual`` (n,) is NaN for rows that were left out.
    """

    arms: tuple[int, ...]
    point: dict[str | None, Vector]
    se: dict[str | None, Vector]
    residual: Vector

    def effect(self, arm: int, dimension: str | None, cohort: int) -> tuple[float, float] | None:
        """Effect and standard error, ``None`` where the arm took no part."""
        if arm not in self.arms[1:]:
            return None
        row = self.arms.index(arm) - 1
        return float(self.point[dimension][row, cohort]), float(self.se[dimension][row, cohort])


def cross_fit(
    rows: Rows,
    metric: str,
    arms: Sequence[int],
    usable: dict[str, Codes],
    seed: int,
    learner: Learner,
) -> CrossFit:
    """Fit one metric for the arms given (codes, control first).

    ``usable`` holds per dimension the cohort codes to estimate; the others get NaN.
    """
    kept, sample = _sample(rows, metric, arms, seed)
    with econml_border():
        model = learner(sample)
        one, error = model.effects(Ones())
        point: dict[str | None, Vector] = {None: one}
        se: dict[str | None, Vector] = {None: error}
        for place, (name, (_, labels)) in enumerate(rows.dimensions.items()):
            shape = (len(arms) - 1, len(labels))
            point[name], se[name] = np.full(shape, np.nan), np.full(shape, np.nan)
            for chunk in _chunks(usable.get(name, np.empty(0, dtype=np.int64))):
                found = model.effects(Dummies(place, chunk))
                point[name][:, chunk], se[name][:, chunk] = found
        residual = np.full(len(kept), np.nan)
        residual[kept] = model.residual
    return CrossFit(tuple(arms), point, se, residual)


def _sample(
    rows: Rows, metric: str, arms: Sequence[int], seed: int
) -> tuple[NDArray[np.bool_], Sample]:
    """Which rows (n,) take part, and what a learner sees of them."""
    outcome = rows.outcomes[metric]
    position = np.full(len(rows.arms), -1, dtype=np.int64)
    position[list(arms)] = np.arange(len(arms))
    treatment = position[rows.arm]
    kept = (treatment >= 0) & ~np.isnan(outcome)
    codes = [rows.dimensions[name][0][kept] for name in rows.dimensions]
    exposure = rows.exposures.get(metric, np.empty(0))
    return kept, Sample(
        outcome[kept],
        treatment[kept],
        np.column_stack([np.zeros(int(kept.sum())), *codes]).astype(float),
        rows.covariates[kept],
        exposure[kept] if len(exposure) else exposure,
        seed % 2**31,
    )


def _chunks(codes: Codes) -> Iterator[Codes]:
    """Dummies are orthogonal, so a dimension may be estimated some cohorts at a time."""
    for start in range(0, len(codes), MOST_DUMMIES):
        yield codes[start : start + MOST_DUMMIES]


def trees(units: int, seed: int) -> Any:
    """A LightGBM regression that gives the same bits each time."""
    from lightgbm import LGBMRegressor

    return LGBMRegressor(
        n_estimators=TREES,
        num_leaves=15,
        min_child_samples=int(np.clip(units // 200, 5, 100)),
        n_jobs=1,
        deterministic=True,
        force_row_wise=True,
        random_state=seed,
        verbose=-1,
    )


def shares() -> Any:
    """A propensity that is the share of each arm."""
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")


def folds(seed: int) -> Any:
    """Folds with the same share of each arm."""
    from sklearn.model_selection import StratifiedKFold

    return StratifiedKFold(FOLDS, shuffle=True, random_state=seed)


class Ones:
    """Featurizer of the final stage: one effect for everybody."""

    def fit(self, features: Vector, outcome: object = None) -> Ones:  # noqa: ARG002 - interface
        """Nothing to learn."""
        return self

    def transform(self, features: Vector) -> Vector:
        """Columns of the final stage, (n, cohorts)."""
        return np.ones((len(features), 1))

    def fit_transform(self, features: Vector, outcome: object = None) -> Vector:  # noqa: ARG002
        """The same."""
        return self.transform(features)


class Dummies(Ones):
    """Featurizer of the final stage: a dummy per cohort of one dimension."""

    def __init__(self, place: int, codes: Codes) -> None:
        self.place, self.codes = place, codes

    def transform(self, features: Vector) -> Vector:
        """1 where a row is of the cohort."""
        chosen: Vector = (features[:, [self.place + 1]] == self.codes).astype(float)
        return chosen
