"""Quantiles: the difference of two, its interval from ranks alone, so that no shape is assumed."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from measure.incrementality.comparison import Comparison
from measure.incrementality.contrast import Contrast, Inference, Reference, StudentT, infer
from measure.incrementality.findings import STATUS, Finding
from measure.incrementality.quantile import (
    Ordered,
    deviation_of,
    difference_within,
    units_needed,
)
from measure.incrementality.small_holdout import MIN_UNITS, Judged, Method
from measure.moments import Moments
from measure.results import Status


def quantiles_as_means(asked: Comparison) -> tuple[Moments, Moments]:
    """The quantiles of control and arm as means over units."""
    z = StudentT(math.inf).quantiles(asked.level)[1]
    control, arm = (ordered.summary(asked.metric.name, z) for ordered in _ordered(asked))
    return control, arm


def difference_in_quantiles(asked: Comparison) -> Finding:
    """Arm's quantile minus control's."""
    control, arm = _ordered(asked)
    smaller = min(control.n, arm.n)
    if smaller < MIN_UNITS:
        units = "1 unit" if smaller == 1 else f"{smaller} units"
        note = f"{units} in the smaller arm; at least {MIN_UNITS} are needed"
        return Finding(asked.target, Status.INSUFFICIENT, note)
    judged = Judged(Method.NORMAL, "", StudentT(math.inf))
    if asked.look is not None:
        judged = asked.look.judged(judged)
    if judged.reference is None:
        return Finding(asked.target, STATUS[judged.method], judged.note)
    z = judged.reference.quantiles(asked.level)[1]
    if not (control.bounded(z) and arm.bounded(z)):
        return Finding(asked.target, Status.INSUFFICIENT, _too_few(asked, smaller, z))
    contrast = _contrast(control, arm, z)
    if contrast.value == 0 and contrast.se == 0:
        note = (
            f"the {_percentile(control.q)} of {asked.metric.name} is {control.value:g} in both "
            "arms, and so is all that their intervals hold"
        )
        return Finding(asked.target, Status.DEGENERATE, note)
    numbers = _inference((control, arm), contrast, judged.reference, asked.level)
    return Finding(asked.target, Status.OK, judged.note, numbers, at_look=asked.look is not None)


def _ordered(asked: Comparison) -> tuple[Ordered, Ordered]:
    counted, q = asked.values(), float(asked.metric.quantile or 0.5)
    return Ordered(counted[asked.cell.control], q), Ordered(counted[asked.cell.arm], q)


def _contrast(control: Ordered, arm: Ordered, z: float) -> Contrast:
    """Difference and lift, the errors of the two quantiles combined by the delta method."""
    base, value = control.value, arm.value
    errors = control.error(z), arm.error(z)
    relative = relative_se = log_se = None
    if base != 0:
        relative = (value - base) / abs(base)
        relative_se = math.hypot(errors[1] / base, errors[0] * value / base**2)
    if base > 0 and value > 0:
        log_se = math.hypot(errors[0] / base, errors[1] / value)
    return Contrast(value - base, math.hypot(*errors), math.inf, relative, relative_se, log_se)


def _inference(
    pair: tuple[Ordered, Ordered], contrast: Contrast, reference: Reference, level: float
) -> Inference:
    """Interval and p-value from ranks; those of the lift from its standard error."""
    within = partial(difference_within, *pair)
    low, high = within(reference.quantiles(level)[1])
    p_value = reference.p_value(deviation_of(within, contrast.value))
    # Where values repeat, both intervals may be single values, whose standard error is zero.
    lift = infer(replace(contrast, se=contrast.se or 1.0), reference, level)
    return replace(lift, se=contrast.se, ci_low=low, ci_high=high, p_value=p_value)


def _too_few(asked: Comparison, smaller: int, z: float) -> str:
    from scipy.special import ndtr

    q = float(asked.metric.quantile or 0.5)
    needed = units_needed(q, float(ndtr(-z)))
    return (
        f"{smaller:,} units in the smaller arm; the {_percentile(q)} needs {needed:,} for an "
        "interval"
    )


def _percentile(q: float) -> str:
    """A quantile in words: median, 90th percentile, 99.9th percentile."""
    if q == 0.5:
        return "median"
    number = f"{100 * q:.10g}"
    last = number[-1] if number[-2:] not in ("11", "12", "13") else ""
    return f"{number}{ {'1': 'st', '2': 'nd', '3': 'rd'}.get(last, 'th') } percentile"
