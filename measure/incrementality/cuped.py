"""CUPED: the difference after taking out what covariates measured before assignment explain.

Deng, Xu, Kohavi and Walker (2013), with several covariates: θ solves the normal equations of the
pooled moments of the two arms compared, both together as one group, so θ does not depend on who
got which arm. Cohorts use the same θ, from everybody in the two arms. The lift is relative to the
control's unadjusted mean; its standard error is that of a ratio of means whose control part moves
with both the outcome and the covariates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.contrast import Contrast
from measure.incrementality.difference import difference, welch_dof
from measure.moments import Moments
from measure.plan import Kind

Vector = NDArray[np.float64]

_RANK_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Adjustment:
    """Slopes ``theta`` (k,) of the outcome on the covariates and what must be said of them."""

    theta: Vector
    centre: Vector
    note: str = ""

    @property
    def does_nothing(self) -> bool:
        """Whether no covariate was usable."""
        return not bool(np.any(self.theta))


def fit(control: Moments, arm: Moments) -> Adjustment:
    """θ from the union of two arms; constant covariates get zero, collinear ones share.

    Slopes are solved on standardised covariates with the pseudo-inverse, so that neither scale
    nor collinearity decides what is dropped.
    """
    return fit_one(control + arm)


def fit_one(union: Moments) -> Adjustment:
    """θ from one group of units, in which nobody is told apart."""
    names = union.columns[1:]
    variances = np.diag(union.comoment)[1:]
    usable = variances > union.n * (1e-12 * np.abs(union.mean[1:])) ** 2
    theta = np.zeros(len(names))
    if usable.any():
        scale = np.sqrt(variances[usable])
        inner = union.comoment[1:, 1:][np.ix_(usable, usable)] / np.outer(scale, scale)
        solved = np.linalg.pinv(inner, rcond=_RANK_TOLERANCE, hermitian=True)
        theta[usable] = solved @ (union.comoment[0, 1:][usable] / scale) / scale
        rank = int(np.linalg.matrix_rank(inner, tol=_RANK_TOLERANCE * len(inner), hermitian=True))
    else:
        rank = 0
    constant = [name for name, use in zip(names, usable, strict=True) if not use]
    return Adjustment(theta, union.mean[1:], _note(constant, int(usable.sum()) - rank))


def _note(constant: list[str], redundant: int) -> str:
    parts = []
    if constant:
        parts.append(f"constant covariates left out: {', '.join(constant)}")
    if redundant:
        parts.append(f"{redundant} covariate(s) repeat others; they share their slope")
    return "; ".join(parts)


def adjust(moments: Moments, adjustment: Adjustment) -> Moments:
    """Moments of outcome − θ′(covariates − centre).

    The third power treats what is left as independent of the covariates; where the outcome's own
    is larger, that one is kept, so that skewness is not played down.
    """
    direction = np.concatenate([[1.0], -adjustment.theta])
    mean = float(moments.mean[0] - adjustment.theta @ (moments.mean[1:] - adjustment.centre))
    second = max(float(direction @ moments.comoment @ direction), 0.0)
    removed = float(moments.third[0] - adjustment.theta**3 @ moments.third[1:])
    third = max(removed, float(moments.third[0]), key=abs)
    return Moments(
        moments.columns[:1], moments.n, np.array([mean]), np.array([[second]]), np.array([third])
    )


def cuped_difference(
    control: Moments, arm: Moments, adjustment: Adjustment, kind: Kind = "mean"
) -> Contrast:
    """Adjusted arm minus adjusted control; the lift is relative to the unadjusted control mean.

    The error of the lift is taken at the unadjusted arm's mean, for ratios at the adjusted one.
    """
    adjusted_control, adjusted_arm = adjust(control, adjustment), adjust(arm, adjustment)
    plain = difference(adjusted_control, adjusted_arm)
    base, ratio = float(control.mean[0]), math.nan
    relative = relative_se = None
    if base != 0:
        ratio = 1 + plain.value / base if kind == "ratio" else float(arm.mean[0]) / base
        direction = np.concatenate([[ratio], -adjustment.theta])
        part_control = float(direction @ control.covariance @ direction) / control.n
        part_arm = adjusted_arm.variance / arm.n
        relative = plain.value / abs(base)
        relative_se = math.sqrt((max(part_control, 0.0) + part_arm) / base**2)
    dof = welch_dof(
        adjusted_arm.variance / arm.n, arm.n, adjusted_control.variance / control.n, control.n
    )
    return Contrast(plain.value, plain.se, dof, relative, relative_se)
