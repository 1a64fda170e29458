"""Studentized permutation test of a difference in means, from counts of values.

Units are dealt to the two arms again and again as the design could have dealt them, and the
studentized difference is computed each time (Janssen 1997; Chung and Romano 2013, Annals of
Statistics 41(2)): exact when nothing happened, valid in large samples when the arms differ in
spread. The interval uses the quantiles of the same draws, so it excludes zero exactly when the
p-value is at or below 1 − level.

Nothing row-level is needed: how many units of each value land in the arm is hypergeometric. Above
three hundred distinct values, the commonest and the most extreme are dealt exactly; the sum and sum
of squares of the rest are drawn from the normal with the moments of sampling without replacement.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.contrast import SMALLEST_P
from measure.plan import Kind

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]

DRAWS = 9_999
EXACT_VALUES = 300
COMMON_VALUES = 50
_DIGITS = 9  # ties of the statistic are ties beyond rounding


@dataclass(frozen=True, slots=True, eq=False)
class Permuted:
    """Sorted draws of the studentized difference under no effect."""

    draws: Vector

    def p_value(self, statistic: float) -> float:
        """Twice the smaller tail; the observed deal counts as one of the draws."""
        point = round(statistic, _DIGITS)
        above = len(self.draws) - int(np.searchsorted(self.draws, point, side="left"))
        below = int(np.searchsorted(self.draws, point, side="right"))
        return max(min(1.0, 2 * (1 + min(above, below)) / (1 + len(self.draws))), SMALLEST_P)

    def quantiles(self, level: float) -> tuple[float, float]:
        """Order statistics that leave out exactly the statistics with p ≤ 1 − level."""
        rank = max(1, math.floor((1 + len(self.draws)) * (1 - level) / 2 + 1e-9))
        return float(self.draws[rank - 1]), float(self.draws[-rank])


def seed_of(seed: int, *names: str) -> np.random.Generator:
    """Return a generator that depends on the plan's seed and the cell's name only."""
    digest = hashlib.sha256("\x1f".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def permute(
    values: Vector,
    counts: Counts,
    n_arm: int,
    kind: Kind,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> Permuted:
    """Deal the pooled values (shape (k,), with counts) to an arm of ``n_arm`` and the control.

    The smaller side is dealt, so that swapping the two labels mirrors the draws.
    """
    total = int(counts.sum())
    centred = values - float(values @ counts) / total
    small = min(n_arm, total - n_arm)
    first, second = _deal(centred, counts, small, rng, draws)
    statistic = _studentize(centred, counts, small, first, second, kind)
    signed = statistic if n_arm == small else -statistic
    return Permuted(np.sort(np.round(signed, _DIGITS)))


def _deal(
    values: Vector, counts: Counts, size: int, rng: np.random.Generator, draws: int
) -> tuple[Vector, Vector]:
    """Sum and sum of squares of ``size`` units drawn without replacement, per draw."""
    needed = np.full(draws, size, dtype=np.int64)
    first, second = np.zeros(draws), np.zeros(draws)
    left = int(counts.sum())
    exact, rest = _split(values, counts)
    for index in exact:
        value, count = float(values[index]), int(counts[index])
        if count == 1:
            taken = (rng.random(draws) * left < needed).astype(np.int64)
        else:
            taken = rng.hypergeometric(count, left - count, needed)
        needed -= taken
        left -= count
        first += taken * value
        second += taken * value**2
    if len(rest):
        bulk = _bulk(values[rest], counts[rest], needed, rng)
        first, second = first + bulk[0], second + bulk[1]
    return first, second


def _split(values: Vector, counts: Counts) -> tuple[Counts, Counts]:
    """Indices of the values dealt one by one (commonest first, then extreme), and of the rest."""
    by_count = np.argsort(-counts, kind="stable")
    if len(values) <= EXACT_VALUES:
        return by_count, by_count[:0]
    common = by_count[:COMMON_VALUES][counts[by_count[:COMMON_VALUES]] > 1]
    others = np.setdiff1d(by_count, common)
    by_size = others[np.argsort(-np.abs(values[others]), kind="stable")]
    extreme = by_size[: EXACT_VALUES - len(common)]
    return np.concatenate([common, extreme]), by_size[len(extreme) :]


def _bulk(
    values: Vector, counts: Counts, needed: Counts, rng: np.random.Generator
) -> tuple[Vector, Vector]:
    """Sums over a large light-tailed rest, normal with finite-population moments."""
    size = int(counts.sum())
    powers = np.stack([values, values**2])
    mean = powers @ counts / size
    centred = powers - mean[:, None]
    (first, both), (_, second) = (centred * counts) @ centred.T / size
    slope = both / first if first > 0 else 0.0
    left = math.sqrt(max(second - slope * both, 0.0))
    scale = np.sqrt(needed * (size - needed) / max(size - 1, 1))
    noise = rng.standard_normal((2, len(needed))) * scale
    along = math.sqrt(first) * noise[0]
    return needed * mean[0] + along, needed * mean[1] + slope * along + left * noise[1]


def _studentize(
    values: Vector, counts: Counts, small: int, first: Vector, second: Vector, kind: Kind
) -> Vector:
    """Studentized difference, dealt side minus the other, per draw."""
    total, squares = int(counts.sum()), float(values**2 @ counts)
    large = total - small
    lost = 0 if kind == "proportion" else 1
    mean_small, mean_large = first / small, -first / large
    error_small = np.maximum(second - small * mean_small**2, 0) / (small - lost) / small
    rest = np.maximum(squares - second - large * mean_large**2, 0)
    error = np.sqrt(error_small + rest / (large - lost) / large)
    gap = mean_small - mean_large
    # A deal without any spread left cannot be studentized; it is as extreme as its sign.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error > 0, gap / error, np.sign(gap) * np.finfo(float).max ** 0.25)
