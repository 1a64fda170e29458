"""Switchbacks: blocks of time are treated, and only the order of the arms is random.

Blocks form rounds in which every unit has every arm as often as designed, so each round compares a
unit with itself a few hours later; what drifts slowly, or differs between units, cancels. The
effect is the mean over rounds of these comparisons, averaged over units within the round (units of
one round share the weather and the order of arms, so the round is what counts), and it is judged
by re-drawn schedules (Bojinov, Simchi-Levi and Zhao 2023, Management Science 69:3759-3777, sections
3 and 4). What a block leaves behind for the next one must be over when counting begins: outcomes
are of the part of a block after its washout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.contrast import Contrast
from measure.incrementality.guardrails import judge_guardrails
from measure.incrementality.multiplicity import families
from measure.incrementality.randomization import (
    Randomization,
    Redraws,
    at_level_of_control,
    infer_randomized,
    with_numbers,
    without_numbers,
)
from measure.plan import AnalysisPlan
from measure.results import Analysis, Estimate, Status

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]

MIN_ROUNDS = 4
"""Rounds with both arms; fewer leave no spread between rounds to judge by."""


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """Measured blocks, one per unit and block of time; ``redrawn`` is (r, n), all else (n,).

    ``outcomes`` per metric are means or totals of the measured part of a block, NaN where missing;
    arms are numbered as the plan lists them.
    """

    outcomes: Mapping[str, Vector]
    arms: Codes
    units: Codes
    rounds: Codes
    redrawn: Codes


def analyze_blocks(usual: Analysis, plan: AnalysisPlan, laid: Laid) -> Analysis:
    """The usual analysis of the blocks with effects, p-values and intervals of the switchback.

    Checks stay as they are; an analysis that is invalid stays as it is altogether.
    """
    if usual.status is Status.INVALID:
        return usual
    found = tuple(_estimate(one, plan, laid) for one in usual.estimates)
    inference = {"inference": "randomization", "redrawn_schedules": len(laid.redrawn)}
    return replace(
        usual,
        estimates=found,
        multiplicity=families(found, plan),
        guardrails=judge_guardrails(found, plan),
        provenance={**usual.provenance, **inference},
    )


def _estimate(usual: Estimate, plan: AnalysisPlan, laid: Laid) -> Estimate:
    if usual.status not in (Status.OK, Status.INSUFFICIENT):
        return usual
    order = list(plan.arms)
    pair = order.index(usual.arm), order.index(plan.control)
    found = switchback(laid, usual.metric, *pair)
    numbers = found and infer_randomized(*found, plan.ci_level)
    if not found or not numbers:
        note = (
            f"fewer than {MIN_ROUNDS} rounds with both arms, rounds that do not vary, or schedules "
            "too few or too alike for an interval"
        )
        return without_numbers(usual, note)
    control = laid.outcomes[usual.metric][laid.arms == pair[1]]
    numbers = numbers.with_lift(plan.relative, float(np.nanmean(control)))
    rounds = int(found[0].dof) + 1
    note = (
        f"paired within {rounds} rounds; p-value and interval from {found[1].draws:,} re-drawn "
        "schedules"
    )
    return with_numbers(usual, numbers, note)


def switchback(
    blocks: Laid, metric: str, arm: int, control: int
) -> tuple[Contrast, Randomization] | None:
    """Arm minus control per block, with its lift, and the test by re-drawn schedules.

    The standard error is that of a mean of rounds. Blocks of a third arm take part at their arm's
    mean effect. ``None`` with fewer than four rounds that have both arms, or nothing that varies.
    """
    outcomes = blocks.outcomes[metric]
    known = ~np.isnan(outcomes)
    y, codes = outcomes[known], blocks.arms[known]
    cells = _Cells.of(blocks.units[known], blocks.rounds[known])
    gap, both = _gaps(y, codes, cells, arm, control)
    rounds, bases = (
        found[~np.isnan(found)]
        for values in (gap, _means(y, codes == control, cells))
        for found in [cells.mean_of_rounds(values, both)]
    )
    if len(rounds) < MIN_ROUNDS or rounds.std() <= 0:
        return None
    value, se = float(rounds.mean()), float(rounds.std(ddof=1)) / math.sqrt(len(rounds))
    y = at_level_of_control(y, codes, arm, control)
    treated = (codes == arm).astype(np.float64)
    drawn = _redraws(y, treated, blocks.redrawn[:, known], cells, (arm, control))
    return _contrast(value, se, rounds, bases), Randomization(value, se, drawn)


def _contrast(value: float, se: float, gaps: Vector, bases: Vector) -> Contrast:
    """The lift is over the mean of control in the same rounds, by the delta method over rounds."""
    rounds, base = len(gaps), float(bases.mean())
    if base == 0:
        return Contrast(value, se, rounds - 1, None, None)
    spread = float((gaps - value / base * bases).std(ddof=1))
    return Contrast(
        value, se, rounds - 1, value / abs(base), spread / math.sqrt(rounds) / abs(base)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """One unit in one round: ``of_row`` (n,) numbers them, ``rounds`` (cells,) says whose."""

    of_row: Codes
    rounds: Codes

    @classmethod
    def of(cls, units: Codes, rounds: Codes) -> _Cells:
        pairs = np.column_stack([rounds, units])
        found, of_row = np.unique(pairs, axis=0, return_inverse=True)
        return cls(of_row.reshape(-1), np.unique(found[:, 0], return_inverse=True)[1])

    def mean_of_rounds(self, values: Vector, present: NDArray[np.bool_]) -> Vector:
        """Mean per round over the cells that are present; NaN for a round without any."""
        count = np.bincount(self.rounds, weights=present)
        total = np.bincount(self.rounds, weights=np.where(present, values, 0.0))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _means(values: Vector, chosen: NDArray[np.bool_], cells: _Cells) -> Vector:
    """Mean per cell over the rows chosen; NaN where there is none."""
    size = len(cells.rounds)
    count = np.bincount(cells.of_row, weights=chosen, minlength=size)
    total = np.bincount(cells.of_row, weights=np.where(chosen, values, 0.0), minlength=size)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _gaps(
    values: Vector, codes: Codes, cells: _Cells, arm: int, control: int
) -> tuple[Vector, NDArray[np.bool_]]:
    """Arm minus control per cell, and which cells have both."""
    gap = _means(values, codes == arm, cells) - _means(values, codes == control, cells)
    return gap, ~np.isnan(gap)


def _redraws(
    y: Vector, treated: Vector, redrawn: Codes, cells: _Cells, pair: tuple[int, int]
) -> Redraws:
    """Gaps and their variances under each schedule that leaves enough rounds with both arms."""
    found = []
    for codes in redrawn:
        gap_y, both = _gaps(y, codes, cells, *pair)
        gap_w, _ = _gaps(treated, codes, cells, *pair)
        rounds = np.stack([cells.mean_of_rounds(gap, both) for gap in (gap_y, gap_w)])
        rounds = rounds[:, ~np.isnan(rounds[0])]
        k = rounds.shape[1]
        if k < MIN_ROUNDS:
            continue
        spread = np.cov(rounds) / k
        found.append((*rounds.mean(axis=1), spread[0, 0], spread[0, 1], spread[1, 1]))
    return Redraws(*np.array(found, dtype=np.float64).reshape(-1, 5).T)
