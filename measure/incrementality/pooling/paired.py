"""Two-level models of control and arm in every cohort, for counts and for amounts, in PyMC.

Each cohort j has a level βⱼ and an effect δⱼ on the scale of the linear predictor, logit of a
probability or mean of log amounts::

    control  βⱼ − aⱼ δⱼ          βⱼ ~ N(β₀, σ²)    β₀ ~ N(·, ·)    σ ~ half-normal
    arm      βⱼ + (1 − aⱼ) δⱼ    δⱼ ~ N(δ₀, τ²)    δ₀ ~ N(·, ·)    τ ~ half-normal

aⱼ is the arm's share of the cohort's units, which makes level and effect nearly orthogonal (Cox and
Reid 1987). Counts are binomial given the logit. Log amounts are normal, with standard deviations
of the two arms that are alike; cell sums of logs and of their squares are all the likelihood needs.

Neither the centred nor the non-centred form samples cohorts of 20 and of 100,000 units together,
so each is given its own mixture of the two (Papaspiliopoulos, Roberts and Sköld 2007): with an
estimate d ± s of a cohort's own data, z = (δ − δ₀) / τ is written as
τ (d − δ₀) / (τ² + s²) + s u / √(τ² + s²), and u is close to a standard normal whatever δ₀ and τ
are. d and s place the sampler and leave the posterior as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from measure.incrementality.pooling import nuts
from measure.incrementality.pooling.gate import diagnose
from measure.incrementality.pooling.values import Vector

ATTEMPTS = (nuts.Attempt(1_500, 1_000, 0.95), nuts.Attempt(3_000, 2_000, 0.99))
"""The second is made when a gate did not hold."""
MOST_ROWS = 2_000
"""Cohorts in one run of the sampler; more are dealt over several runs."""
SD_SCALE = 2.0
"""Scale of the half-normal prior of the standard deviation of log amounts, both arms together."""
RATIO_SCALE = 0.3
"""Scale of the normal prior of the log ratio of the arm's to the control's standard deviation."""
_NO_DATA = 1e6
"""Variance, on log scales, of a cell that says nothing."""
_LEAST_VARIANCE = 1e-8


@dataclass(frozen=True, slots=True)
class Priors:
    """Of one group, each as (level, effect): normal centres and scales, half-normal spreads."""

    centre: tuple[float, float]
    scale: tuple[float, float]
    spread: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Units and successes, each of shape (2, j): control, then arm."""

    n: Vector
    y: Vector

    def estimates(self) -> tuple[Vector, Vector]:
        """Logits and their variances, half a success and half a failure added to every cell."""
        yes, no = self.y + 0.5, self.n - self.y + 0.5
        return np.log(yes / no), 1 / yes + 1 / no

    def columns(self) -> dict[str, Vector]:
        """Data of the likelihood."""
        return {"n": self.n, "y": self.y}


