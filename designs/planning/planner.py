"""From a specification, its history and what is assumed to a plan of the test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import TYPE_CHECKING

from designs.planning import risks
from designs.planning.comparisons import Comparison, compare, compare_ratio, peeking_prices
from designs.planning.cost import DEFAULT_LIFT, DEFAULT_LIFT_SD, Prior, Stake, curse, money
from designs.planning.power import Baseline, Significance, detectable
from designs.planning.results import (
    Curse,
    CurvePoint,
    DesignPlan,
    DurationPoint,
    MetricHistory,
    Money,
    Season,
)

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from designs.planning.assumptions import Assumptions
    from designs.planning.history import History, Outcome
    from measure.results import Check

ESTIMATORS = ("difference", "cuped")
"""Those with a formula for their precision; the others are planned as if they were these."""
_CURVE_POINTS = 25
_CURVE_REACH = 2.0


def plan_experiment(
    experiment: Experiment,
    history: History,
    assumptions: Assumptions,
    *,
    others: Iterable[Experiment] = (),
    earlier: Prior | None = None,
    progress: Callable[[str], None] | None = None,
) -> DesignPlan:
    """Say what a test will be able to tell, at which price, and what could go wrong.

    ``others`` are tests that run at the same time, ``earlier`` is what past tests say of the lift;
    ``progress`` is told each slow step.
    """
    told = progress or (lambda _step: None)
    prior = prior_of(assumptions, earlier)
    found = _compare_all(experiment, history, assumptions, prior, told)
    leading = _leading(experiment, found)
    peeking = peeking_prices(experiment, assumptions, leading[0].precision.mde_relative)
    season, duration = season_of(history), _durations(experiment, history, assumptions)
    stakes = _money(experiment, assumptions, prior, found)
    lucky = _curse(experiment, prior, leading)
    precision = tuple(each.precision for each in found)
    first = tuple(each.precision for each in leading)
    checks: tuple[Check, ...] = (
        risks.power_check(first, assumptions),
        risks.holdout_check(experiment, first),
        risks.small_check(precision),
        risks.overlap_check(experiment, others),
        risks.season_check(experiment, history, season, duration),
        risks.curse_check(lucky),
        risks.many_check(experiment, alpha_of(experiment)),
        risks.looks_check(experiment, assumptions, peeking),
        risks.cost_check(stakes),
        risks.history_check(history),
    )
    return DesignPlan(
        experiment=experiment.key,
        control=experiment.control,
        primary=experiment.analysis_plan().primary.name,
        source=history.source,
        history_from=None if history.first_day is None else history.first_day.isoformat(),
        history_to=None if history.last_day is None else history.last_day.isoformat(),
        units=history.units,
        assumptions=_assumed(assumptions, prior),
        metrics=tuple(_described(outcome) for outcome in history.outcomes.values()),
        precision=precision,
        curve=_curve(experiment, found),
        duration=duration,
        peeking=peeking,
        money=stakes,
        curse=lucky,
        season=season,
        simulations=tuple(dict.fromkeys(s for each in found for s in each.simulated)),
        checks=checks,
        provenance={
            "plan_hash": experiment.analysis_plan().content_hash(),
            "specification_hash": experiment.content_hash(),
            "notes": list(history.notes),
            "clusters": None if history.clusters is None else asdict(history.clusters),
        },
    )


def prior_of(assumptions: Assumptions, earlier: Prior | None = None) -> Prior:
    """The expected lift: what was said, what earlier tests found, or a default that says so."""
    if assumptions.lift is not None:
        sd = assumptions.lift_sd or abs(assumptions.lift) or DEFAULT_LIFT_SD
        return Prior(assumptions.lift, sd, "given")
    if earlier is not None:
        return earlier
    return Prior(DEFAULT_LIFT, DEFAULT_LIFT_SD, "assumed: no test has been analysed here")


def alpha_of(experiment: Experiment) -> float:
    """Level of the two-sided tests of the analysis."""
    return round(1 - experiment.plan.ci_level, 12)


def season_of(history: History) -> Season | None:
    """Orders by weekday over the average day; ``None`` without a whole week of orders.

    ``share_explained`` is the share of the variance between days that weekdays account for
    (from two weeks on).
    """
    weeks = [week for week in history.weekdays if sum(week) > 0]
    if not weeks:
        return None
    days = [math.fsum(week[i] for week in weeks) / len(weeks) for i in range(7)]
    level = math.fsum(days) / 7
    within = math.fsum((week[i] - days[i]) ** 2 for week in weeks for i in range(7))
    whole = math.fsum((week[i] - level) ** 2 for week in weeks for i in range(7))
    explained = 1 - within / whole if len(weeks) > 1 and whole > 0 else None
    return Season(tuple(day / level for day in days), len(weeks), explained)


def _compare_all(
    experiment: Experiment,
    history: History,
    assumptions: Assumptions,
    prior: Prior,
    told: Callable[[str], None],
) -> tuple[Comparison, ...]:
    """Every metric, arm and estimator, the primary metric first; ratios last."""
    plan = experiment.analysis_plan()
    names = [name for name in plan.estimators if name in ESTIMATORS] or ["difference"]
    if not plan.covariates:
        names = [name for name in names if name != "cuped"] or ["difference"]
    metrics = sorted(plan.metrics, key=lambda metric: metric.name != plan.primary.name)
    found = [
        compare(experiment, history, assumptions, prior.mean, metric, arm, name, told)
        for metric, arm, name in product(metrics, plan.treatments, names)
    ]
    found += [
        compare_ratio(experiment, history, assumptions, prior.mean, ratio.name, arm)
        for ratio, arm in product(assumptions.ratios, plan.treatments)
    ]
    return tuple(found)


def _leading(experiment: Experiment, found: Sequence[Comparison]) -> list[Comparison]:
    """The primary metric by the first estimator, one comparison per arm."""
    primary = experiment.analysis_plan().primary.name
    chosen: dict[str, Comparison] = {}
    for each in found:
        if each.precision.metric == primary:
            chosen.setdefault(each.precision.arm, each)
    return list(chosen.values())


def _curve(experiment: Experiment, found: Sequence[Comparison]) -> tuple[CurvePoint, ...]:
    """Power by lift: a line where a formula holds, simulated points where none does."""
    primary = experiment.analysis_plan().primary.name
    points: list[CurvePoint] = []
    for each in found:
        p = each.precision
        if p.metric != primary:
            continue
        if p.method == "normal" and p.mde_relative and each.baseline.mean:
            steps = [p.mde_relative * _CURVE_REACH * i / (_CURVE_POINTS - 1)
                     for i in range(_CURVE_POINTS)]  # fmt: skip
            points += [
                CurvePoint(p.arm, p.estimator, lift, value)
                for lift in steps
                if (value := each.power_at(lift)) is not None
            ]
        points += [
            CurvePoint(p.arm, p.estimator, s.lift, s.power, s.low, s.high) for s in each.simulated
        ]
    return tuple(points)


def _durations(
    experiment: Experiment, history: History, assumptions: Assumptions
) -> tuple[DurationPoint, ...]:
    """Smallest detectable lift by window, for the first arm and the unadjusted difference."""
    plan = experiment.analysis_plan()
    shares = plan.arms[plan.control], plan.arms[plan.treatments[0]]
    points = []
    for span in history.spans:
        baseline = Baseline(float(span.moments.mean[0]), span.moments.variance)
        if plan.primary.kind == "proportion":
            baseline = Baseline.of_proportion(baseline.mean)
        n_control, n_arm = (max(history.units * share, 2.0) for share in shares)
        test = Significance(alpha_of(experiment))
        effect = (
            detectable(baseline, n_control, n_arm, assumptions.power, test)
            if baseline.variance > 0
            else None
        )
        relative = effect / abs(baseline.mean) if effect and baseline.mean else None
        points.append(
            DurationPoint(
                span.days, history.units, span.active, span.newcomers,
                baseline.mean, math.sqrt(baseline.variance), relative,
            )
        )  # fmt: skip
    return tuple(points)


def _money(
    experiment: Experiment, assumptions: Assumptions, prior: Prior, found: Sequence[Comparison]
) -> tuple[Money, ...]:
    """Cost and value for each arm, on the first metric in the cost's currency."""
    cost, plan = experiment.cost, experiment.analysis_plan()
    if cost is None:
        return ()
    paid = [m for m in plan.metrics if m.kind == "mean" and m.unit == cost.currency]
    metric = next((m for m in paid if m.name == plan.primary.name), paid[0] if paid else None)
    if metric is None:
        return ()
    rule = experiment.decision.scale_rule if experiment.decision else None
    stakes = []
    for arm in plan.treatments:
        each = next(
            c for c in found if c.precision.metric == metric.name and c.precision.arm == arm
        )
        note = "" if each.se is not None else f"the analysis will refuse: {each.precision.note}"
        if cost.per_unit == 0 and cost.fixed == 0:
            note = "; ".join(x for x in (note, "treating costs nothing in the specification") if x)
        stake = Stake(
            arm, metric.name, each.baseline.mean, each.se, each.precision.n_control,
            each.units, note,
        )  # fmt: skip
        stakes.append(money(stake, cost, prior, assumptions.repeats, rule))
    return tuple(stakes)


