"""The estimators by the names a plan uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from measure.incrementality.cells import Cells, Finding
from measure.incrementality.runs.differences import cuped_differences, differences
from measure.incrementality.runs.orthogonal import double_ml
from measure.incrementality.runs.pooled_cohorts import pooled_cohorts
from measure.methods import Estimator
from measure.results import Estimand


@dataclass(frozen=True, slots=True)
class Runner:
    """How an estimator is run, and what it estimates for everybody and in a cohort."""

    run: Callable[[Cells], Iterator[Finding]]
    estimand: Estimand = Estimand.ITT
    in_cohort: Estimand = Estimand.ITT
    packages: tuple[str, ...] = ()
    """Packages whose versions a reader needs to get the same numbers again."""


ESTIMATORS: Mapping[Estimator, Runner] = {
    "difference": Runner(differences),
    "cuped": Runner(cuped_differences),
    "hierarchical_bayes": Runner(pooled_cohorts, packages=("pymc", "arviz")),
    "double_ml": Runner(double_ml, Estimand.ATE, Estimand.CATE, ("econml", "lightgbm")),
}
