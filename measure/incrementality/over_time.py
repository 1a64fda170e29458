"""How an effect moves with time: in each period, up to each period, and whether it fades or grows.

In each period, and up to it, arms are compared as any metric is: the difference in means with the
interval that allocation and skewness allow (:mod:`measure.incrementality.small_holdout`). Units
count where their follow-up covers the period, which assignment cannot change, so every comparison
is of randomised groups; later periods may rest on other units than early ones.

Periods of one unit are not independent, so nothing is regressed on periods. Instead each unit that
covers all of them gives one number, the least-squares slope of its outcomes over the periods, and
the novelty test is the difference in means of that number (a summary measure: Matthews et al. 1990,
BMJ 300). Whatever the correlation within a unit, it is in the spread of the slopes.

Two intervals are given. ``ci_low`` and ``ci_high`` are pointwise: right for one period chosen
beforehand. ``band_low`` and ``band_high`` hold for all periods of a curve at once (Bonferroni: each
at level 1 − (1 − ci_level) / periods).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Protocol

from measure.engine.panels import Step
from measure.incrementality.checks import sample_ratio_check
from measure.incrementality.contrast import Contrast, Inference, infer
from measure.incrementality.difference import difference
from measure.incrementality.findings import STATUS
from measure.incrementality.inputs import CountedValues
from measure.incrementality.sequential import ONE_LOOK_ONLY
from measure.incrementality.small_holdout import Cell, Judged, Method, judge, reference_from_counts
from measure.moments import Moments
from measure.plan import AnalysisPlan, Kind, Metric
from measure.results import SCHEMA_VERSION, Check, Outcome, Result, Severity, Status

Verdict = Literal["fading", "growing", "turning", "steady", "unknown"]
"""``fading``    the effect moves towards zero, or beyond it
``growing``   the effect moves away from zero
``turning``   the effect moves, and is not known to be above or below zero overall
``steady``    no movement is shown; one may exist
``unknown``   there is no usable test"""


class OverTime(Protocol):
    """What this module asks of a panel (:class:`measure.engine.panels.Panel`)."""

    plan: AnalysisPlan
    labels: tuple[str, ...]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics that can be followed."""

    @property
    def units(self) -> Mapping[str, int]:
        """All units per arm."""

    def covered(self, arm: str, step: Step) -> int:
        """Units of an arm that count in a step."""

    def moments(self, metric: str, arm: str, step: Step) -> Moments:
        """Moments of a metric in a step."""

    def value_counts(self, metric: str, step: Step) -> Mapping[str, CountedValues]:
        """Units at each value, per arm."""


