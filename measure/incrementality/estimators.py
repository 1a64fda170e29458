"""The four estimators over all cells of an analysis; each yields one finding per cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from measure.incrementality import bayes, cuped
from measure.incrementality.bayes import Observed
from measure.incrementality.cells import Cells, Finding, Target, conclude
from measure.incrementality.contrast import Contrast, Inference, StudentT
from measure.incrementality.difference import spread, welch_dof
from measure.incrementality.double_ml import NEEDS_COVARIATES, CrossFit, cross_fit
from measure.incrementality.small_holdout import (
    MIN_UNITS,
    Judged,
    Judgement,
    Method,
    reference_from_residuals,
)
from measure.moments import Moments
from measure.plan import Estimator
from measure.results import Estimand, Status

Vector = NDArray[np.float64]


def differences(cells: Cells) -> Iterator[Finding]:
    """Difference in means or proportions."""
    for target in cells.targets():
        yield cells.difference(target)


def cuped_differences(cells: Cells) -> Iterator[Finding]:
    """CUPED; the slopes of a metric and arm come from everybody in the two arms."""
    for target in cells.targets():
        if not cells.plan.covariates:
            yield Finding(target, Status.INSUFFICIENT, NEEDS_COVARIATES)
            continue
        everybody = cells.pair(Target(target.metric, target.arm, None))
        if min(m.n for m in everybody) < MIN_UNITS:
            yield cells.difference(target)
            continue
        yield _cuped(cells, target, cuped.fit(*everybody))


def _cuped(cells: Cells, target: Target, adjustment: cuped.Adjustment) -> Finding:
    """Adjusted difference of one cell; falls back on the plain verdict where there is none."""
    plain = cells.difference(target)
    if plain.status is not Status.OK:
        return plain
    control, arm = cells.pair(target)
    adjusted = cuped.adjust(control, adjustment), cuped.adjust(arm, adjustment)
    judgement = cells.judgement(target, adjusted)
    if judgement.method in (Method.REFUSE, Method.DEGENERATE):
        note = f"nothing varies once the covariates are taken out: {judgement.reason}"
        return Finding(target, Status.DEGENERATE, note)
    contrast = cuped.cuped_difference(control, arm, adjustment)
    if judgement.method is Method.NORMAL:
        judged = Judged(Method.NORMAL, adjustment.note, StudentT(contrast.dof))
        return conclude(target, contrast, judged, cells.plan.ci_level)
    rows = cells.rows
    explained = (rows.covariates - adjustment.centre) @ adjustment.theta
    residual = rows.outcomes[target.metric] - explained
    judged = _dealt(cells, target, residual, judgement, "cuped")
    noted = Judged(judged.method, _join(judged.note, adjustment.note), judged.reference)
    return conclude(target, contrast, noted, cells.plan.ci_level)


def _dealt(
    cells: Cells, target: Target, residual: Vector, judgement: Judgement, method: str
) -> Judged:
    """Studentized permutation over the residuals of a cell's units."""
    rows = cells.rows
    codes = [rows.arms.index(cells.plan.control), rows.arms.index(target.arm)]
    used = np.isin(rows.arm, codes) & rows.members(target.cohort) & ~np.isnan(residual)
    n_arm = int((rows.arm[used] == codes[1]).sum())
    return reference_from_residuals(residual[used], n_arm, judgement, cells.cell(target), method)


def pooled_cohorts(cells: Cells) -> Iterator[Finding]:
    """Hierarchical Bayes; one run of the sampler for every metric, arm and dimension."""
    found: dict[Target, Finding] = {}
    groups: list[list[Target]] = []
    for metric in cells.plan.metrics:
        for arm in cells.plan.treatments:
            everybody = Target(metric.name, arm, None)
            found[everybody] = _overall(cells, everybody)
            for cohorts in cells.cohorts.values():
                members = [Target(metric.name, arm, cohort) for cohort in cohorts]
                usable = [t for t in members if cells.difference(t).numbers is not None]
                found |= {t: cells.difference(t) for t in members if t not in usable}
                if len(usable) >= bayes.MIN_COHORTS and _metric_sd(cells, everybody) > 0:
                    groups.append(usable)
                else:
                    found |= {t: _lonely(t) for t in usable}
    found |= _pool(cells, groups)
    for target in cells.targets():
        yield found[target]


def _lonely(target: Target) -> Finding:
    note = f"pooling needs {bayes.MIN_COHORTS} cohorts with a usable difference"
    return Finding(target, Status.INSUFFICIENT, note)


def _overall(cells: Cells, target: Target) -> Finding:
    plain = cells.difference(target)
    sd = _metric_sd(cells, target)
    if not isinstance(plain.numbers, Inference):
        return plain
    if sd <= 0:
        return Finding(target, Status.DEGENERATE, "the control arm does not vary")
    posterior = bayes.overall(_observed(cells, target), sd, cells.plan.ci_level)
    return Finding(target, Status.OK, _posterior_note(plain), posterior)


def _pool(cells: Cells, groups: list[list[Target]]) -> dict[Target, Finding]:
    """Findings of all pooled cohorts."""
    plan = cells.plan
    observed = [[_observed(cells, target) for target in group] for group in groups]
    everybody = [Target(group[0].metric, group[0].arm, None) for group in groups]
    sds = [_metric_sd(cells, target) for target in everybody]
    found: dict[Target, Finding] = {}
    for group, pooled in zip(
        groups, bayes.pool(observed, sds, plan.ci_level, plan.seed), strict=True
    ):
        if pooled.complaint:
            found |= {t: Finding(t, Status.NOT_CONVERGED, pooled.complaint) for t in group}
            continue
        for target, posterior in zip(group, pooled.posteriors, strict=True):
            note = _posterior_note(cells.difference(target))
            found[target] = Finding(target, Status.OK, note, posterior)
    return found


def _posterior_note(plain: Finding) -> str:
    if not plain.note:
        return ""
    return f"standard error widened to the interval of the {plain.note}"


def _observed(cells: Cells, target: Target) -> Observed:
    """A usable difference as the likelihood sees it."""
    numbers = cells.difference(target).numbers
    control, _ = cells.pair(target)
    kind = cells.metric(target).kind
    value = numbers.value if numbers is not None else math.nan
    se = math.nan
    if isinstance(numbers, Inference):
        se = numbers.normal_se(cells.plan.ci_level)
    return Observed(value, se, float(control.mean[0]), spread(control, kind) / control.n)


def _metric_sd(cells: Cells, everybody: Target) -> float:
    """Standard deviation of the metric in the control arm, 0 where it has none."""
    control, _ = cells.pair(everybody)
    return math.sqrt(control.variance) if control.n > 1 else 0.0


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
        judged = _dealt(cells, target, fitted.residual, judgement, "double_ml")
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


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


ESTIMATORS: Mapping[Estimator, tuple[Callable[[Cells], Iterator[Finding]], Estimand, Estimand]] = {
    "difference": (differences, Estimand.ITT, Estimand.ITT),
    "cuped": (cuped_differences, Estimand.ITT, Estimand.ITT),
    "hierarchical_bayes": (pooled_cohorts, Estimand.ITT, Estimand.ITT),
    "double_ml": (double_ml, Estimand.ATE, Estimand.CATE),
}
"""Runner, estimand for everybody and estimand in a cohort, by the name a plan uses."""
