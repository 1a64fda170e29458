"""Double machine learning over all cells; one cross-fit per metric."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from measure.incrementality.cells import Cells, Finding, Target, conclude
from measure.incrementality.contrast import Contrast, StudentT
from measure.incrementality.difference import welch_dof
from measure.incrementality.double_ml import NEEDS_COVARIATES, CrossFit, cross_fit
from measure.incrementality.runs.dealing import dealt
from measure.incrementality.small_holdout import Judged, Method
from measure.moments import Moments
from measure.results import Status


def double_ml(cells: Cells) -> Iterator[Finding]:
    """Double machine learning; one cross-fit per metric."""
    for metric in cells.plan.metrics:
        targets = [target for target in cells.targets() if target.metric == metric.name]
        if not cells.plan.covariates:
            yield from (Finding(t, Status.INSUFFICIENT, NEEDS_COVARIATES) for t in targets)
            continue
        fitted = _fit(cells, metric.name, targets)
        for target in targets:
            yield _orthogonal(cells, target, fitted)


def _fit(cells: Cells, metric: str, targets: list[Target]) -> CrossFit | None:
    """Cross-fit the arms that have a usable overall difference; ``None`` when there is none."""
    plan = cells.plan
    usable = [t for t in targets if cells.difference(t).status is Status.OK]
    arms = [t.arm for t in usable if t.cohort is None]
    if not arms:
        return None
    rows = cells.rows
    wanted: dict[str, list[int]] = {name: [] for name in plan.cohorts}
    for target in usable:
        code = _code(cells, target)
        if target.cohort is not None and target.arm in arms and code is not None:
            wanted[target.cohort.dimension].append(code)
    codes = {name: np.unique(np.array(found, dtype=np.int64)) for name, found in wanted.items()}
    positions = [rows.arms.index(arm) for arm in (plan.control, *arms)]
    return cross_fit(rows, metric, positions, codes, plan.seed)


def _code(cells: Cells, target: Target) -> int | None:
    """Code of the target's cohort in the rows; 0 for everybody."""
    if target.cohort is None:
        return 0
    labels = cells.rows.dimensions[target.cohort.dimension][1]
    return labels.index(target.cohort.value) if target.cohort.value in labels else None


def _orthogonal(cells: Cells, target: Target, fitted: CrossFit | None) -> Finding:
    """Effect of one cell with its interval."""
    plain = cells.difference(target)
    if plain.status is not Status.OK:
        return plain
    code = _code(cells, target)
    arm_code = cells.rows.arms.index(target.arm)
    dimension = None if target.cohort is None else target.cohort.dimension
    effect = fitted.effect(arm_code, dimension, code) if fitted and code is not None else None
    if fitted is None or effect is None:
        note = "the arm has no usable overall difference"
        return Finding(target, Status.INSUFFICIENT, note)
    if not (math.isfinite(effect[0]) and effect[1] > 0):
        note = f"nothing is left of {target.metric} once the covariates are taken out"
        return Finding(target, Status.DEGENERATE, note)
    pair = cells.pair(target)
    contrast = _with_lift(effect, pair)
    judgement = cells.judgement(target, pair)
    if judgement.method is Method.NORMAL:
        judged = Judged(Method.NORMAL, "", StudentT(contrast.dof))
    else:
        judged = dealt(cells, target, fitted.residual, judgement, "double_ml")
    return conclude(target, contrast, judged, cells.plan.ci_level)


def _with_lift(effect: tuple[float, float], pair: tuple[Moments, Moments]) -> Contrast:
    """Effect over the unadjusted control mean, by the delta method.

    The part of the effect's error that comes from the control arm is scaled by how much the
    adjustment reduced the error of the difference.
    """
    value, se = effect
    control, arm = pair
    errors = control.variance / control.n, arm.variance / arm.n
    dof = welch_dof(errors[1], arm.n, errors[0], control.n)
    base = float(control.mean[0])
    if base == 0:
        return Contrast(value, se, dof, None, None)
    shared = errors[0] * min(se**2 / sum(errors), 1.0)
    variance = se**2 / base**2 + 2 * value * shared / base**3 + value**2 * errors[0] / base**4
    return Contrast(value, se, dof, value / abs(base), math.sqrt(max(variance, 0.0)))
