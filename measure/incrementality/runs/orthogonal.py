"""Double machine learning over all cells: from Gram matrices, or through EconML."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from measure.grams import Grams
from measure.incrementality.cells import Cells, Finding, Target, conclude
from measure.incrementality.contrast import Contrast, StudentT
from measure.incrementality.difference import welch_dof
from measure.incrementality.orthogonal import exact
from measure.incrementality.orthogonal.learners import CrossFit, Learner, cross_fit
from measure.incrementality.runs.dealing import Places, dealt
from measure.incrementality.small_holdout import Judged, Method
from measure.moments import Moments
from measure.results import Cohort, Status

Vector = NDArray[np.float64]
Estimator = Callable[[Grams, Grams], exact.Effects]

KINDS = ("mean", "proportion", "count")
"""Kinds of metric that are a mean over units, which is what these estimators adjust."""


def double_ml(cells: Cells) -> Iterator[Finding]:
    """Cross-fitted AIPW from Gram matrices."""
    yield from _exact(cells, exact.augmented_weighting, "double_ml")


def double_ml_partialling_out(cells: Cells) -> Iterator[Finding]:
    """Cross-fitted partialling-out from the same matrices."""
    yield from _exact(cells, exact.partialling_out, "double_ml_partialling_out")


def _exact(cells: Cells, estimator: Estimator, name: str) -> Iterator[Finding]:
    fitted: dict[tuple[str, str, str | None], tuple[dict[Cohort | None, int], exact.Effects]] = {}
    for target in cells.targets():
        plain = _unusable(cells, target)
        if plain is not None:
            yield plain
            continue
        dimension = None if target.cohort is None else target.cohort.dimension
        key = (target.metric, target.arm, dimension)
        if dimension is not None and dimension not in cells.grams:
            yield Finding(target, Status.INSUFFICIENT, _too_many(cells, dimension))
            continue
        if key not in fitted:
            whole, part = (_matrices(cells, target, name) for name in (None, dimension))
            places = {cohort: place for place, cohort in enumerate(part.cohorts)}
            fitted[key] = (places, estimator(whole, part))
        yield _judged(cells, target, name, *fitted[key])


def _unusable(cells: Cells, target: Target) -> Finding | None:
    """Why a cell can have no adjusted effect; ``None`` when it can."""
    kind = cells.kind(cells.metric(target))
    if kind not in KINDS:
        note = f"adjusts metrics of kind {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {kind}"
        return Finding(target, Status.INSUFFICIENT, note)
    if not cells.plan.covariates:
        return Finding(target, Status.INSUFFICIENT, exact.NEEDS_COVARIATES)
    plain = cells.difference(target)
    return None if plain.status is Status.OK else plain


def _too_many(cells: Cells, dimension: str) -> str:
    cohorts = len(cells.cohorts[dimension])
    return f"{cohorts:,} cohorts are too many for a Gram matrix each; use difference or cuped"


def _matrices(cells: Cells, target: Target, dimension: str | None) -> Grams:
    """Gram matrices of a metric in control and arm."""
    blocks = cells.grams[dimension]
    found = next(grams for grams in blocks if target.metric in grams.metrics)
    return found.of(target.metric, (cells.plan.control, target.arm))


def _judged(
    cells: Cells,
    target: Target,
    name: str,
    places: dict[Cohort | None, int],
    effects: exact.Effects,
) -> Finding:
    """One cell's effect under the reference that its allocation and skewness ask for."""
    place = places[target.cohort]
    parts = [float(part[place]) for part in effects.parts]
    control, arm = cells.pair(target)
    # What is left of a metric that the covariates repeat is rounding.
    if sum(parts) <= 1e-20 * (control.variance / control.n + arm.variance / arm.n):
        return _nothing_left(target)
    effect = (float(effects.value[place]), math.sqrt(sum(parts)))
    dof = welch_dof(parts[exact.ARM], arm.n, parts[exact.CONTROL], control.n)
    contrast = _with_lift(effect, (control, arm), dof)
    judgement = cells.judgement(target, (control, arm))
    if judgement.method is Method.NORMAL:
        judged = Judged(Method.NORMAL, "", StudentT(contrast.dof))
    else:
        slope = _slope(cells, target)

        def residual(places: Places) -> Vector:
            explained = cells.rows.covariates[places] @ slope
            return np.asarray(cells.rows.outcomes[target.metric][places] - explained)

        judged = dealt(cells, target, residual, judgement, name)
    return conclude(target, contrast, judged, cells.plan.ci_level, cells.look(target))


