"""One comparison of an arm with the control: which method the analysis will use, and how sharp.

The method is the analysis's own choice (``judge`` on moments scaled to the planned sizes), so a
plan cannot promise a normal approximation that will not be used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from designs.planning.power import (
    Baseline,
    Clusters,
    Significance,
    detectable,
    per_comparison,
    power,
    units_needed,
)
from designs.planning.results import Peeking, Precision
from designs.planning.sequential import WAYS, equal_looks, inflation, needed_drift, plan_looks
from designs.planning.sequential import simulate as simulate_looks
from designs.planning.simulation import Simulated, Values, simulate, smallest_found
from measure.incrementality import cuped
from measure.incrementality.small_holdout import MIN_EVENTS, MIN_UNITS, Judgement, Method, judge
from measure.moments import Moments

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from designs.planning.assumptions import Assumptions
    from designs.planning.history import History, Outcome
    from measure.plan import Metric

_SIMULATED_LIFTS = (1.0, 1.5, 2.0)
_DEFAULT_LOOKS = 4
_LOOK_RUNS = 20_000
_BY_SIMULATION = "no formula holds for this comparison"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison with what other parts of the plan need of it.

    ``se`` is the standard error that the difference will have, ``None`` where it is refused;
    ``units`` are all units of the experiment that have a value of this metric.
    """

    precision: Precision
    baseline: Baseline
    test: Significance
    se: float | None
    units: int
    simulated: tuple[Simulated, ...] = ()

    def power_at(self, lift: float) -> float | None:
        """Power at a lift by formula; ``None`` where the lift is not possible."""
        effect = lift * abs(self.baseline.mean)
        low, high = self.baseline.room
        if not low <= effect <= high:
            return None
        return power(
            self.baseline, effect, self.precision.n_control, self.precision.n_arm, self.test
        )


def compare(
    experiment: Experiment,
    history: History,
    assumptions: Assumptions,
    lift: float,
    metric: Metric,
    arm: str,
    estimator: str,
    told: Callable[[str], None],
) -> Comparison:
    """Plan one comparison at the expected lift."""
    outcome = history.outcomes[metric.name]
    clusters = _clusters(history, assumptions)
    baseline = _baseline(outcome, estimator, clusters)
    plan = experiment.analysis_plan()
    measured = round(history.units * (1 - outcome.missing))
    sizes = round(measured * plan.arms[plan.control]), round(measured * plan.arms[arm])
    judged = _judged(outcome, estimator, sizes, experiment.plan.ci_level)
    test = _test(experiment, assumptions)
    empty = Precision(
        metric=metric.name, role=_role(experiment, metric), arm=arm, control=plan.control,
        estimator=estimator, method=judged.method.value, n_control=sizes[0], n_arm=sizes[1],
        alpha=test.alpha, mde=None, mde_relative=None, power=None, power_low=None,
        power_high=None, units_needed=None, simulated=False, note=judged.reason,
    )  # fmt: skip
    found = Comparison(empty, baseline, test, None, measured)
    if judged.method not in (Method.NORMAL, Method.PERMUTATION):
        return found
    if judged.method is Method.NORMAL:
        shares = plan.arms[plan.control], plan.arms[arm]
        return _by_formula(found, lift, shares, assumptions.power, 1 - outcome.missing)
    return _by_simulation(found, experiment, metric, outcome, assumptions, lift, told)


def compare_ratio(
    experiment: Experiment,
    history: History,
    assumptions: Assumptions,
    lift: float,
    name: str,
    arm: str,
) -> Comparison:
    """Plan a ratio of two metrics by the delta method over units."""
    plan, moments = experiment.analysis_plan(), history.ratios[name]
    baseline = replace(Baseline.of_ratio(moments), clusters=_clusters(history, assumptions))
    sizes = round(history.units * plan.arms[plan.control]), round(history.units * plan.arms[arm])
    test = _test(experiment, assumptions)
    precision = Precision(
        metric=name, role="secondary", arm=arm, control=plan.control, estimator="ratio_delta",
        method="normal" if min(sizes) >= MIN_UNITS else "refuse", n_control=sizes[0],
        n_arm=sizes[1], alpha=test.alpha, mde=None, mde_relative=None, power=None, power_low=None,
        power_high=None, units_needed=None, simulated=False,
        note="delta method over units; the analysis of a specification has no ratios yet",
    )  # fmt: skip
    found = Comparison(precision, baseline, test, None, history.units)
    if min(sizes) < MIN_UNITS:
        return found
    shares = plan.arms[plan.control], plan.arms[arm]
    return _by_formula(found, lift, shares, assumptions.power, 1.0)


