"""Where the normal approximation fails, and what is done instead.

A small holdout of a skewed metric makes Welch's test claim lift that is not there: its studentized
difference is itself skewed. The first term of its Edgeworth expansion says by how much (Hall 1992,
The Bootstrap and Edgeworth Expansion, section 2.6, for two samples):

    P(T > z) − (1 − Φ(z)) ≈ −A (2z² + 1) φ(z) / 6,   A = μ₃ (1/nₜ² − 1/n꜀²) / (σ² (1/nₜ + 1/n꜀))^1.5

and the other tail gets the same with the opposite sign. Between arms of one size A is zero, and a
permutation test would be as symmetric as Welch's. The normal approximation is used where that
error stays within a sixth of the tail and the smaller arm has at least ten times the squared
skewness in units (the next term of the expansion). Elsewhere a studentized permutation test takes
over; below ten units, or five expected events in the smaller arm, there is no estimate.

The limits were set on exact tail probabilities of binary metrics (.003 to .5, arms of 50 to
20,000, holdouts of 2 to 50 %): within them no tail of a nominal 2.5 % exceeds 3.0 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from measure.incrementality.contrast import Contrast, Reference, StudentT
from measure.incrementality.inputs import CountedValues
from measure.incrementality.permutation import DRAWS, Permuted, permute, seed_of
from measure.moments import Moments
from measure.plan import Kind

TAIL_ERROR_SHARE = 1 / 6
MIN_UNITS = 10
MIN_UNITS_PER_SQUARED_SKEWNESS = 10
MIN_EVENTS = 5


class Method(StrEnum):
    """How a contrast may be judged."""

    NORMAL = "normal"
    """Student's t (or the normal) is close enough in each tail."""
    PERMUTATION = "permutation"
    """The studentized permutation test takes over."""
    REFUSE = "refuse"
    """Too few units or events for an honest interval."""
    DEGENERATE = "degenerate"
    """The metric does not vary within the arms."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A method and the reason for it, as a reader gets to see it."""

    method: Method
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A judgement with the reference distribution it leads to, if any."""

    method: Method
    note: str
    reference: Reference | None


@dataclass(frozen=True, slots=True)
class Cell:
    """Names of one comparison: they seed its draws and word its notes."""

    metric: str
    arm: str
    control: str
    cohort: str
    seed: int

    def generator(self, method: str) -> np.random.Generator:
        """Return the cell's own generator; swapping the arms gives the same one."""
        pair = sorted((self.arm, self.control))
        return seed_of(self.seed, method, self.metric, *pair, self.cohort)


def pooled_skewness(control: Moments, arm: Moments) -> float:
    """Skewness of the outcome around each arm's own mean; NaN when nothing varies."""
    n = control.n + arm.n
    second = float(control.comoment[0, 0] + arm.comoment[0, 0]) / n
    third = float(control.third[0] + arm.third[0]) / n
    return third / second**1.5 if second > 0 else math.nan


def tail_error(control: Moments, arm: Moments, level: float) -> float:
    """First-order error of the worse tail when both arms follow one distribution.

    Both moments are pooled around each arm's own mean: a small arm alone cannot tell its skewness.
    """
    skewness = pooled_skewness(control, arm)
    sizes: float = (arm.n**-2 - control.n**-2) / (1 / arm.n + 1 / control.n) ** 1.5
    return expansion_error(skewness * sizes, level)


def expansion_error(skewness: float, level: float) -> float:
    """First term of the expansion at a tail's end, for a statistic whose A is ``skewness``."""
    z = StudentT(math.inf).quantiles(level)[1]
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return abs(skewness) * (2 * z * z + 1) / 6 * density


def judge(control: Moments, arm: Moments, metric: str, level: float) -> Judgement:
    """Choose a method from allocation, skewness and numbers of units."""
    smaller = min(control.n, arm.n)
    if smaller < MIN_UNITS:
        return Judgement(
            Method.REFUSE,
            f"{_units(smaller)} in the smaller arm; at least {MIN_UNITS} are needed",
        )
    if not _varies(control) and not _varies(arm):
        return Judgement(Method.DEGENERATE, f"{metric} does not vary, so there is nothing to test")
    skewness = pooled_skewness(control, arm)
    reason = f"{_allocation(control, arm)} and {metric} has skewness {_short(skewness)}"
    bad_tail = tail_error(control, arm, level) > TAIL_ERROR_SHARE * (1 - level) / 2
    if bad_tail or smaller < MIN_UNITS_PER_SQUARED_SKEWNESS * skewness**2:
        return Judgement(Method.PERMUTATION, reason)
    return Judgement(Method.NORMAL)


