"""Do the arms' sizes follow the design, asked as often as one likes.

The counts are held against the designed shares by a Bayes factor (Lindon and Malek 2022, NeurIPS,
arXiv:2011.03567): the alternative draws the shares from a Dirichlet around the designed ones, so
the counts are Dirichlet-multinomial. Under the design the factor is a martingale that starts at
one, so it ever exceeds 1/α with probability at most α (Ville): 1 / factor is a p-value that is
valid at every look. Counts are all it takes, in whatever order units came.

Two Dirichlets share the alternative. A narrow one expects shares within about a percentage point of
the design, as a broken assignment or a lost event leaves them. A flat one expects anything, so that
an arm that receives nobody is noticed among a few dozen units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from measure.incrementality.contrast import SMALLEST_P

NARROW = 5_000.0
"""Concentration of the narrow alternative, in units: among n ≈ 11 × as many it is the sharpest."""
FLAT_WEIGHT = 0.1
"""Weight of the flat alternative, whose concentration is one unit per arm."""


def sequential_ratio_p_value(units: Mapping[str, int], designed: Mapping[str, float]) -> float:
    """P-value of the units per arm against the designed shares, valid at every look.

    Every designed arm counts, those without units too.
    """
    parts = [
        math.log(1 - FLAT_WEIGHT) + _log_factor(units, designed, NARROW),
        math.log(FLAT_WEIGHT) + _log_factor(units, designed, float(len(designed))),
    ]
    largest = max(parts)
    log_factor = largest + math.log(math.fsum(math.exp(part - largest) for part in parts))
    return max(math.exp(min(-log_factor, 0.0)), SMALLEST_P)


def _log_factor(
    units: Mapping[str, int], designed: Mapping[str, float], concentration: float
) -> float:
    """Log of the Dirichlet-multinomial over the multinomial probability of the counts."""
    n = sum(units[arm] for arm in designed)
    log_factor = math.lgamma(concentration) - math.lgamma(concentration + n)
    for arm, share in designed.items():
        prior = concentration * share
        log_factor += math.lgamma(prior + units[arm]) - math.lgamma(prior)
        log_factor -= units[arm] * math.log(share)
    return log_factor
