"""Priors of average effects: weak, given, or learned from experiments that have ended.

Everything is relative to the control's mean (0.05 is +5 %), so one prior serves any metric's unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from measure.errors import InputError
from measure.incrementality.pooling.values import Vector
from measure.methods import PriorEffect

MIN_PAST = 5
"""Experiments below which no prior is learned."""
SIGNIFICANT = 1.959963984540054

TAU_SHARE = 0.1
"""Normal model: scale of the spread's prior as a share of the metric's standard deviation."""
LOGIT_SPREAD, LOG_AMOUNT_SPREAD = 0.5, 0.3
LEVEL_SCALE, LEVEL_SPREAD = 2.5, 1.0
WEAK_LOG_SCALE = 1.0
"""Scale of a weak prior of a log odds ratio or a log ratio of amounts."""


@dataclass(frozen=True, slots=True)
class PastEffect:
    """The lift that an experiment ended with, and its standard error; both relative."""

    lift: float
    se: float


def learned_prior(past: Sequence[PastEffect]) -> PriorEffect:
    """What past experiments say about the next one's average effect: its predictive distribution.

    Random-effects meta-analysis, lifts N(m, t²) measured with their standard errors, and a step
    selection function: an experiment without a significant result is on record with probability ρ
    relative to one that has (Hedges 1992; Andrews and Kasy 2019, "Identification of and correction
    for publication bias", section 2). m, t and ρ are integrated over a grid with flat priors for m
    and ρ and a half-normal one for t, so winners that were kept for winning count for less.

    Raises :class:`InputError` with fewer than five experiments, or without usable errors.
    """
    usable = [p for p in past if math.isfinite(p.lift) and math.isfinite(p.se) and p.se > 0]
    if len(usable) < MIN_PAST:
        raise InputError.rule(
            "plan.bayes.effect",
            "registry",
            f"needs {MIN_PAST} concluded experiments with this metric; there are {len(usable)}",
            "Use weak, or give {mean, sd}.",
        )
    lift = np.array([p.lift for p in usable])
    se = np.array([p.se for p in usable])
    width = max(float(np.std(lift)), float(np.median(se)))
    mean = np.linspace(lift.min() - 2 * width, lift.max() + 2 * width, 121)[:, None, None]
    spread = np.linspace(0.01, 4.0, 60)[None, :, None] * width
    kept = np.linspace(0.05, 1.0, 20)[None, None, :]
    log_mass = -0.5 * (spread / width) ** 2
    for one_lift, one_se in zip(lift, se, strict=True):
        log_mass = log_mass + _log_likelihood(one_lift, one_se, mean, spread, kept)
    mass = np.exp(log_mass - log_mass.max())
    mass /= mass.sum()
    centre = float((mass * mean).sum())
    variance = float((mass * (spread**2 + (mean - centre) ** 2)).sum())
    return PriorEffect(mean=centre, sd=math.sqrt(variance))


def _log_likelihood(lift: float, se: float, mean: Vector, spread: Vector, kept: Vector) -> Vector:
    """Log density of a lift given that it is on record, up to a constant; (m, t, ρ)."""
    from scipy.special import ndtr

    total = np.sqrt(spread**2 + se**2)
    quiet = ndtr((SIGNIFICANT * se - mean) / total) - ndtr((-SIGNIFICANT * se - mean) / total)
    weight = 0.0 if abs(lift) >= SIGNIFICANT * se else np.log(kept)
    on_record = np.log1p(-(1 - kept) * quiet)
    return np.asarray(-np.log(total) - 0.5 * ((lift - mean) / total) ** 2 + weight - on_record)
