"""How strong an unmeasured confounder would have to be, in closed form.

Robustness value and benchmark bounds: Cinelli and Hazlett (2020), Making sense of sensitivity,
sections 4.2 and 4.4. E-value: VanderWeele and Ding (2017), Sensitivity analysis in observational
research, with its conversion of standardised differences to risk ratios (table 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.contrast import StudentT
from measure.incrementality.observational.linear import Partialled, partialled, residual
from measure.incrementality.observational.sample import Sample

Vector = NDArray[np.float64]

NEARLY_ALL = 0.99
"""A covariate that explains half of the outcome leaves less than its like could explain."""


@dataclass(frozen=True, slots=True)
class Strength:
    """Partial R² of a confounder with the treatment, and with the outcome given treatment."""

    treatment: float
    outcome: float

    def bias(self, rest: Partialled) -> float:
        """How far leaving it out of the regression can have moved the effect, in its unit."""
        factor = self.outcome * self.treatment / (1 - self.treatment)
        return rest.classical_se * math.sqrt(factor * rest.dof)


def robustness_value(statistic: float, dof: int, level: float | None = None) -> float:
    """Share of what is left of treatment and of outcome that a confounder would have to explain.

    It would bring the effect to zero, or with ``level`` into an interval that includes zero.
    """
    strength = abs(statistic) / math.sqrt(dof)
    critical = 0.0
    if level is not None:
        critical = StudentT(dof - 1).quantiles(level)[1] / math.sqrt(dof - 1)
    excess = strength - critical
    if excess <= 0:
        return 0.0
    if critical > 0 and strength > 1 / critical:
        return (strength**2 - critical**2) / (1 + strength**2)
    return 0.5 * (math.sqrt(excess**4 + 4 * excess**2) - excess**2)


def benchmarks(sample: Sample) -> dict[str, Strength]:
    """Partial R² of every covariate given the others."""
    found = {}
    for name in sample.covariates:
        if sample.terms[name].shape[1] == 0:
            continue
        rest = [terms for other, terms in sample.terms.items() if other != name]
        without = np.column_stack([np.empty((sample.n, 0)), *rest])
        treated = sample.treated[:, None]
        found[name] = Strength(
            _gain(sample.treated, without, sample.basis),
            _gain(
                sample.outcome,
                np.column_stack([without, treated]),
                np.column_stack([sample.basis, treated]),
            ),
        )
    return found


def _gain(values: Vector, without: Vector, within: Vector) -> float:
    """Share of what ``without`` leaves that ``within`` explains."""
    left = residual(values[:, None], without)[0]
    rest = residual(values[:, None], within)[0]
    total = float((left**2).sum())
    return max(1 - float((rest**2).sum()) / total, 0.0) if total > 0 else 0.0


def times(known: Strength, multiple: float) -> Strength | None:
    """At most as strong as ``multiple`` of a covariate; ``None`` where nothing can be that strong.

    Bounds of Cinelli and Hazlett (2020), section 4.4, one multiple for both relations.
    """
    of_treatment, of_outcome = known.treatment, known.outcome
    if of_treatment >= 1 or of_outcome >= 1 or multiple * of_treatment >= 1:
        return None
    treatment = multiple * of_treatment / (1 - of_treatment)
    shared = multiple * of_treatment**2 / ((1 - multiple * of_treatment) * (1 - of_treatment))
    if treatment >= 1 or shared >= 1:
        return None
    widened = (math.sqrt(multiple) + math.sqrt(shared)) / math.sqrt(1 - shared)
    return Strength(treatment, min(widened**2 * of_outcome / (1 - of_outcome), NEARLY_ALL))


def strongest(sample: Sample, rest: Partialled) -> tuple[str, Strength] | None:
    """The covariate without which the effect would be furthest off."""
    found = {k: s for k, s in benchmarks(sample).items() if s.treatment < 1}
    if not found:
        return None
    name = max(found, key=lambda key: (found[key].bias(rest), key))
    return name, found[name]


def planted(sample: Sample, strength: Strength) -> Vector:
    """A made-up confounder with exactly this strength, that would take effect away, (n,).

    Made of what is left of treatment and of outcome, and of noise, so that adding it to the
    regression moves the effect towards zero by exactly ``strength.bias``.
    """
    rest = partialled(sample)
    treated, outcome = _unit(rest.treated), _unit(rest.error)
    noise = sample.generator("planted confounder").normal(size=(sample.n, 1))
    left = residual(noise, np.column_stack([sample.basis, treated, outcome]))[0][:, 0]
    with_treatment = math.sqrt(strength.treatment) * math.copysign(1.0, rest.effect)
    other = 1 - strength.treatment
    return (
        with_treatment * treated
        + math.sqrt(other * strength.outcome) * outcome
        + math.sqrt(other * (1 - strength.outcome)) * _unit(left)
    ) * math.sqrt(sample.n)


def _unit(values: Vector) -> Vector:
    return values / np.linalg.norm(values)


def e_value(ratio: float) -> float:
    """Risk ratio that a confounder needs with treatment and outcome to explain ``ratio`` away."""
    if ratio <= 0:
        return math.inf
    above = max(ratio, 1 / ratio)
    return above + math.sqrt(above * (above - 1))


def e_values(ratio: float, low: float, high: float) -> tuple[float, float]:
    """E-value of a risk ratio, and of the end of its interval nearer to one (1: includes one)."""
    if low <= 1 <= high:
        return e_value(ratio), 1.0
    return e_value(ratio), e_value(low if low > 1 else high)


def ratio_of_difference(effect: float, se: float, deviation: float) -> tuple[float, float, float]:
    """A difference of means as an approximate risk ratio with its 95 % interval."""
    size, error = effect / deviation, se / deviation
    centre, width = 0.91 * size, 1.78 * error
    return math.exp(centre), math.exp(centre - width), math.exp(centre + width)
