"""Hierarchical Bayes over the cohorts of a dimension: partial pooling of effects.

Model, per metric, arm and dimension, on the differences dⱼ with standard errors sⱼ of
:mod:`measure.incrementality.difference`::

    dⱼ ~ N(θⱼ, sⱼ²)      θⱼ ~ N(μ, τ²)      μ ~ N(0, σ²)      τ ~ half-normal(σ/10)

σ is the metric's standard deviation in the control arm, so the priors know the metric's unit but
no effect: cohort effects further apart than a fifth of σ are thought unlikely, an average effect of
any realistic size is not. PyMC samples (μ, τ); given them, θⱼ is normal in closed form, so
posteriors of cohorts are averages of normals and need no draws of their own. Intervals are
equal-tailed. There is no p-value.

The estimate for everybody is the posterior of the overall difference under the prior N(0, σ²) of
μ: cohorts do not move it, so adding a dimension changes nothing.

Where the difference needed a permutation test, its longer half-interval stands in for the standard
error, so the likelihood is never narrower than that test. Cohorts without a usable difference stay
out of the likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.contrast import StudentT
from measure.incrementality.quadrature import Group
from measure.incrementality.sampling import Draws, sample

Vector = NDArray[np.float64]

TAU_PRIOR_SHARE = 0.1
MIN_COHORTS = 2


@dataclass(frozen=True, slots=True)
class Observed:
    """A difference as the likelihood sees it, with the control's mean and its squared error."""

    estimate: float
    se: float
    control_mean: float
    control_error: float


@dataclass(frozen=True, slots=True)
class Posterior:
    """Posterior mean, standard deviation and equal-tailed interval; the lift may be undefined."""

    value: float
    sd: float
    ci_low: float
    ci_high: float
    relative: float | None
    relative_ci_low: float | None
    relative_ci_high: float | None


@dataclass(frozen=True, slots=True)
class Pooled:
    """Posteriors of one group's cohorts in the order given; empty with the gate that failed."""

    posteriors: tuple[Posterior, ...]
    complaint: str = ""


def overall(observed: Observed, metric_sd: float, level: float) -> Posterior:
    """Posterior of one difference under N(0, σ²): conjugate, nothing to sample."""
    weight = metric_sd**2 / (metric_sd**2 + observed.se**2)
    value, sd = weight * observed.estimate, math.sqrt(weight) * observed.se
    half = StudentT(math.inf).quantiles(level)[1] * sd
    return _with_lift(observed, value, sd, value - half, value + half, level)


def pool(
    groups: Sequence[Sequence[Observed]], metric_sds: Sequence[float], level: float, seed: int
) -> list[Pooled]:
    """Partially pooled cohorts of every group, from one run of the sampler.

    Every group needs two cohorts or more and a positive metric standard deviation.
    """
    described = [
        Group(
            estimate=np.array([o.estimate for o in group]),
            se=np.array([o.se for o in group]),
            mean_prior=0.0,
            mean_scale=sd,
            tau_scale=TAU_PRIOR_SHARE * sd,
        )
        for group, sd in zip(groups, metric_sds, strict=True)
    ]
    drawn = sample(described, seed)
    return [
        Pooled((), draws.complaint)
        if draws.complaint
        else Pooled(tuple(_cohort(o, draws, level) for o in group))
        for group, draws in zip(groups, drawn, strict=True)
    ]


def _cohort(observed: Observed, draws: Draws, level: float) -> Posterior:
    """θⱼ as the average over draws of N(w d + (1 − w) μ, w s²) with w = τ²/(τ² + s²)."""
    weight = draws.tau**2 / (draws.tau**2 + observed.se**2)
    centre = weight * observed.estimate + (1 - weight) * draws.mean
    spread = np.sqrt(weight) * observed.se
    value = float(centre.mean())
    sd = math.sqrt(float((spread**2).mean() + centre.var()))
    tail = (1 - level) / 2
    low, high = (_quantile(centre, spread, share) for share in (tail, 1 - tail))
    return _with_lift(observed, value, sd, low, high, level)


def _quantile(centre: Vector, spread: Vector, share: float) -> float:
    """Quantile of an equal mixture of normals, by bisection."""
    from scipy.special import ndtr, ndtri

    points = centre + float(ndtri(share)) * spread
    low, high = float(points.min()), float(points.max())
    safe = np.maximum(spread, np.finfo(float).tiny)
    for _ in range(60):
        middle = (low + high) / 2
        if float(ndtr((middle - centre) / safe).mean()) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _with_lift(
    observed: Observed, value: float, sd: float, low: float, high: float, level: float
) -> Posterior:
    """Add the lift: effect over control mean by the delta method.

    The error of the control mean moves with that of the difference (it is a part of it), so given
    the effect the control mean keeps the share 1 − k of its variance, k = control error / se².
    """
    base = observed.control_mean
    if base == 0:
        return Posterior(value, sd, low, high, None, None, None)
    share = min(observed.control_error / observed.se**2, 1.0)
    slope = 1 / abs(base) * (1 + value * share / base)
    own = value**2 / base**4 * observed.control_error * (1 - share)
    half = StudentT(math.inf).quantiles(level)[1] * math.sqrt((sd * slope) ** 2 + own)
    relative = value / abs(base)
    return Posterior(value, sd, low, high, relative, relative - half, relative + half)
