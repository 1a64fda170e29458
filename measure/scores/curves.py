"""Curves over the share of units treated in the order of a score, with their influence functions.

Units with equal scores enter together, so no curve depends on the order of rows. An influence
function says how much each unit moved a number; its variance over units, divided by n, is the
squared standard error of that number, ranks and arm sizes being estimated included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Units of two arms in the order they would be treated, in groups of equal score.

    ``treated`` is 1 for the arm and 0 for the control; ``group`` is each unit's group, from 0 for
    the first to be treated.
    """

    outcome: Numbers
    treated: Numbers
    group: Integers
    groups: int

    @classmethod
    def by(cls, score: Numbers, outcome: Numbers, treated: Numbers, *, descending: bool) -> Ranked:
        """Sort by score; the order of rows leaves no trace, not even in the last digit."""
        rank = -score if descending else score
        order = np.lexsort((outcome, treated, rank))
        sorted_rank = rank[order]
        group = np.concatenate([[0], np.cumsum(sorted_rank[1:] != sorted_rank[:-1])])
        return cls(outcome[order], treated[order], group, int(group[-1]) + 1)

    def merged_up_to(self, group: int) -> Ranked:
        """The same units with all groups up to this one taken together."""
        merged = np.maximum(self.group - group, 0)
        return Ranked(self.outcome, self.treated, merged, self.groups - group)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Height at each threshold, and its influence function in four coefficients per threshold.

    ``share`` (G,) is the share of units treated, ``height`` (G,) the curve. For unit j with
    outcome y and treated w, at a threshold at or below its score, the influence on the height is
    ``w·y·arm_outcome + w·arm + (1−w)·y·control_outcome + (1−w)·control``, plus for every unit
    ``constant + w·constant_arm``.
    """

    share: Numbers
    height: Numbers
    arm_outcome: Numbers
    arm: Numbers
    control_outcome: Numbers
    control: Numbers
    constant: Numbers
    constant_arm: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Per threshold, as shares of all units: units and outcome of either arm up to it."""

    arm: Numbers
    control: Numbers
    arm_outcome: Numbers
    control_outcome: Numbers


def _sums(units: Ranked) -> _Sums:
    n, groups = len(units.outcome), units.groups

    def up_to(weights: Numbers) -> Numbers:
        return np.cumsum(np.bincount(units.group, weights=weights, minlength=groups)) / n

    other = 1 - units.treated
    return _Sums(
        up_to(units.treated),
        up_to(other),
        up_to(units.treated * units.outcome),
        up_to(other * units.outcome),
    )


def _ratio(above: Numbers, below: Numbers) -> Numbers:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def qini_curve(units: Ranked) -> Curve:
    """Incremental outcome per treated unit (Radcliffe 2007, "Using control groups to target …").

    Outcome of the treated minus that of the controls scaled to as many, divided by all treated;
    its end is the difference in means.
    """
    s = _sums(units)
    per_control = _ratio(s.arm, s.control)
    control_mean = _ratio(s.control_outcome, s.control)
    everyone = s.arm[-1]
    height = (s.arm_outcome - s.control_outcome * per_control) / everyone
    ones = np.ones_like(height)
    return Curve(
        share=s.arm + s.control,
        height=height,
        arm_outcome=ones / everyone,
        arm=-control_mean / everyone,
        control_outcome=-per_control / everyone,
        control=per_control * control_mean / everyone,
        constant=0 * ones,
        constant_arm=-height / everyone,
    )


