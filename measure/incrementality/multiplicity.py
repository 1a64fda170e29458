"""Which cohorts of a dimension stand once all of them are judged together.

====================== =============================================================================
benjamini-hochberg     The expected share of false discoveries stays at or below 1 − ci_level
                       (Benjamini and Hochberg 1995).
benjamini-yekutieli    The same however the tests depend on each other (Benjamini and Yekutieli
                       2001).
holm                   The chance of any false discovery stays at or below 1 − ci_level (Holm 1979).
hochberg               The same with more power, for tests that do not depend negatively on each
                       other (Hochberg 1988).
hierarchical           Cohorts only where everybody's effect stands: a tree of Benjamini–Hochberg
                       families (Yekutieli 2008, Journal of the American Statistical Association
                       103(481)).
====================== =============================================================================

One family is one metric, arm, estimator and dimension.

Hierarchical families: the tests of everybody, of all metrics and arms of an estimator, are one
family. Families of cohorts lie below the test of their metric and arm, and are judged only when
that test is rejected; all others have an adjusted p-value of 1. For independent tests the expected
share of false discoveries in the whole tree, and among cohorts, stays at or below
2 × 1.44 × (1 − ci_level), Yekutieli's universal bound for two levels; it is near (1 − ci_level) ×
(discoveries + families judged) / (discoveries + 1). The family of everybody by itself keeps
1 − ci_level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.sequential import ONE_LOOK_ONLY
from measure.methods import Multiplicity
from measure.plan import AnalysisPlan
from measure.results import Estimate, Family, Status

Key = tuple[str, str, str, str]
"""Metric, arm, dimension and estimator of a family."""


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values in the order given: min over larger ranks of p × m / rank, at most 1."""
    return _step_up(p_values, lambda m, ranks: m / ranks)


def benjamini_yekutieli(p_values: Sequence[float]) -> tuple[float, ...]:
    """Benjamini and Hochberg's times 1 + 1/2 + … + 1/m."""
    return _step_up(p_values, lambda m, ranks: m * (1 / np.arange(1, m + 1)).sum() / ranks)


def hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Step-up: min over larger ranks of p × (m − rank + 1), at most 1."""
    return _step_up(p_values, lambda m, ranks: (m - ranks + 1).astype(np.float64))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Step-down: max over smaller ranks of p × (m − rank + 1), at most 1."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    left = len(p) - np.arange(len(p))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * left))
    return tuple(float(value) for value in adjusted)


def _step_up(
    p_values: Sequence[float], factor: Callable[[int, NDArray[np.int64]], NDArray[np.float64]]
) -> tuple[float, ...]:
    """Running minimum from the largest p-value down of p × factor(m, rank)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")[::-1]
    ranks = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    scaled = p[order] * factor(len(p), ranks)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled))
    return tuple(float(value) for value in adjusted)


METHODS: Mapping[Multiplicity, Callable[[Sequence[float]], tuple[float, ...]]] = {
    "benjamini-hochberg": benjamini_hochberg,
    "benjamini-yekutieli": benjamini_yekutieli,
    "holm": holm,
    "hochberg": hochberg,
}


def families(estimates: Sequence[Estimate], plan: AnalysisPlan) -> tuple[Family, ...]:
    """One family per metric, arm, estimator and dimension that has usable p-values.

    Where a plan is looked at before the end, those valid at every look are adjusted, no others.

    A hierarchical plan has one more per estimator, of everybody: its ``metric``, ``arm`` and
    ``dimension`` are empty, and ``cohorts`` reads ``metric: arm``.
    """
    if plan.multiplicity == "none":
        return ()
    tested = [e for e in estimates if _is_tested(e)]
    grouped: dict[Key, list[tuple[str, float]]] = {}
    for e in tested:
        if e.cohort is not None and e.p_value is not None:
            key = (e.metric, e.arm, e.cohort.dimension, e.estimator)
            grouped.setdefault(key, []).append((e.cohort.value, e.p_value))
    if plan.multiplicity == "hierarchical":
        return _tree(tested, grouped, plan)
    correct = METHODS[plan.multiplicity]
    return tuple(
        _family(key, tests, correct([p for _, p in tests]), plan) for key, tests in grouped.items()
    )


def _is_tested(estimate: Estimate) -> bool:
    """Whether its p-value holds; under a sequential plan that is one valid at every look."""
    known = estimate.status is Status.OK and estimate.p_value is not None
    return known and ONE_LOOK_ONLY not in estimate.note


def _tree(
    tested: Sequence[Estimate],
    grouped: Mapping[Key, Sequence[tuple[str, float]]],
    plan: AnalysisPlan,
) -> tuple[Family, ...]:
    """Everybody's family of each estimator, then the families of cohorts below it."""
    found: list[Family] = []
    for estimator in dict.fromkeys(e.estimator for e in tested):
        roots = [e for e in tested if e.estimator == estimator and e.cohort is None]
        tests = [(f"{e.metric}: {e.arm}", e.p_value) for e in roots if e.p_value is not None]
        adjusted = benjamini_hochberg([p for _, p in tests])
        if tests:
            found.append(_family(("", "", "", estimator), tests, adjusted, plan))
        stand = {
            (e.metric, e.arm)
            for e, p in zip(roots, adjusted, strict=True)
            if p <= 1 - plan.ci_level
        }
        for key, below in grouped.items():
            if key[3] == estimator:
                judged = benjamini_hochberg([p for _, p in below])
                closed = (1.0,) * len(below)
                found.append(_family(key, below, judged if key[:2] in stand else closed, plan))
    return tuple(found)


def _family(
    key: Key, tests: Sequence[tuple[str, float]], adjusted: tuple[float, ...], plan: AnalysisPlan
) -> Family:
    metric, arm, dimension, estimator = key
    return Family(
        metric=metric,
        arm=arm,
        dimension=dimension,
        estimator=estimator,
        method=plan.multiplicity,
        cohorts=tuple(name for name, _ in tests),
        p_adjusted=adjusted,
        rejected=sum(p <= 1 - plan.ci_level for p in adjusted),
    )
