"""Post-stratification over all cells of an analysis."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from measure.incrementality.cells import Cells, Finding, Target, conclude
from measure.incrementality.contrast import StudentT
from measure.incrementality.post_stratification import Stratum, post_stratified
from measure.incrementality.runs.dealing import Places, Vector, dealt
from measure.incrementality.small_holdout import Judged, Method
from measure.results import Status

NEEDS_STRATA = "needs strata; name some in the plan"
MIN_UNITS_OF_STRATUM = 2


def post_stratified_differences(cells: Cells) -> Iterator[Finding]:
    """The difference averaged over strata, also within each cohort."""
    for target in cells.targets():
        plain = cells.difference(target)
        if not cells.plan.strata:
            yield Finding(target, Status.INSUFFICIENT, NEEDS_STRATA)
        else:
            yield _averaged(cells, target) if plain.status is Status.OK else plain


def _averaged(cells: Cells, target: Target) -> Finding:
    strata = _strata(cells, target)
    small = [s for s in strata if min(s.control.n, s.arm.n) < MIN_UNITS_OF_STRATUM]
    if small:
        one = min(small, key=lambda s: (min(s.control.n, s.arm.n), s.name))
        note = (
            f"stratum {one.name} has {one.control.n} units in {cells.plan.control} and "
            f"{one.arm.n} in {target.arm}; at least {MIN_UNITS_OF_STRATUM} are needed in each, "
            "so name coarser strata"
        )
        return Finding(target, Status.INSUFFICIENT, note)
    contrast = post_stratified(strata, cells.metric(target).kind)
    if contrast.se <= 0:
        return Finding(target, Status.DEGENERATE, f"{target.metric} does not vary within strata")
    judgement = cells.judgement(target, cells.pair(target))
    if judgement.method is Method.NORMAL:
        judged = Judged(Method.NORMAL, "", StudentT(contrast.dof))
    else:

        def residual(places: Places) -> Vector:
            return _around_strata(cells, target, places)

        judged = dealt(cells, target, residual, judgement, "post_stratification")
    return conclude(target, contrast, judged, cells.plan.ci_level, cells.look(target))


def _strata(cells: Cells, target: Target) -> list[Stratum]:
    """Both arms in every stratum that has units of the cell."""
    found = []
    for name, moments in cells.strata.items():
        control = moments.get(target.metric, cells.plan.control, target.cohort)
        arm = moments.get(target.metric, target.arm, target.cohort)
        if control.n + arm.n:
            found.append(Stratum(name, control, arm))
    return found


def _around_strata(cells: Cells, target: Target, places: Places) -> Vector:
    """Outcomes around the mean of their stratum over both arms, which knows of no arm."""
    outcomes = cells.outcomes(target, places)
    known = ~np.isnan(outcomes)
    strata = np.unique(cells.rows.strata[places], return_inverse=True)[1]
    n = np.bincount(strata[known], minlength=strata.max() + 1)
    sums = np.bincount(strata[known], outcomes[known], minlength=len(n))
    return np.asarray(outcomes - (sums / np.maximum(n, 1))[strata])
