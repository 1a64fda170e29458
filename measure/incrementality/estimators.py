"""The estimators by the names a plan uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from measure.incrementality.cells import Cells, Finding
from measure.incrementality.kinds.registry import DIFFERENCES
from measure.incrementality.orthogonal import models
from measure.incrementality.runs.compliance import complier_effects, complier_effects_by_cohort
from measure.incrementality.runs.differences import (
    by_arm_differences,
    cuped_differences,
    differences,
)
from measure.incrementality.runs.orthogonal import double_ml, double_ml_partialling_out, through
from measure.incrementality.runs.pooled_cohorts import pooled_cohorts
from measure.incrementality.runs.strata import post_stratified_differences
from measure.methods import Estimator
from measure.plan import Kind
from measure.results import Estimand

MEANS: frozenset[Kind] = frozenset({"mean", "proportion", "count"})
"""Kinds that are a mean over units."""
LINEAR: frozenset[Kind] = MEANS | {"ratio"}
"""Kinds that are a mean of one variable per unit, once ratios are linearised."""


@dataclass(frozen=True, slots=True)
class Runner:
    """How an estimator is run, and what it estimates for everybody and in a cohort."""

    run: Callable[[Cells], Iterator[Finding]]
    estimand: Estimand = Estimand.ITT
    in_cohort: Estimand = Estimand.ITT
    packages: tuple[str, ...] = ()
    """Packages whose versions a reader needs to get the same numbers again."""
    kinds: frozenset[Kind] = MEANS
    """Kinds of metric it can estimate; what is a mean over the rows of clusters is a ratio."""
    adjusts: bool = False
    """Whether covariates move its estimates, so that those measured too late would bias them."""


_PYMC = ("pymc", "arviz", "nutpie")
_ECONML = ("econml", "lightgbm")


def _orthogonal(
    run: Callable[[Cells], Iterator[Finding]], packages: tuple[str, ...] = ()
) -> Runner:
    return Runner(run, Estimand.ATE, Estimand.CATE, packages, adjusts=True)


ESTIMATORS: Mapping[Estimator, Runner] = {
    "difference": Runner(differences, kinds=frozenset(DIFFERENCES)),
    "cuped": Runner(cuped_differences, kinds=LINEAR, adjusts=True),
    "cuped_by_arm": Runner(by_arm_differences, kinds=LINEAR, adjusts=True),
    "post_stratification": Runner(post_stratified_differences, kinds=LINEAR),
    "hierarchical_bayes": Runner(pooled_cohorts, packages=_PYMC, kinds=frozenset(DIFFERENCES)),
    "double_ml": _orthogonal(double_ml),
    "double_ml_partialling_out": _orthogonal(double_ml_partialling_out),
    "double_ml_lightgbm": _orthogonal(through(models.linear, "double_ml_lightgbm"), _ECONML),
    "doubly_robust": _orthogonal(through(models.doubly_robust, "doubly_robust"), _ECONML),
    "causal_forest": _orthogonal(through(models.forest, "causal_forest"), _ECONML),
    # It refuses ratios itself, but knows the means over rows of clusters.
    "complier_effect": Runner(complier_effects, Estimand.CACE, Estimand.CACE, kinds=LINEAR),
    "complier_effect_by_cohort": Runner(
        complier_effects_by_cohort, Estimand.CACE, Estimand.CACE, _ECONML, adjusts=True
    ),
}
