"""What it costs to look before the end: more units at equal power.

The boundaries, and the chances of crossing them, are those of the analysis
(:mod:`measure.incrementality.sequential_boundaries`).
"""

from __future__ import annotations

import numpy as np

from measure.errors import InputError
from measure.incrementality.sequential_boundaries import Looks, Way, plan_looks

WAYS: tuple[Way, ...] = ("fixed", "obrien_fleming", "anytime", "naive")
"""Those that a plan compares."""


def needed_drift(looks: Looks, target: float = 0.8) -> float:
    """Expected final Z at which the boundary is crossed with probability ``target``."""
    from scipy.optimize import brentq

    if not looks.reach() < target < 1:
        raise InputError.rule("power", target, "must lie between the false positive rate and 1")
    high = 2.0
    while looks.reach(high) < target:
        high *= 1.5
    return float(brentq(lambda drift: looks.reach(drift) - target, 0.0, high, xtol=1e-10))


def inflation(looks: Looks, alpha: float = 0.05, target: float = 0.8) -> float:
    """Planned units over those of the fixed horizon, at equal power."""
    fixed = plan_looks("fixed", (1.0,), alpha)
    return (needed_drift(looks, target) / needed_drift(fixed, target)) ** 2


def simulate(
    looks: Looks, runs: int, seed: int, drift: float = 0.0, block: int = 2_000
) -> tuple[int, int]:
    """Walks that crossed, of ``runs``; nothing is shared with the exact recursion."""
    rng = np.random.default_rng(seed)
    steps = np.diff(np.concatenate([[0.0], looks.times]))
    edge = np.array(looks.bounds) * np.sqrt(looks.times)
    crossed = 0
    for begin in range(0, runs, block):
        size = (min(block, runs - begin), len(steps))
        walk = np.cumsum(rng.standard_normal(size) * np.sqrt(steps) + drift * steps, axis=1)
        crossed += int((np.abs(walk) >= edge).any(axis=1).sum())
    return crossed, runs
