"""Difference in means or proportions, plain and adjusted by covariates (CUPED)."""

from __future__ import annotations

from collections.abc import Iterator

from measure.incrementality import cuped
from measure.incrementality.cells import Cells, Finding, Target, conclude
from measure.incrementality.contrast import StudentT
from measure.incrementality.double_ml import NEEDS_COVARIATES
from measure.incrementality.runs.dealing import dealt
from measure.incrementality.small_holdout import MIN_UNITS, Judged, Method
from measure.results import Status


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
    judged = dealt(cells, target, residual, judgement, "cuped")
    noted = Judged(judged.method, _join(judged.note, adjustment.note), judged.reference)
    return conclude(target, contrast, noted, cells.plan.ci_level)


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