def _curse(experiment: Experiment, prior: Prior, leading: Sequence[Comparison]) -> Curse | None:
    first = leading[0]
    effect = prior.mean * abs(first.baseline.mean)
    if first.se is None or effect == 0:
        return None
    found = curse(effect, first.se, alpha_of(experiment))
    return replace(found, lift=prior.mean)


def _described(outcome: Outcome) -> MetricHistory:
    moments = outcome.moments
    counts = outcome.values.counts
    nonzero = int(counts[outcome.values.values != 0].sum()) / int(counts.sum())
    skewness = moments.skewness
    return MetricHistory(
        metric=outcome.metric.name,
        kind=outcome.metric.kind,
        unit=outcome.metric.unit,
        n=moments.n,
        missing=outcome.missing,
        mean=float(moments.mean[0]),
        sd=math.sqrt(max(moments.variance, 0.0)) if moments.n > 1 else 0.0,
        skewness=None if math.isnan(skewness) else skewness,
        share_nonzero=nonzero,
        r_squared=outcome.r_squared,
    )


def _assumed(assumptions: Assumptions, prior: Prior) -> dict[str, object]:
    """What was assumed, with the lift that was used."""
    return {
        **assumptions.model_dump(mode="json"),
        "lift": prior.mean,
        "lift_sd": prior.sd,
        "lift_source": prior.source,
    }
