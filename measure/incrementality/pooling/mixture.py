"""Posteriors of cohorts as mixtures of normals, and what is read off them.

Given the average effect and the spread of cohorts, the effect of a cohort is normal in closed form.
Its posterior is therefore a mixture of normals, over the nodes of a quadrature or over the draws of
a sampler, and its moments and quantiles need no draws of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from measure.incrementality.pooling.values import (
    Group,
    Observed,
    Pooled,
    Shift,
    Vector,
    normal_point,
    with_lifts,
)

FACTORS = (0.5, 2.0)
_LIGHT = 1e-10  # nodes below this mass cannot be seen in a quantile
_SETTLED = 1e-3  # a step this short, in standard deviations, leaves its square as error
_MOST_STEPS = 60
_BLOCK = 100_000  # values × cohorts worked on at once
_NOTHING = 1e-300  # instead of zero, below a fraction line


@dataclass(frozen=True, slots=True)
class Summary:
    """Posterior means and standard deviations of the average effect μ and the spread τ."""

    mean: float
    mean_sd: float
    tau: float
    tau_sd: float


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Posterior of a group over values of τ: the mass of each, mean and variance of μ there. (t,).

    The values are nodes of a quadrature, or draws; a draw of μ has no variance.
    """

    tau: Vector
    mass: Vector
    mean: Vector
    variance: Vector

    def summary(self) -> Summary:
        """Moments of (μ, τ)."""
        mean, tau = float(self.mass @ self.mean), float(self.mass @ self.tau)
        mean_variance = float(self.mass @ (self.variance + (self.mean - mean) ** 2))
        tau_variance = float(self.mass @ (self.tau - tau) ** 2)
        return Summary(mean, mean_variance**0.5, tau, tau_variance**0.5)

    def cohorts(self, group: Group) -> tuple[Vector, Vector]:
        """Mean and variance of every cohort's effect at every value, each of shape (t, j)."""
        kept = self.own_share(group)
        centre = kept * (group.estimate - self.mean[:, None]) + self.mean[:, None]
        variance = kept * group.se**2 + (1 - kept) ** 2 * self.variance[:, None]
        return centre, variance

    def own_share(self, group: Group) -> Vector:
        """Weight of a cohort's own estimate against the average effect, (t, j)."""
        squared = self.tau[:, None] ** 2
        return np.asarray(squared / (squared + group.se**2))

    def effects(self, group: Group) -> tuple[Vector, Vector]:
        """Posterior mean and standard deviation per cohort, shape (j,)."""
        return _moments(self.mass, *self.cohorts(group))


def pooled(group: Group, found: Mixture, observed: Sequence[Observed], level: float) -> Pooled:
    """Posteriors of the cohorts with equal-tailed intervals, and their prior sensitivity.

    Sensitivity says what halving and doubling the scale of each prior does. The values of τ stay;
    their masses, and the average effect at each, take the other prior in closed form. Over draws
    this is importance weighting (Kallioinen et al. 2024, "Detecting and diagnosing prior and
    likelihood sensitivity with power-scaling").
    """
    scenarios = _scenarios(group, found)
    parts = [_part(block, found, scenarios, level) for block in _blocks(group, len(found.tau))]
    value, sd, low, high, *others = (np.concatenate(part) for part in zip(*parts, strict=True))
    before = found.summary()
    shifts = []
    for scenario, other in zip(scenarios, others, strict=True):
        move = np.abs(other - value) / sd
        member = int(np.argmax(move))
        average = (float(scenario.mass @ scenario.mean) - before.mean) / before.mean_sd
        shifts.append(Shift(scenario.prior, scenario.factor, float(move[member]), member, average))
    return Pooled(with_lifts(observed, value, sd, low, high, level), shifts=tuple(shifts))


@dataclass(frozen=True, slots=True, eq=False)
class _Scenario:
    """Masses and means of μ per value of τ under a prior whose scale was multiplied."""

    prior: str
    factor: float
    mass: Vector
    mean: Vector


def _scenarios(group: Group, found: Mixture) -> list[_Scenario]:
    priors = (("average effect", _other_mean), ("spread of cohorts", _other_spread))
    return [
        _Scenario(prior, factor, *rescaled(group, found, factor))
        for prior, rescaled in priors
        for factor in FACTORS
    ]


