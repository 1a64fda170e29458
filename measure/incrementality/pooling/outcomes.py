"""From draws of probabilities and amounts to effects per unit, in a cohort and for everybody.

Everybody's answer has conjugate draws (Beta with Jeffreys' prior for a share; normal and inverse χ²
for log amounts), weighted by the prior of the effect. It needs no sampler and does not change with
the cohorts named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from measure.incrementality.pooling.mixture import FACTORS
from measure.incrementality.pooling.paired import Amounts, Counts, Pairs, Priors, Sampled
from measure.incrementality.pooling.values import Pooled, Posterior, Shift, Vector

MIN_BUYERS = 10
MIN_WEIGHT = 1_000.0
"""Effective number of weighted draws below which there is no answer."""
_DRAWS = 100_000
MOST_BIAS = 0.10
"""Lognormal means further from the plain means than this share are refused, when beyond chance."""
_BEYOND_CHANCE = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A group of cohorts as counts and, for a two-part model, as log amounts of the buyers."""

    counts: Pairs
    amounts: Pairs | None = None


def cohorts(chances: Sampled, amounts: Sampled | None, parts: Parts, level: float) -> Pooled:
    """Posteriors of a group's cohorts from draws of one or two parts."""
    complaint = chances.complaint or (amounts.complaint if amounts else "")
    if complaint:
        return Pooled((), complaint)
    if amounts is not None:
        most = min(chances.predictor.shape[1], amounts.predictor.shape[1])
        chances, amounts = chances.thinned(most), amounts.thinned(most)
    mean = _chance(chances.predictor)
    drawn = {"average": chances.average, "spread": chances.spread, "diverging": chances.diverging}
    if amounts is not None and amounts.sd is not None:
        mean = mean * np.exp(amounts.predictor + 0.5 * amounts.sd[..., None] ** 2)
        drawn |= {"amount_average": amounts.average, "amount_spread": amounts.spread}
        drawn |= {"amount_sd": amounts.sd}
    control, arm = mean[:, :, 0], mean[:, :, 1]
    posteriors = tuple(
        _summary(control[..., j].ravel(), arm[..., j].ravel(), level)
        for j in range(control.shape[2])
    )
    drawn |= {"control": control, "arm": arm, "effect": arm - control}
    shifts = _shifts(arm - control, chances, parts.counts.priors)
    return Pooled(posteriors, shifts=shifts, draws=drawn)


def everybody(parts: Parts, level: float, seed: int) -> Posterior | str:
    """Posterior of one comparison, parts of one cohort each; a sentence where there is none."""
    rng = np.random.default_rng(seed)
    counts = parts.counts.data
    if not isinstance(counts, Counts):
        raise TypeError("the first part holds counts")
    yes, no = counts.y[:, :1] + 0.5, counts.n[:, :1] - counts.y[:, :1] + 0.5
    share = np.stack(
        [rng.beta(float(a[0]), float(b[0]), _DRAWS) for a, b in zip(yes, no, strict=True)]
    )
    share = share.clip(1e-300, 1 - 1e-16)
    logit = np.log(share) - np.log1p(-share)
    weight = _log_prior(logit[1] - logit[0], parts.counts.priors)
    mean = share
    if parts.amounts is not None and isinstance(parts.amounts.data, Amounts):
        location, variance = _log_amounts(parts.amounts.data, rng)
        weight = weight + _log_prior(location[1] - location[0], parts.amounts.priors)
        mean = share * np.exp(location + variance / 2)
    mass = np.exp(weight - weight.max())
    mass /= mass.sum()
    effective = 1 / float((mass**2).sum())
    if not effective >= MIN_WEIGHT:
        return f"prior and data disagree: {effective:.0f} of {_DRAWS:,} draws carry the answer"
    return _summary(mean[0], mean[1], level, mass)


