"""Markov attribution of order 1 in closed form: one matrix inverse gives every removal effect.

Removal effects after Anderl, Becker, von Wangenheim and Schumann (2016), "Mapping the customer
journey", International Journal of Research in Marketing 33(3), section 3; fundamental matrix after
Kemeny and Snell (1960), "Finite Markov Chains", chapter III. With N the fundamental matrix and a
the probability to convert from each state, paths through k lose their conversions when k leads to
the null state: RE_k = N[0,k]·a_k / (N[k,k]·a_0).
"""

from __future__ import annotations

import numpy as np

from measure.attribution.rules import ChannelCredits, members, observed
from measure.journeys.tables import Numbers, PathTables

_BLOCK = 8_000_000
"""Matrix entries inverted at once: 64 MB."""


def markov_credits(
    tables: PathTables, weights: Numbers, cohort: int | None = None
) -> ChannelCredits:
    """Each channel's part of the sum of all removal effects, times what was observed.

    ``weights`` has shape (R, buckets); ``cohort`` is a cohort code, ``None`` for everybody.
    """
    step = max(1, _BLOCK // (len(tables.channels) + 3) ** 2)
    blocks = (weights[start : start + step] for start in range(0, len(weights), step))
    effects = np.concatenate(
        [removal_effects(move_counts(tables, block, cohort))[0] for block in blocks]
    )
    seen = observed(tables, cohort)
    total = effects.sum(axis=1, keepdims=True)
    share = np.divide(effects, total, out=np.zeros_like(effects), where=total > 0)
    conversions, value = weights @ seen.conversions, weights @ seen.value
    return ChannelCredits(share * conversions[:, None], share * value[:, None], effects)


def move_counts(tables: PathTables, weights: Numbers, cohort: int | None = None) -> Numbers:
    """Moves from the start and the channels to every state, of shape (R, K + 1, K + 3)."""
    moves, states = tables.transitions, len(tables.channels) + 3
    rows = members(moves.cohort, cohort)
    pair = moves.state_from[rows] * states + moves.state_to[rows]
    present, column = np.unique(pair, return_inverse=True)
    cell = moves.bucket[rows] * len(present) + column
    size = tables.buckets * len(present)
    per_bucket = np.bincount(cell, weights=moves.n[rows], minlength=size)
    counts = np.zeros((len(weights), (states - 2) * states))
    counts[:, present] = weights @ per_bucket.reshape(tables.buckets, -1)
    return counts.reshape(len(weights), states - 2, states)


def removal_effects(moves: Numbers) -> tuple[Numbers, Numbers]:
    """Removal effect of each channel and the probability to convert.

    ``moves`` has shape (R, K + 1, K + 3): for R weightings, the number of moves from the start and
    the K channels to the start, the channels, the conversion and the null state. Returns arrays of
    shape (R, K) and (R,). Where nothing converts the effects are 0.
    """
    states = moves.shape[1]
    leaving = moves.sum(axis=2, keepdims=True)
    shares = np.divide(moves, leaving, out=np.zeros_like(moves), where=leaving > 0)
    fundamental = np.linalg.inv(np.eye(states) - shares[:, :, :states])
    absorbed = np.einsum("rij,rj->ri", fundamental, shares[:, :, states])
    chance = absorbed[:, 0]
    visits = fundamental[:, 0, 1:]
    returns = np.diagonal(fundamental, axis1=1, axis2=2)[:, 1:]
    lost = visits * absorbed[:, 1:] / returns
    whole = np.broadcast_to(chance[:, None], lost.shape)
    return np.divide(lost, whole, out=np.zeros_like(lost), where=whole > 0), chance
