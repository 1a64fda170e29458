"""What one unit does without the treatment, and how much it varies with it.

How a lift comes about decides how much the treated arm varies, and so what a test can find:

``shift``      every unit gets the same more: the variance stays, as in textbooks
``amounts``    every value is multiplied by 1 + lift: the variance by its square
``buyers``     more units have a value other than zero: the mean of the squares is multiplied

A proportion p has the variance p(1 − p), whatever the way. For a ratio of sums, ``amounts``
multiplies what stands above the line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from measure.errors import InputError
from measure.moments import Moments

Variance = Literal["own", "average", "control"]
Kind = Literal["mean", "proportion", "ratio"]
Acts = Literal["buyers", "amounts", "shift"]


@dataclass(frozen=True, slots=True)
class Clusters:
    """Units that are assigned together: mean size, coefficient of variation, correlation.

    ``icc`` is the intraclass correlation of the outcome.
    """

    size: float
    icc: float
    cv: float = 0.0

    def __post_init__(self) -> None:
        if not self.size >= 1:
            raise InputError.rule("clusters.size", self.size, "must be at least 1")
        if not 0 <= self.icc <= 1:
            raise InputError.rule("clusters.icc", self.icc, "must lie between 0 and 1")
        if not self.cv >= 0:
            raise InputError.rule("clusters.cv", self.cv, "must not be negative")

    @property
    def design_effect(self) -> float:
        """How much larger the variance of a mean is: 1 + ((1 + cv²) m − 1) · ICC.

        Eldridge, Ashby and Kerry (2006), International Journal of Epidemiology 35(5); with equal
        sizes it is Kish's 1 + (m − 1) · ICC.
        """
        return 1 + max((1 + self.cv**2) * self.size - 1, 0.0) * self.icc


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one unit does without the treatment.

    ``r_squared`` is the share of variance that covariates explain (CUPED takes it out);
    ``mean`` of a ratio is the ratio, ``variance`` that of its linearised value per unit.
    ``acting`` is the share of units with a value other than zero, which bounds ``buyers``.
    """

    mean: float
    variance: float
    kind: Kind = "mean"
    r_squared: float = 0.0
    clusters: Clusters | None = None
    treated: Variance = "own"
    acts: Acts = "shift"
    acting: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.variance) and self.variance >= 0):
            raise InputError.rule("variance", self.variance, "must be finite and not negative")
        if not 0 <= self.r_squared < 1:
            raise InputError.rule("r_squared", self.r_squared, "must be at least 0 and below 1")
        if self.kind == "proportion" and not 0 <= self.mean <= 1:
            raise InputError.rule("mean", self.mean, "must lie between 0 and 1 for a proportion")
        if not 0 <= self.acting <= 1:
            raise InputError.rule("acting", self.acting, "must lie between 0 and 1")

    @classmethod
    def of_proportion(cls, share: float) -> Baseline:
        """A 0/1 outcome."""
        return cls(share, share * (1 - share), "proportion")

    @classmethod
    def of_ratio(cls, moments: Moments) -> Baseline:
        """Sum of the first column over sum of the last, by the delta method over units.

        Deng, Knoblich and Lu (2018), KDD, equation 4: the variance of (x − R y)/ȳ per unit.
        """
        ratio, denominator = float(moments.mean[0] / moments.mean[-1]), float(moments.mean[-1])
        spread = moments.covariance
        linear = spread[0, 0] - 2 * ratio * spread[0, -1] + ratio**2 * spread[-1, -1]
        return cls(ratio, max(float(linear), 0.0) / denominator**2, "ratio")

    def adjusted(self, r_squared: float) -> Baseline:
        """The same outcome with covariates that explain this share of its variance."""
        return replace(self, r_squared=r_squared)

    def variances(self, effect: float) -> tuple[float, float]:
        """Variance of one unit's outcome in control and arm when the arm's mean moves."""
        control, arm = self.variance, self.variance
        if self.treated != "control":
            arm = self._variance_when_treated(effect)
        if self.treated == "average":
            control = arm = (control + arm) / 2
        left = (1 - self.r_squared) * self.design_effect
        return control * left, arm * left

    @property
    def design_effect(self) -> float:
        """That of the clusters, 1 without any."""
        return self.clusters.design_effect if self.clusters else 1.0

    @property
    def room(self) -> tuple[float, float]:
        """Largest possible fall and rise of the mean."""
        if self.kind == "proportion":
            return -self.mean, 1 - self.mean
        if self.acts == "buyers" and self.acting > 0 and self.mean:
            size = abs(self.mean)
            return -size, size * (1 / self.acting - 1)
        return -math.inf, math.inf

    def _variance_when_treated(self, effect: float) -> float:
        if self.kind == "proportion":
            share = self.mean + effect
            return max(share * (1 - share), 0.0)
        if self.acts == "shift" or self.mean == 0:
            return self.variance
        factor = 1 + effect / abs(self.mean)
        if self.acts == "amounts" or self.kind == "ratio":
            return self.variance * factor**2
        squares = self.variance + self.mean**2
        return max(squares * factor - (self.mean * factor) ** 2, 0.0)
