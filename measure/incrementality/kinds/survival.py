"""Retention and duration: two Kaplan–Meier curves up to a horizon, judged like means.

A small holdout is judged by the skewness of units' influences on the estimate; where the normal
approximation fails, influences on the estimate of both arms together are dealt to the arms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.comparison import Comparison
from measure.incrementality.difference import difference
from measure.incrementality.findings import STATUS, Finding, conclude
from measure.incrementality.inputs import CountedEvents
from measure.incrementality.small_holdout import (
    MIN_EVENTS,
    MIN_UNITS,
    Method,
    judge,
    reference_from_counts,
)
from measure.incrementality.survival import Times, influence_of, summary, times_of
from measure.moments import Moments
from measure.results import Status


@dataclass(frozen=True, slots=True, eq=False)
class _Influences:
    """Units at each influence; both of shape (k,)."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]


def curves_as_means(asked: Comparison) -> tuple[Moments, Moments]:
    """Retention or duration of control and arm as means over units."""
    counted = asked.events()
    arms = asked.cell.control, asked.cell.arm
    control, arm = (summary(times_of(counted[name]), asked.metric) for name in arms)
    return control, arm


def difference_in_survival(asked: Comparison) -> Finding:
    """Arm's retention or duration minus control's."""
    counted = asked.events()
    pair = curves_as_means(asked)
    if min(moments.n for moments in pair) >= MIN_UNITS:
        why = _unknown(asked, counted)
        if why:
            return Finding(asked.target, Status.INSUFFICIENT, why)
    judgement = judge(*pair, asked.metric.name, asked.level)
    if judgement.method in (Method.REFUSE, Method.DEGENERATE):
        return Finding(asked.target, STATUS[judgement.method], judgement.reason)
    why = _too_few(asked, counted)
    if why:
        return Finding(asked.target, Status.INSUFFICIENT, why)
    # Greenwood's variance has no n − 1, as that of a proportion has none.
    contrast = difference(*pair, "proportion")
    dealt = _influences(asked, counted) if judgement.method is Method.PERMUTATION else {}
    judged = reference_from_counts(judgement, contrast, dealt, asked.cell, "proportion")
    return conclude(asked.target, contrast, judged, asked.level, asked.look)


def _unknown(asked: Comparison, counted: Mapping[str, CountedEvents]) -> str:
    """Why a curve is not known up to the horizon, or nothing."""
    horizon = float(asked.metric.horizon or 0.0)
    for name in (asked.cell.control, asked.cell.arm):
        times = times_of(counted[name])
        if not times.reaches(horizon):
            return (
                f"nobody in {name} was observed up to the horizon of {horizon:g}: observation "
                f"ends at {times.times[-1]:g}; choose a horizon before that"
            )
    return ""


def _too_few(asked: Comparison, counted: Mapping[str, CountedEvents]) -> str:
    """Why there are too few events, or too few units left at the horizon; or nothing."""
    arms = [times_of(counted[name]) for name in (asked.cell.control, asked.cell.arm)]
    share = min(group.n for group in arms) / sum(group.n for group in arms)
    horizon = float(asked.metric.horizon or 0.0)
    found = {"events": sum(int(group.events.sum()) for group in arms)}
    if asked.metric.kind == "retention":
        found["units observed to the horizon"] = sum(g.observed_until(horizon) for g in arms)
    for what, total in found.items():
        if total * share < MIN_EVENTS:
            return (
                f"{total * share:.1f} of {total:,} {what} are expected in the smaller arm; "
                f"at least {MIN_EVENTS} are needed"
            )
    return ""


def _influences(
    asked: Comparison, counted: Mapping[str, CountedEvents]
) -> Mapping[str, _Influences]:
    """Each arm's units by their influence on the estimate of both arms together."""
    arms = [asked.cell.control, asked.cell.arm]
    together = times_of(*(counted[name] for name in arms))
    found = influence_of(together, asked.metric)
    # Rounded, so that equal influences stay ties.
    values = np.concatenate([found.event, found.censored, [found.beyond]])
    values = np.round(values / np.abs(values).max(), 12)
    return {name: _Influences(values, _units(together, counted[name])) for name in arms}


def _units(together: Times, counted: CountedEvents) -> NDArray[np.int64]:
    """Units of one arm in the order of the influences of both."""
    events, censored = (np.zeros(len(together.times), dtype=np.int64) for _ in range(2))
    at = np.searchsorted(together.times, counted.times)
    events[at], censored[at] = counted.events, counted.censored
    return np.concatenate([events, censored, [counted.beyond]])
