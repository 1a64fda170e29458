"""From a specification, its history and what is assumed to a plan of the test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import TYPE_CHECKING

from designs.planning import risks
from designs.planning.baseline import Clusters
from designs.planning.comparisons import ADJUSTED, Comparison, Setting, compare
from designs.planning.cost import DEFAULT_LIFT, DEFAULT_LIFT_SD, Prior, Stake, curse, money
from designs.planning.outcome import NOT_PLANNED, plannable
from designs.planning.peeking import peeking_prices
from designs.planning.power import detectable
from designs.planning.results import (
    Curse,
    CurvePoint,
    DesignPlan,
    DurationPoint,
    MetricHistory,
    Money,
    Placebo,
    Season,
)
from designs.planning.season import placebo, strengths

if TYPE_CHECKING:
    from designs.experiment import Cost, Experiment
    from designs.planning.assumptions import Assumptions
    from designs.planning.history import History
    from designs.planning.outcome import Outcome

ESTIMATORS = ("difference", "cuped", "cuped_by_arm")
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
    prior = prior_of(assumptions, earlier)
    setting = setting_of(experiment, history, assumptions, prior.mean, progress)
    found = _compare_all(setting, history)
    leading = _leading(setting, found)
    peeking = peeking_prices(experiment, assumptions, leading[0].mde_at_one_look)
    season, duration = season_of(history), _durations(setting, history)
    stakes, lucky = _money(setting, prior, found), _curse(prior, leading)
    precision = tuple(each.precision for each in found)
    return DesignPlan(
        experiment=experiment.key,
        control=experiment.control,
        primary=setting.plan.primary.name,
        source=history.source,
        history_from=None if history.first_day is None else history.first_day.isoformat(),
        history_to=None if history.last_day is None else history.last_day.isoformat(),
        units=history.units,
        assumptions=_assumed(assumptions, prior),
        metrics=tuple(_described(outcome) for outcome in history.outcomes.values()),
        precision=precision,
        curve=_curve(setting, found),
        duration=duration,
        peeking=peeking,
        money=stakes,
        curse=lucky,
        season=season,
        simulations=tuple(dict.fromkeys(s for each in found for s in each.simulated)),
        checks=(
            risks.power_check([each.precision for each in leading], assumptions),
            risks.holdout_check(experiment, [each.precision for each in leading]),
            risks.small_check(precision),
            risks.overlap_check(experiment, others),
            risks.season_check(experiment, history, season, duration),
            risks.curse_check(lucky),
            risks.many_check(experiment, alpha_of(experiment)),
            risks.looks_check(experiment, history.units, assumptions, peeking),
            risks.cost_check(stakes),
            risks.history_check(history),
        ),
        provenance={
            "plan_hash": experiment.analysis_plan().content_hash(),
            "specification_hash": experiment.content_hash(),
            "notes": [*history.notes, *_notes(experiment, assumptions)],
            "clusters": None if history.clusters is None else asdict(history.clusters),
        },
        placebo=_placebo(setting, history, leading),
    )


def setting_of(
    experiment: Experiment,
    history: History,
    assumptions: Assumptions,
    lift: float,
    progress: Callable[[str], None] | None = None,
) -> Setting:
    """What all comparisons share; clusters of the specification are in history already."""
    given = assumptions.clusters
    return Setting(
        experiment=experiment,
        plan=plannable(experiment.analysis_plan())[0],
        units=history.units,
        clusters=None if given is None else Clusters(given.size, given.icc, given.cv),
        assumptions=assumptions,
        lift=lift,
        told=progress or (lambda _step: None),
    )


def prior_of(assumptions: Assumptions, earlier: Prior | None = None) -> Prior:
    """The expected lift of all units assigned: said, found by earlier tests, or a stated default.

    A lift that is said or assumed is that of units reached, so their share dilutes it (the effect
    of assignment is the share times the complier effect; Imbens and Angrist 1994, Econometrica
    62(2)). Earlier tests measured units assigned.
    """
    reached = 1.0 if assumptions.reached is None else assumptions.reached
    if assumptions.lift is not None:
        sd = assumptions.lift_sd or abs(assumptions.lift) or DEFAULT_LIFT_SD
        return Prior(assumptions.lift * reached, sd * reached, "given")
    if earlier is not None:
        return earlier
    source = "assumed: no test has been analysed here"
    return Prior(DEFAULT_LIFT * reached, DEFAULT_LIFT_SD * reached, source)


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
    weekly, yearly = strengths(history.daily)
    return Season(tuple(day / level for day in days), len(weeks), explained, weekly, yearly)


def _compare_all(setting: Setting, history: History) -> tuple[Comparison, ...]:
    """Every metric, arm and estimator, the primary metric first."""
    plan = setting.plan
    names = [name for name in plan.estimators if name in ESTIMATORS] or ["difference"]
    if not plan.covariates:
        names = [name for name in names if name not in ADJUSTED] or ["difference"]
    primary = plan.primary.name
    metrics = sorted(history.outcomes.values(), key=lambda found: found.metric.name != primary)
    return tuple(
        compare(setting, outcome, arm, name)
        for outcome, arm, name in product(metrics, plan.treatments, names)
    )


def _leading(setting: Setting, found: Sequence[Comparison]) -> list[Comparison]:
    """The primary metric by the first estimator, one comparison per arm."""
    chosen: dict[str, Comparison] = {}
    for each in found:
        if each.precision.metric == setting.plan.primary.name:
            chosen.setdefault(each.precision.arm, each)
    return list(chosen.values())


def _curve(setting: Setting, found: Sequence[Comparison]) -> tuple[CurvePoint, ...]:
    """Power by lift: a line where a formula holds, simulated points where none does."""
    points: list[CurvePoint] = []
    for each in found:
        p = each.precision
        if p.metric != setting.plan.primary.name:
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


def _durations(setting: Setting, history: History) -> tuple[DurationPoint, ...]:
    """Smallest detectable lift by window, for the first arm and the unadjusted difference.

    Judged at the same level, clusters and looks as the test itself; by formula throughout.
    """
    lean = replace(setting, assumptions=setting.assumptions.model_copy(update={"runs": 0}))
    points = []
    for span in history.spans:
        found = compare(lean, span.outcome, setting.plan.treatments[0], "difference")
        p, baseline = found.precision, found.baseline
        effect = None
        if found.se is not None:
            target = setting.assumptions.power
            effect = detectable(baseline, p.n_control, p.n_arm, target, found.test)
        relative = effect / abs(baseline.mean) if effect and baseline.mean else None
        points.append(
            DurationPoint(
                span.days, history.units, span.active, span.newcomers,
                baseline.mean, math.sqrt(baseline.variance), relative, p.method,
            )
        )  # fmt: skip
    return tuple(points)


def _placebo(setting: Setting, history: History, leading: Sequence[Comparison]) -> Placebo | None:
    """How often a window's orders moved by the smallest detectable lift without a test."""
    window, lift = setting.plan.window_days, leading[0].precision.mde_relative
    if window is None or lift is None:
        return None
    return placebo(history.daily, window, lift)


