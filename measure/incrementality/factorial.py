"""Factorial designs: effects of single factors and how they change each other, from arm moments.

The main effect of a level is its mean minus the mean of the factor's base level, averaged with
equal weights over all combinations of the other factors (Dasgupta, Pillai and Rubin 2015, JRSS B
77:727-753, with differences in place of half differences). An interaction of factors is the
difference of such differences: by how much the effect of one level is larger once the other is
there. Each arm has its own variance; degrees of freedom are those of Welch and Satterthwaite.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from measure.incrementality.contrast import NUMBERS, Contrast, StudentT, infer
from measure.incrementality.difference import spread
from measure.incrementality.ratio import linearised, unstable
from measure.incrementality.sequential import ONE_LOOK_ONLY
from measure.incrementality.small_holdout import (
    MIN_UNITS,
    MIN_UNITS_PER_SQUARED_SKEWNESS,
    TAIL_ERROR_SHARE,
    expansion_error,
)
from measure.moments import DENOMINATOR, CellMoments, Moments
from measure.plan import AnalysisPlan, Kind, Metric
from measure.results import Cohort, Estimand, Estimate, Status

ESTIMATOR = "factorial"
KINDS = frozenset({"mean", "proportion", "count"})

Levels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """``factors`` and their levels in order, and the ``arms`` by the level of every factor."""

    factors: Mapping[str, Levels]
    arms: Mapping[Levels, str]
    base: Levels
    """Levels of the control: what each factor's other levels are held against."""


@dataclass(frozen=True, slots=True)
class _Effect:
    """Levels of some factors against their base levels, as weights of the arms."""

    arm: str
    control: str
    weights: Mapping[str, float]
    """Add up to zero."""
    named: Levels
    """Arms in which every factor of the effect stands at the level named."""
    base: Levels
    """Arms in which every one stands at its base level."""
    main: bool


def layout_of(
    factors: Mapping[str, Levels], arm_of: Callable[[Levels], str], control: str
) -> Layout:
    """The layout of all combinations of levels; ``arm_of`` names the arm that levels make."""
    arms = {levels: arm_of(levels) for levels in itertools.product(*factors.values())}
    (base,) = (levels for levels, arm in arms.items() if arm == control)
    return Layout(factors, arms, base)


def factorial_effects(
    moments: CellMoments, plan: AnalysisPlan, layout: Layout
) -> tuple[Estimate, ...]:
    """Main effects and interactions of every order, per metric, everybody before cohorts.

    ``arm`` and ``control`` read ``subject = short`` and ``subject = long``, with `` × `` between
    the factors of an interaction. ``n_arm`` counts the units at the levels named, ``n_control``
    those at the base levels. A metric that is no mean, proportion or count has no such effects.
    """
    cohorts: list[Cohort | None] = [None]
    cohorts += [cohort for name in plan.cohorts for cohort in moments.cohorts(name)]
    return tuple(
        _estimate(moments, plan, metric, effect, cohort)
        for metric in plan.metrics
        if metric.kind in KINDS
        for effect in _effects(layout)
        for cohort in cohorts
    )


def _effects(layout: Layout) -> Iterator[_Effect]:
    """Main effects of all factors, then interactions by their order."""
    names = list(layout.factors)
    for order in range(1, len(names) + 1):
        for chosen in itertools.combinations(range(len(names)), order):
            others = [
                [level for level in layout.factors[names[i]] if level != layout.base[i]]
                for i in chosen
            ]
            for levels in itertools.product(*others):
                yield _effect(layout, dict(zip(chosen, levels, strict=True)))


def _effect(layout: Layout, levels: Mapping[int, str]) -> _Effect:
    """Weights: + or − by how many of the factors stand at their base, averaged over the rest."""
    names = list(layout.factors)
    averaged = math.prod(
        len(found) for i, found in enumerate(layout.factors.values()) if i not in levels
    )
    weights: dict[str, float] = {}
    named: list[str] = []
    base: list[str] = []
    for combination, arm in layout.arms.items():
        if not all(combination[i] in (level, layout.base[i]) for i, level in levels.items()):
            continue
        at_base = sum(combination[i] == layout.base[i] for i in levels)
        weights[arm] = (-1.0) ** at_base / averaged
        if at_base in (0, len(levels)):
            (base if at_base else named).append(arm)
    return _Effect(
        arm=" × ".join(f"{names[i]} = {level}" for i, level in levels.items()),
        control=" × ".join(f"{names[i]} = {layout.base[i]}" for i in levels),
        weights=weights,
        named=tuple(named),
        base=tuple(base),
        main=len(levels) == 1,
    )


