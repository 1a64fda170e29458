"""Exact posterior of the normal hierarchical model, by Gauss–Legendre quadrature over τ.

With cohort estimates dⱼ ~ N(θⱼ, sⱼ²), θⱼ ~ N(μ, τ²), μ ~ N(m, a²) and τ half-normal with scale b,
only τ is left once θ and μ are integrated out in closed form (Gelman et al., Bayesian Data
Analysis, section 5.4). Nodes lie on x = asinh(τ / s), s the smallest standard error: posteriors
that hug zero and posteriors far from it are equally smooth there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from measure.incrementality.pooling.mixture import Mixture, of_draws, pooled
from measure.incrementality.pooling.values import (
    Group,
    Observed,
    Pooled,
    Posterior,
    Vector,
    normal_point,
    with_lifts,
)

NODES = 48
_DEPTH = 40.0  # log density this far below its maximum weighs less than 1e-17


def pool_exactly(
    groups: Sequence[Group], members: Sequence[Sequence[Observed]], level: float
) -> list[Pooled]:
    """Pooled cohorts of every group."""
    return [
        pooled(group, posterior(group), observed, level)
        for group, observed in zip(groups, members, strict=True)
    ]


def overall(observed: Observed, prior_mean: float, prior_scale: float, level: float) -> Posterior:
    """Posterior of one difference under N(prior_mean, prior_scale²): conjugate, nothing to pool."""
    weight = prior_scale**2 / (prior_scale**2 + observed.se**2)
    value = np.array([weight * observed.estimate + (1 - weight) * prior_mean])
    sd = np.array([weight**0.5 * observed.se])
    half = normal_point(level) * sd
    return with_lifts([observed], value, sd, value - half, value + half, level)[0]


def posterior(group: Group, nodes: int = NODES) -> Mixture:
    """Posterior of one group."""
    x, weights = _nodes(group, nodes)
    unit = float(group.se.min())
    tau = unit * np.sinh(x)
    log_density, mean, variance = _given_tau(group, tau)
    mass = weights * np.cosh(x) * np.exp(log_density - log_density.max())
    return Mixture(tau, mass / mass.sum(), mean, variance)


def draw(group: Group, shape: tuple[int, int], seed: int) -> Mixture:
    """Independent draws of (μ, τ), chains × draws of them: τ by its distribution function."""
    rng = np.random.default_rng(seed)
    unit = float(group.se.min())
    x = np.linspace(*_carried(group, unit), 4_001)
    log_density = _given_tau(group, unit * np.sinh(x))[0] + np.log(np.cosh(x))
    density = np.exp(log_density - log_density.max())
    reached = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    tau = unit * np.sinh(np.interp(rng.random(shape[0] * shape[1]) * reached[-1], reached, x))
    _, mean, variance = _given_tau(group, tau)
    drawn = mean + np.sqrt(variance) * rng.standard_normal(len(tau))
    return of_draws(drawn, tau)


def _nodes(group: Group, nodes: int) -> tuple[Vector, Vector]:
    points, weights = _rule(nodes)
    low, high = _carried(group, float(group.se.min()))
    return low + (high - low) / 2 * (points + 1), weights


@cache
def _rule(nodes: int) -> tuple[Vector, Vector]:
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return points, weights


def _carried(group: Group, unit: float) -> tuple[float, float]:
    """The stretch of x that carries the posterior, narrowed until it no longer shrinks."""
    low, high = 0.0, float(np.arcsinh(10 * group.tau_scale / unit))
    for _ in range(12):
        grid = np.linspace(low, high, 24)
        log_density = _given_tau(group, unit * np.sinh(grid))[0] + np.log(np.cosh(grid))
        carried = np.flatnonzero(log_density > log_density.max() - _DEPTH)
        narrow_low = float(grid[max(carried[0] - 1, 0)])
        narrow_high = float(grid[min(carried[-1] + 1, len(grid) - 1)])
        settled = narrow_high - narrow_low > 0.8 * (high - low)
        low, high = narrow_low, narrow_high
        if settled:
            break
    return low, high


def _given_tau(group: Group, tau: Vector) -> tuple[Vector, Vector, Vector]:
    """Log posterior density of τ up to a constant; mean and variance of μ given τ. Shape (t,)."""
    variance = tau[:, None] ** 2 + group.se**2
    weight = 1 / variance
    shifted = group.estimate - group.mean_prior
    precision = weight.sum(axis=1) + group.mean_scale**-2
    weighted = weight @ shifted
    fit = weight @ shifted**2 - weighted**2 / precision
    log_density = (
        -0.5 * (tau / group.tau_scale) ** 2
        - 0.5 * np.log(variance).sum(axis=1)
        - 0.5 * np.log(precision)
        - 0.5 * fit
    )
    return log_density, group.mean_prior + weighted / precision, 1 / precision
