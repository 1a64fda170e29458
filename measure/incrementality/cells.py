"""The cells of an analysis: one comparison per metric, arm and cohort, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from measure.incrementality.bayes import Posterior
from measure.incrementality.contrast import Contrast, Inference, infer
from measure.incrementality.difference import difference
from measure.incrementality.inputs import CountedValues, Profile, Units
from measure.incrementality.rows import Rows, fetch_rows
from measure.incrementality.small_holdout import (
    Cell,
    Judged,
    Judgement,
    Method,
    judge,
    reference_from_counts,
)
from measure.moments import CellMoments, Moments
from measure.plan import AnalysisPlan, Metric
from measure.results import Cohort, Estimand, Estimate, Status

_STATUS = {
    Method.NORMAL: Status.OK,
    Method.PERMUTATION: Status.OK,
    Method.REFUSE: Status.INSUFFICIENT,
    Method.DEGENERATE: Status.DEGENERATE,
}


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


class Cells:
    """All cells of one analysis; everything asked of the unit table is asked once."""

    def __init__(self, units: Units, plan: AnalysisPlan) -> None:
        self.units = units
        self.plan = plan
        self._differences: dict[Target, Finding] = {}
        self._counted: dict[tuple[str, Cohort | None], Mapping[str, CountedValues]] = {}

    @cached_property
    def moments(self) -> CellMoments:
        """One scan of the unit table."""
        return self.units.moments()

    @cached_property
    def profile(self) -> Mapping[str, Profile]:
        """Profile of every column."""
        return self.units.profile()

    @cached_property
    def rows(self) -> Rows:
        """Rows, fetched only when an estimator needs units one by one."""
        return fetch_rows(self.units, self.plan)

    @cached_property
    def cohorts(self) -> dict[str, tuple[Cohort, ...]]:
        """Cohorts per dimension, in the plan's order of dimensions."""
        found: dict[str, set[Cohort]] = {name: set() for name in self.plan.cohorts}
        for _, cohort, _ in self.moments.cells:
            if cohort is not None:
                found[cohort.dimension].add(cohort)
        return {name: tuple(sorted(some, key=lambda c: c.value)) for name, some in found.items()}

    def targets(self) -> Iterator[Target]:
        """Every cell: by metric, arm, everybody first, then dimension and cohort."""
        for metric in self.plan.metrics:
            for arm in self.plan.treatments:
                yield Target(metric.name, arm, None)
                for cohorts in self.cohorts.values():
                    for cohort in cohorts:
                        yield Target(metric.name, arm, cohort)

    def metric(self, target: Target) -> Metric:
        """The target's metric."""
        return self.plan.metric(target.metric)

    def pair(self, target: Target) -> tuple[Moments, Moments]:
        """Moments of control and arm."""
        metric, cohort = target.metric, target.cohort
        return (
            self.moments.get(metric, self.plan.control, cohort),
            self.moments.get(metric, target.arm, cohort),
        )

    def judgement(self, target: Target, pair: tuple[Moments, Moments]) -> Judgement:
        """Which method the cell's allocation and skewness allow."""
        return judge(*pair, target.metric, self.plan.ci_level)

    def cell(self, target: Target) -> Cell:
        """Names that seed the cell's draws."""
        cohort = (
            "" if target.cohort is None else f"{target.cohort.dimension}\x1f{target.cohort.value}"
        )
        return Cell(target.metric, target.arm, self.plan.control, cohort, self.plan.seed)

    def difference(self, target: Target) -> Finding:
        """The difference in means of a cell, judged as its size and skewness allow."""
        if target not in self._differences:
            self._differences[target] = self._difference(target)
        return self._differences[target]

    def _difference(self, target: Target) -> Finding:
        pair = self.pair(target)
        judgement = self.judgement(target, pair)
        if judgement.method in (Method.REFUSE, Method.DEGENERATE):
            return Finding(target, _STATUS[judgement.method], judgement.reason)
        kind = self.metric(target).kind
        contrast = difference(*pair, kind)
        counted = self._values(target) if judgement.method is Method.PERMUTATION else {}
        judged = reference_from_counts(judgement, contrast, counted, self.cell(target), kind)
        return conclude(target, contrast, judged, self.plan.ci_level)

    def _values(self, target: Target) -> Mapping[str, CountedValues]:
        key = (target.metric, target.cohort)
        if key not in self._counted:
            self._counted[key] = self.units.value_counts(*key)
        return self._counted[key]


def conclude(target: Target, contrast: Contrast, judged: Judged, level: float) -> Finding:
    """A finding from a contrast and its reference, or the reason there is none."""
    if judged.reference is None:
        return Finding(target, _STATUS[judged.method], judged.note)
    numbers = infer(contrast, judged.reference, level)
    return Finding(target, Status.OK, judged.note, numbers)


def to_estimate(cells: Cells, finding: Finding, estimator: str, estimand: Estimand) -> Estimate:
    """A finding as a result; numbers are ``None`` unless its status is ok."""
    control, arm = cells.pair(finding.target)
    numbers = finding.numbers
    fields: dict[str, Any] = dict.fromkeys(
        ("value", "se", "ci_low", "ci_high", "p_value", "relative", "relative_ci_low"), None
    )
    fields["relative_ci_high"] = None
    if numbers is not None:
        fields = {
            "value": numbers.value,
            "se": numbers.se if isinstance(numbers, Inference) else numbers.sd,
            "ci_low": numbers.ci_low,
            "ci_high": numbers.ci_high,
            "p_value": numbers.p_value if isinstance(numbers, Inference) else None,
            "relative": numbers.relative,
            "relative_ci_low": numbers.relative_ci_low,
            "relative_ci_high": numbers.relative_ci_high,
        }
    return Estimate(
        metric=finding.target.metric,
        arm=finding.target.arm,
        control=cells.plan.control,
        cohort=finding.target.cohort,
        estimand=estimand,
        estimator=estimator,
        ci_level=cells.plan.ci_level,
        n_control=control.n,
        n_arm=arm.n,
        status=finding.status,
        note=finding.note,
        **fields,
    )