@dataclass(frozen=True, slots=True, eq=False)
class Amounts:
    """Number, mean and centred sum of squares of log amounts, (2, j): control, then arm."""

    n: Vector
    mean: Vector
    squares: Vector

    def estimates(self) -> tuple[Vector, Vector]:
        """Means and their variances; a cell without amounts has no say."""
        freedom = (self.n - 1).clip(0).sum(axis=1).clip(1)
        variance = (self.squares.sum(axis=1) / freedom).clip(_LEAST_VARIANCE)
        error = variance[:, None] / self.n.clip(1)
        return self.mean, np.where(self.n > 0, error, _NO_DATA)

    def columns(self) -> dict[str, Vector]:
        """Data of the likelihood."""
        return {"n": self.n, "mean": self.mean, "squares": self.squares}


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """One group's cohorts and priors."""

    data: Counts | Amounts
    priors: Priors

    @property
    def cohorts(self) -> int:
        """How many there are."""
        return int(self.data.n.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Linear predictors of control and arm, (chains, draws, 2, j), and the model's other draws.

    ``average`` and ``spread`` (chains, draws, 2) belong to level and effect, ``sd`` (the same
    shape; absent for counts) to the log amounts of control and arm. ``complaint`` says which gate
    failed; empty when all held.
    """

    predictor: Vector
    average: Vector
    spread: Vector
    sd: Vector | None
    diverging: Vector
    complaint: str

    def thinned(self, draws: int) -> Sampled:
        """The same with so many draws per chain, evenly spaced."""
        have = self.predictor.shape[1]
        if have == draws:
            return self
        kept = np.linspace(0, have - 1, draws).astype(int)
        return Sampled(
            self.predictor[:, kept],
            self.average[:, kept],
            self.spread[:, kept],
            None if self.sd is None else self.sd[:, kept],
            self.diverging[:, kept],
            self.complaint,
        )


def sample_pairs(groups: Sequence[Pairs], seed: int) -> list[Sampled]:
    """Posterior draws of groups of one kind of data, in order.

    When a gate fails the run is repeated once, longer and with shorter steps; what fails again is
    reported.
    """
    found: list[Sampled] = []
    for batch in _batches(groups):
        sampled: list[Sampled] = []
        for place, attempt in enumerate(ATTEMPTS):
            sampled = _run(batch, seed + place, attempt)
            if not any(each.complaint for each in sampled):
                break
        found += sampled
    return found


def _batches(groups: Sequence[Pairs]) -> list[list[Pairs]]:
    """Groups dealt over runs of the sampler."""
    batches: list[list[Pairs]] = []
    room = 0
    for group in groups:
        if group.cohorts > room:
            batches.append([])
            room = MOST_ROWS
        batches[-1].append(group)
        room -= group.cohorts
    return batches


def _run(groups: Sequence[Pairs], seed: int, attempt: nuts.Attempt) -> list[Sampled]:
    data = _together(groups)
    amounts = isinstance(groups[0].data, Amounts)
    key = ("amounts" if amounts else "counts", data["n"].shape, data["centre"].shape)
    trace = nuts.run(key, _build_amounts if amounts else _build_counts, data, seed, attempt)
    found, start = [], 0
    for index, group in enumerate(groups):
        end = start + group.cohorts
        predictor = trace.draws["predictor"][..., start:end]
        average, spread = (trace.draws[name][..., index] for name in ("average", "spread"))
        sd = trace.draws["sd"][..., index] if amounts else None
        judged = {"average": average, "spread": spread}
        judged["effects"] = predictor[:, :, 1] - predictor[:, :, 0]
        judged |= {"sd": sd} if sd is not None else {}
        gate = diagnose(judged, trace.divergences)
        diverging = trace.statistics["diverging"]
        found.append(Sampled(predictor, average, spread, sd, diverging, gate.complaint))
        start = end
    return found


def _together(groups: Sequence[Pairs]) -> dict[str, Vector]:
    """All groups' cohorts one after the other, padded to a common shape without data."""
    parts = [{**group.data.columns(), **_placed(group)} for group in groups]
    sizes = [group.cohorts for group in groups]
    rows, size = nuts.round_up(sum(sizes), 64), nuts.round_up(len(groups), 16)
    data: dict[str, Vector] = {}
    for name in parts[0]:
        joined = np.concatenate([part[name] for part in parts], axis=1)
        padding = np.full((2, rows - joined.shape[1]), 1.0 if name == "error" else 0.0)
        data[name] = np.concatenate([joined, padding], axis=1)
    data["group"] = np.zeros((size, rows))  # 1 where a cohort belongs to a group
    data["group"][np.repeat(np.arange(len(groups)), sizes), np.arange(sum(sizes))] = 1.0
    data["group"][0, sum(sizes) :] = 1.0
    for name in ("centre", "scale", "spread"):
        values = np.ones((2, size))
        values[:, : len(groups)] = np.array([getattr(g.priors, name) for g in groups]).T
        data["prior_" + name if name == "spread" else name] = values
    return data


def _placed(group: Pairs) -> dict[str, Vector]:
    """Where each cohort's own data put its level and effect, and how firmly; (2, j) each.

    ``load`` is what control and arm take of the effect.
    """
    mean, variance = group.data.estimates()
    units = group.data.n
    share = np.divide(units[1], units.sum(axis=0), where=units.sum(axis=0) > 0, out=_half(group))
    share = share.clip(0.01, 0.99)
    level = (1 - share) * mean[0] + share * mean[1]
    level_error = np.sqrt((1 - share) ** 2 * variance[0] + share**2 * variance[1])
    effect_error = np.sqrt(variance.sum(axis=0))
    return {
        "load": np.stack([-share, 1 - share]),
        "estimate": np.stack([level, mean[1] - mean[0]]),
        "error": np.stack([level_error, effect_error]),
    }


def _half(group: Pairs) -> Vector:
    return np.full(group.cohorts, 0.5)


def _build_counts(data: dict[str, Vector]) -> Any:
    import pymc as pm

    with pm.Model() as model:
        held = {name: pm.Data(name, values) for name, values in data.items()}
        logit = _predictors(held, data)
        density = held["y"] * logit - held["n"] * pm.math.log1pexp(logit)
        pm.Potential("likelihood", density.sum())
    return model


def _build_amounts(data: dict[str, Vector]) -> Any:
    import pymc as pm

    with pm.Model() as model:
        held = {name: pm.Data(name, values) for name, values in data.items()}
        mean = _predictors(held, data)
        common = pm.HalfNormal("common", SD_SCALE, shape=data["centre"].shape[1])
        ratio = pm.Normal("ratio", 0.0, RATIO_SCALE, shape=data["centre"].shape[1])
        sides = pm.math.stack([common * pm.math.exp(-ratio / 2), common * pm.math.exp(ratio / 2)])
        sd = pm.Deterministic("sd", sides) @ held["group"]
        squares = held["squares"] + held["n"] * (held["mean"] - mean) ** 2
        density = -held["n"] * pm.math.log(sd) - 0.5 * squares / sd**2
        pm.Potential("likelihood", density.sum())
    return model


def _predictors(held: dict[str, Any], data: dict[str, Vector]) -> Any:
    """Linear predictors of control and arm, (2, j), from the hierarchy of levels and effects.

    The hierarchy is written so that the sampler sees standard normals.
    """
    import pymc as pm

    shape = data["centre"].shape
    average = pm.Normal("average", held["centre"], held["scale"], shape=shape)
    spread = pm.HalfNormal("spread", held["prior_spread"], shape=shape)
    free = pm.Flat("free", shape=data["estimate"].shape)
    mean, sd = average @ held["group"], spread @ held["group"]
    estimate, error = held["estimate"], held["error"]
    variance = sd**2 + error**2
    standard = sd * (estimate - mean) / variance + error * free / pm.math.sqrt(variance)
    density = -0.5 * standard**2 + pm.math.log(error) - 0.5 * pm.math.log(variance)
    pm.Potential("members", density.sum())
    member = mean + sd * standard
    return pm.Deterministic("predictor", member[0] + held["load"] * member[1])
