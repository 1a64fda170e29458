"""Cross-fitted effects from Gram matrices alone, equal to working row by row.

Inside one arm treatment is constant, so every residual is linear in [1, X, y], and its sum and sum
of squares over a fold, cohort and arm follow from that cell's Gram matrix. Nothing is approximated.

Nuisances are ridge regressions, fitted for each fold on the units of the other folds and of all
cohorts: slopes on covariates divided by their standard deviation in the two arms compared, penalty
λ = number of covariates, the intercept free. The propensity of a cell is its share of treated
units, which randomisation made constant. With n = n₁ + n₀ units of a cell, and 1 the arm, 0
control:

AIPW (Robins, Rotnitzky and Zhao 1994; cross-fitted as in Chernozhukov et al. 2018, section 5)
    θ = mean(m₁(x) − m₀(x)) + mean₁(y − m₁(x)) − mean₀(y − m₀(x)),   each mₐ from its arm's units;
    the influence of a unit is ψ = m₁ − m₀ − mean(m₁ − m₀) ± (y − mₐ − meanₐ(y − mₐ)) n / nₐ and
    the variance Σₐ nₐ / (nₐ − 1) Σψ² / n².

Partialling-out (Robinson 1988; Chernozhukov et al. 2018, section 4.1)
    y − l(x) is regressed on treatment with an intercept, l from the units of both arms; the robust
    (HC2) standard error, which for one binary regressor is Welch's.

Degrees of freedom are Welch–Satterthwaite's over the two arms' parts of the variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.grams import Grams, merged

Array = NDArray[np.float64]

NEEDS_COVARIATES = "needs covariates; name some in the plan"
FOLDS = 5
MOST_NUMBERS = 100_000_000
"""Numbers in the Gram matrices of one dimension, about 800 MB, up to which they are asked for."""
CONTROL, ARM = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Fitted predictions ``intercept + slope · x`` per fold: (F,) and (F, k)."""

    intercept: Array
    slope: Array


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """Per cohort, each (C,): the effect and the two arms' parts of its variance (control, arm)."""

    value: Array
    parts: tuple[Array, Array]

    @property
    def se(self) -> Array:
        """Standard errors, (C,)."""
        return np.asarray(np.sqrt(self.parts[CONTROL] + self.parts[ARM]))


def standard_deviations(whole: Grams) -> Array:
    """Of each covariate (k,) over all units; 0 where one does not vary beyond rounding."""
    n, mean, comoment = whole.n, whole.mean, whole.comoment
    for axis in (2, 1, 0):
        n, mean, comoment = merged(n, mean, comoment, axis=axis)
    squares = np.diag(comoment)[1:]
    varies = squares > n * (1e-12 * np.abs(mean[1:])) ** 2
    return np.where(varies, np.sqrt(squares / max(float(n), 1.0)), 0.0)


def fit_out_of_fold(grams: Grams, scale: Array, penalty: float | None = None) -> Slopes:
    """Ridge on the units outside each fold, all cohorts and arms of ``grams`` together."""
    n, mean, comoment = grams.n, grams.mean, grams.comoment
    for axis in (2, 1):
        n, mean, comoment = merged(n, mean, comoment, axis=axis)
    penalty = float(len(scale)) if penalty is None else penalty
    intercept, slope = np.zeros(len(n)), np.zeros((len(n), len(scale)))
    for fold in range(len(n)):
        others = np.arange(len(n)) != fold
        _, at, products = merged(n[others], mean[others], comoment[others], axis=0)
        slope[fold] = _ridge(products, scale, penalty)
        intercept[fold] = at[0] - at[1:] @ slope[fold]
    return Slopes(intercept, slope)


def _ridge(products: Array, scale: Array, penalty: float) -> Array:
    """Slopes in the covariates' own units; those that do not vary have none."""
    slope = np.zeros(len(scale))
    used = scale > 0
    if used.any():
        inner = products[1:, 1:][np.ix_(used, used)] / np.outer(scale[used], scale[used])
        inner[np.diag_indices_from(inner)] += penalty
        slope[used] = np.linalg.solve(inner, products[1:, 0][used] / scale[used]) / scale[used]
    return slope


def augmented_weighting(whole: Grams, cells: Grams) -> Effects:
    """AIPW effects of every cohort of ``cells``; nuisances come from ``whole``.

    Both hold one metric and two arms, control first.
    """
    scale = standard_deviations(whole)
    fits = [fit_out_of_fold(whole.of(whole.metrics[0], (arm,)), scale) for arm in whole.arms]
    gap = _line(fits[ARM], 0.0) - _line(fits[CONTROL], 0.0)
    residual = [_line(fit, 1.0) for fit in fits]
    n = np.maximum(cells.n.sum(axis=0), 1.0)
    units = n.sum(axis=1)
    mean_gap = sum(_sums(cells, a, gap[:, None]) for a in (CONTROL, ARM)) / units
    left = [_sums(cells, a, residual[a][:, None]) / n[:, a] for a in (CONTROL, ARM)]
    parts = []
    for a, sign in ((CONTROL, -1.0), (ARM, 1.0)):
        weight = sign * units / n[:, a]
        influence = gap[:, None] + weight[:, None] * residual[a][:, None]
        influence[..., 0] -= mean_gap + weight * left[a]
        squares = _squares(cells, a, influence) * n[:, a] / np.maximum(n[:, a] - 1, 1.0)
        parts.append(squares / units**2)
    return Effects(mean_gap + left[ARM] - left[CONTROL], (parts[CONTROL], parts[ARM]))


def partialling_out(whole: Grams, cells: Grams) -> Effects:
    """PLR effects of every cohort of ``cells``; arguments as in :func:`augmented_weighting`."""
    residual = _line(fit_out_of_fold(whole, standard_deviations(whole)), 1.0)
    n = np.maximum(cells.n.sum(axis=0), 1.0)
    mean, parts = [], []
    for a in (CONTROL, ARM):
        mean.append(_sums(cells, a, residual[:, None]) / n[:, a])
        centred = np.repeat(residual[:, None], cells.n.shape[1], axis=1)
        centred[..., 0] -= mean[a]
        squares = _squares(cells, a, centred)
        parts.append(squares / (n[:, a] * np.maximum(n[:, a] - 1, 1.0)))
    return Effects(mean[ARM] - mean[CONTROL], (parts[CONTROL], parts[ARM]))


def _line(fit: Slopes, outcome: float) -> Array:
    """Coefficients of [1, y, x] per fold (F, 1 + K): the prediction, or y minus it."""
    sign = -1.0 if outcome else 1.0
    columns = (sign * fit.intercept, np.full(len(fit.intercept), outcome), sign * fit.slope)
    return np.column_stack(columns)


def _sums(cells: Grams, arm: int, line: Array) -> Array:
    """Sum over the units of one arm of a line (F, C or 1, 1 + K), per cohort (C,)."""
    mean = cells.mean[:, :, arm]
    value = line[..., 0] + (line[..., 1:] * mean).sum(axis=-1)
    return np.asarray((cells.n[:, :, arm] * value).sum(axis=0))


def _squares(cells: Grams, arm: int, line: Array) -> Array:
    """Sum of squares of a line over the units of one arm, per cohort (C,)."""
    weight, mean, n = line[..., 1:], cells.mean[:, :, arm], cells.n[:, :, arm]
    value = line[..., 0] + (weight * mean).sum(axis=-1)
    spread = np.einsum("fck,fckl,fcl->fc", weight, cells.comoment[:, :, arm], weight)
    return np.asarray((np.maximum(spread, 0.0) + n * value**2).sum(axis=0))
