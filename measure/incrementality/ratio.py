"""A ratio of two sums as the mean of one variable, unit by unit.

With R = Σy / Σx over the units of an arm, ``z = R + (y − R x) / x̄`` has mean R, and its variance
over n is the variance of R by the delta method (Deng, Knoblich and Lu 2018, KDD; linearisation
after Budylin et al. 2018, WSDM). Whatever is known of means, such as Welch's test, CUPED,
post-stratification and the judgement of small holdouts, is applied to z.

A denominator may be zero for some units. What cannot be is a mean denominator near zero: the
delta method asks that its coefficient of variation be small (Cochran 1977, section 6.5).
"""

from __future__ import annotations

import math

import numpy as np

from measure.moments import DENOMINATOR, Moments

MOST_VARIATION = 0.2
"""Largest standard error of a mean denominator, as a share of it."""


def ratio_of(moments: Moments) -> tuple[float, float]:
    """The ratio and the mean denominator of some units; the ratio is NaN where that is zero."""
    below = float(moments.mean[moments.at(DENOMINATOR)])
    return (float(moments.mean[0]) / below if below != 0 else math.nan), below


def linearised(moments: Moments, around: tuple[float, float] | None = None) -> Moments:
    """Moments of the linearised outcome, the covariates and the companions left.

    ``around`` is the ratio and mean denominator to linearise at, the units' own when absent.
    Where there is no ratio, the outcome does not vary.
    """
    ratio, below = ratio_of(moments) if around is None else around
    at = moments.at(DENOMINATOR)
    kept = [i for i in range(len(moments.columns)) if i != at]
    combine = np.eye(len(moments.columns))[kept]
    if below == 0 or not math.isfinite(ratio):
        combine[0] = 0.0
        a = b = ratio = 0.0
    else:
        a, b = 1 / below, -ratio / below
        combine[0, 0], combine[0, at] = a, b
    mean = combine @ moments.mean
    mean[0] += ratio
    comoment = combine @ moments.comoment @ combine.T
    third = moments.third[kept]
    third[0] = _third(moments, at, a, b)
    columns = tuple(moments.columns[i] for i in kept)
    return Moments(columns, moments.n, mean, comoment, third)


def _third(moments: Moments, at: int, a: float, b: float) -> float:
    """Third power of a × outcome + b × denominator."""
    own = a**3 * float(moments.third[0]) + b**3 * float(moments.third[at])
    if moments.mixed is None:
        return own
    return own + 3 * a * b * float(a * moments.mixed[0, at] + b * moments.mixed[1, at])


def unstable(moments: Moments) -> str:
    """Why a ratio of these units cannot be judged, or nothing."""
    at = moments.at(DENOMINATOR)
    below, square = float(moments.mean[at]), float(moments.comoment[at, at])
    if below == 0:
        return "is zero on average"
    if moments.n > 1:
        variation = math.sqrt(square / (moments.n - 1) / moments.n) / abs(below)
        if variation > MOST_VARIATION:
            most = f"{100 * MOST_VARIATION:.0f} % is the most"
            return f"is known to ±{100 * variation:.0f} % only; {most}"
    return ""
