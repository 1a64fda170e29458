"""Power by running the estimator that will be shipped, on units drawn from history.

Where a holdout is small and its metric skewed, the analysis does not use a normal approximation:
it deals a permutation test, or refuses. No formula says what such a test finds, so the planner
draws units from the values that history holds and asks the estimator itself, as often as told.

How a treatment acts is an assumption, named in :mod:`designs.planning.baseline`. ``buyers`` needs
a metric whose commonest value is zero; others are planned by ``amounts``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from designs.planning.baseline import Acts
from measure.errors import InputError
from measure.incrementality.contrast import Inference, StudentT, infer
from measure.incrementality.difference import difference
from measure.incrementality.permutation import permute
from measure.incrementality.small_holdout import MIN_EVENTS, Cell, Method, judge
from measure.moments import Moments
from measure.plan import Metric
from measure.results import Result

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]

BAND_LEVEL = 0.99
DEALS = 999
"""Permutations per draw. The analysis deals 9,999; a test at 5 % loses less than a hundredth of its
power by dealing 999 (Davidson and MacKinnon 2000, Econometric Reviews 19(1))."""


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Distinct values of an outcome and how often each was seen; both of shape (k,)."""

    values: Vector
    counts: Counts

    def __post_init__(self) -> None:
        if not len(self.values) or int(self.counts.sum()) < 1:
            raise InputError("values: history holds no unit with a value. Load more of it.")

    @property
    def chances(self) -> Vector:
        """Share of units at each value."""
        shares: Vector = self.counts / self.counts.sum()
        return shares

    @property
    def moments(self) -> Moments:
        """Moments of the outcome."""
        return weighted_moments("outcome", self.values, self.counts)

    @property
    def acting(self) -> float:
        """Share of units with a value other than zero."""
        return float(self.counts[self.values != 0].sum() / self.counts.sum())

    def way(self, acts: Acts) -> Acts:
        """The way in which a lift of this outcome can come about."""
        commonest = float(self.values[int(np.argmax(self.counts))])
        return "amounts" if acts == "buyers" and commonest != 0 else acts

    def possible(self, lift: float, acts: Acts) -> bool:
        """Whether there are units enough to act."""
        return self.way(acts) != "buyers" or 0 <= self.acting * (1 + lift) <= 1

    def treated(self, lift: float, acts: Acts) -> tuple[Vector, Vector]:
        """Values and chances of a treated unit, whose mean is ``lift`` times its size higher.

        :class:`InputError` when the lift asks for more than everybody, or fewer than nobody.
        """
        mean = float(self.values @ self.chances)
        factor = 1 + math.copysign(lift, lift * mean)
        way = self.way(acts)
        if way == "shift":
            return self.values + lift * abs(mean), self.chances
        if way == "amounts":
            return self.values * factor, self.chances
        rest = self.acting * factor
        if not 0 <= rest <= 1:
            raise InputError.rule("lift", lift, f"would need {rest:.0%} of the units to act")
        zero = self.values == 0
        return self.values, np.where(zero, 1 - rest, self.chances * factor)

    def effect(self, lift: float, acts: Acts) -> float:
        """Difference of the means that a lift makes."""
        values, chances = self.treated(lift, acts)
        return float(values @ chances - self.values @ self.chances)

    def treated_variance(self, lift: float, acts: Acts) -> float:
        """Variance of one treated unit's outcome."""
        values, chances = self.treated(lift, acts)
        return float(chances @ (values - values @ chances) ** 2)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Values of one arm and how many of its units have each."""

    values: Vector
    counts: Counts


@dataclass(frozen=True, slots=True)
class Simulated(Result):
    """What the shipped estimator did over ``runs`` draws.

    ``found`` counts intervals that exclude zero on the side of the lift, ``wrong`` those on the
    other side, ``refused`` draws without an estimate, ``permuted`` those judged by permutation.
    ``low`` and ``high`` bound the probability of ``found`` (Wilson's interval, 99 %).
    ``interval_se`` is the median standard error of the normal with the interval's longer side.
    """

    lift: float
    runs: int
    found: int
    wrong: int
    refused: int
    permuted: int
    low: float
    high: float
    metric: str = ""
    arm: str = ""
    interval_se: float | None = None

    @property
    def power(self) -> float:
        """Share of draws that found the effect."""
        return self.found / self.runs


def simulate(
    history: Values,
    metric: Metric,
    n_control: int,
    n_arm: int,
    lift: float,
    *,
    ci_level: float = 0.95,
    acts: Acts = "buyers",
    runs: int = 400,
    seed: int = 1,
    deals: int = DEALS,
    arm: str = "",
    progress: Callable[[int], None] | None = None,
) -> Simulated:
    """Run the shipped difference on ``runs`` draws of both arms from history.

    Units are drawn with replacement; winsorising and the meaning of missing values have been
    applied to history already. The same seed gives the same draws.
    """
    if runs < 1:
        raise InputError.rule("runs", runs, "must be at least 1")
    treated_values, treated_chances = history.treated(lift, acts)
    rng = np.random.default_rng(seed)
    found = wrong = refused = permuted = 0
    errors: list[float] = []
    for run in range(runs):
        control = Drawn(history.values, rng.multinomial(n_control, history.chances))
        treated = Drawn(treated_values, rng.multinomial(n_arm, treated_chances))
        judged, numbers = estimate(
            control, treated, metric, ci_level=ci_level, seed=seed * 1_000_003 + run, deals=deals
        )
        permuted += judged is Method.PERMUTATION
        if numbers is None:
            refused += 1
        else:
            up, down = numbers.ci_low > 0, numbers.ci_high < 0
            found += up if lift >= 0 else down
            wrong += down if lift >= 0 else up
            errors.append(numbers.normal_se(ci_level))
        if progress is not None:
            progress(run + 1)
    low, high = binomial_band(found, runs)
    typical = float(np.median(errors)) if errors else None
    return Simulated(
        lift, runs, found, wrong, refused, permuted, low, high, metric.name, arm, typical
    )


def estimate(
    control: Drawn,
    arm: Drawn,
    metric: Metric,
    *,
    ci_level: float = 0.95,
    seed: int = 1,
    deals: int = DEALS,
) -> tuple[Method, Inference | None]:
    """Judge two drawn arms as the analysis does, step by step; a test holds it to that.

    Only the number of permutations is smaller.
    """
    before = weighted_moments(metric.name, control.values, control.counts)
    after = weighted_moments(metric.name, arm.values, arm.counts)
    judged = judge(before, after, metric.name, ci_level)
    if judged.method in (Method.REFUSE, Method.DEGENERATE):
        return judged.method, None
    contrast = difference(before, after, metric.kind)
    if judged.method is Method.NORMAL:
        return judged.method, infer(contrast, StudentT(contrast.dof), ci_level)
    values, index = np.unique(np.concatenate([control.values, arm.values]), return_inverse=True)
    counts = np.zeros(len(values), dtype=np.int64)
    np.add.at(counts, index, np.concatenate([control.counts, arm.counts]))
    values, counts = values[counts > 0], counts[counts > 0]
    total = before.n + after.n
    if (total - int(counts.max())) * min(before.n, after.n) / total < MIN_EVENTS:
        return Method.REFUSE, None
    cell = Cell(metric.name, "arm", "control", "", seed)
    dealt = permute(values, counts, after.n, metric.kind, cell.generator("counts"), deals)
    return judged.method, infer(contrast, dealt, ci_level)


def binomial_band(hits: int, runs: int, level: float = BAND_LEVEL) -> tuple[float, float]:
    """Wilson's (1927) interval of a probability."""
    from scipy.special import ndtri

    z = float(ndtri((1 + level) / 2))
    share, weight = hits / runs, z * z / runs
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / runs + weight / 4 / runs)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def smallest_found(points: Sequence[Simulated], target: float) -> float | None:
    """Lift at which a line through simulated powers reaches the target; ``None`` beyond them."""
    ordered = sorted(points, key=lambda point: abs(point.lift))
    for before, after in pairwise(ordered):
        if before.power < target <= after.power:
            share = (target - before.power) / (after.power - before.power)
            return before.lift + share * (after.lift - before.lift)
    return None


def weighted_moments(name: str, values: Vector, counts: Counts) -> Moments:
    """Moments of one column from counted values, in one pass over arrays."""
    n = int(counts.sum())
    if n == 0:
        return Moments.empty((name,))
    mean = float(values @ counts) / n
    centred = values - mean
    second, third = float(counts @ centred**2), float(counts @ centred**3)
    return Moments((name,), n, np.array([mean]), np.array([[second]]), np.array([third]))