def misfit(amounts: Amounts, plain: tuple[float, float]) -> str:
    """What speaks against lognormal amounts: their implied means against ``plain`` ones.

    The two estimates of a mean differ by chance with variance (exp σ² − 1 − σ² − σ⁴/2) / n on the
    log scale when amounts are lognormal (Hausman 1978). Empty where they agree.
    """
    for side, name, observed in ((0, "control", plain[0]), (1, "arm", plain[1])):
        n = float(amounts.n[side].sum())
        centre = float((amounts.n[side] * amounts.mean[side]).sum()) / n
        between = float((amounts.n[side] * (amounts.mean[side] - centre) ** 2).sum())
        variance = (float(amounts.squares[side].sum()) + between) / max(n - 1, 1)
        gap = centre + variance / 2 - math.log(observed)
        spare = math.expm1(variance) - variance - variance**2 / 2
        if abs(gap) > math.log1p(MOST_BIAS) and abs(gap) > _BEYOND_CHANCE * math.sqrt(spare / n):
            return (
                f"amounts of buyers are not lognormal: in the {name} they would average "
                f"{math.exp(gap) - 1:+.0%} of what they do; use model: normal"
            ).replace("-", "−")
    return ""


def _chance(logit: Vector) -> Vector:
    from scipy.special import expit

    return np.asarray(expit(logit))


def _log_prior(effect: Vector, priors: Priors) -> Vector:
    return np.asarray(-0.5 * ((effect - priors.centre[1]) / priors.scale[1]) ** 2)


def _log_amounts(amounts: Amounts, rng: np.random.Generator) -> tuple[Vector, Vector]:
    """Draws of mean and variance of log amounts per side, (2, draws)."""
    n, mean, squares = (values[:, :1] for values in (amounts.n, amounts.mean, amounts.squares))
    variance = squares / rng.chisquare(n - 1, size=(2, _DRAWS))
    return mean + np.sqrt(variance / n) * rng.standard_normal((2, _DRAWS)), variance


def _summary(control: Vector, arm: Vector, level: float, mass: Vector | None = None) -> Posterior:
    """Moments and equal-tailed intervals of the difference, and of the lift arm / control − 1."""
    effect = arm - control
    weights = np.full(len(effect), 1 / len(effect)) if mass is None else mass
    value = float(weights @ effect)
    sd = math.sqrt(float(weights @ (effect - value) ** 2))
    low, high = _weighted_quantiles(effect, weights, level)
    relative_low, relative_high = _weighted_quantiles(arm / control - 1, weights, level)
    relative = value / float(weights @ control)
    return Posterior(value, sd, low, high, relative, relative_low, relative_high)


def _weighted_quantiles(values: Vector, mass: Vector, level: float) -> tuple[float, float]:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(mass[order]) - mass[order] / 2
    low, high = np.interp([(1 - level) / 2, (1 + level) / 2], reached, values[order])
    return float(low), float(high)


def _shifts(effect: Vector, chances: Sampled, priors: Priors) -> tuple[Shift, ...]:
    """Moves of the cohorts when the scale of a prior of the buyers' part changes, by weights."""
    flat = effect.reshape(-1, effect.shape[2])
    value, sd = flat.mean(axis=0), flat.std(axis=0)
    average, spread = chances.average[..., 1].ravel(), chances.spread[..., 1].ravel()
    distance = {
        "average effect": (average - priors.centre[1]) / priors.scale[1],
        "spread of cohorts": spread / priors.spread[1],
    }
    found = []
    for prior, standard in distance.items():
        for factor in FACTORS:
            log_mass = -0.5 * (factor**-2 - 1) * standard**2
            mass = np.exp(log_mass - log_mass.max())
            mass /= mass.sum()
            move = np.abs(mass @ flat - value) / sd
            member = int(np.argmax(move))
            by = (float(mass @ average) - float(average.mean())) / float(average.std())
            found.append(Shift(prior, factor, float(move[member]), member, by))
    return tuple(found)
