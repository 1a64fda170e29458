"""A quantile of each arm, and what can be said of their difference whatever the distribution.

How many units lie below the true quantile is binomial, whatever the metric's distribution, so ranks
bound a quantile without its density (Woodruff 1952, JASA 47). Rank k of n lies ``t`` standard
normal deviations from the true quantile q with

    Φ(t) = P(Beta(k, n + 1 − k) > q),

which holds for fractional ranks too (Hutson 1999, Journal of Applied Statistics 26(3)); values
between two units are interpolated. The deviations of two arms are independent, so the difference
lies between the least and the greatest difference of quantiles whose deviations lie on a circle:

    min / max of  Q_arm(t₁) − Q_control(t₂)  over  t₁² + t₂² = z²,

the profile of a likelihood of two binomials. It needs no density estimate, follows skewness, and
repeated values stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.inputs import CountedValues
from measure.moments import Moments

Vector = NDArray[np.float64]

_FARTHEST = 37.0
"""Standard deviations beyond which the normal tail is no longer a number."""
_STEP = 0.25
_ANGLES = np.linspace(0.0, math.pi / 2, 181)
_HALVINGS = 40


@lru_cache(maxsize=4_096)
def _deviations(n: int, q: float) -> tuple[Vector, Vector]:
    """Fractional ranks of n units and their standard normal deviations from the quantile q."""
    from scipy.special import betainc, betaincc, ndtri

    steps = np.arange(-_FARTHEST, _FARTHEST + _STEP, _STEP)
    ranks = np.unique(np.clip(n * q + steps * math.sqrt(n * q * (1 - q)), 1.0, float(n)))
    below, above = betaincc(ranks, n + 1 - ranks, q), betainc(ranks, n + 1 - ranks, q)
    deviations = np.where(below < above, ndtri(below), -ndtri(above))
    known = np.isfinite(deviations)
    return ranks[known], deviations[known]


@dataclass(frozen=True)
class Ordered:
    """Units of one arm in the order of a metric, and the share ``q`` whose quantile is wanted."""

    counted: CountedValues
    q: float

    @cached_property
    def n(self) -> int:
        """Units in the arm."""
        return int(self.counted.counts.sum())

    @cached_property
    def _last(self) -> NDArray[np.int64]:
        """Rank of the last unit at each value (k,)."""
        ranks: NDArray[np.int64] = np.cumsum(self.counted.counts)
        return ranks

    @cached_property
    def value(self) -> float:
        """The quantile, linearly interpolated (Hyndman and Fan's type 7, as numpy and pandas)."""
        return float(self._at_rank(np.array([1 + (self.n - 1) * self.q]))[0])

    def _at_rank(self, ranks: Vector) -> Vector:
        """Values at ranks between 1 and n, interpolated between neighbours."""
        lower = np.floor(ranks)
        values = self.counted.values
        left = values[np.searchsorted(self._last, lower)]
        right = values[np.searchsorted(self._last, np.minimum(lower + 1, self.n))]
        found: Vector = left + (ranks - lower) * (right - left)
        return found

    def at(self, deviations: Vector) -> Vector:
        """The value so many deviations from the quantile; infinite beyond the first and last."""
        ranks, known = _deviations(self.n, self.q)
        found = self._at_rank(np.interp(deviations, known, ranks))
        found = np.where(deviations < known[0], -np.inf, found)
        return np.where(deviations > known[-1], np.inf, found)

    def bounded(self, z: float) -> bool:
        """Whether ranks bound the quantile at z deviations to both sides."""
        return bool(np.isfinite(self.at(np.array([-z, z]))).all())

    def error(self, z: float) -> float:
        """Standard error whose normal interval is as long as the one at z deviations."""
        low, high = self.at(np.array([-z, z]))
        return float(high - low) / (2 * z)

    def summary(self, name: str, z: float) -> Moments:
        """The quantile as a mean over units, whose variance over n is that of the quantile."""
        if self.n == 0:
            return Moments.empty((name,))
        variance = self.error(z) ** 2 if self.bounded(z) else 0.0
        spread = np.array([[variance * self.n * max(self.n - 1, 1)]])
        return Moments((name,), self.n, np.array([self.value]), spread, np.zeros(1))


def units_needed(q: float, error: float) -> int:
    """Units from which ranks bound the quantile with at most ``error`` in each tail."""
    return math.ceil(math.log(error) / math.log(max(q, 1 - q)))


def difference_within(control: Ordered, arm: Ordered, z: float) -> tuple[float, float]:
    """Interval of arm minus control at z standard deviations."""
    along, across = z * np.cos(_ANGLES), z * np.sin(_ANGLES)
    low = float((arm.at(-along) - control.at(across)).min())
    high = float((arm.at(along) - control.at(-across)).max())
    point = arm.value - control.value
    return min(low, point), max(high, point)


def deviation_of(within: Callable[[float], tuple[float, float]], point: float) -> float:
    """The least z whose interval holds zero, with the sign of the point."""
    if point == 0:
        return 0.0
    outside, inside = 0.0, _FARTHEST
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        low, high = within(middle)
        if low <= 0 <= high:
            inside = middle
        else:
            outside = middle
    return math.copysign(inside, point)
