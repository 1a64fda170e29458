"""Uplift in each tenth of the units, by score, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from measure.results import Result, Status
from measure.scores.curves import Numbers, Ranked

FEWEST = 20
"""Fewest units an arm needs in a tenth before its uplift gets an interval."""


@dataclass(frozen=True, slots=True)
class Decile(Result):
    """One tenth of the units, 1 being treated first.

    Units with equal scores stay together, in the tenth where their middle falls, so tenths differ
    in size where scores repeat. Means and ``uplift`` are in the metric's unit per unit.
    """

    decile: int
    n_arm: int
    n_control: int
    score_low: float
    score_high: float
    score_mean: float
    mean_arm: float | None
    mean_control: float | None
    uplift: float | None
    ci_low: float | None
    ci_high: float | None
    status: Status


def deciles(
    units: Ranked, score: Numbers, *, ci_level: float, proportion: bool, count: int = 10
) -> tuple[Decile, ...]:
    """Uplift per tenth; ``score`` (n,) is in the order of ``units``.

    Intervals: for proportions the score-based one of Newcombe (1998), Statistics in Medicine 17,
    873–890, method 10; for means Welch's. Tenths that hold nobody are left out.
    """
    size = np.bincount(units.group, minlength=units.groups)
    middle = (np.cumsum(size) - size / 2) / len(units.outcome)
    tenth = np.minimum((middle * count).astype(int), count - 1)[units.group]
    found = []
    for i in range(count):
        mine = tenth == i
        if mine.any():
            y, w = units.outcome[mine], units.treated[mine] == 1
            found.append(_decile(i + 1, score[mine], y[w], y[~w], ci_level, proportion=proportion))
    return tuple(found)


def _decile(
    number: int,
    score: Numbers,
    arm: Numbers,
    control: Numbers,
    ci_level: float,
    *,
    proportion: bool,
) -> Decile:
    enough = min(len(arm), len(control)) >= FEWEST
    varies = bool(np.ptp(np.concatenate([arm, control])) > 0)
    status = Status.OK if enough and varies else Status.INSUFFICIENT
    if enough and not varies:
        status = Status.DEGENERATE
    low = high = None
    if status is Status.OK:
        low, high = (newcombe if proportion else welch)(arm, control, ci_level)
    mean_arm = float(arm.mean()) if len(arm) else None
    mean_control = float(control.mean()) if len(control) else None
    known = mean_arm is not None and mean_control is not None
    return Decile(
        decile=number,
        n_arm=len(arm),
        n_control=len(control),
        score_low=float(score.min()),
        score_high=float(score.max()),
        score_mean=float(score.mean()),
        mean_arm=mean_arm,
        mean_control=mean_control,
        uplift=(mean_arm or 0.0) - (mean_control or 0.0) if known else None,
        ci_low=low,
        ci_high=high,
        status=status,
    )


def welch(arm: Numbers, control: Numbers, ci_level: float) -> tuple[float, float]:
    """Interval of a difference in means, variances unequal (Welch 1947, Biometrika 34)."""
    from scipy.special import stdtrit

    a, c = arm.var(ddof=1) / len(arm), control.var(ddof=1) / len(control)
    freedom = (a + c) ** 2 / (a**2 / (len(arm) - 1) + c**2 / (len(control) - 1))
    reach = float(stdtrit(freedom, (1 + ci_level) / 2)) * math.sqrt(a + c)
    difference = float(arm.mean() - control.mean())
    return difference - reach, difference + reach


def newcombe(arm: Numbers, control: Numbers, ci_level: float) -> tuple[float, float]:
    """Interval of a difference in proportions, from the Wilson interval of each."""
    p, q = float(arm.mean()), float(control.mean())
    p_low, p_high = _wilson(p, len(arm), ci_level)
    q_low, q_high = _wilson(q, len(control), ci_level)
    return (
        p - q - math.hypot(p - p_low, q_high - q),
        p - q + math.hypot(p_high - p, q - q_low),
    )


def _wilson(p: float, n: int, ci_level: float) -> tuple[float, float]:
    z2 = NormalDist().inv_cdf((1 + ci_level) / 2) ** 2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return centre - reach, centre + reach
