"""The difference averaged over strata by their shares of the population.

Miratrix, Sekhon and Yu (2013), JRSS B 75:369–396: within each stratum arms are compared like with
like, so chance imbalance between strata goes. The shares are those observed over both arms. They
are a sample too, which adds the spread of the strata's own effects over n to the error (the
population version, their section 5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.contrast import Contrast
from measure.incrementality.difference import spread
from measure.incrementality.ratio import linearised
from measure.moments import DENOMINATOR, Moments
from measure.plan import Kind

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stratum:
    """Both arms within one stratum."""

    name: str
    control: Moments
    arm: Moments

    @property
    def n(self) -> int:
        """Units of both arms."""
        return self.control.n + self.arm.n


def post_stratified(strata: Sequence[Stratum], kind: Kind = "mean") -> Contrast:
    """Arm minus control, averaged over strata with two units or more in each arm."""
    n = sum(stratum.n for stratum in strata)
    share = np.array([stratum.n / n for stratum in strata])
    control = _linear([stratum.control for stratum in strata], share)
    arm = _linear([stratum.arm for stratum in strata], share)
    base, mean = (share @ _means(side) for side in (control, arm))
    parts = [_errors(side, share, kind) for side in (control, arm)]
    value = float(mean - base)
    between = _between(_means(arm) - _means(control), share, n)
    variance = float(parts[0].sum() + parts[1].sum() + between)
    units = [np.array([m.n for m in side]) for side in (control, arm)]
    lost = sum(float((p**2 / (k - 1)).sum()) for p, k in zip(parts, units, strict=True))
    dof = variance**2 / (lost + between**2 / (n - 1)) if variance > 0 else math.inf
    if base == 0:
        return Contrast(value, math.sqrt(variance), dof, None, None)
    ratio = float(mean / base)
    apart = _between(_means(arm) - ratio * _means(control), share, n)
    lift = (float(parts[1].sum()) + ratio**2 * float(parts[0].sum()) + apart) / float(base) ** 2
    return Contrast(value, math.sqrt(variance), dof, value / abs(float(base)), math.sqrt(lift))


def _linear(parts: Sequence[Moments], share: Vector) -> list[Moments]:
    """Each stratum's moments; those of ratios linearised around the ratio of the averages."""
    if DENOMINATOR not in parts[0].columns:
        return list(parts)
    at = parts[0].at(DENOMINATOR)
    below = float(share @ np.array([m.mean[at] for m in parts]))
    ratio = float(share @ _means(parts)) / below if below != 0 else math.nan
    return [linearised(m, (ratio, below)) for m in parts]


def _means(parts: Sequence[Moments]) -> Vector:
    return np.array([float(m.mean[0]) for m in parts])


def _errors(parts: Sequence[Moments], share: Vector, kind: Kind) -> Vector:
    """Variance that each stratum's mean adds to the average."""
    errors: Vector = share**2 * np.array([spread(m, kind) / m.n for m in parts])
    return errors


def _between(effects: Vector, share: Vector, n: int) -> float:
    """Variance of an average with observed shares as weights."""
    centred = effects - share @ effects
    return float(share @ centred**2) / n
