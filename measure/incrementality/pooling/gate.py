"""What a sampler must show before its draws are used; whatever cannot be computed does not pass.

R-hat is the largest of the rank-normalised split and folded ones, the effective sample size the
smallest of bulk and tails (Vehtari et al. 2021, "Rank-normalization, folding, and localization").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from measure.incrementality.pooling.exact import posterior
from measure.incrementality.pooling.values import Group, Vector

MAX_R_HAT, MIN_ESS, MAX_MCSE = 1.01, 400, 5.0


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Worst values over the quantities of one group.

    ``quadrature_gap`` is the distance from the exact answer in Monte Carlo standard errors, 0 for
    models that have none.
    """

    r_hat: float
    ess: float
    divergences: float
    quadrature_gap: float = 0.0

    @property
    def complaint(self) -> str:
        """The first gate that does not hold; a value that is not a number never passes."""
        if not self.r_hat <= MAX_R_HAT:
            return f"R-hat {self.r_hat:.3f}, must be at most {MAX_R_HAT}"
        if not self.ess >= MIN_ESS:
            return f"effective sample size {self.ess:.0f}, must be at least {MIN_ESS}"
        if self.divergences != 0:
            return f"{self.divergences:.0f} divergent transitions, must be 0"
        if not self.quadrature_gap <= MAX_MCSE:
            return (
                f"sampler and quadrature differ by {self.quadrature_gap:.1f} Monte Carlo standard "
                f"errors, must be at most {MAX_MCSE:.0f}"
            )
        return ""


NOTHING = Diagnostics(float("nan"), float("nan"), float("nan"))


def diagnose(chains: Mapping[str, Vector], divergences: float) -> Diagnostics:
    """Convergence of quantities whose draws have shape (chains, draws) or (chains, draws, k)."""
    if not chains or not all(draws.size for draws in chains.values()):
        return NOTHING
    found = [draws.reshape(*draws.shape[:2], -1) for draws in chains.values()]
    together = np.concatenate(found, axis=2)
    return Diagnostics(_worst_r_hat(together), _least_effective(together), divergences)


def diagnose_marginal(mean: Vector, tau: Vector, group: Group, divergences: float) -> Diagnostics:
    """Convergence of (μ, τ) of the normal model, and their distance from the exact answer."""
    found = diagnose({"mean": mean, "tau": tau}, divergences)
    if found is NOTHING:
        return found
    exact = posterior(group).summary()
    gaps = [_gap(mean, exact.mean), _gap(tau, exact.tau)]
    return replace(found, quadrature_gap=float(np.max(gaps)))


def _gap(draws: Vector, expected: float) -> float:
    import arviz as az

    with np.errstate(divide="ignore", invalid="ignore"):
        effective = float(az.ess(draws, method="mean"))
        error = float(draws.std(ddof=1)) / effective**0.5 if effective > 0 else float("nan")
    return abs(float(draws.mean()) - expected) / error if error > 0 else float("nan")


def _worst_r_hat(draws: Vector) -> float:
    import arviz as az

    # np.max and np.min, unlike max and min, hand on what is not a number: stuck chains never pass.
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(az.rhat(draws, chain_axis=0, draw_axis=1)))


def _least_effective(draws: Vector) -> float:
    import arviz as az

    with np.errstate(divide="ignore", invalid="ignore"):
        bulk = az.ess(draws, method="bulk", chain_axis=0, draw_axis=1)
        tail = az.ess(draws, method="tail", prob=0.9, chain_axis=0, draw_axis=1)
    return float(np.min([bulk, tail]))
