"""Whether a quick metric stands in for a slow one: how its effects predict those on the target.

Each concluded experiment gives a pair of estimated effects, on the proxy and on the target, with
their standard errors. Across experiments the true pairs are bivariate normal, and every estimate is
its true effect plus sampling error (bivariate random-effects meta-analysis: Daniels and Hughes
1997, Statistics in Medicine 16; Buyse et al. 2000, Biostatistics 1(1), section 3). Regressing
estimate on estimate instead would be biased twice: noise in the proxy flattens the slope, and
errors of two metrics of the same units are correlated (Cunningham and Kim 2020, Interpreting
experiments with multiple outcomes).

Parameters are maximum-likelihood estimates; intervals come from a parametric bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from measure.errors import InputError
from measure.moments import Moments
from measure.results import SCHEMA_VERSION, Result, Status

Vector = NDArray[np.float64]

FEWEST = 8
"""Experiments below which a correlation of effects is a guess."""
STRONG, WEAK = 0.85, 0.7
"""Bounds on the correlation of true effects (IQWiG 2011, report A10-05, section 5): a proxy is
strong when the interval lies above the first, weak when it lies below the second."""
DRAWS = 300
_HOMOGENEOUS = 0.05
_STARTS = ((-0.5, 0.0, -0.5), (-0.5, 0.5, -1.0), (-0.5, -0.5, -1.0))


@dataclass(frozen=True, slots=True)
class PairedEffect(Result):
    """Effects of one experiment on proxy and target, as shares of the control mean.

    With standard errors, and the correlation of the two sampling errors.
    """

    experiment: str
    proxy: float
    proxy_se: float
    target: float
    target_se: float
    error_correlation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("proxy_se", "target_se"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError.rule(
                    f"{self.experiment}: {name}", getattr(self, name), "must be > 0"
                )
        if not abs(self.error_correlation) < 1:
            value = self.error_correlation
            raise InputError.rule(
                f"{self.experiment}: error_correlation", value, "must be in (−1, 1)"
            )


@dataclass(frozen=True, slots=True)
class Bounded(Result):
    """A number with its interval."""

    value: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, slots=True)
class ProxyCheck(Result):
    """What concluded experiments say of a proxy.

    ``correlation`` and ``slope`` are between true effects; ``same_sign`` counts experiments whose
    estimated effects point the same way; ``left_out`` is the share of experiments whose effect on
    the target lay inside the interval predicted from all others.
    """

    proxy: str
    target: str
    experiments: tuple[PairedEffect, ...]
    status: Status
    verdict: Literal["strong", "weak", "unclear"] | None
    correlation: Bounded | None
    slope: Bounded | None
    same_sign: int
    left_out: float | None
    ci_level: float
    note: str

    def to_dict(self) -> dict[str, object]:
        """The ``proxy`` JSON document."""
        return {"schema_version": SCHEMA_VERSION, **Result.to_dict(self)}


@dataclass(frozen=True, slots=True)
class Population:
    """True effects over experiments: mean (2,) and covariance (2, 2), proxy first."""

    mean: Vector
    covariance: Vector

    @property
    def correlation(self) -> float:
        """Of true effects; 0 where one of them does not vary."""
        spread = math.sqrt(self.covariance[0, 0] * self.covariance[1, 1])
        return float(self.covariance[0, 1] / spread) if spread > 0 else 0.0

    @property
    def slope(self) -> float:
        """Effect on the target for each unit of true effect on the proxy."""
        return float(self.covariance[0, 1] / self.covariance[0, 0])

    def predict(self, effect: float, se: float) -> tuple[float, float]:
        """Mean and standard deviation of a true target effect, given an estimate on the proxy."""
        weight = self.covariance[0, 1] / (self.covariance[0, 0] + se**2)
        mean = float(self.mean[1] + weight * (effect - self.mean[0]))
        variance = self.covariance[1, 1] - weight * self.covariance[0, 1]
        return mean, math.sqrt(max(float(variance), 0.0))


def paired_effect(experiment: str, control: Moments, arm: Moments) -> PairedEffect | None:
    """Lifts on target and proxy from moments of (target, proxy) in two arms.

    ``None`` where a control mean is zero or a column does not vary: there is no lift to speak of.
    """
    base = control.mean
    errors = sum(m.covariance / m.n for m in (control, arm) if m.n > 1)
    if min(control.n, arm.n) < 2 or (base == 0).any() or (np.diag(errors) <= 0).any():
        return None
    # Delta method: the lift's error is that of arm − (1 + lift) × control, over the control mean.
    ratio = arm.mean / base
    joint = arm.covariance / arm.n + np.outer(ratio, ratio) * control.covariance / control.n
    joint = joint / np.outer(base, base)
    se = np.sqrt(np.diag(joint))
    return PairedEffect(
        experiment=experiment,
        proxy=float(ratio[1] - 1),
        proxy_se=float(se[1]),
        target=float(ratio[0] - 1),
        target_se=float(se[0]),
        error_correlation=float(np.clip(joint[0, 1] / (se[0] * se[1]), -0.999, 0.999)),
    )


def check_proxy(
    effects: Sequence[PairedEffect],
    *,
    proxy: str,
    target: str,
    ci_level: float = 0.95,
    seed: int = 20080320,
) -> ProxyCheck:
    """Judge a proxy by concluded experiments; ``insufficient`` below eight of them.

    ``degenerate`` where effects on the proxy differ no more than their noise: then nothing can be
    learned of how they carry over.
    """
    known = tuple(effects)
    found = ProxyCheck(
        proxy, target, known, Status.OK, None, None, None, _same_sign(known), None, ci_level, ""
    )
    if len(known) < FEWEST:
        note = f"{len(known)} experiments; at least {FEWEST} are needed"
        return replace(found, status=Status.INSUFFICIENT, note=note)
    if _homogeneity(known) > _HOMOGENEOUS:
        note = f"effects on {proxy} differ no more between experiments than chance would have it"
        return replace(found, status=Status.DEGENERATE, note=note)
    fitted = fit(known)
    draws = _bootstrap(fitted, known, np.random.default_rng(seed))
    correlation = _bounded(fitted.correlation, [d.correlation for d in draws], ci_level)
    slope = _bounded(fitted.slope, [d.slope for d in draws], ci_level)
    return replace(
        found,
        verdict=_verdict(correlation),
        correlation=correlation,
        slope=slope,
        left_out=_left_out(fitted, known, ci_level),
        note=_note(known),
    )


def fit(effects: Sequence[PairedEffect], near: Population | None = None) -> Population:
    """Maximum-likelihood mean and covariance of true effects; ``near`` starts the search."""
    from scipy.optimize import minimize

    observed = np.array([(e.proxy, e.target) for e in effects])
    unit = observed.std(axis=0)
    unit[unit == 0] = 1.0
    points = observed / unit
    noise = np.array([_errors(e) for e in effects]) / np.outer(unit, unit)

    def objective(parameters: Vector) -> float:
        return _minus_log_likelihood(points, noise + _covariance(parameters))

    starts = _STARTS if near is None else (_parameters(near.covariance / np.outer(unit, unit)),)
    options = {"xatol": 1e-4, "fatol": 1e-6}
    runs = [minimize(objective, np.array(s), method="Nelder-Mead", options=options) for s in starts]
    best = min(runs, key=lambda run: float(run.fun))
    covariance = _covariance(best.x)
    mean = _weighted_mean(points, noise + covariance)
    return Population(mean * unit, covariance * np.outer(unit, unit))


def _errors(effect: PairedEffect) -> Vector:
    """Covariance (2, 2) of the sampling errors."""
    shared = effect.error_correlation * effect.proxy_se * effect.target_se
    return np.array([[effect.proxy_se**2, shared], [shared, effect.target_se**2]])


def _covariance(parameters: Vector) -> Vector:
    """Covariance from its Cholesky factor, logarithms on the diagonal."""
    first, below, second = (float(x) for x in np.clip(parameters, -12, 12))
    corner, other = math.exp(first), math.exp(second)
    return np.array([[corner**2, corner * below], [corner * below, below**2 + other**2]])


def _parameters(covariance: Vector) -> tuple[float, float, float]:
    """Inverse of :func:`_covariance`, kept away from the edge where a logarithm ends."""
    corner = math.sqrt(max(float(covariance[0, 0]), 1e-6))
    below = float(covariance[0, 1]) / corner
    other = math.sqrt(max(float(covariance[1, 1]) - below**2, 1e-4))
    return math.log(corner), below, math.log(other)


def _inverse(total: Vector) -> tuple[Vector, Vector]:
    """Inverses of symmetric (n, 2, 2) matrices and their determinants (n,)."""
    a, b, d = total[:, 0, 0], total[:, 0, 1], total[:, 1, 1]
    determinant = a * d - b * b
    inverse = np.stack([d, -b, -b, a], axis=1).reshape(-1, 2, 2) / determinant[:, None, None]
    return inverse, determinant


def _weighted_mean(points: Vector, total: Vector) -> Vector:
    weights, _ = _inverse(total)
    right = (weights @ points[:, :, None]).sum(axis=0)[:, 0]
    return np.asarray(np.linalg.solve(weights.sum(axis=0), right))


def _minus_log_likelihood(points: Vector, total: Vector) -> float:
    """Of the points (n, 2) under normal distributions of covariance ``total`` (n, 2, 2)."""
    weights, determinant = _inverse(total)
    residual = (points - _weighted_mean(points, total))[:, :, None]
    distance = (residual * (weights @ residual)).sum()
    return float(0.5 * (np.log(determinant).sum() + distance))


def _bootstrap(
    fitted: Population, effects: Sequence[PairedEffect], rng: np.random.Generator
) -> list[Population]:
    """Fits to experiments drawn from the fitted population."""
    draws = []
    for _ in range(DRAWS):
        again = []
        for effect in effects:
            true = rng.multivariate_normal(fitted.mean, fitted.covariance)
            seen = rng.multivariate_normal(true, _errors(effect))
            again.append(replace(effect, proxy=float(seen[0]), target=float(seen[1])))
        draws.append(fit(again, near=fitted))
    return draws


def _bounded(value: float, draws: Sequence[float], level: float) -> Bounded:
    """Percentiles of the bootstrap draws, equal tails."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Bounded(value, float(low), float(high))


