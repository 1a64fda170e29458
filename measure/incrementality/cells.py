"""The cells of an analysis: one comparison per metric, arm and cohort, and what is known of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measure.grams import Grams
from measure.incrementality.comparison import Comparison
from measure.incrementality.contrast import Inference
from measure.incrementality.findings import Finding, Target, conclude
from measure.incrementality.inputs import CountedEvents, CountedValues, Profile, Units
from measure.incrementality.kinds.registry import AS_MEANS, DIFFERENCES
from measure.incrementality.notes import joined
from measure.incrementality.orthogonal.exact import FOLDS, MOST_NUMBERS
from measure.incrementality.pooling.priors import PastEffect
from measure.incrementality.pooling.values import Posterior
from measure.incrementality.ratio import linearised, ratio_of
from measure.incrementality.rows import Rows, fetch_rows
from measure.incrementality.sequential import ONE_LOOK_ONLY, Look, look_at
from measure.incrementality.small_holdout import Cell, Judgement, judge
from measure.moments import DENOMINATOR, CellMoments, JointMoments, Moments
from measure.plan import AnalysisPlan, Kind, Metric
from measure.results import Cohort, Estimand, Estimate

Vector = NDArray[np.float64]

__all__ = ["Cells", "Finding", "Target", "conclude", "to_estimate"]


class Cells:
    """All cells of one analysis; everything asked of the unit table is asked once."""

    def __init__(
        self,
        units: Units,
        plan: AnalysisPlan,
        past_effects: Mapping[str, Sequence[PastEffect]] | None = None,
        draws_folder: Path | None = None,
    ) -> None:
        self.units = units
        self.plan = plan
        self.past_effects = past_effects or {}
        self.draws_folder = draws_folder
        self.withheld: Collection[str] = ()
        """Metrics whose numbers the checks forbid; what is kept beside the result leaves them out.
        """
        self.asides: dict[str, Any] = {}
        """What estimators say beside their estimates, by estimator; goes into the provenance."""
        self._differences: dict[Target, Finding] = {}
        self._counted: dict[tuple[str, Cohort | None], Mapping[str, CountedValues]] = {}
        self._events: dict[tuple[str, Cohort | None], Mapping[str, CountedEvents]] = {}
        self._as_means: dict[Target, tuple[Moments, Moments]] = {}

    def only(self, metrics: Collection[str]) -> Cells:
        """The cells of some metrics; what is already known of them is not asked again."""
        if all(metric.name in metrics for metric in self.plan.metrics):
            return self
        some = copy(self)
        kept = tuple(metric for metric in self.plan.metrics if metric.name in metrics)
        some.plan = self.plan.model_copy(update={"metrics": kept})
        return some

    @cached_property
    def moments(self) -> CellMoments:
        """One scan of the unit table."""
        return self.units.moments()

    @cached_property
    def strata(self) -> Mapping[str, CellMoments]:
        """One more scan, per combination of the plan's strata."""
        return self.units.moments_by_stratum()

    @cached_property
    def combinations(self) -> JointMoments:
        """One more scan, per combination of cohorts, one of every dimension."""
        return self.units.joint_moments()

    @cached_property
    def profile(self) -> Mapping[str, Profile]:
        """Profile of every column."""
        return self.units.profile()

    @cached_property
    def rows(self) -> Rows:
        """Rows, fetched only when an estimator needs units one by one."""
        ratios = [m.name for m in self.plan.metrics if self.kind(m) == "ratio"]
        return fetch_rows(self.units, self.plan, ratios)

    @cached_property
    def grams(self) -> Mapping[str | None, Sequence[Grams]]:
        """Gram matrices by dimension, left out where there are too many cohorts for one each."""
        columns = 1 + len(self.plan.metrics) + len(self.plan.covariates)
        size = FOLDS * len(self.plan.arms) * columns**2
        most = MOST_NUMBERS // size
        dimensions = [name for name, some in self.cohorts.items() if len(some) <= most]
        return self.units.grams(dimensions, FOLDS)

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

    def kind(self, metric: Metric) -> Kind:
        """How a metric is analysed: as its kind, but means over rows of clusters are ratios."""
        return "ratio" if self.moments.has(metric.name, DENOMINATOR) else metric.kind

    def joint(self, target: Target) -> tuple[Moments, Moments]:
        """Moments of control and arm with their companions, as the data engine returned them."""
        metric, cohort = target.metric, target.cohort
        return (
            self.moments.get(metric, self.plan.control, cohort),
            self.moments.get(metric, target.arm, cohort),
        )

    def pair(self, target: Target) -> tuple[Moments, Moments]:
        """Moments of control and arm as they are analysed: (outcome, covariates…).

        The outcome of a ratio is linearised, so that its mean is the ratio. Quantiles and Kaplan–
        Meier estimates come as means with their own variance, and without covariates.
        """
        kind = self.kind(self.metric(target))
        if kind in AS_MEANS:
            if target not in self._as_means:
                self._as_means[target] = AS_MEANS[kind](self.comparison(target))
            return self._as_means[target]
        control, arm = self.joint(target)
        if kind == "ratio":
            control, arm = linearised(control), linearised(arm)
        return control.without_companions(), arm.without_companions()

    def union(self, target: Target) -> Moments:
        """Both arms as one group, as analysed; it does not know who got which arm."""
        control, arm = self.joint(target)
        both = control + arm
        linear = linearised(both) if self.kind(self.metric(target)) == "ratio" else both
        return linear.without_companions()

    def outcomes(self, target: Target, places: NDArray[np.int64]) -> Vector:
        """Outcomes of the :attr:`rows` at some places as analysed, (m,), NaN where missing.

        A ratio is linearised around the common ratio of everybody in the two arms.
        """
        found = self.rows.outcomes[target.metric][places]
        if target.metric not in self.rows.denominators:
            return found
        control, arm = self.joint(Target(target.metric, target.arm, None))
        ratio, below = ratio_of(control + arm)
        # Rounded, so that equal outcomes stay ties.
        linear: Vector = np.round(
            ratio + (found - ratio * self.rows.denominators[target.metric][places]) / below, 12
        )
        return linear

    def judgement(self, target: Target, pair: tuple[Moments, Moments]) -> Judgement:
        """Which method the cell's allocation and skewness allow."""
        return judge(*pair, target.metric, self.plan.ci_level)

    def look(self, target: Target) -> Look | None:
        """The look being taken at a cell; ``None`` when the plan has one look, at the end."""
        if self.plan.sequential is False:
            return None
        control, arm = self.joint(target)
        share = self.plan.arms[self.plan.control] + self.plan.arms[target.arm]
        cohorts = 1 if target.cohort is None else len(self.cohorts[target.cohort.dimension])
        everybody = sum(self.moments.units.values())
        return look_at(self.plan, everybody, (control.n, arm.n), share, cohorts)

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
        return DIFFERENCES[self.kind(self.metric(target))](self.comparison(target))

    def comparison(self, target: Target) -> Comparison:
        """All that a kind of metric may ask of a cell."""
        control, arm = self.joint(target)
        return Comparison(
            target=target,
            metric=self.metric(target),
            control=control,
            arm=arm,
            level=self.plan.ci_level,
            cell=self.cell(target),
            look=self.look(target),
            values=lambda: self._values(target),
            rows=lambda: self.rows,
            events=lambda: self._timed(target),
        )

    def _values(self, target: Target) -> Mapping[str, CountedValues]:
        key = (target.metric, target.cohort)
        if key not in self._counted:
            self._counted[key] = self.units.value_counts(*key)
        return self._counted[key]

    def _timed(self, target: Target) -> Mapping[str, CountedEvents]:
        key = (target.metric, target.cohort)
        if key not in self._events:
            self._events[key] = self.units.event_counts(*key)
        return self._events[key]


