"""Cohorts on their way to pooled posteriors, and what is said beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from measure.incrementality.cells import Cells, Finding, Target
from measure.incrementality.contrast import Inference
from measure.incrementality.difference import spread
from measure.incrementality.pooling.keeping import keep
from measure.incrementality.pooling.values import Observed, Pooled
from measure.results import Status

MIN_COHORTS = 2


@dataclass(frozen=True, slots=True)
class Lineup:
    """Cohorts that will be pooled together, with the prior's centre, scale and spread."""

    members: list[Target]
    prior: tuple[float, float, float]


@dataclass(slots=True)
class Pooling:
    """Findings so far, groups still to be pooled, and what is said beside the estimates."""

    cells: Cells
    found: dict[Target, Finding] = field(default_factory=dict)
    lineups: list[Lineup] = field(default_factory=list)
    priors: list[dict[str, Any]] = field(default_factory=list)
    sensitivity: list[dict[str, Any]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    combinations: list[dict[str, Any]] = field(default_factory=list)

    def settle(
        self,
        members: Sequence[Target],
        pooled: Pooled,
        notes: Sequence[str],
        *,
        at_look: bool = False,
    ) -> None:
        """Take a group's posteriors, or the gate it failed.

        ``at_look``: they rest on intervals that the look of a sequential plan has judged.
        """
        if pooled.complaint:
            self.found |= {t: Finding(t, Status.NOT_CONVERGED, pooled.complaint) for t in members}
            return
        for target, posterior, note in zip(members, pooled.posteriors, notes, strict=True):
            self.found[target] = Finding(target, Status.OK, note, posterior, at_look)
        where = _where(members[0])
        for shift in pooled.shifts:
            self.sensitivity.append(
                {
                    **where,
                    "prior": shift.prior,
                    "factor": shift.factor,
                    "shift": shift.shift,
                    "cohort": _label(members[shift.member]),
                    "average_shift": shift.average,
                }
            )
        folder = self.cells.draws_folder
        forbidden = members[0].metric in self.cells.withheld
        if folder is not None and pooled.draws is not None and not forbidden:
            labels = [_label(t) for t in members]
            self.kept.append(keep(folder, where, labels, pooled.draws))


def lonely(target: Target) -> Finding:
    """A cohort with nobody to be pooled with."""
    note = f"pooling needs {MIN_COHORTS} cohorts with a usable difference"
    return Finding(target, Status.INSUFFICIENT, note)


def refusal_of(cells: Cells, target: Target) -> Finding | None:
    """Why a cohort's difference cannot be pooled; ``None`` when it can."""
    plain = cells.difference(target)
    if not isinstance(plain.numbers, Inference):
        return plain
    if not plain.numbers.normal_se(cells.plan.ci_level) > 0:
        note = "its interval is a single value, so nothing says how much it should weigh"
        return Finding(target, Status.DEGENERATE, note)
    return None


def observed_of(cells: Cells, target: Target) -> Observed:
    """A usable difference as the likelihood sees it."""
    numbers = cells.difference(target).numbers
    control, _ = cells.pair(target)
    kind = cells.kind(cells.metric(target))
    value = numbers.value if numbers is not None else math.nan
    se = math.nan
    if isinstance(numbers, Inference):
        se = numbers.normal_se(cells.plan.ci_level)
    return Observed(value, se, float(control.mean[0]), spread(control, kind) / control.n)


def _where(target: Target) -> dict[str, str]:
    dimension = "" if target.cohort is None else target.cohort.dimension
    return {"metric": target.metric, "arm": target.arm, "dimension": dimension}


def _label(target: Target) -> str:
    return "" if target.cohort is None else target.cohort.value
