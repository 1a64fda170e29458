"""The two small tables that every attribution model is computed from.

Journeys are cut into buckets (a person, or a path of a file, is always whole inside one bucket), so
that reweighting a few hundred buckets replaces resampling millions of journeys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]

BUCKETS = 200
"""Buckets of journeys; enough for percentile intervals, few enough to reweight in no time."""

RULES = ("first", "last", "linear", "time_decay", "shapley")
"""Models whose credit is a sum over converting journeys, hence additive over buckets."""


@dataclass(frozen=True, slots=True, eq=False)
class Transitions:
    """How often journeys moved from one state to the next; columns of equal length.

    States are 0 for the start, 1 … K for the channels in sorted order, K + 1 for the conversion and
    K + 2 for the end without one. ``value`` is the money of the conversions a move ended in.
    """

    bucket: Integers
    cohort: Integers
    state_from: Integers
    state_to: Integers
    n: Numbers
    value: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class RuleCredits:
    """Conversions and value given to each channel by each rule; columns of equal length.

    ``channel`` counts from 0; ``conversions`` and ``value`` hold one column per rule.
    """

    bucket: Integers
    cohort: Integers
    channel: Integers
    conversions: Mapping[str, Numbers]
    value: Mapping[str, Numbers]


@dataclass(frozen=True, slots=True, eq=False)
class PathTables:
    """Both tables with the names of their codes.

    ``cohorts`` names the cohort codes of ``dimension`` (empty, and all codes 0, when journeys are
    not told apart). ``untouched_*`` count conversions that no touch preceded, overall and per
    cohort code; they are in neither table. ``value`` is in major units of ``currency``.
    """

    channels: tuple[str, ...]
    dimension: str | None
    cohorts: tuple[str, ...]
    buckets: int
    transitions: Transitions
    credits: RuleCredits
    untouched_conversions: float = 0.0
    untouched_value: float = 0.0
    currency: str | None = None

    @property
    def conversion_state(self) -> int:
        """Code of the state "converted"."""
        return len(self.channels) + 1

    @property
    def null_state(self) -> int:
        """Code of the state "ended without converting"."""
        return len(self.channels) + 2

    def journeys(self) -> float:
        """Number of journeys with at least one touch."""
        return float(self.transitions.n[self.transitions.state_from == 0].sum())


def sums_of(key: Integers, column: Numbers, size: int) -> Numbers:
    """Sum a column at each key from 0 to ``size`` - 1, or further if there are larger keys."""
    return np.bincount(key, weights=column, minlength=size).astype(np.float64, copy=False)


def group_sums(key: Integers, size: int, *columns: Numbers) -> tuple[Integers, tuple[Numbers, ...]]:
    """Sum columns by an integer key in ``[0, size)``: the keys present, ascending, and the sums.

    One ordered pass when the range of keys is small, a sort when it is large.
    """
    if size <= 20_000_000:
        present = np.flatnonzero(np.bincount(key, minlength=0))
        sums = tuple(sums_of(key, column, 0)[present] for column in columns)
        return present.astype(np.int64), sums
    present, inverse = np.unique(key, return_inverse=True)
    sums = tuple(sums_of(inverse, column, 0) for column in columns)
    return present.astype(np.int64), sums