def _noted(cells: Cells, finding: Finding) -> str:
    """The finding's note, and what the plan asks for that it does not have."""
    numbers, notes = finding.numbers, [finding.note]
    if numbers is None:
        return finding.note
    if not finding.at_look and cells.plan.sequential is not False:
        notes.append(ONE_LOOK_ONLY)
    if numbers.relative is not None and _lift_interval(cells, finding.target, numbers)[0] is None:
        notes.append("no interval of the lift: a logarithm needs both means above zero")
    return joined(*notes)


def _lift_interval(
    cells: Cells, target: Target, numbers: Inference | Posterior
) -> tuple[float | None, float | None]:
    """Interval of the lift as the plan defines it; a posterior's is its own quantiles."""
    if not isinstance(numbers, Inference):
        return numbers.relative_ci_low, numbers.relative_ci_high
    defined = numbers.with_lift(cells.plan.relative, float(cells.pair(target)[0].mean[0]))
    return defined.relative_ci_low, defined.relative_ci_high


def to_estimate(cells: Cells, finding: Finding, estimator: str, estimand: Estimand) -> Estimate:
    """A finding as a result; numbers are ``None`` unless its status is ok."""
    control, arm = cells.pair(finding.target)
    numbers = finding.numbers
    fields: dict[str, Any] = dict.fromkeys(
        ("value", "se", "ci_low", "ci_high", "p_value", "relative", "relative_ci_low"), None
    )
    fields["relative_ci_high"] = None
    if numbers is not None:
        lift_low, lift_high = _lift_interval(cells, finding.target, numbers)
        fields = {
            "value": numbers.value,
            "se": numbers.se if isinstance(numbers, Inference) else numbers.sd,
            "ci_low": numbers.ci_low,
            "ci_high": numbers.ci_high,
            "p_value": numbers.p_value if isinstance(numbers, Inference) else None,
            "relative": numbers.relative,
            "relative_ci_low": lift_low,
            "relative_ci_high": lift_high,
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
        note=_noted(cells, finding),
        **fields,
    )
