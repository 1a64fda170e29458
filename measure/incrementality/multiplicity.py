"""Which cohorts of a dimension stand once all of them are judged together.

Benjamini and Hochberg (1995): the expected share of false discoveries among the rejected stays at
or below 1 − ci_level. One family is one metric, arm, estimator and dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from measure.plan import AnalysisPlan
from measure.results import Estimate, Family, Status

METHOD = "benjamini-hochberg"


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values in the order given: min over larger ranks of p × m / rank, at most 1."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * len(p) / ranks))
    return tuple(float(value) for value in adjusted)


def families(estimates: Sequence[Estimate], plan: AnalysisPlan) -> tuple[Family, ...]:
    """One family per metric, arm, estimator and dimension that has usable p-values."""
    if plan.multiplicity == "none":
        return ()
    grouped: dict[tuple[str, str, str, str], list[tuple[str, float]]] = {}
    for e in estimates:
        if e.cohort is not None and e.status is Status.OK and e.p_value is not None:
            key = (e.metric, e.arm, e.cohort.dimension, e.estimator)
            grouped.setdefault(key, []).append((e.cohort.value, e.p_value))
    return tuple(_family(key, tests, plan.ci_level) for key, tests in grouped.items())


def _family(
    key: tuple[str, str, str, str], tests: Sequence[tuple[str, float]], ci_level: float
) -> Family:
    adjusted = benjamini_hochberg([p for _, p in tests])
    metric, arm, dimension, estimator = key
    return Family(
        metric=metric,
        arm=arm,
        dimension=dimension,
        estimator=estimator,
        method=METHOD,
        cohorts=tuple(cohort for cohort, _ in tests),
        p_adjusted=adjusted,
        rejected=sum(p <= 1 - ci_level for p in adjusted),
    )
