"""Whether the arms can be compared at all: overlap of propensities, balance after weighting."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.observational.propensity import (
    Propensity,
    effective_size,
    overlapping,
)
from measure.incrementality.observational.sample import Sample

Vector = NDArray[np.float64]

TRIMMED_WARNING = 0.01
TRIMMED_STOP = 0.25
EFFECTIVE_WARNING = 0.3
"""Share of an arm's units that its weighted mean is worth."""
UNBALANCED = 0.1
"""Standardised difference of means beyond which a covariate is not balanced (Austin 2009)."""


def overlap(sample: Sample, found: Propensity) -> dict[str, Any]:
    """Range of propensities, share of units without a counterpart, effective sample sizes."""
    kept = overlapping(found)
    weights = found.weights(sample.treated)
    treated = sample.treated == 1
    return {
        "propensity_low": float(found.share.min()),
        "propensity_high": float(found.share.max()),
        "trimmed": int((~kept).sum()),
        "trimmed_share": float((~kept).mean()),
        "effective_arm": _worth(weights[kept & treated]),
        "effective_control": _worth(weights[kept & ~treated]),
    }


def _worth(weights: Vector) -> float:
    """Effective sample size as a share of the units."""
    return effective_size(weights) / len(weights) if len(weights) else 0.0


def balance(sample: Sample, found: Propensity) -> Iterator[dict[str, Any]]:
    """Standardised difference of every covariate's mean, as it is and weighted.

    Both in the pooled standard deviation before weighting (Austin 2009, section 2.1), so that they
    can be compared.
    """
    weights = found.weights(sample.treated)
    plain = np.ones(sample.n)
    for name, values in sample.covariates.items():
        for column in values.T:
            yield {
                "covariate": name,
                "before": _gap(column, sample.treated, plain),
                "after": _gap(column, sample.treated, weights),
            }


def _gap(column: Vector, treated: Vector, weights: Vector) -> float:
    inside, outside = weights * treated, weights * (1 - treated)
    gap = inside @ column / inside.sum() - outside @ column / outside.sum()
    spreads = [column[treated == arm].var(ddof=1) for arm in (0, 1)]
    deviation = math.sqrt(sum(spreads) / 2)
    return float(gap / deviation) if deviation > 0 else 0.0
