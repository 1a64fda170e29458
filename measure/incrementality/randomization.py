"""Inference from the assignments that could have been: the difference, judged by the procedure.

When arms were not dealt by independent coins (the best of many draws, a schedule of blocks), the
usual standard error does not know it. The procedure does: it is run again and again, each time by
the very rules of the real one, and the studentized difference of the real assignment is held
against those of the re-drawn ones (Fisher 1935; for rerandomised designs Morgan and Rubin 2012,
Annals of Statistics 40:1263-1282, section 2.2). The interval holds every constant effect that the
same test does not reject (Rosenbaum 2002, Observational Studies, section 2.6): with two arms it is
exact for a constant effect. Studentizing keeps the test valid in large samples for the average
effect when effects differ between units (Wu and Ding 2021, JASA 116:1898-1913).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from measure.incrementality.contrast import NUMBERS, Contrast, Inference, infer
from measure.plan import Kind
from measure.results import Estimate, Status

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]

MIN_UNITS = 2
"""In each arm, of the real assignment and of every re-drawn one that counts."""
_DIGITS = 9  # ties of the statistic are ties beyond rounding
_FARTHEST = 2.0**20
"""Effects beyond this many standard errors are not tried: the interval has no end there."""
_STEPS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Redraws:
    """What every re-drawn assignment makes of the outcomes, whatever the effect; each (r,).

    Units carry their outcome y and w = 1 where they really were treated. Taking an effect away
    leaves y − effect × w, so differences are ``gap_y`` − effect × ``gap_w`` and their variances
    ``var_y`` − 2 effect × ``cov`` + effect² × ``var_w``.
    """

    gap_y: Vector
    gap_w: Vector
    var_y: Vector
    cov: Vector
    var_w: Vector

    def statistics(self, effect: float, scale: float) -> Vector:
        """Studentized differences once the effect is taken away.

        Without spread they are infinite by the sign of the gap; what is below a billionth of
        ``scale``, the real standard error, counts as nothing.
        """
        gap = self.gap_y - effect * self.gap_w
        variance = self.var_y - 2 * effect * self.cov + effect**2 * self.var_w
        se, least = np.sqrt(np.maximum(variance, 0.0)), 1e-9 * scale
        endless = np.where(np.abs(gap) <= least, 0.0, np.copysign(np.inf, gap))
        return np.where(se <= least, endless, gap / np.maximum(se, least))


@dataclass(frozen=True, slots=True, eq=False)
class Randomization:
    """A difference between two arms, and what it would have been under re-drawn assignments."""

    value: float
    """Mean of the arm minus mean of the control."""
    se: float
    """Its standard error."""
    redraws: Redraws

    @property
    def draws(self) -> int:
        """How many re-drawn assignments count."""
        return len(self.redraws.gap_y)

    def p_value(self, effect: float = 0.0) -> float:
        """Two-sided p-value of "the effect is the same for everybody, and it is this one".

        Twice the smaller tail; the real assignment counts as one of the draws, so p is never 0.
        """
        seen = self.redraws.statistics(effect, self.se).round(_DIGITS)
        real = round((self.value - effect) / self.se, _DIGITS)
        smaller = min(int((seen >= real).sum()), int((seen <= real).sum()))
        return min(1.0, 2 * (1 + smaller) / (1 + self.draws))

    def interval(self, level: float) -> tuple[float, float] | None:
        """The constant effects that are not rejected at ``1 − level``, ends to a millionth of se.

        ``None`` when re-drawn assignments are so few or so alike that some side has no end.
        """
        low, high = self._end(-1.0, level), self._end(1.0, level)
        return None if low is None or high is None else (low, high)

    def _end(self, side: float, level: float) -> float | None:
        alpha = 1 - level + 1e-12
        reach = 1.0
        while self.p_value(self.value + side * reach * self.se) > alpha:
            reach *= 2
            if reach > _FARTHEST:
                return None
        kept, gone = 0.0, reach
        for _ in range(_STEPS):
            middle = (kept + gone) / 2
            if self.p_value(self.value + side * middle * self.se) > alpha:
                kept = middle
            else:
                gone = middle
            if gone - kept < 1e-6:
                break
        return self.value + side * gone * self.se


def randomization(
    outcomes: ArrayLike,
    assigned: ArrayLike,
    redrawn: ArrayLike,
    arm: int,
    control: int,
    kind: Kind = "mean",
) -> Randomization | None:
    """Hold a difference in means against re-drawn assignments.

    ``outcomes`` (n,) has NaN where a unit was not measured, ``assigned`` (n,) the codes of the arms
    as they are, ``redrawn`` (r, n) those of assignments by the same procedure, the real one not
    among them. Units of a third arm take part at their arm's mean effect, so that with more than
    two arms the test is approximate. ``None`` when an arm has fewer than two units, nothing
    varies, or no re-drawn assignment gives both arms two units.
    """
    y, codes = np.asarray(outcomes, dtype=float), np.asarray(assigned)
    drawn = np.asarray(redrawn)
    known = ~np.isnan(y)
    y, codes, drawn = y[known], codes[known], drawn[:, known]
    groups = y[codes == arm], y[codes == control]
    lost = 0 if kind == "proportion" else 1
    if min(map(len, groups)) < MIN_UNITS:
        return None
    value = float(groups[0].mean() - groups[1].mean())
    se = math.sqrt(sum(float(g.var(ddof=lost)) / len(g) for g in groups))
    sizes = (drawn == arm).sum(axis=1), (drawn == control).sum(axis=1)
    drawn = drawn[np.minimum(*sizes) >= MIN_UNITS]
    if se <= 0 or not len(drawn):
        return None
    y = at_level_of_control(y, codes, arm, control) - float(groups[1].mean())
    columns = np.column_stack([y, codes == arm])
    ours, theirs = (_moments(drawn == code, columns, lost) for code in (arm, control))
    gaps = [one - other for one, other in zip(ours[:2], theirs[:2], strict=True)]
    variances = [one + other for one, other in zip(ours[2:], theirs[2:], strict=True)]
    return Randomization(value, se, Redraws(*gaps, *variances))


@dataclass(frozen=True, slots=True)
class _Reached:
    """Reference under which an interval has the ends that re-drawing gave it."""

    p: float
    ends: tuple[float, float]

    def p_value(self, statistic: float) -> float:  # noqa: ARG002 - interface
        """The p-value by re-drawing."""
        return self.p

    def quantiles(self, level: float) -> tuple[float, float]:  # noqa: ARG002 - interface
        """The ends, in standard errors."""
        return self.ends


def infer_randomized(contrast: Contrast, found: Randomization, level: float) -> Inference | None:
    """What a contrast says when re-drawn assignments judge it; ``None`` without an interval.

    The lift's interval reaches as many of its standard errors to each side as the difference's.
    """
    ends = found.interval(level)
    if ends is None:
        return None
    p_value = found.p_value()
    low, high = ends
    if p_value > 1 - level:  # what is not rejected belongs to the interval
        low, high = min(low, 0.0), max(high, 0.0)
    reached = _Reached(p_value, ((found.value - high) / found.se, (found.value - low) / found.se))
    own = replace(contrast, value=found.value, se=found.se)
    return replace(infer(own, reached, level), ci_low=low, ci_high=high)


def with_numbers(estimate: Estimate, numbers: Inference, note: str) -> Estimate:
    """The estimate with numbers that can be used."""
    shown = {name: getattr(numbers, name) for name in NUMBERS}
    return replace(estimate, **shown, status=Status.OK, note=note)


def without_numbers(estimate: Estimate, note: str) -> Estimate:
    """The estimate without any: the design is too small for them."""
    gone: dict[str, Any] = dict.fromkeys(NUMBERS)
    return replace(estimate, **gone, status=Status.INSUFFICIENT, note=note)


def _moments(members: NDArray[np.bool_], columns: Vector, lost: int) -> tuple[Vector, ...]:
    """Means of y and w, and variances of these means (y, both, w), over ``members`` (r, n)."""
    y, w = columns.T
    inside = members.astype(np.float64)
    n = inside.sum(axis=1)
    means = inside @ np.column_stack([y, w, y * y, y * w]) / n[:, None]
    mean_y, mean_w, square, product = means.T
    scale = 1.0 / (n - lost)
    return (
        mean_y,
        mean_w,
        scale * np.maximum(square - mean_y**2, 0.0),
        scale * (product - mean_y * mean_w),
        scale * np.maximum(mean_w - mean_w**2, 0.0),
    )


def at_level_of_control(y: Vector, codes: Codes, arm: int, control: int) -> Vector:
    """Outcomes with the mean effect of every third arm taken away."""
    level, found = float(y[codes == control].mean()), y.copy()
    for code in np.unique(codes):
        if code not in (arm, control):
            mine = codes == code
            found[mine] -= float(y[mine].mean()) - level
    return found
