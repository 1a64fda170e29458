"""Effect of being assigned (ITT) and of being reached (CACE) when not everybody is reached.

Conditioning on exposure is biased, so it is never done: the complier effect is the ratio of two
effects of assignment, on the outcome and on exposure (Wald 1940; two-stage least squares with one
instrument; Imbens and Angrist 1994). How its interval is made depends on the first stage, the
effect of assignment on exposure, whose strength is F, its squared t:

=================  ================================================================================
F below 10         no estimate: the ratio can be anything (Staiger and Stock 1997)
F below 104.7      the interval of Anderson and Rubin (1949), which holds at any strength: all
                   effects β for which outcome − β · exposure does not differ between the arms
F of 104.7 or more the delta method, whose 5 % test is exact from there on (Lee, McCrary, Moreira
                   and Porter 2022, American Economic Review 112(10))
=================  ================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from measure.incrementality.contrast import Contrast, Inference, Reference, StudentT, infer
from measure.incrementality.difference import difference, welch_dof
from measure.moments import DENOMINATOR, EXPOSURE, Moments
from measure.plan import Kind

WEAK = 10.0
STRONG = 104.7


@dataclass(frozen=True, slots=True)
class FirstStage:
    """Effect of assignment on exposure: shares reached per arm, and its strength."""

    control: float
    arm: float
    strength: float
    """F, infinite when exposure follows assignment exactly, 0 when it does not move at all."""

    @property
    def gap(self) -> float:
        """Share of units that are reached only when assigned."""
        return self.arm - self.control


def first_stage(control: Moments, arm: Moments) -> FirstStage:
    """First stage of moments of (outcome, exposure)."""
    reached = float(control.mean[1]), float(arm.mean[1])
    gap = reached[1] - reached[0]
    variance = sum(float(m.covariance[1, 1]) / m.n for m in (control, arm))
    if variance <= 0:
        return FirstStage(*reached, math.inf if gap else 0.0)
    return FirstStage(*reached, gap**2 / variance)


def joint(moments: Moments) -> Moments:
    """Moments of (outcome, exposure), per unit of the rows' own kind where rows are clusters.

    In clusters both are sums over members; they are linearised around their ratios to the number
    of members, so that their means are the shares and averages of members.
    """
    outcome = moments.columns[0]
    if DENOMINATOR not in moments.columns:
        return moments.pick(outcome, EXPOSURE)
    both = moments.pick(outcome, EXPOSURE, DENOMINATOR)
    below = float(both.mean[2])
    if below == 0:
        return Moments.empty((outcome, EXPOSURE))
    ratio = both.mean[:2] / below
    combine = np.column_stack([np.eye(2), -ratio]) / below
    comoment = combine @ both.comoment @ combine.T
    return Moments((outcome, EXPOSURE), both.n, ratio, comoment, np.zeros(2))


def moments_from_table(columns: Sequence[str], counts: Mapping[tuple[float, ...], int]) -> Moments:
    """Moments of several columns from the number of units at each combination of values."""
    total = Moments.empty(columns)
    for values, n in counts.items():
        k = len(columns)
        at = np.asarray(values, dtype=float)
        total = total + Moments(tuple(columns), n, at, np.zeros((k, k)), np.zeros(k))
    return total


def intention_to_treat(
    control: Moments, arm: Moments, kind: Kind = "proportion", level: float = 0.95
) -> Inference:
    """Difference of the first column between everybody assigned to the arm and to control."""
    contrast = difference(control, arm, kind)
    return infer(contrast, StudentT(contrast.dof), level)


def complier_effect(
    control: Moments, arm: Moments, level: float = 0.95, reference: Reference | None = None
) -> Inference | None:
    """Wald ratio for moments of (outcome, exposure); ``None`` when assignment moves no exposure.

    Rests on randomisation, on assignment acting through exposure only, and on nobody being
    exposed because they were not assigned. The two effects are taken as independent, as in the
    published figures for such counts, unless their covariance makes the interval wider.
    ``reference`` judges the outcome where a small holdout asks for one of its own.
    """
    outcome = float(arm.mean[0] - control.mean[0])
    exposure = float(arm.mean[1] - control.mean[1])
    if exposure == 0:
        return None
    effect = outcome / exposure
    weight = np.array([1.0, -effect])
    both = [float(weight @ m.covariance @ weight) / m.n for m in (control, arm)]
    apart = [float(weight**2 @ np.diag(m.covariance)) / m.n for m in (control, arm)]
    errors = both if sum(both) >= sum(apart) else apart
    dof = welch_dof(errors[1], arm.n, errors[0], control.n) if sum(errors) > 0 else math.inf
    contrast = Contrast(effect, math.sqrt(sum(errors)) / abs(exposure), dof, None, None)
    if contrast.se == 0:
        return None
    return infer(contrast, reference or StudentT(dof), level)


def anderson_rubin(
    control: Moments, arm: Moments, level: float, reference: Reference
) -> tuple[float, float] | None:
    """Interval of effects β for which outcome − β · exposure does not differ between the arms.

    ``None`` when it is not an interval, which a first stage below the squared quantile of
    ``reference`` leads to. Roots of (y − βd)² = q² (V_y − 2β V_yd + β² V_d), each end with the
    quantile of its own tail.
    """
    y, d = (float(arm.mean[i] - control.mean[i]) for i in (0, 1))
    total = control.covariance / control.n + arm.covariance / arm.n
    v_y, v_yd, v_d = float(total[0, 0]), float(total[0, 1]), float(total[1, 1])
    ends = []
    for quantile, upper in zip(reference.quantiles(level), (True, False), strict=True):
        a, b, c = (d * d - quantile**2 * v_d, y * d - quantile**2 * v_yd, y * y - quantile**2 * v_y)
        inside = b * b - a * c
        if a <= 0 or inside < 0:
            return None
        ends.append((b + (1 if upper else -1) * math.sqrt(inside)) / a)
    return ends[1], ends[0]