def _verdict(correlation: Bounded) -> Literal["strong", "weak", "unclear"]:
    if correlation.ci_low >= STRONG:
        return "strong"
    return "weak" if correlation.ci_high <= WEAK else "unclear"


def _left_out(fitted: Population, effects: Sequence[PairedEffect], level: float) -> float:
    """Share of experiments whose target estimate lies in the interval predicted by the others."""
    from scipy.special import ndtri

    half = float(ndtri((1 + level) / 2))
    inside = 0
    for place, effect in enumerate(effects):
        others = [*effects[:place], *effects[place + 1 :]]
        mean, sd = fit(others, near=fitted).predict(effect.proxy, effect.proxy_se)
        inside += abs(effect.target - mean) <= half * math.hypot(sd, effect.target_se)
    return inside / len(effects)


def _homogeneity(effects: Sequence[PairedEffect]) -> float:
    """P-value of Cochran's Q: whether effects on the proxy differ beyond their noise."""
    from scipy.special import chdtrc

    values = np.array([e.proxy for e in effects])
    weights = np.array([e.proxy_se**-2 for e in effects])
    mean = float(weights @ values / weights.sum())
    return float(chdtrc(len(effects) - 1, float(weights @ (values - mean) ** 2)))


def _same_sign(effects: Sequence[PairedEffect]) -> int:
    return sum(e.proxy * e.target > 0 for e in effects)


def _note(effects: Sequence[PairedEffect]) -> str:
    assumed = sum(e.error_correlation == 0 for e in effects)
    if not assumed:
        return ""
    return f"sampling errors of {assumed} experiments are taken as uncorrelated"
