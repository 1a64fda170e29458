"""Effect of being assigned (ITT) and of being reached (CACE) when not everybody is reached.

Conditioning on exposure is biased, so it is never done: the complier effect is the ratio of two
effects of assignment, on the outcome and on exposure (Wald 1940; Imbens and Angrist 1994), with a
delta-method interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from measure.incrementality.contrast import Contrast, Inference, StudentT, infer
from measure.incrementality.difference import difference
from measure.moments import Moments
from measure.plan import Kind


def moments_from_table(columns: Sequence[str], counts: Mapping[tuple[float, ...], int]) -> Moments:
    """Moments of several columns from the number of units at each combination of values."""
    total = Moments.empty(columns)
    for values, n in counts.items():
        k = len(columns)
        at = np.asarray(values, dtype=float)
        total = total + Moments(tuple(columns), n, at, np.zeros((k, k)), np.zeros(k))
    return total


def intention_to_treat(
    control: Moments, arm: Moments, kind: Kind = "proportion", level: float = 0.95
) -> Inference:
    """Difference of the first column between everybody assigned to the arm and to control."""
    contrast = difference(control, arm, kind)
    return infer(contrast, StudentT(contrast.dof), level)


def complier_effect(control: Moments, arm: Moments, level: float = 0.95) -> Inference | None:
    """Wald ratio for moments of (outcome, exposure); ``None`` when assignment moves no exposure.

    Rests on randomisation, on assignment acting through exposure only, and on nobody being
    exposed because they were not assigned. The two effects are taken as independent, as in the
    published figures for such counts, unless their covariance makes the interval wider.
    """
    outcome = float(arm.mean[0] - control.mean[0])
    exposure = float(arm.mean[1] - control.mean[1])
    if exposure == 0:
        return None
    effect = outcome / exposure
    joint = np.array([1.0, -effect])
    both = sum(float(joint @ m.covariance @ joint) / m.n for m in (arm, control))
    apart = sum(float(joint**2 @ np.diag(m.covariance)) / m.n for m in (arm, control))
    variance = max(both, apart)
    contrast = Contrast(effect, math.sqrt(variance) / abs(exposure), math.inf, None, None)
    return infer(contrast, StudentT(math.inf), level)
