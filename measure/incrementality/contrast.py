"""One difference between two arms, and the reference distribution that judges it.

A contrast is a point with its standard error; a reference is the distribution of the studentized
difference when nothing happened. P-value and interval are read off the same reference, so they
cannot contradict each other.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import Literal, Protocol

SMALLEST_P = sys.float_info.min
"""P-values never become zero; at this value one reads "< 1e-300"."""

NUMBERS = (
    "value",
    "se",
    "ci_low",
    "ci_high",
    "p_value",
    "relative",
    "relative_ci_low",
    "relative_ci_high",
)
"""Fields of an :class:`Inference` that results have too."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Arm minus control: ``value`` and ``se`` in the metric's unit, ``relative`` as a share.

    ``dof`` are the degrees of freedom of ``se`` (infinite: known variance). ``relative`` and
    ``relative_se`` are ``None`` where the control's mean is zero. ``log_se`` and ``log_dof`` are
    those of the log ratio; absent, they follow from the lift and the difference.
    """

    value: float
    se: float
    dof: float
    relative: float | None
    relative_se: float | None
    log_se: float | None = None
    log_dof: float | None = None


class Reference(Protocol):
    """Distribution of the studentized difference under no effect."""

    def p_value(self, statistic: float) -> float:
        """Two-sided, equal-tailed."""

    def quantiles(self, level: float) -> tuple[float, float]:
        """The two points between which the central ``level`` lies."""


@dataclass(frozen=True, slots=True)
class StudentT:
    """Student's t with ``dof`` degrees of freedom; normal when they are infinite."""

    dof: float

    def p_value(self, statistic: float) -> float:
        """Twice the upper tail of the absolute statistic, never formed as 1 − cdf."""
        from scipy.special import ndtr, stdtr

        lower = -abs(statistic)
        tail = ndtr(lower) if math.isinf(self.dof) else stdtr(self.dof, lower)
        return max(min(1.0, 2 * float(tail)), SMALLEST_P)

    def quantiles(self, level: float) -> tuple[float, float]:
        """Symmetric around zero."""
        from scipy.special import ndtri, stdtrit

        upper = (1 + level) / 2
        point = float(ndtri(upper) if math.isinf(self.dof) else stdtrit(self.dof, upper))
        return -point, point


@dataclass(frozen=True, slots=True)
class Inference:
    """What a contrast says under a reference; fields as in :class:`measure.results.Estimate`.

    ``log_low`` and ``log_high`` bound the lift by the log ratio; they hold for a control mean
    above zero.
    """

    value: float
    se: float
    ci_low: float
    ci_high: float
    p_value: float
    relative: float | None
    relative_ci_low: float | None
    relative_ci_high: float | None
    log_low: float | None = None
    log_high: float | None = None

    def with_lift(self, definition: Literal["delta", "log"], base: float) -> Inference:
        """The same with the lift's interval as the plan's ``relative`` defines it.

        ``base`` is the control's mean; a log ratio needs it above zero.
        """
        if definition == "delta":
            return self
        low, high = (self.log_low, self.log_high) if base > 0 else (None, None)
        return replace(self, relative_ci_low=low, relative_ci_high=high)

    def normal_se(self, level: float) -> float:
        """Standard error of the normal whose interval at ``level`` covers the longer side."""
        longer = max(self.value - self.ci_low, self.ci_high - self.value)
        return max(self.se, longer / StudentT(math.inf).quantiles(level)[1])


def infer(contrast: Contrast, reference: Reference, level: float) -> Inference:
    """P-value and interval of a contrast, by inverting the same studentized test."""
    low, high = reference.quantiles(level)
    p_value = reference.p_value(contrast.value / contrast.se)
    ci_low, ci_high = contrast.value - high * contrast.se, contrast.value - low * contrast.se
    if p_value > 1 - level:  # rounding must not push an endpoint past zero
        ci_low, ci_high = min(ci_low, 0.0), max(ci_high, 0.0)
    relative_low, relative_high = None, None
    if contrast.relative is not None and contrast.relative_se is not None:
        relative_low = contrast.relative - high * contrast.relative_se
        relative_high = contrast.relative - low * contrast.relative_se
    log_low, log_high = _log_interval(contrast, reference, level)
    return Inference(
        value=contrast.value,
        se=contrast.se,
        ci_low=ci_low,
        ci_high=ci_high,
        p_value=p_value,
        relative=contrast.relative,
        relative_ci_low=relative_low,
        relative_ci_high=relative_high,
        log_low=log_low,
        log_high=log_high,
    )


def _log_interval(
    contrast: Contrast, reference: Reference, level: float
) -> tuple[float | None, float | None]:
    """Lift as exp(log ratio ± quantile × se) − 1; nothing unless the ratio is above zero."""
    if contrast.relative is None or contrast.relative_se is None or contrast.relative <= -1:
        return None, None
    ratio = 1 + contrast.relative
    se = contrast.relative_se / ratio if contrast.log_se is None else contrast.log_se
    if isinstance(reference, StudentT) and contrast.log_dof is not None:
        reference = StudentT(contrast.log_dof)
    low, high = reference.quantiles(level)
    # A reference may reach far beyond what a lift can be.
    return ratio * math.exp(-high * se) - 1, ratio * math.exp(min(-low * se, 700.0)) - 1
