"""Attempts to break an estimate: each refits the whole model on data changed in a known way.

None goes by the p-value of a handful of simulations: every attempt is held against the standard
error of the estimator itself, with the limits below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from measure.incrementality.observational.effects import Effects, Fit
from measure.incrementality.observational.sample import Sample
from measure.incrementality.observational.sensitivity import Strength, planted, times

PLACEBOS = 5
PLACEBO_LIMIT = 3.3
"""Sum of the placebo effects, each in its standard errors, over the root of their number: a sound
estimator is beyond this once in 1,000 times."""
COMMON_CAUSES = 2
COMMON_CAUSE_LIMIT = 0.5
"""Standard errors by which an irrelevant covariate may move the estimate."""
SUBSETS = 3
SUBSET_SHARE = 0.8
SUBSET_LIMIT = 1.5
"""Standard errors by which four fifths of the units may differ from all, on average."""
STRENGTHS = (1, 2, 3)
"""Planted confounders, as multiples of the strongest covariate."""

Finding = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One refuter on one estimator: whether the estimate held, and the figures that say so."""

    held: bool
    figures: Finding


def quick(sample: Sample) -> Sample:
    """The sample as refuters use it: without cohorts, and dealt into folds once."""
    return replace(sample, dimensions={}, deals=1)


def placebo(sample: Sample, fit: Fit, name: str) -> Attempt:
    """Deal the treatment anew: whatever is found then is no effect."""
    rng = sample.generator(f"placebo {name}")
    found = [
        fit(replace(sample, treated=rng.permutation(sample.treated))).everybody
        for _ in range(PLACEBOS)
    ]
    sizes = [value / se for value, se in found]
    score = sum(sizes) / math.sqrt(PLACEBOS)
    mean = sum(value for value, _ in found) / PLACEBOS
    figures = {"mean": mean, "standard_errors": score, "draws": PLACEBOS}
    return Attempt(abs(score) <= PLACEBO_LIMIT, figures)


def random_common_cause(sample: Sample, fit: Fit, unchanged: Effects, name: str) -> Attempt:
    """Add a covariate of pure noise: nothing may move."""
    rng = sample.generator(f"random common cause {name}")
    found = [
        fit(sample.with_covariate("noise", rng.normal(size=sample.n))).everybody[0]
        for _ in range(COMMON_CAUSES)
    ]
    return _moved(found, unchanged, COMMON_CAUSE_LIMIT)


def subsets(sample: Sample, fit: Fit, unchanged: Effects, name: str) -> Attempt:
    """Keep four fifths of the units: the estimate may not hang on the rest."""
    rng = sample.generator(f"subsets {name}")
    size = int(SUBSET_SHARE * sample.n)
    found = []
    for _ in range(SUBSETS):
        kept = np.zeros(sample.n, dtype=bool)
        kept[rng.permutation(sample.n)[:size]] = True
        found.append(fit(sample.where(kept)).everybody[0])
    return _moved(found, unchanged, SUBSET_LIMIT)


def _moved(found: list[float], unchanged: Effects, limit: float) -> Attempt:
    """How far refits lie from the fit on unchanged data, made with the same deal of folds."""
    value, se = unchanged.everybody
    mean = sum(found) / len(found)
    shift = (mean - value) / se
    figures = {"mean": mean, "standard_errors": shift, "draws": len(found)}
    return Attempt(abs(shift) <= limit, figures)


def planted_confounders(
    sample: Sample, fit: Fit, known: Strength, effects: Effects, quantile: float
) -> Attempt:
    """Add a made-up confounder one, two and three times as strong as the strongest covariate.

    The estimate holds when its interval still leaves out zero, on the same side, at once the
    strength. ``quantile`` is the half-width of the interval in standard errors.
    """
    figures: dict[str, object] = {}
    held = True
    for multiple in STRENGTHS:
        strength = times(known, multiple)
        if strength is None:
            figures[f"value_at_{multiple}"] = None
            held = held and multiple > 1
            continue
        value, se = fit(sample.with_covariate("planted", planted(sample, strength))).everybody
        figures[f"value_at_{multiple}"] = value
        figures[f"ci_low_at_{multiple}"] = value - quantile * se
        figures[f"ci_high_at_{multiple}"] = value + quantile * se
        same_side = value * effects.everybody[0] > 0 and abs(value) > quantile * se
        held = held and (multiple > 1 or same_side)
    return Attempt(held, figures)
