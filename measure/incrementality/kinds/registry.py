"""Which module takes the difference of which kind of metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from measure.incrementality.comparison import Comparison
from measure.incrementality.findings import Finding
from measure.incrementality.kinds.means import difference_in_means
from measure.incrementality.kinds.quantiles import difference_in_quantiles, quantiles_as_means
from measure.incrementality.kinds.ratios import difference_in_ratios
from measure.incrementality.kinds.survival import curves_as_means, difference_in_survival
from measure.moments import Moments
from measure.plan import Kind

Difference = Callable[[Comparison], Finding]

DIFFERENCES: Mapping[Kind, Difference] = {
    "mean": difference_in_means,
    "proportion": difference_in_means,
    "count": difference_in_means,
    "ratio": difference_in_ratios,
    "quantile": difference_in_quantiles,
    "retention": difference_in_survival,
    "duration": difference_in_survival,
}

AS_MEANS: Mapping[Kind, Callable[[Comparison], tuple[Moments, Moments]]] = {
    "quantile": quantiles_as_means,
    "retention": curves_as_means,
    "duration": curves_as_means,
}
"""Kinds that are no mean of a column; control and arm as means with their variance all the same."""