def reference_from_counts(
    judgement: Judgement,
    contrast: Contrast,
    counted: Mapping[str, CountedValues],
    cell: Cell,
    kind: Kind,
) -> Judged:
    """Turn a judgement into a reference distribution; deals the counted values where needed."""
    if judgement.method is Method.NORMAL:
        return Judged(Method.NORMAL, "", StudentT(contrast.dof))
    if judgement.method is not Method.PERMUTATION:
        return Judged(judgement.method, judgement.reason, None)
    values, counts, n_arm = _pool(counted, cell)
    few = _too_few(counts, n_arm)
    if few:
        return Judged(Method.REFUSE, few, None)
    draws = permute(values, counts, n_arm, kind, cell.generator("counts"))
    return Judged(Method.PERMUTATION, permutation_note(judgement.reason), draws)


def too_few_events(values: np.ndarray[tuple[int], np.dtype[np.float64]], n_arm: int) -> str:
    """Why units with these outcomes cannot be dealt, or nothing.

    An event is an outcome other than the commonest.
    """
    return _too_few(np.unique(values, return_counts=True)[1], n_arm)


def _too_few(counts: np.ndarray[tuple[int], np.dtype[np.int64]], n_arm: int) -> str:
    total = int(counts.sum())
    events = total - int(counts.max())
    expected = events * min(n_arm, total - n_arm) / total
    if expected >= MIN_EVENTS:
        return ""
    return (
        f"{_short(expected)} of {events:,} events are expected in the smaller arm; "
        f"at least {MIN_EVENTS} are needed"
    )


def reference_from_residuals(
    residuals: np.ndarray[tuple[int], np.dtype[np.float64]],
    n_arm: int,
    judgement: Judgement,
    cell: Cell,
    method: str,
) -> Judged:
    """Deal adjusted outcomes, one per unit, which do not depend on who got which arm."""
    values, counts = np.unique(residuals, return_counts=True)
    draws: Permuted = permute(values, counts, n_arm, "mean", cell.generator(method))
    note = permutation_note(judgement.reason, of=" of the adjusted outcomes")
    return Judged(Method.PERMUTATION, note, draws)


def permutation_note(reason: str, of: str = "") -> str:
    """Say what was done and why."""
    return f"studentized permutation{of} ({DRAWS:,} draws): {reason}"


def _pool(
    counted: Mapping[str, CountedValues], cell: Cell
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.int64]], int
]:
    """Distinct values of both arms with their counts, and the arm's number of units."""
    control, arm = counted[cell.control], counted[cell.arm]
    values, index = np.unique(np.concatenate([control.values, arm.values]), return_inverse=True)
    weights = np.concatenate([control.counts, arm.counts])
    counts = np.zeros(len(values), dtype=np.int64)
    np.add.at(counts, index, weights)
    return values, counts, int(arm.counts.sum())


def _varies(moments: Moments) -> bool:
    """Whether the outcome's spread is more than rounding of its mean."""
    scale = float(np.abs(moments.mean[0]))
    return float(moments.comoment[0, 0]) > moments.n * (1e-12 * scale) ** 2


def _allocation(control: Moments, arm: Moments) -> str:
    share = control.n / (control.n + arm.n)
    if share <= 0.5:
        return f"the holdout has {_percent(share)} of {control.n + arm.n:,} units"
    return f"the treated arm has {_percent(1 - share)} of {control.n + arm.n:,} units"


def _units(n: int) -> str:
    return "1 unit" if n == 1 else f"{n} units"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _short(number: float) -> str:
    text = f"{number:.0f}" if abs(number) >= 9.95 else f"{number:.1f}"
    return text.replace("-", "−")
