"""Looking before the end: its price, and the boundaries that will judge a sequential plan."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from designs.planning.results import Peeking
from designs.planning.sequential import WAYS, inflation, needed_drift, simulate
from measure.incrementality.contrast import StudentT
from measure.incrementality.sequential import USUAL_UNITS, look_at
from measure.incrementality.sequential_boundaries import (
    Looks,
    equal_looks,
    mixture_bound,
    mixture_rate,
    plan_looks,
)
from measure.incrementality.small_holdout import Judged, Judgement

if TYPE_CHECKING:
    from collections.abc import Callable

    from designs.experiment import Experiment
    from designs.planning.assumptions import Assumptions
    from measure.methods import Methods

DEFAULT_LOOKS = 4
_LOOK_RUNS = 20_000


def peeking_prices(
    experiment: Experiment, assumptions: Assumptions, mde_relative: float | None
) -> tuple[Peeking, ...]:
    """Every way of looking, at the looks planned; four when only one is.

    ``mde_relative`` is that of one look at the end.
    """
    alpha = round(1 - experiment.plan.ci_level, 12)
    times = equal_looks(assumptions.looks if assumptions.looks > 1 else DEFAULT_LOOKS)
    found = []
    for way in WAYS:
        looks = plan_looks(way, times, alpha)
        hits, runs = simulate(looks, _LOOK_RUNS, assumptions.seed)
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


def boundaries(
    plan: Methods, looks: int, share: float, alpha: float
) -> Callable[[float], Looks] | None:
    """Boundaries of a sequential plan by units compared; ``None`` for one look at the end.

    ``looks`` is how often somebody will look under a confidence sequence; ``share`` the designed
    share of the two arms compared.
    """
    sequential = plan.sequential
    if sequential is False:
        return None
    if sequential.method == "obrien_fleming":
        fixed = _spent(sequential.looks, alpha)
        return lambda _units: fixed
    planned, times = sequential.planned_units, equal_looks(looks)
    rate = mixture_rate(USUAL_UNITS if planned is None else planned * share, alpha)

    def whenever(units: float) -> Looks:
        return Looks(times, tuple(mixture_bound(units * time * rate, alpha) for time in times))

    return whenever


def judged_at_the_end(
    plan: Methods, sizes: tuple[int, int], share: float, judged: Judgement
) -> Judgement:
    """What the last look of a sequential plan makes of a method; the same without one."""
    sequential = plan.sequential
    if sequential is False:
        return judged
    everybody = sequential.planned_units or sum(sizes)
    look = look_at(plan, everybody, sizes, share)
    if look is None:
        return judged
    found = look.judged(Judged(judged.method, judged.reason, StudentT(math.inf)))
    return Judgement(found.method, found.note)


def level_at_the_end(plan: Methods, alpha: float) -> float:
    """Level of the test at the last look of a group-sequential plan; the same without one."""
    from scipy.special import ndtr

    if plan.sequential is False or plan.sequential.method != "obrien_fleming":
        return alpha
    return 2 * float(ndtr(-_spent(plan.sequential.looks, alpha).bounds[-1]))


@cache
def _spent(looks: tuple[float, ...], alpha: float) -> Looks:
    return plan_looks("obrien_fleming", looks, alpha)
