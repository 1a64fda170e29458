"""Exact posterior of one additive model over the cohorts of several dimensions.

The estimate of a combination of cohorts is d ~ N(μ + Σₖ αₖ[its value], s²), with αₖ ~ N(0, τₖ²),
μ ~ N(m, a²) and each τₖ half-normal with scale b (crossed random effects: Gelman and Hill 2007,
Data Analysis Using Regression and Multilevel/Hierarchical Models, section 13.5). Given the spreads
everything is normal and solved by normal equations of one unknown per cohort; the spreads are
integrated over a product of Gauss–Legendre nodes on xₖ = asinh(τₖ / uₖ), uₖ the smallest standard
error of dimension k, as for one dimension in ``exact``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.pooling.mixture import FACTORS, read_off
from measure.incrementality.pooling.values import Observed, Pooled, Shift, Vector, with_lifts

NODES = {1: 48, 2: 28, 3: 20}
"""Nodes per spread by number of dimensions; more dimensions are not offered."""
_LOOKS = {1: 24, 2: 16, 3: 10}
"""Points per spread where the stretch that carries the posterior is looked for."""
_DEPTH = 27.0  # log density this far below its maximum weighs less than 1e-11
_MOST_TURNS = 12
_BLOCK = 1_000_000  # numbers in the matrices solved at once

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Crossed:
    """Estimates of combinations of cohorts, of one metric and arm, with the priors' scales.

    ``estimate`` and ``se`` have shape (c,), ``codes`` (c, k) holds the place of a combination's
    cohort in each dimension and ``sizes`` the number of cohorts in each.
    """

    estimate: Vector
    se: Vector
    codes: Codes
    sizes: tuple[int, ...]
    mean_prior: float
    mean_scale: float
    tau_scale: float

    @cached_property
    def normal_equations(self) -> tuple[Vector, Vector]:
        """X′WX (p, p) and X′W(d − m) (p,); unknowns are μ and the cohorts of all dimensions."""
        design = indicators(self.codes, self.sizes)
        weighted = design * (self.se**-2.0)[:, None]
        return weighted.T @ design, weighted.T @ (self.estimate - self.mean_prior)

    @cached_property
    def units(self) -> Vector:
        """Standard error of the best-known cohort of each dimension, (k,)."""
        known = np.diag(self.normal_equations[0])[1:]
        starts = np.cumsum((0, *self.sizes[:-1]))
        return np.asarray(np.maximum.reduceat(known, starts) ** -0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """What is normal given the spreads: ``tau`` (t, k), log density of each up to a constant (t,).

    ``mean`` and ``variance`` (t,) are those of μ, ``centre``, ``spread`` and ``shared`` (t, r) the
    means and variances of the averages asked for and their covariances with μ.
    """

    tau: Vector
    log_density: Vector
    mean: Vector
    variance: Vector
    centre: Vector
    spread: Vector
    shared: Vector


def indicators(codes: Codes, sizes: Sequence[int]) -> Vector:
    """Matrix (c, p) of ones where a combination holds μ and the cohorts of its codes (c, k)."""
    design = np.zeros((len(codes), 1 + sum(sizes)))
    design[:, 0] = 1.0
    for dimension, start in enumerate(1 + np.cumsum((0, *sizes[:-1]))):
        design[np.arange(len(codes)), start + codes[:, dimension]] = 1.0
    return design


def averages(codes: Codes, sizes: Sequence[int], weights: Vector) -> Vector:
    """Effect of every cohort as an average over its combinations, rows of shape (p − 1, p).

    ``weights`` (c,) are shares of the population, of any scale; a cohort without any has zeros.
    """
    design = indicators(codes, sizes)
    inside = design[:, 1:] * weights[:, None]
    return np.asarray((inside / np.maximum(inside.sum(axis=0), 1e-300)).T @ design)


def posterior(crossed: Crossed, asked: Vector, nodes: int | None = None) -> tuple[Vector, Solved]:
    """Masses (t,) of the nodes, and the posteriors of the averages ``asked`` (r, p) at each."""
    dimensions = len(crossed.sizes)
    points, weights = np.polynomial.legendre.leggauss(nodes or NODES[dimensions])
    low, high = _carried(crossed)
    x = _product(low[:, None] + np.outer((high - low) / 2, points + 1))
    mass = np.prod(_product(np.tile(weights, (dimensions, 1))), axis=1)
    found = _solve(crossed, crossed.units * np.sinh(x), asked)
    mass = mass * np.cosh(x).prod(axis=1) * np.exp(found.log_density - found.log_density.max())
    return mass / mass.sum(), found


def pool_crossed(
    crossed: Crossed, asked: Vector, observed: Sequence[Observed], level: float
) -> tuple[Pooled, Vector]:
    """Posteriors of the averages ``asked`` (r, p), and how far each moves under other priors.

    The moves, in posterior standard deviations, have a row per prior and factor as in
    :func:`shifts`, a column per average and a last one for μ.
    """
    mass, found = posterior(crossed, asked)
    value, sd, low, high = read_off(mass, found.centre, found.spread, level)
    mean = float(mass @ found.mean)
    mean_sd = float(mass @ (found.variance + (found.mean - mean) ** 2)) ** 0.5
    moves = [
        np.append((centre - value) / sd, (average - mean) / mean_sd)
        for change in (_other_mean, _other_spreads)
        for factor in FACTORS
        for centre, average in [change(crossed, mass, found, factor)]
    ]
    return Pooled(with_lifts(observed, value, sd, low, high, level)), np.array(moves)


def shifts(moves: Vector, members: slice) -> tuple[Shift, ...]:
    """Largest move of some averages under every prior and factor, with that of μ."""
    names = [(prior, f) for prior in ("average effect", "spread of cohorts") for f in FACTORS]
    found = []
    for (prior, factor), row in zip(names, moves, strict=True):
        own = np.abs(row[:-1][members])
        member = int(np.argmax(own))
        found.append(Shift(prior, factor, float(own[member]), member, float(row[-1])))
    return tuple(found)


def _product(axes: Vector) -> Vector:
    """All combinations of the points of every axis (k, n), shape (n ** k, k)."""
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def _carried(crossed: Crossed) -> tuple[Vector, Vector]:
    """The box of x that carries the posterior, narrowed until it no longer shrinks; (k,) each."""
    looks = _LOOKS[len(crossed.sizes)]
    low = np.zeros(len(crossed.sizes))
    high = np.arcsinh(10 * crossed.tau_scale / crossed.units)
    nothing = np.zeros((0, 1 + sum(crossed.sizes)))
    for _ in range(_MOST_TURNS):
        axes = np.linspace(low, high, looks, axis=1)
        x = _product(axes)
        solved = _solve(crossed, crossed.units * np.sinh(x), nothing)
        log_density = solved.log_density + np.log(np.cosh(x)).sum(axis=1)
        carried = x[log_density > log_density.max() - _DEPTH]
        step = (high - low) / (looks - 1)
        narrow_low = np.maximum(carried.min(axis=0) - step, low)
        narrow_high = np.minimum(carried.max(axis=0) + step, high)
        settled = bool((narrow_high - narrow_low > 0.8 * (high - low)).all())
        low, high = narrow_low, narrow_high
        if settled:
            break
    return low, high


def _solve(crossed: Crossed, tau: Vector, asked: Vector) -> Solved:
    """The normal posteriors given each row of spreads (t, k), in stretches of bounded memory."""
    size = max(_BLOCK // (1 + sum(crossed.sizes)) ** 2, 1)
    stretches = [tau[start : start + size] for start in range(0, len(tau), size)]
    parts = [_solve_some(crossed, some, asked) for some in stretches]
    return Solved(tau, *(np.concatenate(part) for part in zip(*parts, strict=True)))


def _solve_some(crossed: Crossed, tau: Vector, asked: Vector) -> tuple[Vector, ...]:
    """With unknowns in units of their priors the equations are I + S X′WX S, solvable at τ = 0."""
    gram, pull = crossed.normal_equations
    scale = np.repeat(tau, crossed.sizes, axis=1)
    scale = np.concatenate([np.full((len(tau), 1), crossed.mean_scale), scale], axis=1)
    system = scale[:, :, None] * gram * scale[:, None, :]
    system[:, np.arange(len(gram)), np.arange(len(gram))] += 1.0
    inverse = np.linalg.inv(system)
    covariance = scale[:, :, None] * inverse * scale[:, None, :]
    solution = covariance @ pull
    log_density = (
        -0.5 * ((tau / crossed.tau_scale) ** 2).sum(axis=1)
        - 0.5 * np.linalg.slogdet(system)[1]
        + 0.5 * solution @ pull
    )
    # Weights of an average over combinations add up to 1 on μ, so the prior's centre comes back.
    reached = covariance @ asked.T
    return (
        log_density,
        crossed.mean_prior + solution[:, 0],
        covariance[:, 0, 0],
        crossed.mean_prior + solution @ asked.T,
        np.einsum("rp,tpr->tr", asked, reached),
        reached[:, 0, :],
    )


def _other_mean(
    crossed: Crossed, mass: Vector, found: Solved, factor: float
) -> tuple[Vector, float]:
    """Means of the averages and of μ when the scale of the prior of μ is multiplied."""
    change = (factor**-2 - 1) / crossed.mean_scale**2
    centred = found.mean - crossed.mean_prior
    shrunk = 1 + change * found.variance
    log_mass = -0.5 * np.log(shrunk) - 0.5 * change * centred**2 / shrunk
    other = mass * np.exp(log_mass - log_mass.max())
    other = other / other.sum()
    moved = change * (centred / shrunk)
    centre = found.centre - moved[:, None] * found.shared
    return other @ centre, float(other @ (found.mean - moved * found.variance))


def _other_spreads(
    crossed: Crossed, mass: Vector, found: Solved, factor: float
) -> tuple[Vector, float]:
    """The same when the scale of the priors of all spreads is multiplied."""
    log_mass = -0.5 * (factor**-2 - 1) * ((found.tau / crossed.tau_scale) ** 2).sum(axis=1)
    other = mass * np.exp(log_mass - log_mass.max())
    other = other / other.sum()
    return other @ found.centre, float(other @ found.mean)
