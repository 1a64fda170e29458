"""Credits per channel by the rules: sums over journeys that are each credited on their own.

Like every model they take weights of shape (R, buckets) and return arrays of shape (R, channels); a
row of ones gives the estimate itself, multinomial rows give its bootstrap replicates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.journeys.tables import Integers, Numbers, PathTables, sums_of


@dataclass(frozen=True, slots=True, eq=False)
class ChannelCredits:
    """Credits of one model: conversions and value (R, K), removal effects for Markov only."""

    conversions: Numbers
    value: Numbers
    removal_effect: Numbers | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What one population (everybody, or one cohort) did, per bucket."""

    conversions: Numbers
    value: Numbers
    nulls: Numbers
    journeys: Numbers


def observed(tables: PathTables, cohort: int | None = None) -> Observed:
    """Conversions, their value, journeys without one and all journeys, per bucket."""
    moves = tables.transitions
    mine = members(moves.cohort, cohort)

    def per_bucket(state: int, column: Numbers) -> Numbers:
        rows = mine & (moves.state_to == state)
        return sums_of(moves.bucket[rows], column[rows], tables.buckets)

    starting = mine & (moves.state_from == 0)
    return Observed(
        per_bucket(tables.conversion_state, moves.n),
        per_bucket(tables.conversion_state, moves.value),
        per_bucket(tables.null_state, moves.n),
        sums_of(moves.bucket[starting], moves.n[starting], tables.buckets),
    )


def rule_credits(
    tables: PathTables, rule: str, weights: Numbers, cohort: int | None = None
) -> ChannelCredits:
    """Credits of one rule, for everybody or for one cohort code."""
    rows = members(tables.credits.cohort, cohort)
    cell = tables.credits.bucket[rows] * len(tables.channels) + tables.credits.channel[rows]
    shape = (tables.buckets, len(tables.channels))

    def dense(column: Numbers) -> Numbers:
        return sums_of(cell, column[rows], shape[0] * shape[1]).reshape(shape)

    credit, value = tables.credits.conversions[rule], tables.credits.value[rule]
    return ChannelCredits(weights @ dense(credit), weights @ dense(value))


def members(codes: Integers, cohort: int | None) -> NDArray[np.bool_]:
    """Which rows belong to a cohort; all of them when it is ``None``."""
    return np.full(len(codes), fill_value=True) if cohort is None else codes == cohort