@dataclass(frozen=True, slots=True)
class PeriodEffect(Result):
    """Arm minus control per unit in one step; numbers are ``None`` where the status forbids them.

    ``left_out`` counts units of the two arms whose follow-up does not cover the step. ``band_low``
    and ``band_high`` are absent where there is no family of periods.
    """

    period: int
    label: str
    value: float | None
    se: float | None
    ci_low: float | None
    ci_high: float | None
    band_low: float | None
    band_high: float | None
    p_value: float | None
    relative: float | None
    relative_ci_low: float | None
    relative_ci_high: float | None
    n_control: int
    n_arm: int
    left_out: int
    status: Status
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curve(Result):
    """One metric in one arm over time.

    ``trend`` is the change of the effect per period, ``late`` the mean effect of the late half of
    the periods minus that of the early half; both over units that cover all periods.
    """

    metric: str
    arm: str
    control: str
    periods: tuple[PeriodEffect, ...]
    cumulative: tuple[PeriodEffect, ...]
    trend: PeriodEffect
    late: PeriodEffect
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Curves(Result):
    """All curves of an experiment; ``invalid`` when the arms do not have their designed shares."""

    experiment: str
    status: Status
    by: str
    until: datetime | None
    ci_level: float
    units: Mapping[str, int]
    checks: tuple[Check, ...]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The ``curve`` JSON document."""
        until = None if self.until is None else self.until.isoformat()
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self), "until": until}


def effects_over_time(
    panel: OverTime,
    *,
    experiment: str,
    by: str,
    until: datetime | None = None,
    notes: Sequence[str] = (),
) -> Curves:
    """Curves of all metrics of a panel and all arms.

    The sample ratio of all units is checked first; when it stops the analysis, numbers are
    withheld. ``notes`` are passed on to the reader.
    """
    plan = panel.plan
    check = sample_ratio_check(panel.units, plan.arms, every_look=bool(plan.sequential))
    stop = check.severity is Severity.STOP and check.outcome in (Outcome.FLAGGED, Outcome.FAILED)
    curves = [_curve(panel, m, arm) for m in panel.metrics for arm in plan.treatments]
    said = list(notes)
    if plan.sequential:
        said.append(ONE_LOOK_ONLY)
    if stop:
        curves = [_withheld(curve, check) for curve in curves]
    return Curves(
        experiment=experiment,
        status=Status.INVALID if stop else Status.OK,
        by=by,
        until=until,
        ci_level=plan.ci_level,
        units=dict(panel.units),
        checks=(check,),
        curves=tuple(curves),
        notes=tuple(said),
    )


def _curve(panel: OverTime, metric: Metric, arm: str) -> Curve:
    numbers = range(1, len(panel.labels) + 1)
    periods = tuple(_effect(panel, metric, arm, Step("period", p)) for p in numbers)
    cumulative = tuple(_effect(panel, metric, arm, Step("cumulative", p)) for p in numbers)
    trend, late = (_moved(panel, metric, arm, Step(name)) for name in ("trend", "late"))
    whole = _effect(panel, metric, arm, Step("cumulative", len(panel.labels)))
    return Curve(
        metric=metric.name,
        arm=arm,
        control=panel.plan.control,
        periods=periods,
        cumulative=cumulative,
        trend=trend,
        late=late,
        verdict=_verdict(trend, whole, 1 - panel.plan.ci_level),
    )


def _moved(panel: OverTime, metric: Metric, arm: str, step: Step) -> PeriodEffect:
    """A contrast of periods within units; it needs two of them."""
    if len(panel.labels) > 1:
        return _effect(panel, metric, arm, step)
    nobody = Moments.empty((metric.name,))
    judged = Judged(Method.REFUSE, "there is one period; a change needs two", None)
    return _worded(panel, arm, step, (nobody, nobody), judged)


def _effect(panel: OverTime, metric: Metric, arm: str, step: Step) -> PeriodEffect:
    """The difference in means of one step, judged by its size and skewness."""
    plan = panel.plan
    pair = (
        panel.moments(metric.name, plan.control, step),
        panel.moments(metric.name, arm, step),
    )
    kind: Kind = metric.kind if step.period else "mean"  # a slope of shares is no share
    judgement = judge(*pair, metric.name, plan.ci_level)
    if judgement.method in (Method.REFUSE, Method.DEGENERATE):
        return _worded(panel, arm, step, pair, Judged(judgement.method, judgement.reason, None))
    contrast = difference(*pair, kind)
    dealt = judgement.method is Method.PERMUTATION
    counted = panel.value_counts(metric.name, step) if dealt else {}
    # The whole window is the cell that an analysis has: it is dealt by the same draws.
    whole = step == Step("cumulative", len(panel.labels))
    name = "" if whole else f"{step.series}\x1f{step.period}"
    cell = Cell(metric.name, arm, plan.control, name, plan.seed)
    judged = reference_from_counts(judgement, contrast, counted, cell, kind)
    return _worded(panel, arm, step, pair, judged, contrast)


def _worded(
    panel: OverTime,
    arm: str,
    step: Step,
    pair: tuple[Moments, Moments],
    judged: Judged,
    contrast: Contrast | None = None,
) -> PeriodEffect:
    """A comparison as a result, with both intervals where it has a reference."""
    level, periods = panel.plan.ci_level, len(panel.labels)
    numbers: Inference | None = None
    band: tuple[float | None, float | None] = (None, None)
    if contrast is not None and judged.reference is not None:
        numbers = infer(contrast, judged.reference, level)
        numbers = numbers.with_lift(panel.plan.relative, float(pair[0].mean[0]))
        if step.period:
            wide = infer(contrast, judged.reference, 1 - (1 - level) / periods)
            band = (wide.ci_low, wide.ci_high)
    everybody = sum(panel.units.get(name, 0) for name in (panel.plan.control, arm))
    here = sum(panel.covered(name, step) for name in (panel.plan.control, arm))
    lifted = numbers if step.period else None  # a lift of a change has no meaning
    return PeriodEffect(
        period=step.period,
        label=panel.labels[step.period - 1] if step.period else step.series,
        value=numbers.value if numbers else None,
        se=numbers.se if numbers else None,
        ci_low=numbers.ci_low if numbers else None,
        ci_high=numbers.ci_high if numbers else None,
        band_low=band[0],
        band_high=band[1],
        p_value=numbers.p_value if numbers else None,
        relative=lifted.relative if lifted else None,
        relative_ci_low=lifted.relative_ci_low if lifted else None,
        relative_ci_high=lifted.relative_ci_high if lifted else None,
        n_control=pair[0].n,
        n_arm=pair[1].n,
        left_out=everybody - here,
        status=STATUS[judged.method],
        note=judged.note,
    )


def _verdict(trend: PeriodEffect, whole: PeriodEffect, alpha: float) -> Verdict:
    """What the novelty test says, beside the effect over the whole window."""
    if trend.p_value is None or trend.value is None:
        return "unknown"
    if trend.p_value > alpha:
        return "steady"
    if whole.p_value is None or whole.value is None or whole.p_value > alpha:
        return "turning"
    return "growing" if trend.value * whole.value > 0 else "fading"


def _withheld(curve: Curve, check: Check) -> Curve:
    """A curve without its numbers, because the arms cannot be compared."""
    reason = f"check {check.code} ({check.title.lower()}): {check.message.rstrip('.')}"

    def bare(effect: PeriodEffect) -> PeriodEffect:
        usable = effect.status is Status.OK
        return replace(
            effect,
            value=None,
            se=None,
            ci_low=None,
            ci_high=None,
            band_low=None,
            band_high=None,
            p_value=None,
            relative=None,
            relative_ci_low=None,
            relative_ci_high=None,
            status=Status.INVALID if usable else effect.status,
            note=reason if usable else effect.note,
        )

    return replace(
        curve,
        periods=tuple(map(bare, curve.periods)),
        cumulative=tuple(map(bare, curve.cumulative)),
        trend=bare(curve.trend),
        late=bare(curve.late),
        verdict="unknown",
    )
