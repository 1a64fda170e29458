"""Exact posterior of the normal hierarchical model, by Gauss–Legendre quadrature over τ.

With cohort estimates dⱼ ~ N(θⱼ, sⱼ²), θⱼ ~ N(μ, τ²), μ ~ N(m, a²) and τ half-normal with scale b,
only τ is left once θ and μ are integrated out in closed form (Gelman et al., Bayesian Data
Analysis, section 5.4). It checks what the sampler says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

NODES = 200
_DEPTH = 40.0  # log density this far below its maximum weighs less than 1e-17


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Cohort estimates of one metric, arm and dimension, with the priors' scales.

    ``estimate`` and ``se`` have shape (j,); ``mean_prior`` and ``mean_scale`` belong to μ,
    ``tau_scale`` to τ; all in one unit.
    """

    estimate: Vector
    se: Vector
    mean_prior: float
    mean_scale: float
    tau_scale: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Posterior means and standard deviations of μ and τ."""

    mean: float
    mean_sd: float
    tau: float
    tau_sd: float


def posterior(group: Group, nodes: int = NODES) -> Summary:
    """Posterior of (μ, τ)."""
    tau, weight = _rule(group, nodes)
    log_density, centre, variance = _given_tau(group, tau)
    mass = weight * np.exp(log_density - log_density.max())
    mass /= mass.sum()
    mean, spread = float(mass @ centre), float(mass @ tau)
    mean_variance = float(mass @ (variance + (centre - mean) ** 2))
    return Summary(mean, mean_variance**0.5, spread, float(mass @ (tau - spread) ** 2) ** 0.5)


def _rule(group: Group, nodes: int) -> tuple[Vector, Vector]:
    """Nodes and weights on the stretch of τ that carries the posterior."""
    grid = np.concatenate([[0.0], np.geomspace(1e-6, 10.0, 400)]) * group.tau_scale
    log_density = _given_tau(group, grid)[0]
    carried = np.flatnonzero(log_density > log_density.max() - _DEPTH)
    low = grid[max(carried[0] - 1, 0)]
    high = grid[min(carried[-1] + 1, len(grid) - 1)]
    points, weights = np.polynomial.legendre.leggauss(nodes)
    half = (high - low) / 2
    return low + half * (points + 1), half * weights


def _given_tau(group: Group, tau: Vector) -> tuple[Vector, Vector, Vector]:
    """Log posterior density of τ up to a constant; mean and variance of μ given τ. Shape (t,)."""
    variance = tau[:, None] ** 2 + group.se**2
    shifted = group.estimate - group.mean_prior
    precision = (1 / variance).sum(axis=1) + group.mean_scale**-2
    weighted = (shifted / variance).sum(axis=1)
    fit = (shifted**2 / variance).sum(axis=1) - weighted**2 / precision
    log_density = (
        -0.5 * (tau / group.tau_scale) ** 2
        - 0.5 * np.log(variance).sum(axis=1)
        - 0.5 * np.log(precision)
        - 0.5 * fit
    )
    return log_density, group.mean_prior + weighted / precision, 1 / precision
