"""The posterior that an interval stands for: normal on each side of the estimate.

With a flat prior and a normal likelihood the posterior of an effect is normal around the estimate
with its standard error (Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.5). Intervals
that are wider than that (Student's t), or lopsided (a sampled posterior), are matched at their
bounds instead, so that a probability and an interval never contradict each other: the lower bound
of a 95 % interval lies above x exactly when P(effect > x) is above 97.5 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

from measure.errors import InputError
from measure.results import Estimate, Status


@dataclass(frozen=True, slots=True)
class Posterior:
    """Two halves of normals that meet at the median; equal halves are one normal."""

    median: float
    sd_below: float
    sd_above: float

    @classmethod
    def of_interval(cls, value: float, low: float, high: float, level: float) -> Self:
        """The posterior with this median and this equal-tailed interval of probability ``level``.

        :class:`InputError` when the numbers are not finite or not in order.
        """
        if not all(map(math.isfinite, (value, low, high))):
            raise InputError.rule("interval", (low, high), "must be finite")
        if not low <= value <= high:
            raise InputError.rule("interval", (low, high), f"must enclose the estimate {value!r}")
        if not 0 < level < 1:
            raise InputError.rule("ci_level", level, "must lie between 0 and 1")
        reach = NormalDist().inv_cdf((1 + level) / 2)
        return cls(value, (value - low) / reach, (high - value) / reach)

    @classmethod
    def of_effect(cls, estimate: Estimate) -> Self | None:
        """Posterior of the effect per unit; ``None`` where the status or an interval forbids it."""
        return cls._of(estimate, estimate.value, estimate.ci_low, estimate.ci_high)

    @classmethod
    def of_lift(cls, estimate: Estimate) -> Self | None:
        """Posterior of the relative effect; ``None`` where there is none."""
        low, high = estimate.relative_ci_low, estimate.relative_ci_high
        return cls._of(estimate, estimate.relative, low, high)

    @classmethod
    def _of(
        cls, estimate: Estimate, value: float | None, low: float | None, high: float | None
    ) -> Self | None:
        if estimate.status is not Status.OK or value is None or low is None or high is None:
            return None
        if not (all(map(math.isfinite, (value, low, high))) and low <= value <= high):
            return None
        return cls.of_interval(value, low, high, estimate.ci_level)

    def above(self, threshold: float) -> float:
        """P(quantity > threshold), by a survival function: small ones keep their digits."""
        distance = threshold - self.median
        sd = self.sd_above if distance > 0 else self.sd_below
        if sd == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return 0.5 * math.erfc(distance / sd / math.sqrt(2))

    def interval(self, level: float) -> tuple[float, float]:
        """The equal-tailed interval of probability ``level``."""
        reach = NormalDist().inv_cdf((1 + level) / 2)
        return self.median - reach * self.sd_below, self.median + reach * self.sd_above

    @property
    def mean(self) -> float:
        """The expectation: the median, moved towards the longer side."""
        return self.median + (self.sd_above - self.sd_below) / math.sqrt(2 * math.pi)

    @property
    def sd(self) -> float:
        """The standard deviation."""
        square = (self.sd_above**2 + self.sd_below**2) / 2
        return math.sqrt(square - (self.sd_above - self.sd_below) ** 2 / (2 * math.pi))