def _blocks(group: Group, values: int) -> Iterator[Group]:
    """The group's cohorts in stretches small enough for the processor's cache."""
    size = max(_BLOCK // values, 1)
    for start in range(0, len(group.se), size):
        here = slice(start, start + size)
        yield replace(group, estimate=group.estimate[here], se=group.se[here])


def _part(
    group: Group, found: Mixture, scenarios: Sequence[_Scenario], level: float
) -> list[Vector]:
    """Mean, standard deviation, ends of the interval, and the mean under each scenario; (j,)."""
    kept = found.own_share(group)
    others = [
        group.estimate * (s.mass @ kept) + s.mass @ s.mean - (s.mass * s.mean) @ kept
        for s in scenarios
    ]
    return [*read_off(found.mass, *found.cohorts(group), level), *others]


def read_off(
    mass: Vector, centre: Vector, variance: Vector, level: float
) -> tuple[Vector, Vector, Vector, Vector]:
    """Mean, standard deviation and equal-tailed ends of mixtures of normals, (j,) each.

    ``mass`` has shape (t,), ``centre`` and ``variance`` (t, j).
    """
    value, sd = _moments(mass, centre, variance)
    heavy = mass > _LIGHT
    mass = mass[heavy] / mass[heavy].sum()
    centre, spread = centre[heavy], np.sqrt(variance[heavy])
    point = normal_point(level)
    low, high = (_quantile(mass, centre, spread, sd, score) for score in (-point, point))
    return value, sd, low, high


def _moments(mass: Vector, centre: Vector, variance: Vector) -> tuple[Vector, Vector]:
    value = mass @ centre
    return value, np.sqrt(mass @ (variance + (centre - value) ** 2))


def _other_mean(group: Group, found: Mixture, factor: float) -> tuple[Vector, Vector]:
    """Masses and means of μ when the scale of its prior is multiplied."""
    change = (factor**-2 - 1) / group.mean_scale**2
    centred = found.mean - group.mean_prior
    shrunk = 1 + change * found.variance
    log_mass = -0.5 * np.log(shrunk) - 0.5 * change * centred**2 / shrunk
    mass = found.mass * np.exp(log_mass - log_mass.max())
    return mass / mass.sum(), group.mean_prior + centred / shrunk


def _other_spread(group: Group, found: Mixture, factor: float) -> tuple[Vector, Vector]:
    """Masses and means of μ when the scale of the prior of τ is multiplied."""
    log_mass = -0.5 * (factor**-2 - 1) * (found.tau / group.tau_scale) ** 2
    mass = found.mass * np.exp(log_mass - log_mass.max())
    return mass / mass.sum(), found.mean


def _quantile(mass: Vector, centre: Vector, spread: Vector, sd: Vector, score: float) -> Vector:
    """The points where the mixtures' normal score is ``score``; centre and spread are (t, j).

    Newton's method on the normal score of the distribution function, which is nearly a straight
    line; bisection takes over where a step leaves the bracket.
    """
    from scipy.special import ndtr, ndtri

    own = centre + score * spread
    lowest, highest = own.min(axis=0), own.max(axis=0)
    point = mass @ own
    sharpness = 1 / np.maximum(spread, _NOTHING)
    for _ in range(_MOST_STEPS):
        standard = (point - centre) * sharpness
        reached = ndtri(np.clip(mass @ ndtr(standard), _NOTHING, 1 - 1e-16))
        density = mass @ (np.exp(-0.5 * standard**2) * sharpness)
        step = (score - reached) * np.exp(-0.5 * reached**2) / np.maximum(density, _NOTHING)
        lowest = np.where(step > 0, point, lowest)
        highest = np.where(step < 0, point, highest)
        proposed = point + step
        inside = (proposed >= lowest) & (proposed <= highest)
        proposed = np.where(inside, proposed, (lowest + highest) / 2)
        moved = float((np.abs(proposed - point) / sd).max())
        point = proposed
        if moved < _SETTLED:
            break
    return np.asarray(point)


def of_draws(mean: Vector, tau: Vector) -> Mixture:
    """Draws of (μ, τ), of any shape, as a mixture."""
    return Mixture(tau.ravel(), np.full(tau.size, 1 / tau.size), mean.ravel(), np.zeros(tau.size))


def drawn_effects(group: Group, found: Mixture, shape: tuple[int, int], seed: int) -> Vector:
    """Draws of every cohort's effect, (chains, draws, j), one for each value of τ."""
    centre, variance = found.cohorts(group)
    noise = np.random.default_rng([seed, 1]).standard_normal(centre.shape)
    return np.asarray((centre + np.sqrt(variance) * noise).reshape(*shape, -1))
