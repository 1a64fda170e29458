"""One comparison of an arm with the control: which method the analysis will use, and how sharp.

The method is the analysis's own choice (``judge`` on moments scaled to the planned sizes, and the
last look of a sequential plan), so a plan cannot promise what will not be done.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from designs.planning.baseline import Baseline, Clusters
from designs.planning.peeking import boundaries, judged_at_the_end, level_at_the_end
from designs.planning.power import (
    MOST_UNITS,
    Significance,
    detectable,
    per_comparison,
    power,
    units_needed,
)
from designs.planning.results import Precision
from designs.planning.simulation import Simulated, simulate, smallest_found
from measure.incrementality import cuped
from measure.incrementality.contrast import StudentT
from measure.incrementality.small_holdout import MIN_EVENTS, MIN_UNITS, Judgement, Method, judge
from measure.moments import Moments

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from designs.planning.assumptions import Assumptions
    from designs.planning.outcome import Outcome
    from measure.plan import AnalysisPlan, Metric

ADJUSTED = ("cuped", "cuped_by_arm")
"""Estimators that take out what covariates explain."""
_SIMULATED_LIFTS = (1.0, 1.5, 2.0)
_FOUND_UNITS = 1.01
"""Units needed are found to one hundredth where a rule of the analysis sets them."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all comparisons of a plan share; ``lift`` is that of all units assigned."""

    experiment: Experiment
    plan: AnalysisPlan
    units: int
    clusters: Clusters | None
    assumptions: Assumptions
    lift: float
    told: Callable[[str], None]

    def test(self, arm: str) -> Significance:
        """How the arm's difference will be judged."""
        alpha = round(1 - self.plan.ci_level, 12)
        level = per_comparison(alpha, len(self.plan.arms) - 1, self.assumptions.comparisons)
        looks = boundaries(self.plan, self.assumptions.looks, sum(self.shares(arm)), level)
        return Significance(level, looks=looks)

    def shares(self, arm: str) -> tuple[float, float]:
        """Designed shares of control and arm."""
        return self.plan.arms[self.plan.control], self.plan.arms[arm]

    def sizes(self, arm: str, units: float) -> tuple[int, int]:
        """Units of control and arm."""
        control, treated = self.shares(arm)
        return round(units * control), round(units * treated)

    def role(self, metric: Metric) -> str:
        """The metric's role; the one the decision hangs on is primary."""
        return "primary" if metric.name == self.plan.primary.name else metric.role


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison with what other parts of the plan need of it.

    ``se`` is the standard error that the difference will have, ``interval_se`` that of the normal
    with the longer side of its interval, both ``None`` where it is refused; ``units`` are all units
    of the experiment that have a value of this metric.
    """

    precision: Precision
    baseline: Baseline
    test: Significance
    se: float | None
    units: int
    interval_se: float | None = None
    simulated: tuple[Simulated, ...] = ()

    def power_at(self, lift: float) -> float | None:
        """Power at a lift by formula; ``None`` where the lift is not possible."""
        effect = lift * abs(self.baseline.mean)
        if not self.possible(effect):
            return None
        return power(
            self.baseline, effect, self.precision.n_control, self.precision.n_arm, self.test
        )

    def possible(self, effect: float) -> bool:
        """Whether the mean can move so far."""
        low, high = self.baseline.room
        return low <= effect <= high

    @property
    def mde_at_one_look(self) -> float | None:
        """Smallest lift found by one look at the end; the plan's own where no formula holds."""
        p, scale = self.precision, abs(self.baseline.mean)
        if p.method != "normal" or not scale or self.test.looks is None:
            return p.mde_relative
        once = Significance(self.test.alpha)
        found = detectable(self.baseline, p.n_control, p.n_arm, p.target, once)
        return None if found is None else found / scale


def compare(setting: Setting, outcome: Outcome, arm: str, estimator: str) -> Comparison:
    """Plan one comparison at the expected lift."""
    metric = outcome.metric
    adjusted = estimator in ADJUSTED and outcome.adjustment is not None
    baseline = outcome.baseline(setting.assumptions.acts, adjusted=adjusted)
    baseline = replace(baseline, clusters=setting.clusters)
    measured = round(setting.units * (1 - outcome.missing))
    sizes = setting.sizes(arm, measured)
    judged = _judged(setting, outcome, arm, measured, adjusted=adjusted)
    test = setting.test(arm)
    empty = Precision(
        metric=metric.name, role=setting.role(metric), arm=arm, control=setting.plan.control,
        estimator=estimator, method=judged.method.value, n_control=sizes[0], n_arm=sizes[1],
        alpha=test.alpha, mde=None, mde_relative=None, power=None, power_low=None,
        power_high=None, units_needed=None, simulated=False, note=judged.reason,
        target=setting.assumptions.power,
    )  # fmt: skip
    found = Comparison(empty, baseline, test, None, measured)
    if judged.method not in (Method.NORMAL, Method.PERMUTATION):
        return found
    control, treated = baseline.variances(0.0)
    se = math.sqrt(control / sizes[0] + treated / sizes[1])
    needed = _units_needed(setting, outcome, found, adjusted=adjusted)
    found = replace(found, se=se, precision=replace(empty, units_needed=needed))
    if judged.method is Method.NORMAL:
        found = _by_formula(found, setting)
    else:
        found = _by_simulation(found, setting, outcome)
    return replace(found, precision=_for_reached(found.precision, setting.assumptions.reached))