def peeking_prices(
    experiment: Experiment, assumptions: Assumptions, mde_relative: float | None
) -> tuple[Peeking, ...]:
    """Every way of looking, at the looks planned; four when only one is."""
    alpha = round(1 - experiment.plan.ci_level, 12)
    times = equal_looks(assumptions.looks if assumptions.looks > 1 else _DEFAULT_LOOKS)
    found = []
    for way in WAYS:
        looks = plan_looks(way, times, alpha)
        hits, runs = simulate_looks(looks, _LOOK_RUNS, assumptions.seed)
        honest = way != "naive"
        factor = inflation(looks, alpha, assumptions.power) if honest else None
        expected = None
        if factor is not None:
            drift = needed_drift(looks, assumptions.power)
            expected = factor * looks.expected_time(drift)
        found.append(
            Peeking(
                way=way,
                looks=len(looks.times),
                false_positives=looks.reach(),
                simulated_false_positives=hits / runs,
                simulated_runs=runs,
                final_bound=looks.bounds[-1],
                units_factor=factor,
                mde_factor=None if factor is None else math.sqrt(factor),
                expected_factor=expected,
                mde_relative=None
                if factor is None or mde_relative is None
                else mde_relative * math.sqrt(factor),
            )
        )
    return tuple(found)


def _baseline(outcome: Outcome, estimator: str, clusters: Clusters | None) -> Baseline:
    """One unit's outcome, as the estimator sees it."""
    mean, moments = float(outcome.moments.mean[0]), outcome.moments
    r_squared = outcome.r_squared if estimator == "cuped" else None
    if outcome.metric.kind == "proportion" and r_squared is None:
        return replace(Baseline.of_proportion(mean), clusters=clusters)
    variance = moments.variance if moments.n > 1 else 0.0
    return Baseline(mean, variance, r_squared=r_squared or 0.0, clusters=clusters)


def _clusters(history: History, assumptions: Assumptions) -> Clusters | None:
    """Clusters as assumed, else as history shows those of the specification."""
    if assumptions.clusters is None:
        return history.clusters
    given = assumptions.clusters
    return Clusters(given.size, given.icc, given.cv)


def _judged(outcome: Outcome, estimator: str, sizes: tuple[int, int], level: float) -> Judgement:
    """The analysis's own verdict on arms of these sizes that look like history."""
    moments, metric = outcome.moments.outcome(), outcome.metric.name
    if estimator == "cuped" and outcome.adjustment is not None:
        moments = cuped.adjust(outcome.moments, outcome.adjustment)
    control, arm = (_scaled(moments, n) for n in sizes)
    judged = judge(control, arm, metric, level)
    if judged.method is Method.PERMUTATION:
        counts = outcome.values.counts
        expected = (1 - counts.max() / counts.sum()) * min(sizes)
        if expected < MIN_EVENTS:
            note = f"{expected:.1f} events are expected in the smaller arm; {MIN_EVENTS} are needed"
            return Judgement(Method.REFUSE, note)
    return judged


def _scaled(moments: Moments, n: int) -> Moments:
    """The same distribution over another number of units."""
    share = n / moments.n if moments.n else 0.0
    return Moments(
        moments.columns, n, moments.mean, moments.comoment * share, moments.third * share
    )


def _by_formula(
    found: Comparison, lift: float, shares: tuple[float, float], target: float, measured: float
) -> Comparison:
    """Fill in what the formulas say."""
    p, baseline = found.precision, found.baseline
    control, arm = baseline.variances(0.0)
    se = math.sqrt(control / p.n_control + arm / p.n_arm)
    mde = detectable(baseline, p.n_control, p.n_arm, target, found.test)
    scale = abs(baseline.mean)
    needed = None
    if lift and scale and baseline.room[0] <= lift * scale <= baseline.room[1]:
        needed = units_needed(baseline, lift * scale, *shares, target, found.test)
    known = found.power_at(lift) if lift else None
    precision = replace(
        p,
        mde=mde,
        mde_relative=mde / scale if mde is not None and scale else None,
        power=known,
        units_needed=None if needed is None else math.ceil(needed / measured),
    )
    return replace(found, precision=precision, se=se)


