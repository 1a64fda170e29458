"""Difference in means or proportions, plain and adjusted by covariates (CUPED)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from measure.incrementality import by_arm, cuped
from measure.incrementality.cells import Cells, Finding, Target, conclude
from measure.incrementality.contrast import Contrast, StudentT
from measure.incrementality.notes import joined
from measure.incrementality.orthogonal.exact import NEEDS_COVARIATES
from measure.incrementality.runs.dealing import Places, Vector, dealt
from measure.incrementality.small_holdout import MIN_UNITS, Judged, Method
from measure.moments import Moments
from measure.results import Status


def differences(cells: Cells) -> Iterator[Finding]:
    """Difference in means or proportions."""
    for target in cells.targets():
        yield cells.difference(target)


def cuped_differences(cells: Cells) -> Iterator[Finding]:
    """CUPED; the slopes of a metric and arm come from everybody in the two arms."""
    for target, refused in _with_covariates(cells, MIN_UNITS):
        if refused is not None:
            yield refused
            continue
        adjustment = cuped.fit_one(cells.union(_everybody(target)))
        control, arm = cells.pair(target)
        pair = cuped.adjust(control, adjustment), cuped.adjust(arm, adjustment)
        kind = cells.kind(cells.metric(target))
        contrast = partial(cuped.cuped_difference, control, arm, adjustment, kind)
        yield _adjusted(cells, target, pair, contrast, adjustment, "cuped")


def by_arm_differences(cells: Cells) -> Iterator[Finding]:
    """CUPED with slopes of each arm's own, from everybody in the arm."""
    for target, refused in _with_covariates(cells, MIN_UNITS + len(cells.plan.covariates)):
        if refused is not None:
            yield refused
            continue
        slopes = by_arm.fit_by_arm(*cells.pair(_everybody(target)))
        control, arm = cells.pair(target)
        pair = by_arm.adjusted(control, arm, slopes)
        here = target.cohort is None
        contrast = partial(by_arm.difference_by_arm, control, arm, slopes, fitted_here=here)
        # Outcomes that are dealt must not know who got which arm: those use common slopes.
        common = replace(cuped.fit_one(cells.union(_everybody(target))), note=slopes.note)
        yield _adjusted(cells, target, pair, contrast, common, "cuped_by_arm")


def _everybody(target: Target) -> Target:
    return replace(target, cohort=None)


def _with_covariates(cells: Cells, units: int) -> Iterator[tuple[Target, Finding | None]]:
    """Every cell, and why it has no adjustment: slopes need ``units`` in the smaller arm."""
    for target in cells.targets():
        plain = cells.difference(target)
        smaller = min(moments.n for moments in cells.pair(_everybody(target)))
        if not cells.plan.covariates:
            yield target, Finding(target, Status.INSUFFICIENT, NEEDS_COVARIATES)
        elif plain.status is not Status.OK:
            yield target, plain
        elif smaller < units:
            note = f"{smaller} units in the smaller arm; {units} are needed for its own slopes"
            yield target, Finding(target, Status.INSUFFICIENT, note)
        else:
            yield target, None


def _adjusted(
    cells: Cells,
    target: Target,
    pair: tuple[Moments, Moments],
    contrast: Callable[[], Contrast],
    adjustment: cuped.Adjustment,
    method: str,
) -> Finding:
    """A cell's adjusted difference under the reference that its residuals ask for."""
    judgement = cells.judgement(target, pair)
    if judgement.method in (Method.REFUSE, Method.DEGENERATE):
        note = f"nothing varies once the covariates are taken out: {judgement.reason}"
        return Finding(target, Status.DEGENERATE, note)
    found = contrast()
    if judgement.method is Method.NORMAL:
        judged = Judged(Method.NORMAL, adjustment.note, StudentT(found.dof))
    else:

        def residual(places: Places) -> Vector:
            apart = cells.rows.covariates[places] - adjustment.centre
            return cells.outcomes(target, places) - apart @ adjustment.theta

        dealing = dealt(cells, target, residual, judgement, method)
        judged = replace(dealing, note=joined(dealing.note, adjustment.note))
    return conclude(target, found, judged, cells.plan.ci_level, cells.look(target))
