"""Boundaries for those who look before the end, and the chance of crossing them.

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
    2023, arXiv:2103.06476, equations 9, 155 and 161).
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
        crossed: list[float] = []
        state, before, total = _ORIGIN, 0.0, 0.0
        for time, bound in zip(self.times, self.bounds, strict=True):
            edge = min(bound, _FARTHEST) * math.sqrt(time)
            total += _beyond(state, time - before, edge, drift)
            state, before = _inside(state, time - before, edge, drift), time
            crossed.append(total)
        return tuple(crossed)

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
    z = -_quantile(alpha / 2)
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
        reach = -_quantile(alpha / 2 / tails) / math.sqrt(time)
        return tails * 2 * float(ndtr(-reach))
    if way == "power_family":
        return alpha * float(time**rho)
    raise InputError.rule("way", way, "spends no error", "Use obrien_fleming or power_family.")


def spending_bounds(times: Sequence[float], spent: Sequence[float]) -> tuple[float, ...]:
    """Boundaries on |Z|, crossed by chance with probability ``spent`` up to each look."""
    _check_times(times)
    bounds: list[float] = []
    state, before, total = _ORIGIN, 0.0, 0.0
    for time, upto in zip(times, spent, strict=True):
        bound = _next_bound(state, before, time, upto - total)
        edge = bound * math.sqrt(time)
        total += _beyond(state, time - before, edge, 0.0)
        state, before = _inside(state, time - before, edge, 0.0), time
        bounds.append(bound)
    return tuple(bounds)


def mixture_rate(planned_n: float, alpha: float = 0.05) -> float:
    """ρ² of the normal mixture whose boundary at ``alpha`` is tightest near ``planned_n`` units."""
    if not planned_n > 0:
        raise InputError.rule("planned_n", planned_n, "must be above 0")
    return (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / planned_n


def mixture_bound(scaled: float, alpha: float) -> float:
    """Two-sided mixture boundary on |Z|, where ``scaled`` is ρ² times the number of units."""
    inner = 0.5 * math.log(scaled + 1) - math.log(alpha)
    return math.sqrt(max(2 * (scaled + 1) / scaled * inner, 0.0))


def mixture_p_value(statistic: float, scaled: float) -> float:
    """The level at which the two-sided mixture boundary runs through the statistic, at most 1."""
    log_p = 0.5 * math.log(scaled + 1) - statistic**2 * scaled / (2 * (scaled + 1))
    return math.exp(min(log_p, 0.0))


def anytime_width(n: float, planned_n: float, alpha: float = 0.05, *, sided: int = 2) -> float:
    """Half the confidence sequence's width at ``n`` units, in standard errors.

    It is tightest near ``planned_n``: ρ² = (−2 ln α + ln(1 − 2 ln α)) / planned_n. One-sided
    bounds (``sided=1``, equation 134) replace α by 2α in both places.
    """
    if not n > 0:
        raise InputError.rule("n", n, "must be above 0")
    if sided == 2:
        return mixture_bound(n * mixture_rate(planned_n, alpha), alpha)
    scaled = n * mixture_rate(planned_n, 2 * alpha)
    inner = math.log1p(math.sqrt(scaled + 1) / (2 * alpha))
    return math.sqrt(2 * (scaled + 1) / scaled * inner)


State = tuple[Vector, Vector]
"""Points of the walk inside the boundary, and the mass at each."""

_ORIGIN: State = (np.zeros(1), np.ones(1))


def _next_bound(state: State, before: float, time: float, left: float) -> float:
    """The boundary at ``time`` that a walk in ``state`` crosses with probability ``left``."""
    from scipy.optimize import brentq

    if left <= 1e-17:
        return _FARTHEST
    scale = math.sqrt(time)

    def gap(bound: float) -> float:
        return _beyond(state, time - before, bound * scale, 0.0) - left

    if gap(_FARTHEST) >= 0:
        return _FARTHEST
    if gap(0.0) <= 0:
        return 0.0
    return float(brentq(gap, 0.0, _FARTHEST, xtol=1e-12, rtol=1e-14))


def _beyond(state: State, step: float, edge: float, drift: float) -> float:
    """Probability of being outside ±edge one step on, having stayed inside until then."""
    from scipy.special import ndtr

    points, mass = state
    centre, sd = points + drift * step, math.sqrt(step)
    return float((mass * (ndtr((centre - edge) / sd) + ndtr((-edge - centre) / sd))).sum())


def _inside(state: State, step: float, edge: float, drift: float) -> State:
    """The walk one step on, on Gauss–Legendre nodes between the boundaries."""
    sd = math.sqrt(step)
    # The next step's density must be resolved as well, and it is as narrow as this one.
    count = max(_FEWEST_NODES, math.ceil(2 * edge / sd * _NODES_PER_STEP))
    nodes, weights = _legendre(min(-(-count // 32) * 32, 1_216))
    points = nodes * edge
    from_points, mass = state
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
