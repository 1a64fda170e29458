"""CUPED with slopes of each arm's own: regression with all interactions of covariates and arm.

Lin (2013), Annals of Applied Statistics 7(1): asymptotically never worse than the difference in
means, whatever the shares of the arms and however the effect depends on the covariates. Each arm's
mean is moved to the covariates of both arms together; its error is that of its own residuals, so
the arms may differ in spread. Lin's sandwich holds the covariates fixed; here units are a sample,
which adds (θₜ − θ꜀)′ Sₓ (θₜ − θ꜀) / n for a centre that is itself an average (Negi and Wooldridge
2021, Econometric Reviews 40(5)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from measure.incrementality import cuped
from measure.incrementality.contrast import Contrast
from measure.incrementality.cuped import Adjustment
from measure.incrementality.difference import welch_dof
from measure.incrementality.notes import joined
from measure.moments import Moments


@dataclass(frozen=True, slots=True)
class ArmSlopes:
    """Slopes of control and arm, each from its own units."""

    control: Adjustment
    arm: Adjustment

    @property
    def note(self) -> str:
        """What must be said of the covariates of either arm."""
        return joined(self.control.note, self.arm.note)


def fit_by_arm(control: Moments, arm: Moments) -> ArmSlopes:
    """Least squares within each arm; both need more units than covariates."""
    return ArmSlopes(cuped.fit_one(control), cuped.fit_one(arm))


def adjusted(control: Moments, arm: Moments, slopes: ArmSlopes) -> tuple[Moments, Moments]:
    """Moments of each arm's outcome moved to the covariates' common mean."""
    centre = (control + arm).mean[1:]
    return (
        cuped.adjust(control, Adjustment(slopes.control.theta, centre)),
        cuped.adjust(arm, Adjustment(slopes.arm.theta, centre)),
    )


def difference_by_arm(
    control: Moments, arm: Moments, slopes: ArmSlopes, *, fitted_here: bool
) -> Contrast:
    """Adjusted arm minus adjusted control; the lift is relative to the unadjusted control mean.

    ``fitted_here`` says that the slopes come from these units, which costs degrees of freedom.
    """
    union = control + arm
    moved = adjusted(control, arm, slopes)
    used = len(union.columns) - 1 if fitted_here else 0
    value = float(moved[1].mean[0] - moved[0].mean[0])
    loss = [(m.n - 1) / (m.n - 1 - used) for m in (control, arm)]
    error_control, error_arm = (
        lost * m.variance / m.n for lost, m in zip(loss, moved, strict=True)
    )
    apart = slopes.arm.theta - slopes.control.theta
    centre = float(apart @ union.covariance[1:, 1:] @ apart) / union.n
    dof = welch_dof(error_arm, arm.n - used, error_control, control.n - used)
    se = math.sqrt(error_control + error_arm + centre)
    base = float(control.mean[0])
    if base == 0:
        return Contrast(value, se, dof, None, None)
    # The control's covariates move its own mean and the common centre alike.
    ratio, held, met = 1 + value / base, control.n / union.n, arm.n / union.n
    parts = (
        (control, np.concatenate([[ratio], -slopes.control.theta - held * apart])),
        (arm, np.concatenate([[1.0], -slopes.arm.theta + met * apart])),
    )
    errors = [float(along @ m.covariance @ along) / m.n for m, along in parts]
    variance = sum(max(lost * e, 0.0) for lost, e in zip(loss, errors, strict=True))
    return Contrast(value, se, dof, value / abs(base), math.sqrt(variance) / abs(base))
