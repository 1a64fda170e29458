"""What it costs to look before the end: boundaries, their error rates, and more units for them.

A test statistic looked at several times is a random walk in information: at fraction t of the
planned units, Z√t is normal with mean δt and variance t, with independent increments. Probabilities
of crossing a boundary are exact, by recursive numerical integration of the density of the walk that
has not crossed yet (Armitage, McPherson and Rowe 1969, JRSS A 132(2); Jennison and Turnbull 2000,
Group Sequential Methods, chapter 19).

Named ways to look, all two-sided:

``fixed``
    One look, at the end.
``naive``
    The fixed boundary at every look: what must not be done.
``obrien_fleming``
    Lan and DeMets (1983), Biometrika 70(3): 2(1 − Φ(z/√t)) is spent by time t, z at 1 − α/2.
``obrien_fleming_per_tail``
    The same function in each tail with α/2, as many programs do: later looks are less strict.
``power_family``
    α t^ρ (Kim and DeMets 1987, Biometrika 74(1)), ρ = 2 unless said otherwise.
``anytime``
    Asymptotic confidence sequence, a normal mixture boundary (Robbins 1970; Waudby-Smith et al.
    2023, arXiv:2103.06476, equations 9 and 161).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from measure.errors import InputError

Vector = NDArray[np.float64]
Way = Literal[
    "fixed", "naive", "obrien_fleming", "obrien_fleming_per_tail", "power_family", "anytime"
]

WAYS: tuple[Way, ...] = ("fixed", "obrien_fleming", "anytime", "naive")
"""Those that a plan compares."""
MOST_LOOKS = 500
_FARTHEST = 9.0  # a boundary beyond nine standard deviations is never crossed: 2e-19
_NODES_PER_STEP = 7.0
_FEWEST_NODES = 64


@dataclass(frozen=True, slots=True)
class Looks:
    """When one looks, as fractions of the planned units, and the boundary on |Z| at each."""

    times: tuple[float, ...]
    bounds: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_times(self.times)
        if len(self.bounds) != len(self.times):
            raise InputError.rule("bounds", len(self.bounds), f"must be {len(self.times)}")

    def crossed(self, drift: float = 0.0) -> tuple[float, ...]:
        """Probability of having crossed either boundary by each look.

        ``drift`` is the expected Z at time 1; 0 gives false positives.
        """
        return tuple(_walk(self.times, self.bounds, drift)[0])

    def reach(self, drift: float = 0.0) -> float:
        """Probability of crossing at any look."""
        return self.crossed(drift)[-1]

    def expected_time(self, drift: float) -> float:
        """Expected fraction of the units when one stops at the first crossing."""
        crossed = (0.0, *self.crossed(drift))
        steps = np.diff(np.concatenate([[0.0], self.times]))
        return float(sum(step * (1 - p) for step, p in zip(steps, crossed, strict=False)))


def equal_looks(looks: int) -> tuple[float, ...]:
    """Times of equally spaced looks, the last at 1."""
    if not 1 <= looks <= MOST_LOOKS:
        raise InputError.rule("looks", looks, f"must lie between 1 and {MOST_LOOKS}")
    return tuple(k / looks for k in range(1, looks + 1))


def plan_looks(way: Way, times: Sequence[float], alpha: float = 0.05) -> Looks:
    """The boundary of a way of looking at given times."""
    _check_times(times)
    z = _quantile(1 - alpha / 2)
    if way == "fixed":
        return Looks((times[-1],), (z,))
    if way == "naive":
        return Looks(tuple(times), (z,) * len(times))
    if way == "anytime":
        return Looks(tuple(times), tuple(anytime_width(t, 1.0, alpha) for t in times))
    spent = [spending(way, t, alpha) for t in times]
    return Looks(tuple(times), spending_bounds(times, spent))


def spending(way: Way, time: float, alpha: float = 0.05, rho: float = 2.0) -> float:
    """Error that may be spent by a time, two-sided; all of it from time 1 on."""
    if not time > 0:
        raise InputError.rule("time", time, "must be above 0")
    if time >= 1:
        return alpha
    if way in ("obrien_fleming", "obrien_fleming_per_tail"):
        from scipy.special import ndtr

        tails = 1 if way == "obrien_fleming" else 2
        reach = _quantile(1 - alpha / 2 / tails) / math.sqrt(time)
        return tails * 2 * float(ndtr(-reach))
    if way == "power_family":
        return alpha * float(time**rho)
    raise InputError.rule("way", way, "spends no error", "Use obrien_fleming or power_family.")


def spending_bounds(times: Sequence[float], spent: Sequence[float]) -> tuple[float, ...]:
    """Boundaries on |Z|, crossed by chance with probability ``spent`` up to each look."""
    _check_times(times)
    bounds: list[float] = []
    for k in range(1, len(times) + 1):
        bounds.append(_next_bound(times[:k], bounds, spent[k - 1]))
    return tuple(bounds)


def anytime_width(n: float, planned_n: float, alpha: float = 0.05, *, sided: int = 2) -> float:
    """Half the confidence sequence's width at ``n`` units, in standard errors.

    It is tightest near ``planned_n``: ρ² = (−2 ln α + ln(1 − 2 ln α)) / planned_n. One-sided
    bounds (``sided=1``, equation 134) replace α by 2α in both places.
    """
    if not (n > 0 and planned_n > 0):
        raise InputError.rule("n", min(n, planned_n), "must be above 0")
    level = alpha if sided == 2 else 2 * alpha
    rho2 = (-2 * math.log(level) + math.log(1 - 2 * math.log(level))) / planned_n
    scaled = n * rho2
    inner = (
        0.5 * math.log(scaled + 1) - math.log(alpha)
        if sided == 2
        else math.log1p(math.sqrt(scaled + 1) / (2 * alpha))
    )
    return math.sqrt(2 * (scaled + 1) / scaled * inner)


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
    fixed = Looks((1.0,), (_quantile(1 - alpha / 2),))
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


def _next_bound(times: Sequence[float], bounds: list[float], spent: float) -> float:
    """The last boundary, given those before it and what may be spent by now."""
    from scipy.optimize import brentq

    before, state = _walk(times[:-1], bounds, 0.0) if bounds else ([0.0], None)
    left = spent - before[-1]
    if left <= 1e-17:
        return _FARTHEST
    scale = math.sqrt(times[-1])

    def gap(bound: float) -> float:
        return _beyond(state, times, bound * scale, 0.0) - left

    if gap(_FARTHEST) >= 0:
        return _FARTHEST
    return float(brentq(gap, 0.0, _FARTHEST, xtol=1e-12, rtol=1e-14))


State = tuple[Vector, Vector]
"""Points of the walk inside the boundary, and the mass at each."""


def _walk(
    times: Sequence[float], bounds: Sequence[float], drift: float
) -> tuple[list[float], State | None]:
    """Probability of having crossed by each look, and where the walk is that has not."""
    crossed: list[float] = []
    state: State | None = None
    for k, (time, bound) in enumerate(zip(times, bounds, strict=True)):
        edge = min(bound, _FARTHEST) * math.sqrt(time)
        upto = times[: k + 1]
        crossed.append((crossed[-1] if crossed else 0.0) + _beyond(state, upto, edge, drift))
        state = _inside(state, upto, edge, drift)
    return crossed, state


def _beyond(state: State | None, times: Sequence[float], edge: float, drift: float) -> float:
    """Probability of being outside ±edge at the last time, having stayed inside until then."""
    from scipy.special import ndtr

    step = times[-1] - (times[-2] if len(times) > 1 else 0.0)
    points, mass = state if state is not None else (np.zeros(1), np.ones(1))
    centre, sd = points + drift * step, math.sqrt(step)
    return float((mass * (ndtr((centre - edge) / sd) + ndtr((-edge - centre) / sd))).sum())


def _inside(state: State | None, times: Sequence[float], edge: float, drift: float) -> State:
    """The walk at the last time, on Gauss–Legendre nodes between the boundaries."""
    step = times[-1] - (times[-2] if len(times) > 1 else 0.0)
    sd = math.sqrt(step)
    # The next step's density must be resolved as well, and it is as narrow as this one.
    count = max(_FEWEST_NODES, math.ceil(2 * edge / sd * _NODES_PER_STEP))
    nodes, weights = _legendre(min(-(-count // 32) * 32, 1_216))
    points = nodes * edge
    from_points, mass = state if state is not None else (np.zeros(1), np.ones(1))
    gaps = (points[:, None] - from_points[None, :] - drift * step) / sd
    density = np.exp(-0.5 * gaps**2) @ mass / (sd * math.sqrt(2 * math.pi))
    return points, density * weights * edge


@cache
def _legendre(count: int) -> tuple[Vector, Vector]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes, weights


def _quantile(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(p))


def _check_times(times: Sequence[float]) -> None:
    """Refuse times that are not increasing fractions."""
    if not times or len(times) > MOST_LOOKS:
        raise InputError.rule("looks", len(times), f"must lie between 1 and {MOST_LOOKS}")
    if times[0] <= 0 or any(b <= a for a, b in pairwise(times)):
        raise InputError.rule("times", tuple(times), "must increase from above 0")
    if times[-1] > 1 + 1e-12:
        raise InputError.rule("times", times[-1], "must end at 1 or before")