def _money(setting: Setting, prior: Prior, found: Sequence[Comparison]) -> tuple[Money, ...]:
    """Cost and value for each arm, on the first metric in the cost's currency."""
    experiment, plan = setting.experiment, setting.plan
    cost = experiment.cost
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
        stake = Stake(
            arm, metric.name, each.baseline.mean, each.se, each.precision.n_control,
            each.units, _of_stake(each, cost), each.interval_se,
        )  # fmt: skip
        stakes.append(money(stake, cost, prior, setting.assumptions.repeats, rule))
    return tuple(stakes)


def _of_stake(each: Comparison, cost: Cost) -> str:
    """What must be said beside the money of an arm."""
    notes = []
    if each.se is None:
        notes.append(f"the analysis will refuse: {each.precision.note}")
    elif each.interval_se is None:
        notes.append(
            "the interval of the permutation test is wider than the formula's, which stands in "
            "for it here, so the answer is worth less"
        )
    if cost.per_unit == 0 and cost.fixed == 0:
        notes.append("treating costs nothing in the specification")
    return "; ".join(notes)


def _curse(prior: Prior, leading: Sequence[Comparison]) -> Curse | None:
    """Luck in the least precise arm."""
    known = [each for each in leading if each.se is not None]
    worst = max(known, key=lambda each: each.se or 0.0, default=None)
    if worst is None or worst.se is None:
        return None
    effect = prior.mean * abs(worst.baseline.mean)
    if effect == 0:
        return None
    return replace(curse(effect, worst.se, worst.test.alpha), lift=prior.mean)


def _notes(experiment: Experiment, assumptions: Assumptions) -> list[str]:
    """What the numbers do not say by themselves."""
    plan = experiment.analysis_plan()
    notes = [
        f"{metric.name}: {NOT_PLANNED.format(kind=metric.kind)}." for metric in plannable(plan)[1]
    ]
    other = [name for name in plan.estimators if name not in ESTIMATORS]
    if other:
        notes.append(
            f"No formula says how precise {', '.join(other)} will be; count on what the "
            "difference and CUPED find."
        )
    if experiment.exposure is not None and assumptions.reached is None:
        notes.append(
            f"Column {experiment.exposure} says who was reached; the expected lift is taken as "
            "that of all units assigned. If it is that of units reached, give reached, their share."
        )
    if experiment.allocation is not None:
        notes.append(
            f"Shares differ by {experiment.allocation.attribute}: the analysis works stratum by "
            "stratum, the plan with the overall shares."
        )
    return notes


def _described(outcome: Outcome) -> MetricHistory:
    moments = outcome.moments
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
        share_nonzero=outcome.values.acting,
        r_squared=outcome.r_squared,
    )


def _assumed(assumptions: Assumptions, prior: Prior) -> dict[str, object]:
    """What was assumed, with the lift of all units assigned that was used."""
    return {
        **assumptions.model_dump(mode="json"),
        "lift": prior.mean,
        "lift_sd": prior.sd,
        "lift_source": prior.source,
        "lift_reached": None if assumptions.reached is None else prior.mean / assumptions.reached,
    }
