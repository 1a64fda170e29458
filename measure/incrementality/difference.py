"""Difference in means and proportions between two arms, from moments alone.

Definitions, each named, so that two tables can be compared:

========== ===============================================================================
variance   ``welch`` (default): each arm has its own, t with Welch–Satterthwaite degrees of
           freedom. ``pooled``: one around the common mean, normal reference, the z-test of
           proportions. ``equal``: one around each arm's own mean, Student's test.
relative   ``delta`` (default): the lift arm/control − 1 with a symmetric interval by the delta
           method. ``log``: exp of the interval of the log ratio, minus one.
========== ===============================================================================

A proportion has variance p(1 − p); a mean has the sample variance. The lift is divided by the
control's absolute mean, so that its sign follows the difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from measure.incrementality.contrast import Contrast
from measure.moments import Moments
from measure.plan import Kind

Variance = Literal["welch", "pooled", "equal"]

RELATIVE_DEFINITIONS: Mapping[str, str] = {
    "delta": (
        "lift = (arm − control) / |control|; symmetric interval by the delta method, degrees of "
        "freedom of the difference"
    ),
    "log": (
        "lift = (arm − control) / |control|; interval = exp(interval of the log ratio) − 1, "
        "where control and arm are above zero"
    ),
}
"""How the interval of a lift is defined, by the plan's ``relative``."""


def spread(moments: Moments, kind: Kind) -> float:
    """Variance of the outcome under the metric's kind."""
    if kind == "proportion":
        return float(moments.comoment[0, 0]) / moments.n
    return moments.variance


def welch_dof(variance_arm: float, n_arm: int, variance_control: float, n_control: int) -> float:
    """Welch–Satterthwaite degrees of freedom; the arguments are variances of the two means."""
    total = variance_arm + variance_control
    parts = variance_arm**2 / (n_arm - 1) + variance_control**2 / (n_control - 1)
    return total**2 / parts


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
    log_se, log_dof = _log_ratio(control, arm, kind, variance)
    se = math.sqrt(error_arm + error_control)
    return Contrast(mean - base, se, dof, relative, relative_se, log_se, log_dof)


def _log_ratio(
    control: Moments, arm: Moments, kind: Kind, variance: Variance
) -> tuple[float | None, float | None]:
    """Standard error and degrees of freedom of the log ratio; nothing unless both means > 0."""
    base, mean = float(control.mean[0]), float(arm.mean[0])
    if base <= 0 or mean <= 0:
        return None, None
    if variance == "pooled":
        both = control.outcome() + arm.outcome()
        share = spread(both, kind) / float(both.mean[0]) ** 2
        return math.sqrt(share / control.n + share / arm.n), math.inf
    of_control = spread(control, kind) / base**2
    of_arm = spread(arm, kind) / mean**2
    if variance == "equal":
        dof = control.n + arm.n - 2
        of_control = ((control.n - 1) * of_control + (arm.n - 1) * of_arm) / dof
        return math.sqrt(of_control / control.n + of_control / arm.n), dof
    log_control, log_arm = of_control / control.n, of_arm / arm.n
    return math.sqrt(log_control + log_arm), welch_dof(log_arm, arm.n, log_control, control.n)


def _errors(
    control: Moments, arm: Moments, kind: Kind, variance: Variance
) -> tuple[float, float, float]:
    """Variances of the control's and the arm's mean, and degrees of freedom."""
    if variance == "pooled":
        both = spread(control.outcome() + arm.outcome(), kind)
        return both / control.n, both / arm.n, math.inf
    if variance == "equal":
        dof = control.n + arm.n - 2
        within = float(control.comoment[0, 0] + arm.comoment[0, 0]) / dof
        return within / control.n, within / arm.n, dof
    error_control, error_arm = spread(control, kind) / control.n, spread(arm, kind) / arm.n
    return error_control, error_arm, welch_dof(error_arm, arm.n, error_control, control.n)