def gain_curve(units: Ranked) -> Curve:
    """Share treated times the difference in means among them; its end is the difference in means.

    Divided by the share and less its end, this is the TOC curve of Yadlowsky, Fleming, Shah,
    Brunskill and Wager (2025), "Evaluating treatment prioritization rules via rank-weighted average
    treatment effects", JASA 120(549), section 2.
    """
    s = _sums(units)
    share = s.arm + s.control
    arm_mean, control_mean = _ratio(s.arm_outcome, s.arm), _ratio(s.control_outcome, s.control)
    both = (s.arm > 0) & (s.control > 0)
    effect = np.where(both, arm_mean - control_mean, 0.0)
    per_arm = np.where(both, _ratio(share, s.arm), 0.0)
    per_control = np.where(both, _ratio(share, s.control), 0.0)
    return Curve(
        share=share,
        height=share * effect,
        arm_outcome=per_arm,
        arm=effect - per_arm * arm_mean,
        control_outcome=-per_control,
        control=effect + per_control * control_mean,
        constant=-share * effect,
        constant_arm=0 * share,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Functional:
    """A number made of a curve, with its slope in each height and each share of the curve."""

    value: float
    by_height: Numbers
    by_share: Numbers


def area(curve: Curve) -> Functional:
    """Area under the curve from (0, 0), straight between thresholds (equal scores at random)."""
    q, h = np.append(0.0, curve.share), np.append(0.0, curve.height)
    width = np.diff(q)
    by_height = (np.append(width[1:], 0.0) + width) / 2
    by_share = (np.append(h[:-2], 0.0) - np.append(h[2:], 0.0)) / 2
    by_share[-1] = 0.0  # the last share is 1 whatever the data
    return Functional(float(((h[1:] + h[:-1]) / 2) @ width), by_height, by_share)


def area_above_random(curve: Curve) -> Functional:
    """Area between the curve and the straight line to its end."""
    whole = area(curve)
    by_height = whole.by_height.copy()
    by_height[-1] -= 0.5
    return Functional(whole.value - curve.height[-1] / 2, by_height, whole.by_share)


def area_of_toc(curve: Curve) -> Functional:
    """AUTOC of a gain curve: ∫ (height(q)/q − height(1)) dq, straight between thresholds.

    Up to the first threshold the curve is straight from 0, so that stretch adds its height.
    """
    q1, q2, h1, h2 = curve.share[:-1], curve.share[1:], curve.height[:-1], curve.height[1:]
    width, log = q2 - q1, np.log1p((q2 - q1) / q1)
    slope = (h2 - h1) / width
    start = h1 - slope * q1
    by_height, by_share = np.zeros_like(curve.share), np.zeros_like(curve.share)
    by_height[:-1] += q2 / width * log - 1
    by_height[1:] += 1 - q1 / width * log
    by_share[:-1] -= slope * q2 / width * log + start / q1
    by_share[1:] += slope * q1 / width * log + start / q2
    by_height[0] += 1
    by_height[-1] -= 1
    by_share[-1] = 0.0
    value = curve.height[0] + float(np.sum(start * log + h2 - h1)) - curve.height[-1]
    return Functional(float(value), by_height, by_share)


def height_at(curve: Curve, threshold: int) -> Functional:
    """The curve's height at one threshold of the score."""
    by_height = np.zeros_like(curve.share)
    by_height[threshold] = 1.0
    return Functional(float(curve.height[threshold]), by_height, np.zeros_like(curve.share))


def influence(units: Ranked, curve: Curve, functional: Functional) -> Numbers:
    """Influence of each unit (n,) on a functional of a curve; they add up to 0."""
    y, w, group = units.outcome, units.treated, units.group
    slope = functional.by_height

    def below(coefficient: Numbers) -> Numbers:
        """Sum over the thresholds at or below each unit's score."""
        return np.cumsum(coefficient[::-1])[::-1][group]

    on_arm = y * below(slope * curve.arm_outcome) + below(slope * curve.arm)
    on_control = y * below(slope * curve.control_outcome) + below(slope * curve.control)
    ranks = below(functional.by_share) - functional.by_share @ curve.share
    constant = slope @ curve.constant + w * (slope @ curve.constant_arm)
    result: Numbers = np.where(w == 1, on_arm, on_control) + ranks + constant
    return result


def standard_error(influences: Numbers) -> float:
    """Standard error of the number that has these influences."""
    return float(np.sqrt(np.sum(influences**2)) / len(influences))