def _by_simulation(
    found: Comparison,
    experiment: Experiment,
    metric: Metric,
    outcome: Outcome,
    assumptions: Assumptions,
    lift: float,
    told: Callable[[str], None],
) -> Comparison:
    """Ask the shipped difference; only the primary metric is worth the time."""
    p, baseline = found.precision, found.baseline
    control, arm = baseline.variances(0.0)
    se = math.sqrt(control / p.n_control + arm / p.n_arm)
    needed = _units_by_formula(found, experiment, outcome, lift, assumptions)
    found = replace(found, se=se, precision=replace(p, units_needed=needed))
    p = found.precision
    primary = experiment.analysis_plan().primary.name == metric.name
    alone = p.estimator == "difference" and primary and assumptions.runs > 0
    if not alone or baseline.clusters is not None or not baseline.mean:
        reason = f"{p.note}; {_BY_SIMULATION}, and only the primary difference is simulated"
        return replace(found, precision=replace(p, note=reason))
    rough = detectable(baseline, p.n_control, p.n_arm, assumptions.power, found.test)
    wanted = [lift] if lift else []
    wanted += [] if rough is None else [rough / abs(baseline.mean) * x for x in _SIMULATED_LIFTS]
    runs = []
    for each in dict.fromkeys(wanted):
        if not _possible(outcome.values, each, assumptions):
            continue
        told(f"{assumptions.runs} draws of {metric.name} in {p.arm} at a lift of {each:+.0%}")
        runs.append(
            simulate(
                outcome.values, metric, p.n_control, p.n_arm, each,
                ci_level=1 - p.alpha, acts=assumptions.acts, runs=assumptions.runs,
                seed=assumptions.seed,
            )
        )  # fmt: skip
    return replace(
        found, precision=_stated(p, baseline, runs, lift, assumptions), simulated=tuple(runs)
    )


def _units_by_formula(
    found: Comparison,
    experiment: Experiment,
    outcome: Outcome,
    lift: float,
    assumptions: Assumptions,
) -> int | None:
    """Units that find the lift, where with so many the normal approximation would hold."""
    p, baseline, plan = found.precision, found.baseline, experiment.analysis_plan()
    effect = lift * abs(baseline.mean)
    if not effect or not baseline.room[0] <= effect <= baseline.room[1]:
        return None
    shares = plan.arms[p.control], plan.arms[p.arm]
    needed = units_needed(baseline, effect, *shares, assumptions.power, found.test)
    if needed is None:
        return None
    sizes = round(needed * shares[0]), round(needed * shares[1])
    judged = _judged(outcome, p.estimator, sizes, experiment.plan.ci_level)
    if judged.method is not Method.NORMAL:
        return None
    return math.ceil(needed / (1 - outcome.missing))


def _stated(
    p: Precision, baseline: Baseline, runs: list[Simulated], lift: float, assumptions: Assumptions
) -> Precision:
    """What simulated points say."""
    at = next((run for run in runs if run.lift == lift), None)
    relative = smallest_found([run for run in runs if run.lift > 0], assumptions.power)
    beyond = "" if relative is not None else "; the wanted power lies beyond the simulated lifts"
    return replace(
        p,
        mde=None if relative is None else relative * abs(baseline.mean),
        mde_relative=relative,
        power=None if at is None else at.power,
        power_low=None if at is None else at.low,
        power_high=None if at is None else at.high,
        simulated=True,
        note=f"{p.note}; {assumptions.runs} simulated runs of the shipped estimator{beyond}",
    )


def _possible(values: Values, lift: float, assumptions: Assumptions) -> bool:
    """Whether so many more units can act."""
    if assumptions.acts == "amounts":
        return True
    share = 1 - values.counts.max() / values.counts.sum()
    return bool(0 <= share * (1 + lift) <= 1)


def _test(experiment: Experiment, assumptions: Assumptions) -> Significance:
    alpha = round(1 - experiment.plan.ci_level, 12)
    return Significance(per_comparison(alpha, len(experiment.arms) - 1, assumptions.comparisons))


def _role(experiment: Experiment, metric: Metric) -> str:
    primary = experiment.analysis_plan().primary.name
    return "primary" if metric.name == primary else metric.role
