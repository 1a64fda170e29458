"""Inverse propensity weighting in Hájek's form, weights adding up to one within each arm.

The influence function loses its projection on the score of the propensity model, because the
propensity is estimated (Lunceford and Davidian 2004, section 3); taken as known, the weights would
give intervals that are too wide.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.observational.effects import Effects, Number
from measure.incrementality.observational.propensity import Propensity, propensity
from measure.incrementality.observational.sample import Sample, cohort_masks

Vector = NDArray[np.float64]


def weighting(sample: Sample) -> Effects:
    """Weighted mean of the treated minus weighted mean of the others; cohorts likewise."""
    found = propensity(sample)
    everybody = np.ones(sample.n, dtype=bool)
    cohorts = {
        (dimension, label): difference(sample, found, mask)
        for dimension, label, mask in cohort_masks(sample)
        if 0 < sample.treated[mask].sum() < mask.sum()
    }
    return Effects(difference(sample, found, everybody), cohorts=cohorts)


def difference(sample: Sample, found: Propensity, mask: NDArray[np.bool_]) -> Number:
    """Weighted difference among the units of a mask, with its standard error."""
    treated, tau = mean_of(sample, found, mask * sample.treated)
    control, base = mean_of(sample, found, mask * (1 - sample.treated))
    return treated - control, spread(tau - base, found)


def base_level(sample: Sample, found: Propensity) -> Number:
    """Mean of the outcome had nobody been treated, with its standard error."""
    level, influence = mean_of(sample, found, 1 - sample.treated)
    return level, spread(influence, found)


def mean_of(sample: Sample, found: Propensity, members: Vector) -> tuple[float, Vector]:
    """Weighted mean of the members' outcomes, and its influence function (n,)."""
    weights = members * found.weights(sample.treated)
    total = weights.sum()
    mean = float(weights @ sample.outcome / total)
    return mean, weights * (sample.outcome - mean) / total


def spread(influence: Vector, found: Propensity) -> float:
    """Standard error once the propensity's own estimation is accounted for."""
    slopes = np.linalg.lstsq(found.score, influence, rcond=1e-10)[0]
    rest = influence - found.score @ slopes
    return math.sqrt(float(rest @ rest))
