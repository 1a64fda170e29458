"""What an estimator says of one cell, before it becomes a result."""

from __future__ import annotations

from dataclasses import dataclass

from measure.incrementality.contrast import Contrast, Inference, infer
from measure.incrementality.pooling.values import Posterior
from measure.incrementality.sequential import Look
from measure.incrementality.small_holdout import Judged, Method
from measure.results import Cohort, Status

STATUS = {
    Method.NORMAL: Status.OK,
    Method.PERMUTATION: Status.OK,
    Method.REFUSE: Status.INSUFFICIENT,
    Method.DEGENERATE: Status.DEGENERATE,
}
"""Status of a cell by the method its size and skewness allow."""


@dataclass(frozen=True, slots=True)
class Target:
    """One comparison: a metric in an arm against control, in a cohort or for everybody."""

    metric: str
    arm: str
    cohort: Cohort | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What an estimator found in one cell; ``numbers`` is absent unless ``status`` is ok."""

    target: Target
    status: Status
    note: str = ""
    numbers: Inference | Posterior | None = None
    at_look: bool = False
    """Whether the interval knows that the plan is looked at before the end."""


def conclude(
    target: Target, contrast: Contrast, judged: Judged, level: float, look: Look | None = None
) -> Finding:
    """A finding from a contrast and its reference, or the reason there is none.

    ``look`` replaces the reference where the plan is looked at before the end.
    """
    if look is not None:
        judged = look.judged(judged)
    if judged.reference is None:
        return Finding(target, STATUS[judged.method], judged.note)
    numbers = infer(contrast, judged.reference, level)
    return Finding(target, Status.OK, judged.note, numbers, at_look=look is not None)
