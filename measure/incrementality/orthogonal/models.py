"""EconML's learners as this package uses them; each takes a sample and gives averages of effects.

``linear``         :class:`econml.dml.LinearDML`: residual on residual (Chernozhukov et al. 2018,
                   section 4.1), errors HC1
``doubly_robust``  :class:`econml.dr.LinearDRLearner`: doubly robust scores averaged (section 5.1;
                   Kennedy 2023), errors HC1
``forest``         :class:`econml.dml.CausalForestDML`: a forest of effects (Athey, Tibshirani and
                   Wager 2019); averages are of its doubly robust scores with out-of-bag effects
                   (section 4 there), so their intervals hold; those of averaged effects do not
``instrumented``   :class:`econml.iv.dml.OrthoIV`: assignment is the instrument of exposure
                   (Chernozhukov et al. 2018, section 4.2); in a cohort the ratio of two adjusted
                   effects of assignment, which is its complier effect, errors HC1

Forest and instrument take one arm against control at a time: their formulas are for two arms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measure.errors import TrueliftError
from measure.incrementality.orthogonal.learners import (
    Fitted,
    Ones,
    Sample,
    Vector,
    folds,
    shares,
    trees,
)

FOREST_TREES = 200
_ORDER = "EconML returned its residuals in another order than its input."


def linear(sample: Sample) -> Fitted:
    """Cross-fit LinearDML."""
    from econml.dml import LinearDML

    model = LinearDML(
        model_y=trees(len(sample.outcome), sample.seed),
        model_t=shares(),
        discrete_treatment=True,
        categories=list(range(int(sample.treatment.max()) + 1)),
        featurizer=Ones(),
        fit_cate_intercept=False,
        cv=folds(sample.seed),
        random_state=sample.seed,
    )
    model.fit(
        sample.outcome, sample.treatment, X=sample.features, W=sample.covariates, cache_values=True
    )
    residual, _, _, seen = model.residuals_
    if not np.array_equal(seen, sample.covariates):
        raise TrueliftError(_ORDER)
    return _Refitted(model, np.asarray(residual), per_arm=False)


def doubly_robust(sample: Sample) -> Fitted:
    """Cross-fit LinearDRLearner."""
    from econml.dr import LinearDRLearner

    arms = int(sample.treatment.max()) + 1
    model = LinearDRLearner(
        model_propensity=shares(),
        model_regression=trees(len(sample.outcome), sample.seed),
        categories=list(range(arms)),
        featurizer=Ones(),
        fit_cate_intercept=False,
        cv=folds(sample.seed),
        random_state=sample.seed,
    )
    model.fit(
        sample.outcome, sample.treatment, X=sample.features, W=sample.covariates, cache_values=True
    )
    cached = model._cached_values  # noqa: SLF001 - EconML shows only the models, not predictions
    if not np.array_equal(cached.W, sample.covariates):
        raise TrueliftError(_ORDER)
    scores, share = (part.reshape(-1, arms) for part in cached.nuisances[:2])
    # A score is the prediction m, plus (y − m) / share for the arm that a unit was in.
    weight = np.eye(arms)[sample.treatment] / share
    predicted = (scores - weight * sample.outcome[:, None]) / (1 - weight)
    return _Refitted(model, sample.outcome - (predicted * share).sum(axis=1), per_arm=True)


def forest(sample: Sample) -> Fitted:
    """Cross-fit CausalForestDML, arm by arm."""
    return _Pairs.of(sample, _forest_pair)


def instrumented(sample: Sample) -> Fitted:
    """Cross-fit OrthoIV, arm by arm."""
    return _Pairs.of(sample, _instrumented_pair)


def _forest_pair(sample: Sample) -> Fitted:
    from econml.dml import CausalForestDML

    model = CausalForestDML(
        model_y=trees(len(sample.outcome), sample.seed),
        model_t=shares(),
        discrete_treatment=True,
        n_estimators=FOREST_TREES,
        min_samples_leaf=int(np.clip(len(sample.outcome) // 200, 5, 100)),
        inference=False,
        drate=False,
        n_jobs=1,
        cv=folds(sample.seed),
        random_state=sample.seed,
    )
    features = np.column_stack([sample.covariates, sample.features])
    model.fit(sample.outcome, sample.treatment, X=features, cache_values=True, inference=None)
    residual, treated, seen, _ = model.residuals_
    if not np.array_equal(seen, features):
        raise TrueliftError(_ORDER)
    treated = treated.ravel()
    effect = model.model_cate.oob_predict(features).ravel()
    effect = np.where(np.isnan(effect), np.nanmean(effect), effect)
    share = sample.treatment - treated
    score = effect + treated / (share * (1 - share)) * (residual - effect * treated)
    return _Scored(score, np.asarray(residual), sample.features)


def _instrumented_pair(sample: Sample) -> Fitted:
    from econml.iv.dml import OrthoIV

    model = OrthoIV(
        model_y_xw=trees(len(sample.outcome), sample.seed),
        model_t_xw=trees(len(sample.outcome), sample.seed),
        model_z_xw=shares(),
        projection=False,
        featurizer=Ones(),
        fit_cate_intercept=False,
        discrete_treatment=False,
        discrete_instrument=True,
        cv=folds(sample.seed),
        random_state=sample.seed,
    )
    model.fit(
        sample.outcome,
        sample.exposure,
        Z=sample.treatment,
        X=sample.features,
        W=sample.covariates,
        cache_values=True,
    )
    residual, _, _, _, seen, _ = model.residuals_
    if not np.array_equal(seen, sample.covariates):
        raise TrueliftError(_ORDER)
    return _Refitted(model, np.asarray(residual), per_arm=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """One model per arm against control."""

    models: tuple[Fitted, ...]
    residual: Vector

    @classmethod
    def of(cls, sample: Sample, learner: Callable[[Sample], Fitted]) -> _Pairs:
        """Fit each arm; a unit of control gets the mean of its residuals."""
        models, total = [], np.zeros(len(sample.outcome))
        times = np.zeros(len(sample.outcome))
        for arm in range(1, int(sample.treatment.max()) + 1):
            pair = (sample.treatment == 0) | (sample.treatment == arm)
            models.append(learner(_restricted(sample, pair)))
            total[pair] += models[-1].residual
            times += pair
        return cls(tuple(models), total / times)

    def effects(self, featurizer: Ones) -> tuple[Vector, Vector]:
        """Of each arm in turn."""
        found = [model.effects(featurizer) for model in self.models]
        return np.vstack([point for point, _ in found]), np.vstack([se for _, se in found])


def _restricted(sample: Sample, kept: NDArray[np.bool_]) -> Sample:
    return replace(
        sample,
        outcome=sample.outcome[kept],
        treatment=(sample.treatment[kept] > 0).astype(np.int64),
        features=sample.features[kept],
        covariates=sample.covariates[kept],
        exposure=sample.exposure[kept] if len(sample.exposure) else sample.exposure,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """Doubly robust scores (n,) whose mean over a group is its effect."""

    score: Vector
    residual: Vector
    features: Vector

    def effects(self, featurizer: Ones) -> tuple[Vector, Vector]:
        """Means of the scores with their standard errors, (1, cohorts) each."""
        member = featurizer.transform(self.features)
        n = member.sum(axis=0)
        mean = self.score @ member / n
        squares = ((self.score[:, None] - mean) ** 2 * member).sum(axis=0)
        return mean[None], np.sqrt(squares / (n * np.maximum(n - 1, 1)))[None]


@dataclass(frozen=True, slots=True, eq=False)
class _Refitted:
    """A model whose final stage is run again on the same out-of-fold predictions."""

    model: Any
    residual: Vector
    per_arm: bool

    def effects(self, featurizer: Ones) -> tuple[Vector, Vector]:
        """Coefficients of the featurizer's columns."""
        self.model.featurizer = featurizer
        self.model.refit_final()
        if not self.per_arm:
            found = self.model.coef__inference()
            return np.atleast_2d(found.point_estimate), np.atleast_2d(found.stderr)
        parts = [
            self.model.coef__inference(T=arm) for arm in self.model.transformer.categories_[0][1:]
        ]
        return np.vstack([p.point_estimate for p in parts]), np.vstack([p.stderr for p in parts])