def _slope(cells: Cells, target: Target) -> Vector:
    """How outcomes move with covariates, whoever got which arm: the mean of the folds' slopes."""
    whole = _matrices(cells, target, None)
    return np.asarray(
        exact.fit_out_of_fold(whole, exact.standard_deviations(whole)).slope.mean(axis=0)
    )


def _nothing_left(target: Target) -> Finding:
    note = f"nothing is left of {target.metric} once the covariates are taken out"
    return Finding(target, Status.DEGENERATE, note)


def _with_lift(effect: tuple[float, float], pair: tuple[Moments, Moments], dof: float) -> Contrast:
    """Effect over the unadjusted control mean, by the delta method.

    The part of the effect's error that comes from the control arm is scaled by how much the
    adjustment reduced the error of the difference.
    """
    value, se = effect
    control, arm = pair
    errors = control.variance / control.n, arm.variance / arm.n
    base = float(control.mean[0])
    if base == 0:
        return Contrast(value, se, dof, None, None)
    shared = errors[0] * min(se**2 / sum(errors), 1.0)
    variance = se**2 / base**2 + 2 * value * shared / base**3 + value**2 * errors[0] / base**4
    return Contrast(value, se, dof, value / abs(base), math.sqrt(max(variance, 0.0)))


def through(
    learner: Learner,
    name: str,
    refused: Callable[[Cells, Target], Finding | None] | None = None,
) -> Callable[[Cells], Iterator[Finding]]:
    """A runner of an EconML learner; one cross-fit per metric serves all arms and cohorts.

    ``refused`` tells of further cells that have no such effect.
    """

    def run(cells: Cells) -> Iterator[Finding]:
        for metric in cells.plan.metrics:
            targets = [target for target in cells.targets() if target.metric == metric.name]
            without = {target: _unusable(cells, target) for target in targets}
            if refused is not None:
                without = {t: found or refused(cells, t) for t, found in without.items()}
            usable = [target for target in targets if without[target] is None]
            fitted = _fit(cells, metric.name, usable, learner)
            for target in targets:
                yield without[target] or _learned(cells, target, fitted, name)

    return run


def _fit(cells: Cells, metric: str, usable: list[Target], learner: Learner) -> CrossFit | None:
    """Cross-fit the arms that have a usable overall difference; ``None`` when there is none."""
    plan = cells.plan
    arms = [target.arm for target in usable if target.cohort is None]
    if not arms:
        return None
    rows = cells.rows
    wanted: dict[str, set[int]] = {name: set() for name in plan.cohorts}
    for target in usable:
        code = _code(cells, target)
        if target.cohort is not None and target.arm in arms and code is not None:
            wanted[target.cohort.dimension].add(code)
    codes = {name: np.array(sorted(found), dtype=np.int64) for name, found in wanted.items()}
    positions = [rows.arms.index(arm) for arm in (plan.control, *arms)]
    return cross_fit(rows, metric, positions, codes, plan.seed, learner)


def _code(cells: Cells, target: Target) -> int | None:
    """Code of the target's cohort in the rows; 0 for everybody."""
    if target.cohort is None:
        return 0
    return cells.rows.code(target.cohort)


def _learned(cells: Cells, target: Target, fitted: CrossFit | None, name: str) -> Finding:
    """Effect of one cell with its interval."""
    code = _code(cells, target)
    arm_code = cells.rows.arms.index(target.arm)
    dimension = None if target.cohort is None else target.cohort.dimension
    effect = fitted.effect(arm_code, dimension, code) if fitted and code is not None else None
    if fitted is None or effect is None:
        note = "the arm has no usable overall difference"
        return Finding(target, Status.INSUFFICIENT, note)
    if not (math.isfinite(effect[0]) and effect[1] > 0):
        return _nothing_left(target)
    control, arm = cells.pair(target)
    dof = welch_dof(arm.variance / arm.n, arm.n, control.variance / control.n, control.n)
    contrast = _with_lift(effect, (control, arm), dof)
    judgement = cells.judgement(target, (control, arm))
    if judgement.method is Method.NORMAL:
        judged = Judged(Method.NORMAL, "", StudentT(contrast.dof))
    else:
        judged = dealt(cells, target, fitted.residual.__getitem__, judgement, name)
    return conclude(target, contrast, judged, cells.plan.ci_level, cells.look(target))
