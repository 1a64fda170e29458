"""The marginal hierarchical model in PyMC: built once per shape, sampled for all groups at once.

θ is integrated out, so a group has two unknowns, μ and τ, and the geometry is easy: the centred
form diverges and the non-centred one mixes badly where cohorts are few. Groups are padded to a
common shape; a mask takes the padding out of the likelihood.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.borders import pymc_border
from measure.incrementality.quadrature import Group, posterior

Vector = NDArray[np.float64]

SAMPLER = "pymc"
CHAINS, DRAWS, TUNE = 4, 1_000, 500
TARGET_ACCEPT, SECOND_TARGET_ACCEPT = 0.95, 0.99
MAX_R_HAT, MIN_ESS, MAX_MCSE = 1.01, 400, 5.0

_MODELS: dict[tuple[int, int], Any] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Draws of μ and τ, shape (draws,), and what stands against using them (empty: nothing)."""

    mean: Vector
    tau: Vector
    complaint: str


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Worst values over μ and τ of one group."""

    r_hat: float
    ess: float
    divergences: int
    quadrature_gap: float

    @property
    def complaint(self) -> str:
        """The first gate that does not hold; a value that is not a number never passes."""
        if not self.r_hat <= MAX_R_HAT:
            return f"R-hat {self.r_hat:.3f}, must be at most {MAX_R_HAT}"
        if not self.ess >= MIN_ESS:
            return f"effective sample size {self.ess:.0f}, must be at least {MIN_ESS}"
        if self.divergences:
            return f"{self.divergences} divergent transitions, must be 0"
        if not self.quadrature_gap <= MAX_MCSE:
            return (
                f"sampler and quadrature differ by {self.quadrature_gap:.1f} Monte Carlo standard "
                f"errors, must be at most {MAX_MCSE:.0f}"
            )
        return ""


def sample(groups: Sequence[Group], seed: int) -> list[Draws]:
    """Posterior draws per group, in order; groups share one run of the sampler.

    When a gate fails, the run is repeated once with shorter steps; what fails again is reported.
    """
    if not groups:
        return []
    drawn = _attempt(groups, seed, TARGET_ACCEPT)
    if any(draws.complaint for draws in drawn):
        drawn = _attempt(groups, seed + 1, SECOND_TARGET_ACCEPT)
    return drawn


def _attempt(groups: Sequence[Group], seed: int, target_accept: float) -> list[Draws]:
    """One run over standardised data, brought back to the groups' units and judged."""
    scales = [float(np.median(group.se)) for group in groups]
    centres = [float(np.average(g.estimate, weights=g.se**-2.0)) for g in groups]
    data = _padded(groups, centres, scales)
    with pymc_border():
        trace = _run(data, seed, target_accept)
    divergences = int(trace.sample_stats["diverging"].sum())
    shape = (CHAINS, DRAWS, -1)
    means = np.asarray(trace.posterior["mean"]).reshape(shape)
    taus = np.asarray(trace.posterior["tau"]).reshape(shape)
    result = []
    for index, (group, centre, scale) in enumerate(zip(groups, centres, scales, strict=True)):
        mean, tau = means[:, :, index] * scale + centre, taus[:, :, index] * scale
        found = diagnose(mean, tau, group, divergences)
        result.append(Draws(mean.ravel(), tau.ravel(), found.complaint))
    return result


def diagnose(mean: Vector, tau: Vector, group: Group, divergences: int) -> Diagnostics:
    """Convergence of draws of shape (chains, draws), and their distance from the quadrature."""
    import arviz as az

    exact = posterior(group)
    r_hat, ess, gap = [], [], []
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # stuck chains give NaN, which never passes
        for chains, expected in ((mean, exact.mean), (tau, exact.tau)):
            effective = float(az.ess(chains, method="mean"))
            r_hat.append(float(az.rhat(chains)))
            ess.append(float(az.ess(chains, method="bulk")))
            ess.append(float(az.ess(chains, method="tail", prob=0.9)))
            error = float(chains.std(ddof=1)) / effective**0.5 if effective > 0 else np.nan
            gap.append(abs(float(chains.mean()) - expected) / error if error > 0 else np.nan)
    # np.max and np.min, unlike max and min, hand on what is not a number.
    return Diagnostics(float(np.max(r_hat)), float(np.min(ess)), divergences, float(np.max(gap)))


def _padded(
    groups: Sequence[Group], centres: Sequence[float], scales: Sequence[float]
) -> dict[str, Vector]:
    """Standardised data of all groups: (g, j) for cohorts, (g,) for priors."""
    rows = _next_size(len(groups))
    columns = _next_size(max(len(group.estimate) for group in groups))
    data = {
        "estimate": np.zeros((rows, columns)),
        "error": np.ones((rows, columns)),
        "mask": np.zeros((rows, columns)),
        "mean_prior": np.zeros(rows),
        "mean_scale": np.ones(rows),
        "tau_scale": np.ones(rows),
    }
    for row, (group, centre, scale) in enumerate(zip(groups, centres, scales, strict=True)):
        used = len(group.estimate)
        data["estimate"][row, :used] = (group.estimate - centre) / scale
        data["error"][row, :used] = group.se / scale
        data["mask"][row, :used] = 1.0
        data["mean_prior"][row] = (group.mean_prior - centre) / scale
        data["mean_scale"][row] = group.mean_scale / scale
        data["tau_scale"][row] = group.tau_scale / scale
    return data


def _next_size(n: int) -> int:
    """Next multiple of four: few shapes, few compilations."""
    return 4 * -(-n // 4)


def _run(data: dict[str, Vector], seed: int, target_accept: float) -> Any:
    """Sample the cached model of this shape; the sampler is named, never guessed."""
    import pymc as pm

    shape = data["estimate"].shape
    if shape not in _MODELS:
        _MODELS[shape] = _build(data)
    logger = logging.getLogger("pymc")
    level = logger.level
    logger.setLevel(logging.ERROR)  # convergence is judged here, once, and reported in the results
    try:
        with _MODELS[shape]:
            pm.set_data(data)
            return pm.sample(
                draws=DRAWS,
                tune=TUNE,
                chains=CHAINS,
                cores=1,
                random_seed=seed,
                nuts_sampler=SAMPLER,
                target_accept=target_accept,
                progressbar=False,
                compute_convergence_checks=False,
            )
    finally:
        logger.setLevel(level)


def _build(data: dict[str, Vector]) -> Any:
    """Build the model over containers of one shape."""
    import pymc as pm

    rows = data["estimate"].shape[0]
    with pm.Model() as model:
        held = {name: pm.Data(name, values) for name, values in data.items()}
        mean = pm.Normal("mean", held["mean_prior"], held["mean_scale"], shape=rows)
        tau = pm.HalfNormal("tau", held["tau_scale"], shape=rows)
        variance = tau[:, None] ** 2 + held["error"] ** 2
        residual = held["estimate"] - mean[:, None]
        pm.Potential(
            "marginal_likelihood",
            (-0.5 * held["mask"] * (pm.math.log(variance) + residual**2 / variance)).sum(),
        )
    return model
