"""Retention and mean time to an event from censored times: Kaplan–Meier in two numbers.

With d events among Y units still observed at each time (Kaplan and Meier 1958):

=============  ====================================================================================
``retention``  the curve at the horizon, S(h); variance S² Σ d / (Y (Y − d)) (Greenwood 1926)
``duration``   the area under the curve up to the horizon, the restricted mean time (RMST); variance
               Σ A² d / (Y (Y − d)), A the area from the event on (Klein and Moeschberger 2003, 4.5)
=============  ====================================================================================

Both are sums over units: a unit's influence is the derivative of the estimate by its weight. The
influences add up to zero, and their squares to n² times the variance above, so that whatever is
known of means applies: Welch's degrees of freedom, the lift by the delta method, the judgement of
small holdouts and the studentized permutation (Ditzhaus, Yu and Xu 2023, Statistics in Medicine
42). Without censoring retention is exactly a proportion, and duration the mean of min(time, h).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.inputs import CountedEvents
from measure.moments import Moments
from measure.plan import Metric

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """Units of one group by time: ``times``, ``events`` and ``censored`` (k,), times ascending."""

    times: Vector
    events: Counts
    censored: Counts
    beyond: int

    @property
    def n(self) -> int:
        """Units in all."""
        return int(self.events.sum() + self.censored.sum()) + self.beyond

    @property
    def at_risk(self) -> Counts:
        """Units still observed just before each time (k,)."""
        left = self.events + self.censored
        before: Counts = self.n - np.cumsum(left) + left
        return before

    @property
    def survival(self) -> Vector:
        """The Kaplan–Meier curve after each time (k,)."""
        curve: Vector = np.cumprod(1 - self.events / self.at_risk, dtype=np.float64)
        return curve

    def observed_until(self, horizon: float) -> int:
        """Units seen without the event at the horizon or later."""
        return int(self.censored[self.times >= horizon].sum()) + self.beyond

    def reaches(self, horizon: float) -> bool:
        """Whether the curve is known at the horizon: somebody was observed, or nobody was left."""
        if self.beyond or (len(self.times) and self.times[-1] >= horizon):
            return True
        return bool(len(self.times)) and int(self.events[-1]) == int(self.at_risk[-1])


def times_of(counted: CountedEvents, *others: CountedEvents) -> Times:
    """The times of one group, or of several put together."""
    groups = (counted, *others)
    times = np.unique(np.concatenate([group.times for group in groups]))
    events, censored = (np.zeros(len(times), dtype=np.int64) for _ in range(2))
    for group in groups:
        at = np.searchsorted(times, group.times)
        np.add.at(events, at, group.events)
        np.add.at(censored, at, group.censored)
    return Times(times, events, censored, sum(int(group.beyond) for group in groups))


@dataclass(frozen=True, slots=True, eq=False)
class Influence:
    """An estimate and each unit's influence: of an event or an end at a time (k,), or beyond."""

    estimate: float
    event: Vector
    censored: Vector
    beyond: float


def influence_of(group: Times, metric: Metric) -> Influence:
    """Retention or duration of a group, by the metric's kind, up to its horizon."""
    horizon = float(metric.horizon or 0.0)
    survival = group.survival
    ends = np.append(group.times[1:], horizon)
    areas = survival * (ends - group.times)
    if metric.kind == "retention":
        estimate = float(survival[-1]) if len(survival) else 1.0
        weight = np.full(len(survival), estimate)
    else:
        first = float(group.times[0]) if len(survival) else horizon
        estimate = first + float(areas.sum())
        weight = np.cumsum(areas[::-1])[::-1]
    at_risk = group.at_risk
    left = at_risk - group.events
    # Where nobody is left the curve ends at zero and has no area: the weight is zero as well.
    per_event = group.n * np.divide(weight, left, out=np.zeros_like(weight), where=left > 0)
    stayed = np.cumsum(per_event * group.events / at_risk)
    return Influence(estimate, stayed - per_event, stayed, float(stayed[-1]) if len(stayed) else 0)


def summary(group: Times, metric: Metric) -> Moments:
    """The estimate as a mean over units, whose variance over n is that of the estimate."""
    if group.n == 0:
        return Moments.empty((metric.name,))
    found = influence_of(group, metric)
    values = np.concatenate([found.event, found.censored, [found.beyond]])
    units = np.concatenate([group.events, group.censored, [group.beyond]]).astype(float)
    return Moments(
        (metric.name,),
        group.n,
        np.array([found.estimate]),
        np.array([[units @ values**2]]),
        np.array([units @ values**3]),
    )
