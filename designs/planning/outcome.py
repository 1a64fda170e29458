"""One metric as history shows it, in the form in which the analysis will judge it.

A ratio of sums is judged by its linearised value per unit, R + (y − R d)/d̄, whose mean is the ratio
and whose variance is that of the delta method (Deng, Knoblich and Lu 2018, KDD, equation 4). The
same holds for rows that lie below the unit of randomisation: the engine adds them up, and a mean
becomes the ratio of a cluster's sum to its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from designs.planning.baseline import Acts, Baseline
from designs.planning.simulation import Values
from measure.errors import DataError, InputError
from measure.incrementality import cuped
from measure.incrementality.ratio import linearised, unstable
from measure.moments import DENOMINATOR, Moments, total
from measure.plan import AnalysisPlan, Metric

if TYPE_CHECKING:
    from measure.engine.units import UnitTable

PLANNED = ("mean", "proportion", "count", "ratio")
"""Kinds of metric that can be planned."""
NOT_PLANNED = (
    "a {kind} is not planned: no formula says how precise it will be. Plan a mean or a proportion "
    "that moves with it"
)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One metric in history.

    ``moments`` are those of (outcome, *covariates), the outcome of a ratio linearised; ``values``
    are counted values of its own column, above the line of a ratio.
    """

    metric: Metric
    moments: Moments
    values: Values
    missing: float
    linearised: bool = False

    @property
    def adjustment(self) -> cuped.Adjustment | None:
        """CUPED's slopes in history; ``None`` without covariates or below three units."""
        if len(self.moments.columns) < 2 or self.moments.n < 3:
            return None
        nobody = Moments.empty(self.moments.columns)
        return cuped.fit(nobody, self.moments)

    @property
    def r_squared(self) -> float | None:
        """Share of variance that the covariates explain."""
        found = self.adjustment
        if found is None or self.moments.variance <= 0:
            return None
        left = cuped.adjust(self.moments, found).variance / self.moments.variance
        return min(max(1 - left, 0.0), 1 - 1e-12)

    def baseline(self, acts: Acts, *, adjusted: bool) -> Baseline:
        """One unit's outcome as the estimator sees it."""
        r_squared = (self.r_squared or 0.0) if adjusted else 0.0
        mean = float(self.moments.mean[0])
        if self.metric.kind == "proportion" and not self.linearised:
            return Baseline.of_proportion(mean).adjusted(r_squared)
        variance = self.moments.variance if self.moments.n > 1 else 0.0
        if self.linearised:
            way: Acts = "shift" if acts == "shift" else "amounts"
            return Baseline(mean, variance, "ratio", r_squared, acts=way)
        way, acting = self.values.way(acts), self.values.acting
        return Baseline(mean, variance, r_squared=r_squared, acts=way, acting=acting)


def outcomes(units: UnitTable, plan: AnalysisPlan, arms: Sequence[str]) -> dict[str, Outcome]:
    """Every metric of the plan over the arms that stand for history."""
    moments = units.moments()
    found = {}
    for metric in plan.metrics:
        values = _values(units, metric, arms)
        pooled = total(moments.get(metric.name, arm) for arm in arms)
        everybody = sum(moments.units[arm] for arm in arms)
        missing = 1 - pooled.n / everybody if everybody else 0.0
        linear = DENOMINATOR in pooled.columns
        if linear and unstable(pooled):
            raise DataError(
                f"metric {metric.name!r}: its denominator {unstable(pooled)} in history."
            )
        seen = (linearised(pooled) if linear else pooled).without_companions()
        found[metric.name] = Outcome(metric, seen, values, missing, linear)
    return found


def plannable(plan: AnalysisPlan) -> tuple[AnalysisPlan, tuple[Metric, ...]]:
    """The plan without metrics that cannot be planned, and those.

    :class:`InputError` when the primary metric is one of them.
    """
    left_out = tuple(metric for metric in plan.metrics if metric.kind not in PLANNED)
    for metric in left_out:
        if metric.name == plan.primary.name:
            why = NOT_PLANNED.format(kind=metric.kind)
            raise InputError(f"metric {metric.name!r}: {why}, and make that one primary.")
    kept = tuple(metric for metric in plan.metrics if metric.kind in PLANNED)
    return plan.model_copy(update={"metrics": kept}), left_out


def _values(units: UnitTable, metric: Metric, arms: Sequence[str]) -> Values:
    counted = units.value_counts(metric.name)
    pairs = [(counted[arm].values, counted[arm].counts) for arm in arms]
    values, counts = (np.concatenate(some) for some in zip(*pairs, strict=True))
    if not len(values):
        raise DataError(f"metric {metric.name!r} has no value in history. Load more of it.")
    distinct, index = np.unique(values, return_inverse=True)
    weights = np.zeros(len(distinct), dtype=np.int64)
    np.add.at(weights, index, counts)
    return Values(distinct, weights)
