"""Ratios of two sums, by the delta method at the unit of randomisation.

Units are what was randomised, so a click-through rate is judged over people, never over sessions.
A small holdout is judged by the skewness of the linearised outcome; where that fails, linearised
outcomes of all units around their common ratio are dealt to the arms.
"""

from __future__ import annotations

import numpy as np

from measure.incrementality.comparison import Comparison
from measure.incrementality.contrast import StudentT
from measure.incrementality.difference import difference
from measure.incrementality.findings import STATUS, Finding, conclude
from measure.incrementality.ratio import linearised, ratio_of, unstable
from measure.incrementality.small_holdout import (
    MIN_UNITS,
    Judged,
    Judgement,
    Method,
    judge,
    reference_from_residuals,
    too_few_events,
)
from measure.results import Status


def difference_in_ratios(asked: Comparison) -> Finding:
    """Arm's ratio minus control's, judged as the cell's allocation and skewness allow."""
    name = asked.metric.name
    for moments, arm in ((asked.control, asked.cell.control), (asked.arm, asked.cell.arm)):
        reason = unstable(moments) if moments.n >= MIN_UNITS else ""
        if reason:
            status = Status.DEGENERATE if "zero" in reason else Status.INSUFFICIENT
            return Finding(asked.target, status, f"the denominator of {name} in {arm} {reason}")
    pair = linearised(asked.control), linearised(asked.arm)
    judgement = judge(*pair, name, asked.level)
    if judgement.method in (Method.REFUSE, Method.DEGENERATE):
        return Finding(asked.target, STATUS[judgement.method], judgement.reason)
    contrast = difference(*pair)
    if judgement.method is Method.NORMAL:
        judged = Judged(Method.NORMAL, "", StudentT(contrast.dof))
    else:
        judged = _dealt(asked, judgement)
    return conclude(asked.target, contrast, judged, asked.level, asked.look)


def _dealt(asked: Comparison, judgement: Judgement) -> Judged:
    """Studentized permutation of the units' linearised outcomes."""
    rows, name = asked.rows(), asked.metric.name
    places, in_arm = asked.compared()
    above, below = rows.outcomes[name][places], rows.denominators[name][places]
    n_arm = int(in_arm.sum())
    few = too_few_events(above, n_arm)
    if few:
        return Judged(Method.REFUSE, few, None)
    ratio, scale = ratio_of(asked.control + asked.arm)
    residuals = np.round((above - ratio * below) / scale, 12)
    return reference_from_residuals(residuals, n_arm, judgement, asked.cell, "ratio")