def _judged(
    setting: Setting, outcome: Outcome, arm: str, measured: float, *, adjusted: bool
) -> Judgement:
    """The analysis's own verdict on arms of these sizes that look like history."""
    moments, metric, level = outcome.moments, outcome.metric.name, setting.plan.ci_level
    sizes = setting.sizes(arm, measured)
    if adjusted and outcome.adjustment is not None:
        moments = cuped.adjust(moments, outcome.adjustment)
    control, treated = (_scaled(moments.outcome(), n) for n in sizes)
    judged = judge(control, treated, metric, level)
    if judged.method is Method.PERMUTATION:
        counts = outcome.values.counts
        expected = (1 - counts.max() / counts.sum()) * min(sizes)
        if expected < MIN_EVENTS:
            note = f"{expected:.1f} events are expected in the smaller arm; {MIN_EVENTS} are needed"
            return Judgement(Method.REFUSE, note)
    if judged.method is Method.NORMAL and setting.clusters is not None:
        whole = int(min(sizes) / setting.clusters.size)
        if whole < MIN_UNITS:
            note = f"{whole} clusters in the smaller arm; at least {MIN_UNITS} are needed"
            return Judgement(Method.REFUSE, note)
    return judged_at_the_end(setting.plan, sizes, sum(setting.shares(arm)), judged)


def _scaled(moments: Moments, n: int) -> Moments:
    """The same distribution over another number of units."""
    share = n / moments.n if moments.n else 0.0
    return Moments(
        moments.columns, n, moments.mean, moments.comoment * share, moments.third * share
    )


def _units_needed(
    setting: Setting, outcome: Outcome, found: Comparison, *, adjusted: bool
) -> int | None:
    """Units with which the lift is found, and the normal approximation holds."""
    arm, effect = found.precision.arm, setting.lift * abs(found.baseline.mean)
    if not effect or not found.possible(effect):
        return None
    needed = units_needed(
        found.baseline, effect, *setting.shares(arm), setting.assumptions.power, found.test
    )

    def normal(units: float) -> bool:
        judged = _judged(setting, outcome, arm, units, adjusted=adjusted)
        return judged.method is Method.NORMAL

    if needed is not None and not normal(needed):
        needed = _smallest(normal, needed)
    return None if needed is None else math.ceil(needed / (1 - outcome.missing))


def _smallest(holds: Callable[[float], bool], low: float) -> float | None:
    """The least number above ``low`` from which a rule holds; ``None`` where it never does."""
    high = 2 * low
    while not holds(high):
        low, high = high, 2 * high
        if high > MOST_UNITS:
            return None
    while high / low > _FOUND_UNITS:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _by_formula(found: Comparison, setting: Setting) -> Comparison:
    """Fill in what the formulas say."""
    p, baseline = found.precision, found.baseline
    mde = detectable(baseline, p.n_control, p.n_arm, setting.assumptions.power, found.test)
    scale = abs(baseline.mean)
    precision = replace(
        p,
        mde=mde,
        mde_relative=mde / scale if mde is not None and scale else None,
        power=found.power_at(setting.lift) if setting.lift else None,
    )
    wider = 1.0
    if found.test.looks is not None:
        bound = found.test.looks(p.n_control + p.n_arm).bounds[-1]
        wider = bound / StudentT(math.inf).quantiles(1 - p.alpha)[1]
    return replace(found, precision=precision, interval_se=(found.se or 0.0) * wider)


def _by_simulation(found: Comparison, setting: Setting, outcome: Outcome) -> Comparison:
    """Ask the shipped estimator, where it can be asked."""
    p, baseline, assumptions = found.precision, found.baseline, setting.assumptions
    reason = _not_simulated(found, setting, outcome)
    if reason:
        return replace(found, precision=replace(p, note=f"{p.note}; {reason}"))
    once = replace(found.test, looks=None)
    rough = detectable(baseline, p.n_control, p.n_arm, assumptions.power, once)
    wanted = [setting.lift] if setting.lift else []
    wanted += [] if rough is None else [rough / abs(baseline.mean) * x for x in _SIMULATED_LIFTS]
    runs = []
    for lift in dict.fromkeys(wanted):
        if not outcome.values.possible(lift, assumptions.acts):
            continue
        setting.told(f"{assumptions.runs} draws of {p.metric} in {p.arm} at a lift of {lift:+.0%}")
        runs.append(
            simulate(
                outcome.values, outcome.metric, p.n_control, p.n_arm, lift,
                ci_level=1 - level_at_the_end(setting.plan, p.alpha), acts=assumptions.acts,
                runs=assumptions.runs, seed=assumptions.seed, arm=p.arm,
            )
        )  # fmt: skip
    stated = _stated(p, baseline, runs, setting.lift, assumptions)
    wider = next((run.interval_se for run in runs), None)
    return replace(found, precision=stated, simulated=tuple(runs), interval_se=wider)


def _not_simulated(found: Comparison, setting: Setting, outcome: Outcome) -> str:
    """Why no number stands for a permutation test, and the way out; empty where one can."""
    p, assumptions = found.precision, setting.assumptions
    if assumptions.runs == 0:
        return "simulation is left out (runs: 0), and no formula holds for this comparison"
    if outcome.linearised:
        return "a ratio is not simulated; units needed are those from which the formula holds"
    if p.estimator != "difference":
        return "only the plain difference is simulated, count on what that one finds"
    if setting.clusters is not None:
        return (
            "units drawn one by one do not stand for clusters; declare cluster in the "
            "specification, so that history is added up"
        )
    if p.role != "primary" and assumptions.simulate != "all":
        return "only the primary metric is simulated; simulate: all asks for the others"
    return "" if found.baseline.mean else "history has no mean to compare with"


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


def _for_reached(p: Precision, reached: float | None) -> Precision:
    """The lift among units reached that the smallest lift of all units comes from."""
    if reached is None or p.mde_relative is None:
        return p
    return replace(p, mde_reached=p.mde_relative / reached)
