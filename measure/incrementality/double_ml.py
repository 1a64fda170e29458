"""Double machine learning through EconML: average and per-cohort effects from one cross-fit.

Partialling-out (Chernozhukov et al. 2018) with :class:`econml.dml.LinearDML`: LightGBM predicts the
outcome from covariates and cohort codes in three folds, never from the arm; the propensity is the
share of each arm, as randomisation made it; the final stage regresses residual on residual, once
for everybody and once per dimension on cohort dummies, over the same residuals. Standard errors
are heteroskedasticity-robust (HC1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measure.errors import TrueliftError
from measure.incrementality.borders import econml_border
from measure.incrementality.rows import Rows

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]

FOLDS = 3
TREES = 50
MOST_DUMMIES = 50
NEEDS_COVARIATES = "needs covariates; name some in the plan"


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
    rows: Rows, metric: str, arms: Sequence[int], usable: dict[str, Codes], seed: int
) -> CrossFit:
    """Fit one metric for the arms given (codes, control first).

    ``usable`` holds per dimension the cohort codes to estimate; the others get NaN.
    """
    outcome = rows.outcomes[metric]
    position = np.full(len(rows.arms), -1, dtype=np.int64)
    position[list(arms)] = np.arange(len(arms))
    treatment = position[rows.arm]
    kept = (treatment >= 0) & ~np.isnan(outcome)
    codes = {name: rows.dimensions[name][0][kept] for name in rows.dimensions}
    with econml_border():
        model = _fit(outcome[kept], treatment[kept], rows.covariates[kept], codes, seed)
        point, se = _everybody(model)
        for place, (name, (_, labels)) in enumerate(rows.dimensions.items()):
            shape = (len(arms) - 1, len(labels))
            point[name], se[name] = np.full(shape, np.nan), np.full(shape, np.nan)
            for chunk in _chunks(usable.get(name, np.empty(0, dtype=np.int64))):
                found = _refit(model, _Dummies(place, chunk))
                point[name][:, chunk], se[name][:, chunk] = found
    residual = np.full(len(outcome), np.nan)
    residual[kept] = _residuals(model, rows.covariates[kept])
    return CrossFit(tuple(arms), point, se, residual)


def _fit(
    outcome: Vector, treatment: Codes, covariates: Vector, codes: dict[str, Codes], seed: int
) -> Any:
    """Cross-fit the nuisances; the final stage starts with one effect per arm."""
    from econml.dml import LinearDML
    from lightgbm import LGBMRegressor
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import StratifiedKFold

    leaf = int(np.clip(len(outcome) // 200, 5, 100))
    forest = LGBMRegressor(
        n_estimators=TREES,
        num_leaves=15,
        min_child_samples=leaf,
        n_jobs=1,
        deterministic=True,
        force_row_wise=True,
        random_state=seed % 2**31,
        verbose=-1,
    )
    model = LinearDML(
        model_y=forest,
        model_t=DummyClassifier(strategy="prior"),
        discrete_treatment=True,
        categories=list(range(int(treatment.max()) + 1)),
        featurizer=_Ones(),
        fit_cate_intercept=False,
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**31),
        random_state=seed % 2**31,
    )
    features = np.column_stack([np.zeros(len(outcome)), *codes.values()]).astype(float)
    model.fit(outcome, treatment, X=features, W=covariates, cache_values=True)
    return model


def _residuals(model: Any, covariates: Vector) -> Vector:
    """Outcome residuals in the order of the rows, which the library does not promise."""
    residual, _, _, seen = model.residuals_
    if not np.array_equal(seen, covariates):
        raise TrueliftError("EconML returned its residuals in another order than its input.")
    return np.asarray(residual)


def _everybody(model: Any) -> tuple[dict[str | None, Vector], dict[str | None, Vector]]:
    found = model.coef__inference()
    return {None: np.atleast_2d(found.point_estimate)}, {None: np.atleast_2d(found.stderr)}


def _refit(model: Any, featurizer: Any) -> tuple[Vector, Vector]:
    """Run the final stage again on the same residuals; shapes (treatments, cohorts)."""
    model.featurizer = featurizer
    model.refit_final()
    found = model.coef__inference()
    return np.atleast_2d(found.point_estimate), np.atleast_2d(found.stderr)


def _chunks(codes: Codes) -> Iterator[Codes]:
    """Dummies are orthogonal, so a dimension may be estimated some cohorts at a time."""
    for start in range(0, len(codes), MOST_DUMMIES):
        yield codes[start : start + MOST_DUMMIES]


class _Ones:
    """Featurizer of the final stage: one effect for everybody."""

    def fit(self, features: Vector, outcome: object = None) -> _Ones:  # noqa: ARG002 - interface
        return self

    def transform(self, features: Vector) -> Vector:
        return np.ones((len(features), 1))

    def fit_transform(self, features: Vector, outcome: object = None) -> Vector:  # noqa: ARG002
        return self.transform(features)


class _Dummies(_Ones):
    """Featurizer of the final stage: a dummy per cohort of one dimension."""

    def __init__(self, place: int, codes: Codes) -> None:
        self.place, self.codes = place, codes

    def transform(self, features: Vector) -> Vector:
        chosen: Vector = (features[:, [self.place + 1]] == self.codes).astype(float)
        return chosen
