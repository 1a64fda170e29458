"""Gram matrices per fold, cohort and arm: all that a cross-fitted linear adjustment needs.

A Gram matrix of [1, y…, X] is held centred, as ``n``, the means and the centred cross-products, so
that no digits are lost. Grams add (Chan, Golub and LeVeque 1983): those of several days, or of all
cohorts, are the sums of their parts, and a change of outcome or penalty needs no further scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.results import Cohort

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Grams:
    """Gram matrices of K columns in F folds, C cohorts and A arms.

    ``columns`` are metrics first, then covariates. ``n`` has shape (F, C, A), ``mean``
    (F, C, A, K) and ``comoment`` (F, C, A, K, K), which holds Σ(x−x̄)(y−ȳ); products of two
    metrics are not kept and read 0. ``cohorts`` is ``(None,)`` for everybody.
    """

    metrics: tuple[str, ...]
    covariates: tuple[str, ...]
    cohorts: tuple[Cohort | None, ...]
    arms: tuple[str, ...]
    n: Array
    mean: Array
    comoment: Array

    @classmethod
    def from_sums(
        cls,
        names: tuple[Sequence[str], Sequence[str]],
        cohorts: Sequence[Cohort | None],
        arms: Sequence[str],
        n: Array,
        sums: tuple[Array, Array],
        shift: tuple[Array, Array],
    ) -> Grams:
        """From Σd and Σdd′ of d = x / unit − shift, with ``shift`` as (shift, unit), each (K,)."""
        first, second = sums
        offset = first / np.maximum(n, 1.0)[..., None]
        comoment = second - n[..., None, None] * offset[..., :, None] * offset[..., None, :]
        square = np.einsum("fcakk->fcak", second)
        # What is left of a column that does not vary in a cell is rounding.
        still = np.einsum("fcakk->fcak", comoment) <= 1e-12 * square
        comoment[still[..., :, None] | still[..., None, :]] = 0.0
        place, unit = shift
        mean = np.where(n[..., None] > 0, (place + offset) * unit, 0.0)
        comoment *= unit[:, None] * unit
        metrics, covariates = names
        kept = _without_products_of_metrics(comoment, len(metrics))
        return cls(tuple(metrics), tuple(covariates), tuple(cohorts), tuple(arms), n, mean, kept)

    @classmethod
    def from_values(
        cls,
        names: tuple[Sequence[str], Sequence[str]],
        cohorts: Sequence[Cohort | None],
        arms: Sequence[str],
        codes: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
        values: Array,
        folds: int,
    ) -> Grams:
        """From rows: ``codes`` are (fold, cohort, arm), each (n,); ``values`` has shape (n, K)."""
        shape = (folds, len(cohorts), len(arms))
        k = values.shape[1]
        n, mean, comoment = np.zeros(shape), np.zeros((*shape, k)), np.zeros((*shape, k, k))
        cell = np.ravel_multi_index(codes, shape)
        for code in np.unique(cell):
            at = np.unravel_index(code, shape)
            part = values[cell == code]
            n[at], mean[at] = len(part), part.mean(axis=0)
            comoment[at] = (part - mean[at]).T @ (part - mean[at])
        metrics, covariates = names
        kept = _without_products_of_metrics(comoment, len(metrics))
        return cls(tuple(metrics), tuple(covariates), tuple(cohorts), tuple(arms), n, mean, kept)

    def __add__(self, other: Grams) -> Grams:
        """Of both groups of units together; both must have the same axes."""
        for axis in ("metrics", "covariates", "cohorts", "arms"):
            if getattr(self, axis) != getattr(other, axis):
                raise ValueError(f"{axis} differ: {getattr(self, axis)} and {getattr(other, axis)}")
        n, mean, comoment = (
            np.stack([getattr(part, name) for part in (self, other)])
            for name in ("n", "mean", "comoment")
        )
        return self._with(self.cohorts, *merged(n, mean, comoment, axis=0))

    def everybody(self) -> Grams:
        """All cohorts as one."""
        n, mean, comoment = merged(self.n, self.mean, self.comoment, axis=1)
        return self._with((None,), n[:, None], mean[:, None], comoment[:, None])

    def of(self, metric: str, arms: Sequence[str]) -> Grams:
        """Of one metric with the covariates, in some arms."""
        first = len(self.metrics)
        k = [self.metrics.index(metric), *range(first, first + len(self.covariates))]
        a = [self.arms.index(arm) for arm in arms]
        return Grams(
            (metric,),
            self.covariates,
            self.cohorts,
            tuple(arms),
            self.n[:, :, a],
            self.mean[:, :, a][..., k],
            self.comoment[:, :, a][..., k, :][..., k],
        )

    def _with(
        self, cohorts: tuple[Cohort | None, ...], n: Array, mean: Array, comoment: Array
    ) -> Grams:
        kept = _without_products_of_metrics(comoment, len(self.metrics))
        return Grams(self.metrics, self.covariates, cohorts, self.arms, n, mean, kept)


def _without_products_of_metrics(comoment: Array, metrics: int) -> Array:
    """Products of two different metrics set to 0: the sums behind them are not asked for."""
    kept = comoment.copy()
    kept[..., :metrics, :metrics] *= np.eye(metrics)
    return kept


def merged(n: Array, mean: Array, comoment: Array, axis: int) -> tuple[Array, Array, Array]:
    """Statistics of several groups as one, over one axis of ``n``."""
    total = n.sum(axis=axis)
    some = np.maximum(total, 1.0)[..., None]
    centre = (n[..., None] * mean).sum(axis=axis) / some
    apart = mean - np.expand_dims(centre, axis)
    between = (n[..., None, None] * apart[..., :, None] * apart[..., None, :]).sum(axis=axis)
    return total, centre, comoment.sum(axis=axis) + between
