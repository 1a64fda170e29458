"""Propensity by logistic regression, the weights made of it, and how well it overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.observational.sample import Sample

Vector = NDArray[np.float64]

TRIM = 0.01
"""Units whose propensity is below this, or above one minus it, have no counterpart."""
_STEPS = 50
_RIDGE = 1e-8
_FARTHEST = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Propensity:
    """``share`` (n,): probability of treatment; ``score`` (n, m): gradient of the likelihood."""

    share: Vector
    score: Vector

    def weights(self, treated: Vector) -> Vector:
        """Inverse probability of what each unit got, (n,)."""
        return treated / self.share + (1 - treated) / (1 - self.share)


def propensity(sample: Sample) -> Propensity:
    """Maximum likelihood by Newton's steps on an intercept and the basis.

    A tiny ridge keeps collinear columns harmless. Where covariates separate the arms the
    probabilities run to 0 and 1, and :func:`overlapping` leaves nobody.
    """
    design = np.column_stack([np.ones(sample.n), sample.basis])
    slopes = np.zeros(design.shape[1])
    share = np.full(sample.n, sample.treated.mean())
    ridge = _RIDGE * sample.n * np.eye(design.shape[1])
    for _ in range(_STEPS):
        share = _logistic(design @ slopes)
        gradient = design.T @ (sample.treated - share)
        curvature = (design * (share * (1 - share))[:, None]).T @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        slopes = slopes + step
        if np.abs(step).max() < 1e-10:
            break
    share = _logistic(design @ slopes)
    return Propensity(share, design * (sample.treated - share)[:, None])


def _logistic(index: Vector) -> Vector:
    found: Vector = 1 / (1 + np.exp(-np.clip(index, -_FARTHEST, _FARTHEST)))
    return found


def overlapping(found: Propensity) -> NDArray[np.bool_]:
    """Units that could have been in either arm."""
    kept: NDArray[np.bool_] = (found.share >= TRIM) & (found.share <= 1 - TRIM)
    return kept


def effective_size(weights: Vector) -> float:
    """Kish's effective sample size: (Σw)² / Σw²."""
    return float(weights.sum() ** 2 / (weights @ weights)) if len(weights) else 0.0
