"""Regression adjustment and two-stage least squares, with heteroskedasticity-robust errors (HC1).

Covariates are taken out of everything first (Frisch and Waugh 1933, Lovell 1963), so that only the
effects remain to be solved for. The regression gives one effect for everybody; where effects vary
with covariates it is an average weighted by how much treatment varies (Angrist 1998).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.observational.effects import Effects, Number
from measure.incrementality.observational.sample import Sample, cohort_masks

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Partialled:
    """Treatment and outcome with intercept and covariates taken out; ``dof`` of y on t and x."""

    treated: Vector
    outcome: Vector
    dof: int

    @property
    def effect(self) -> float:
        """Coefficient of the treatment."""
        return float(self.treated @ self.outcome / (self.treated @ self.treated))

    @property
    def error(self) -> Vector:
        """Residual of the outcome on treatment and covariates."""
        return self.outcome - self.effect * self.treated

    @property
    def classical_se(self) -> float:
        """Standard error under equal variances, on which partial R² rests."""
        variance = self.error @ self.error / self.dof
        return math.sqrt(variance / (self.treated @ self.treated))


def residual(values: Vector, basis: Vector) -> tuple[Vector, int]:
    """Take an intercept and the basis out of ``values`` (n, …); also the rank taken out."""
    design = np.column_stack([np.ones(len(values)), basis])
    fitted, _, rank, _ = np.linalg.lstsq(design, values, rcond=1e-10)
    return values - design @ fitted, int(rank)


def partialled(sample: Sample) -> Partialled:
    """Treatment and outcome with the covariates taken out."""
    both, rank = residual(np.column_stack([sample.treated, sample.outcome]), sample.basis)
    return Partialled(both[:, 0], both[:, 1], sample.n - rank - 1)


def regression(sample: Sample) -> Effects:
    """Outcome on treatment and covariates; by cohort with cohort and treatment × cohort."""
    rest = partialled(sample)
    numbers, _ = _solve(rest.treated[:, None], rest.treated[:, None], rest.outcome, rest.dof)
    cohorts: dict[tuple[str, str], Number] = {}
    for dimension in sample.dimensions:
        cohorts |= _by_cohort(sample, dimension)
    return Effects(numbers[0], float(rest.dof), cohorts)


def _by_cohort(sample: Sample, dimension: str) -> dict[tuple[str, str], Number]:
    masks = [(label, mask) for name, label, mask in cohort_masks(sample) if name == dimension]
    told = [(label, mask) for label, mask in masks if _varies(sample, mask)]
    if not told:
        return {}
    inside = np.column_stack([mask for _, mask in masks]).astype(float)
    treated = np.column_stack([sample.treated * mask for _, mask in told])
    held = np.column_stack([sample.basis, inside])
    left, rank = residual(np.column_stack([treated, sample.outcome]), held)
    dof = sample.n - rank - len(told)
    numbers, _ = _solve(left[:, :-1], left[:, :-1], left[:, -1], dof)
    return {(dimension, label): number for (label, _), number in zip(told, numbers, strict=True)}


def _varies(sample: Sample, mask: NDArray[np.bool_]) -> bool:
    return bool(0 < sample.treated[mask].sum() < mask.sum())


def two_stage(sample: Sample) -> Effects:
    """Effect on those whom the instruments move (2SLS); the note says how strong they are."""
    k = sample.instruments.shape[1]
    columns = np.column_stack([sample.instruments, sample.treated, sample.outcome])
    left, rank = residual(columns, sample.basis)
    instruments, treated, outcome = left[:, :k], left[:, k], left[:, k + 1]
    moved = instruments @ np.linalg.lstsq(instruments, treated, rcond=None)[0]
    dof = sample.n - rank - 1
    numbers, _ = _solve(moved[:, None], treated[:, None], outcome, dof)
    return Effects(numbers[0], float(dof))


def first_stage(sample: Sample) -> float:
    """Robust F of the excluded instruments in the regression of treatment on them."""
    k = sample.instruments.shape[1]
    left, rank = residual(np.column_stack([sample.instruments, sample.treated]), sample.basis)
    instruments = left[:, :k]
    numbers, covariance = _solve(instruments, instruments, left[:, k], sample.n - rank - k)
    slopes = np.array([value for value, _ in numbers])
    return float(slopes @ np.linalg.pinv(covariance) @ slopes / k)


def _solve(
    moved: Vector, treated: Vector, outcome: Vector, dof: int
) -> tuple[list[Number], Vector]:
    """Coefficients of ``treated`` (n, k) instrumented by ``moved``, HC1 errors and covariance."""
    bread = np.linalg.pinv(moved.T @ treated)
    slopes = bread @ (moved.T @ outcome)
    error = outcome - treated @ slopes
    meat = (moved * error[:, None]).T @ (moved * error[:, None])
    covariance = bread @ meat @ bread.T * len(outcome) / max(dof, 1)
    errors = np.sqrt(np.diag(covariance))
    return [(float(b), float(s)) for b, s in zip(slopes, errors, strict=True)], covariance
