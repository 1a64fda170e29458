"""Difference in means and proportions between two arms, from moments alone.

Definitions, each named, so that two tables can be compared:

========== ===============================================================================
variance   ``welch`` (default): each arm has its own, t with Welch–Satterthwaite degrees of
           freedom. ``pooled``: one for both arms, normal reference, the z-test of proportions.
relative   ``delta`` (default): the lift arm/control − 1 with a symmetric interval by the delta
           method. ``log``: exp of the interval of the log ratio, minus one.
========== ===============================================================================

A proportion has variance p(1 − p); a mean has the sample variance. The lift is divided by the
control's absolute mean, so that its sign follows the difference.
"""

from __future__ import annotations

import math
from typing import Literal

from measure.incrementality.contrast import Contrast, StudentT
from measure.moments import Moments
from measure.plan import Kind

Variance = Literal["welch", "pooled"]

RELATIVE_DEFINITION = (
    "lift = (arm − control) / |control|; symmetric interval by the delta method, degrees of "
    "freedom of the difference"
)


def spread(moments: Moments, kind: Kind) -> float:
    """Variance of the outcome under the metric's kind."""
    if kind == "proportion":
        return float(moments.comoment[0, 0]) / moments.n
    return moments.variance


def welch_dof(variance_arm: float, n_arm: int, variance_control: float, n_control: int) -> float:
    """Welch–Satterthwaite degrees of freedom; the arguments are variances of the two means."""
    total = variance_arm + variance_control
    return total**2 / (variance_arm**2 / (n_arm - 1) + variance_control**2 / (n_control - 1))


def difference(
    control: Moments, arm: Moments, kind: Kind = "mean", variance: Variance = "welch"
) -> Contrast:
    """Arm minus control, with the relative lift by the delta method.

    Both arms need two units and one of them a varying outcome; callers settle that first.
    """
    base, mean = float(control.mean[0]), float(arm.mean[0])
    error_control, error_arm, dof = _errors(control, arm, kind, variance)
    relative = relative_se = None
    if base != 0:
        relative = (mean - base) / abs(base)
        relative_se = math.sqrt(error_arm / base**2 + error_control * mean**2 / base**4)
    return Contrast(mean - base, math.sqrt(error_arm + error_control), dof, relative, relative_se)


def log_ratio_interval(
    control: Moments,
    arm: Moments,
    level: float,
    kind: Kind = "mean",
    variance: Variance = "welch",
) -> tuple[float, float] | None:
    """Interval of the lift as exp(log ratio ± quantile × se) − 1; ``None`` unless both means > 0.

    The degrees of freedom are those of the log ratio.
    """
    base, mean = float(control.mean[0]), float(arm.mean[0])
    if base <= 0 or mean <= 0:
        return None
    if variance == "pooled":
        both = control.outcome() + arm.outcome()
        share = spread(both, kind) / float(both.mean[0]) ** 2
        log_control, log_arm, dof = share / control.n, share / arm.n, math.inf
    else:
        error_control, error_arm, _ = _errors(control, arm, kind, variance)
        log_control, log_arm = error_control / base**2, error_arm / mean**2
        dof = welch_dof(log_arm, arm.n, log_control, control.n)
    half = StudentT(dof).quantiles(level)[1] * math.sqrt(log_control + log_arm)
    ratio = mean / base
    return ratio * math.exp(-half) - 1, ratio * math.exp(half) - 1


def _errors(
    control: Moments, arm: Moments, kind: Kind, variance: Variance
) -> tuple[float, float, float]:
    """Variances of the control's and the arm's mean, and degrees of freedom."""
    if variance == "pooled":
        both = spread(control.outcome() + arm.outcome(), kind)
        return both / control.n, both / arm.n, math.inf
    error_control, error_arm = spread(control, kind) / control.n, spread(arm, kind) / arm.n
    return error_control, error_arm, welch_dof(error_arm, arm.n, error_control, control.n)
