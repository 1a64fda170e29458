"""What weak links do to an effect, and the effect with that put right.

Where a unit's outcome was found over a link that is wrong, it is the outcome of somebody else and
does not depend on the unit's arm. If a share e of the links is wrong, whatever the arm, the effect
of assignment is measured as (1 − e) times what it is: linkage error attenuates it, as measurement
error does (Chambers, "Regression Analysis of Probability-Linked Data", 2009; Lahiri and Larsen,
JASA 100, 2005). With match probabilities p that mean what they say, e is the mean of 1 − p.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from measure.errors import InputError
from measure.results import Estimate, Result, Status

MOST_WRONG = 0.5
"""Share of wrong links beyond which nothing is corrected: too little of the effect is left."""


@dataclass(frozen=True, slots=True)
class WrongLinks(Result):
    """The expected share of wrong links among ``links``, and the variance of the share itself."""

    links: int
    share: float
    variance: float

    @classmethod
    def of(cls, links: int, doubt: float, spread: float) -> WrongLinks:
        """From sums over the links of 1 − p and of p (1 − p); no links are no wrong ones."""
        if links < 0 or not 0 <= spread <= doubt <= links:
            raise InputError("sums over links must satisfy 0 <= Σp(1 − p) <= Σ(1 − p) <= links.")
        if not links:
            return cls(0, 0.0, 0.0)
        return cls(links, doubt / links, spread / links**2)


def corrected(estimate: Estimate, wrong: WrongLinks) -> Estimate:
    """The effect had all links been right: value / (1 − e), with an interval.

    The standard error is that of the quotient to first order: that of the estimate, and that of the
    share of wrong links, which is a number drawn like any other. The p-value stays, for no effect
    is no effect either way. The lift is left out: wrong links mix both arms into the mean of the
    control. An estimate without a number stays as it is; beyond :data:`MOST_WRONG` the status is
    ``insufficient``.
    """
    right = 1 - wrong.share
    name = f"{estimate.estimator}_corrected"
    if estimate.status is not Status.OK or estimate.value is None or estimate.se is None:
        return replace(estimate, estimator=name)
    if wrong.share > MOST_WRONG:
        note = f"{100 * wrong.share:.0f} % of the links are expected to be wrong"
        return _withheld(replace(estimate, estimator=name), note)
    value = estimate.value / right
    se = math.hypot(estimate.se / right, value * math.sqrt(wrong.variance) / right)
    grown = se * right / estimate.se if estimate.se else 1.0
    low, high = (_moved(estimate.value, end, right, grown) for end in _ends(estimate))
    return replace(
        estimate,
        estimator=name,
        value=value,
        se=se,
        ci_low=low,
        ci_high=high,
        relative=None,
        relative_ci_low=None,
        relative_ci_high=None,
    )


def _ends(estimate: Estimate) -> tuple[float | None, float | None]:
    return estimate.ci_low, estimate.ci_high


def _moved(value: float, end: float | None, right: float, grown: float) -> float | None:
    """An end of the interval, as far from the corrected value as its own distance says."""
    return None if end is None else value / right + (end - value) * grown / right


def _withheld(estimate: Estimate, note: str) -> Estimate:
    return replace(
        estimate,
        value=None,
        se=None,
        ci_low=None,
        ci_high=None,
        p_value=None,
        relative=None,
        relative_ci_low=None,
        relative_ci_high=None,
        status=Status.INSUFFICIENT,
        note=note,
    )