def _estimate(
    moments: CellMoments,
    plan: AnalysisPlan,
    metric: Metric,
    effect: _Effect,
    cohort: Cohort | None,
) -> Estimate:
    whole = {arm: moments.get(metric.name, arm, cohort) for arm in effect.weights}
    clustered = moments.has(metric.name, DENOMINATOR)  # a mean over members is a ratio of sums
    kind = "mean" if clustered else metric.kind
    cells = {arm: linearised(m) for arm, m in whole.items()} if clustered else whole
    refused = _refused(cells, metric, effect, plan.ci_level)
    if clustered and refused is None:
        refused = _unstable(whole, metric)
    status, note = refused or (Status.OK, "" if plan.sequential is False else ONE_LOOK_ONLY)
    numbers: dict[str, Any] = dict.fromkeys(NUMBERS)
    if refused is None:
        found = infer(*_contrast(cells, kind, effect), plan.ci_level)
        found = found.with_lift(plan.relative, _base(cells, effect))
        numbers = {name: getattr(found, name) for name in NUMBERS}
    return Estimate(
        metric=metric.name,
        arm=effect.arm,
        control=effect.control,
        cohort=cohort,
        estimand=Estimand.ITT,
        estimator=ESTIMATOR,
        ci_level=plan.ci_level,
        n_control=sum(cells[arm].n for arm in effect.base),
        n_arm=sum(cells[arm].n for arm in effect.named),
        status=status,
        note=note,
        **numbers,
    )


def _refused(
    arms: Mapping[str, Moments], metric: Metric, effect: _Effect, level: float
) -> tuple[Status, str] | None:
    """Why these arms give no honest interval; ``None`` when they do.

    The limits are those of two arms (:mod:`measure.incrementality.small_holdout`), the tail's error
    that of a weighted sum of means, with A = μ₃ Σ w³ / n² / (σ² Σ w² / n)^1.5.
    """
    cells = list(arms.values())
    smallest = min(moments.n for moments in cells)
    if smallest < MIN_UNITS:
        return Status.INSUFFICIENT, (
            f"{smallest} units in the smallest arm; at least {MIN_UNITS} are needed"
        )
    if all(moments.comoment[0, 0] <= 0 for moments in cells):
        return Status.DEGENERATE, f"{metric.name} does not vary, so there is nothing to test"
    n = sum(moments.n for moments in cells)
    second = sum(float(moments.comoment[0, 0]) for moments in cells) / n
    skewness = sum(float(moments.third[0]) for moments in cells) / n / second**1.5
    weighted = [(effect.weights[arm], m.n) for arm, m in arms.items()]
    sizes = sum(w**3 / k**2 for w, k in weighted) / sum(w**2 / k for w, k in weighted) ** 1.5
    bad_tail = expansion_error(skewness * sizes, level) > TAIL_ERROR_SHARE * (1 - level) / 2
    if bad_tail or smallest < MIN_UNITS_PER_SQUARED_SKEWNESS * skewness**2:
        return Status.INSUFFICIENT, (
            f"{smallest} units in the smallest arm are too few for a skewness of {skewness:.1f}"
        )
    return None


def _unstable(arms: Mapping[str, Moments], metric: Metric) -> tuple[Status, str] | None:
    """The first arm of clusters whose mean number of members is hardly known."""
    for arm, moments in arms.items():
        reason = unstable(moments)
        if reason:
            note = f"the denominator of {metric.name} in {arm} {reason}"
            return Status.INSUFFICIENT, note
    return None


def _base(cells: Mapping[str, Moments], effect: _Effect) -> float:
    """Mean of the arms at the base levels, each with the same weight."""
    return math.fsum(float(cells[arm].mean[0]) for arm in effect.base) / len(effect.base)


def _contrast(
    cells: Mapping[str, Moments], kind: Kind, effect: _Effect
) -> tuple[Contrast, StudentT]:
    """The weighted sum of arm means; the lift of a main effect is over the base levels' mean."""
    errors = {arm: spread(m, kind) / m.n for arm, m in cells.items()}
    parts = {arm: effect.weights[arm] ** 2 * error for arm, error in errors.items()}
    value = math.fsum(effect.weights[arm] * float(m.mean[0]) for arm, m in cells.items())
    variance = math.fsum(parts.values())
    dof = variance**2 / math.fsum(part**2 / (cells[arm].n - 1) for arm, part in parts.items())
    reference = StudentT(dof)
    below = _base(cells, effect)
    if not effect.main or below == 0:
        return Contrast(value, math.sqrt(variance), dof, None, None), reference
    lift, share = value / abs(below), 1.0 / len(effect.base)
    # d(value / base): arms at the base carry their weight of the value and of the base.
    slopes = {
        arm: effect.weights[arm] - (value / below * share if arm in effect.base else 0.0)
        for arm in cells
    }
    lift_se = math.sqrt(math.fsum(slopes[arm] ** 2 * error for arm, error in errors.items()))
    return Contrast(value, math.sqrt(variance), dof, lift, lift_se / abs(below)), reference
