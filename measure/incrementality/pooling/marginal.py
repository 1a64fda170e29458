"""The normal model in PyMC, effects integrated out: the sampled answer beside the exact one.

A group has two unknowns, μ and τ, and the geometry is easy: the centred form diverges and the
non-centred one mixes badly where cohorts are few. Given a draw of (μ, τ) the effects of cohorts
are normal, so their posteriors are mixtures of normals and need no draws of their own. Groups are
padded to a common shape; a mask takes the padding out of the likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from measure.incrementality.pooling import nuts
from measure.incrementality.pooling.gate import diagnose_marginal
from measure.incrementality.pooling.mixture import of_draws, pooled
from measure.incrementality.pooling.values import Group, Observed, Pooled, Vector

ATTEMPTS = (nuts.Attempt(1_000, 600, 0.9), nuts.Attempt(2_000, 1_000, 0.98))
"""The second is made when a gate did not hold."""


def pool_by_sampling(
    groups: Sequence[Group], members: Sequence[Sequence[Observed]], level: float, seed: int
) -> list[Pooled]:
    """Pooled cohorts of every group from one run of the sampler.

    When a gate fails the run is repeated once with shorter steps; what fails again is reported.
    """
    if not groups:
        return []
    found: list[Pooled] = []
    for place, attempt in enumerate(ATTEMPTS):
        found = _run(groups, members, level, seed + place, attempt)
        if not any(pooled.complaint for pooled in found):
            break
    return found


def _run(
    groups: Sequence[Group],
    members: Sequence[Sequence[Observed]],
    level: float,
    seed: int,
    attempt: nuts.Attempt,
) -> list[Pooled]:
    """One run over standardised data, brought back to the groups' units and judged."""
    scales = [float(np.median(group.se)) for group in groups]
    centres = [float(np.average(g.estimate, weights=g.se**-2.0)) for g in groups]
    data = _padded(groups, centres, scales)
    trace = nuts.run(("marginal", data["estimate"].shape), _build, data, seed, attempt)
    result = []
    for index, (group, centre, scale) in enumerate(zip(groups, centres, scales, strict=True)):
        mean = trace.draws["mean"][:, :, index] * scale + centre
        tau = trace.draws["tau"][:, :, index] * scale
        found = diagnose_marginal(mean, tau, group, trace.divergences)
        if found.complaint:
            result.append(Pooled((), found.complaint))
            continue
        drawn = {"average": mean, "spread": tau, "diverging": trace.statistics["diverging"]}
        result.append(
            replace(pooled(group, of_draws(mean, tau), members[index], level), draws=drawn)
        )
    return result


def _padded(
    groups: Sequence[Group], centres: Sequence[float], scales: Sequence[float]
) -> dict[str, Vector]:
    """Standardised data of all groups: (g, j) for cohorts, (g,) for priors."""
    rows = nuts.round_up(len(groups), 4)
    columns = nuts.round_up(max(len(group.estimate) for group in groups), 4)
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
