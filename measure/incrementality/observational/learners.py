"""Double machine learning through EconML: LightGBM takes the covariates out, cross-fitted.

Partialling-out (LinearDML) and doubly robust scores (LinearDRLearner), both of Chernozhukov et al.
2018, and the doubly robust average over a causal forest (Athey, Tibshirani and Wager 2019). Each
is cross-fitted on several deals of three folds, whose nuisances are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.borders import econml_border
from measure.incrementality.observational.effects import Effects, Number
from measure.incrementality.observational.propensity import TRIM
from measure.incrementality.observational.sample import Sample, cohort_masks
from measure.incrementality.orthogonal.learners import Dummies, Ones

Vector = NDArray[np.float64]

FOLDS = 3
FOREST_TREES = 200


def double_ml(sample: Sample) -> Effects:
    """Residual on residual, for everybody and within each cohort."""
    with econml_border():
        from econml.dml import LinearDML

        model = LinearDML(**_nuisances(sample), **_common(sample))
        model.fit(sample.outcome, _codes(sample), X=None, W=_covariates(sample), cache_values=True)
        outcome, treated, _, _ = model.residuals_
        strength = float(model.robustness_value(null_hypothesis=0.0, alpha=1.0))
        found = model.intercept__inference()
    everybody = (float(found.point_estimate), float(found.stderr))
    cohorts = dict(_within(sample, np.asarray(outcome), np.asarray(treated).reshape(-1)))
    return Effects(everybody, cohorts=cohorts, strength=strength)


def _within(
    sample: Sample, outcome: Vector, treated: Vector
) -> Iterator[tuple[tuple[str, str], Number]]:
    """The final stage on a dummy per cohort."""
    for dimension, label, mask in cohort_masks(sample):
        if not 0 < sample.treated[mask].sum() < mask.sum():
            continue
        y, t = outcome[mask], treated[mask]
        effect = float(t @ y / (t @ t))
        error = np.sqrt(((y - effect * t) ** 2) @ t**2) / (t @ t)
        yield (dimension, label), (effect, float(error))


def doubly_robust(sample: Sample) -> Effects:
    """Average of doubly robust scores, for everybody and within each cohort."""
    with econml_border():
        model = _fit_scores(sample, _codes(sample), sample.outcome)
        point, error = _final(model, Ones())
        cohorts: dict[tuple[str, str], Number] = {}
        for place, (dimension, (codes, labels)) in enumerate(sample.dimensions.items()):
            present = np.unique(codes)
            points, errors = _final(model, Dummies(place, present))
            for code, value, se in zip(present, points, errors, strict=True):
                cohorts[dimension, labels[code]] = (float(value), float(se))
    return Effects((float(point[0]), float(error[0])), cohorts=cohorts)


def doubly_robust_instrument(sample: Sample) -> Effects:
    """Effect of a binary instrument on the outcome over its effect on treatment, by such scores.

    The error is that of the instrument's effect on outcome − effect × treatment, over its effect
    on treatment: the delta method for a ratio of two averages over the same units.
    """
    levels = np.unique(sample.instruments[:, 0])
    instrument = (sample.instruments[:, 0] == levels[-1]).astype(int)
    with econml_border():
        on_outcome = _final(_fit_scores(sample, instrument, sample.outcome), Ones())[0][0]
        on_treatment = _final(_fit_scores(sample, instrument, sample.treated), Ones())[0][0]
        effect = float(on_outcome / on_treatment)
        rest = sample.outcome - effect * sample.treated
        error = _final(_fit_scores(sample, instrument, rest), Ones())[1][0]
    return Effects((effect, float(error / abs(on_treatment))))


def causal_forest(sample: Sample) -> Effects:
    """Doubly robust average over a causal forest; no effects by cohort."""
    with econml_border():
        from econml.dml import CausalForestDML

        model = CausalForestDML(
            **_nuisances(sample),
            **_common(sample),
            n_estimators=FOREST_TREES,
            min_samples_leaf=10,
            n_jobs=1,
        )
        model.fit(sample.outcome, _codes(sample), X=_covariates(sample))
        value, error = float(model.ate_[0]), float(model.ate_stderr_[0])
    return Effects((value, error))


def _fit_scores(sample: Sample, treated: Any, outcome: Vector) -> Any:
    """Cross-fit doubly robust scores of a 0/1 treatment; the final stage is one average."""
    from econml.dr import LinearDRLearner
    from lightgbm import LGBMClassifier, LGBMRegressor
    from sklearn.pipeline import make_pipeline

    codes = [codes for codes, _ in sample.dimensions.values()]
    features = np.column_stack([np.zeros(sample.n), *codes]).astype(float)
    without = features.shape[1]
    common = _common(sample)
    common.pop("discrete_treatment")
    model = LinearDRLearner(
        model_propensity=make_pipeline(_Without(without), LGBMClassifier(**_trees(sample))),
        model_regression=make_pipeline(_Without(without), LGBMRegressor(**_trees(sample))),
        min_propensity=TRIM,
        featurizer=Ones(),
        fit_cate_intercept=False,
        **common,
    )
    model.fit(outcome, treated, X=features, W=_covariates(sample), cache_values=True)
    return model


def _final(model: Any, featurizer: Any) -> tuple[Vector, Vector]:
    """Effects and errors of a final stage on the same scores."""
    model.featurizer = featurizer
    model.refit_final()
    found = model.coef__inference(T=1)
    return np.atleast_1d(found.point_estimate), np.atleast_1d(found.stderr)


def _nuisances(sample: Sample) -> dict[str, Any]:
    from lightgbm import LGBMClassifier, LGBMRegressor

    return {
        "model_y": LGBMRegressor(**_trees(sample)),
        "model_t": LGBMClassifier(**_trees(sample)),
    }


def _common(sample: Sample) -> dict[str, Any]:
    return {
        "discrete_treatment": True,
        "categories": [0, 1],
        "cv": FOLDS,
        "mc_iters": sample.deals,
        "mc_agg": "mean",
        "random_state": sample.seed % 2**31,
    }


def _trees(sample: Sample) -> dict[str, Any]:
    """Shallow, slow trees: a hundred small steps overfit neither 1,500 nor 10,000 units."""
    return {
        "n_estimators": 100,
        "num_leaves": 6,
        "learning_rate": 0.05,
        "min_child_samples": max(10, sample.n // 50),
        "n_jobs": 1,
        "deterministic": True,
        "force_row_wise": True,
        "random_state": sample.seed % 2**31,
        "verbose": -1,
    }


def _codes(sample: Sample) -> NDArray[np.int64]:
    return sample.treated.astype(np.int64)


def _covariates(sample: Sample) -> Vector:
    """At least one column, for a graph may ask for nothing to be held equal."""
    return sample.matrix if sample.matrix.shape[1] else np.zeros((sample.n, 1))


class _Without:
    """First step of a nuisance: cohorts are reported, not held equal, so their codes go."""

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def get_params(self, deep: object = None) -> dict[str, int]:  # noqa: ARG002 - interface
        return {"columns": self.columns}

    def set_params(self, **params: int) -> _Without:
        self.columns = params.get("columns", self.columns)
        return self

    def fit(self, features: Vector, outcome: object = None) -> _Without:  # noqa: ARG002
        return self

    def transform(self, features: Vector) -> Vector:
        return features[:, self.columns :]

    def fit_transform(self, features: Vector, outcome: object = None) -> Vector:  # noqa: ARG002
        return self.transform(features)
