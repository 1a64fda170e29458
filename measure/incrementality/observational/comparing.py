"""One metric in one arm against control: every estimator, and every attempt to break it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from measure.incrementality.contrast import Contrast, Inference, StudentT, infer
from measure.incrementality.notes import joined
from measure.incrementality.observational import balance, refute, sensitivity
from measure.incrementality.observational.effects import Effects, Fit, Number
from measure.incrementality.observational.identify import Identified
from measure.incrementality.observational.learners import (
    causal_forest,
    double_ml,
    doubly_robust,
    doubly_robust_instrument,
)
from measure.incrementality.observational.linear import (
    first_stage,
    partialled,
    regression,
    two_stage,
)
from measure.incrementality.observational.propensity import overlapping, propensity
from measure.incrementality.observational.sample import Sample
from measure.incrementality.observational.weighting import base_level, weighting
from measure.results import Status

ADJUSTING: Mapping[str, Fit] = {
    "regression": regression,
    "weighting": weighting,
    "double_ml": double_ml,
    "doubly_robust": doubly_robust,
    "causal_forest": causal_forest,
}
INSTRUMENTAL: Mapping[str, Fit] = {
    "two_stage_least_squares": two_stage,
    "doubly_robust_instrument": doubly_robust_instrument,
}
FEWEST = 30
"""Units per arm below which nothing is estimated, for everybody or in a cohort."""
FEWEST_VARYING = 10
"""Units per arm that must differ from the commonest value."""
STRONG_INSTRUMENT = 10.0
"""First-stage F below which there is no estimate (Staiger and Stock 1997)."""
WEAK = 0.05
"""Robustness value below which hardly any confounder is needed."""
AGREEMENT = 2.0
"""Standard errors, of the least certain estimator, between which all estimates must lie."""


@dataclass(frozen=True, slots=True)
class Estimated:
    """An estimator's effects, or why there are none."""

    estimator: str
    status: Status
    note: str = ""
    effects: Effects | None = None


@dataclass(eq=False)
class Compared:
    """What was found for one metric and arm.

    ``sample`` are the units compared, ``base`` the mean outcome without treatment, ``unadjusted``
    the difference of plain means; ``attempts`` are rows of evidence per check code, each naming
    metric, arm and estimator.
    """

    metric: str
    arm: str
    identified: Identified
    sample: Sample
    level: float
    lifts: Literal["delta", "log"] = "delta"
    base: Number | None = None
    unadjusted: float | None = None
    estimated: list[Estimated] = field(default_factory=list)
    attempts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def name(self) -> dict[str, str]:
        """Metric and arm, as every row of evidence has them."""
        return {"metric": self.metric, "arm": self.arm}

    def add(self, code: str, row: Mapping[str, Any], *, held: bool) -> None:
        """Write down one finding of a check."""
        self.attempts.setdefault(code, []).append({**self.name, **row, "held": held})

    def quantile(self, effects: Effects) -> float:
        """Half-width of an interval in standard errors."""
        return StudentT(effects.dof).quantiles(self.level)[1]

    def adjusted(self) -> Iterator[tuple[str, Effects]]:
        """Usable effects of the estimators that hold covariates equal."""
        for one in self.estimated:
            if one.effects is not None and one.estimator in ADJUSTING:
                yield one.estimator, one.effects


def compare_adjusted(found: Compared, estimators: tuple[str, ...]) -> None:
    """Hold the covariates equal, each estimator in its way, on the units that overlap."""
    whole = found.sample
    refusal = refusal_of(whole)
    if refusal is None:
        treated = whole.treated == 1
        found.unadjusted = float(whole.outcome[treated].mean() - whole.outcome[~treated].mean())
        chances = propensity(whole)
        row = balance.overlap(whole, chances)
        found.add("O3", row, held=_overlaps(row))
        found.sample = whole.where(overlapping(chances))
        refusal = refusal_of(found.sample, "among the units that overlap ")
    if refusal is not None:
        found.estimated += [Estimated(name, *refusal) for name in estimators]
        return
    chances = propensity(found.sample)
    found.base = base_level(found.sample, chances)
    for row in balance.balance(found.sample, chances):
        found.add("O4", row, held=abs(row["after"]) <= balance.UNBALANCED)
    note = _trimmed_note(whole.n - found.sample.n)
    for name in estimators:
        found.estimated.append(_run(name, ADJUSTING[name], found.sample, note))


def compare_instrumented(found: Compared, sample: Sample) -> None:
    """Use the instruments, and say how strong they are."""
    refusal = refusal_of(sample)
    if refusal is None:
        strength = first_stage(sample)
        found.add("O11", {"first_stage_f": strength}, held=strength >= STRONG_INSTRUMENT)
        if not strength >= STRONG_INSTRUMENT:
            refusal = Status.INSUFFICIENT, _weak_note(strength)
    for name, fit in INSTRUMENTAL.items():
        if refusal is None and name == "doubly_robust_instrument":
            refusal = _no_binary_instrument(sample)
        if refusal is not None:
            found.estimated.append(Estimated(name, *refusal))
            continue
        found.estimated.append(_run(name, fit, sample, "effect on those whom the instrument moves"))


def refute_adjusted(found: Compared) -> None:
    """Every refuter on every estimator, then what a confounder would have to be like."""
    sample = refute.quick(found.sample)
    rest = partialled(sample) if found.base is not None else None
    known = sensitivity.strongest(sample, rest) if rest is not None else None
    refuted: set[str] = set()
    for name, effects in found.adjusted():
        fit = ADJUSTING[name]
        attempt = refute.placebo(sample, fit, name)
        found.add("O5", {"estimator": name, **attempt.figures}, held=attempt.held)
        _try_to_move(found, sample, name, fit, shown=attempt.held)
        if not attempt.held:  # its estimates are withheld, so nothing else may show them
            refuted.add(name)
            continue
        quantile = found.quantile(effects)
        if known is not None and abs(effects.everybody[0]) > quantile * effects.everybody[1]:
            attempt = refute.planted_confounders(sample, fit, known[1], effects, quantile)
            row = {"estimator": name, "as_strong_as": known[0], **attempt.figures}
            found.add("O8", row, held=attempt.held)
        _judge_strength(found, name, effects)
    _judge_agreement(found, refuted)


def refute_instrumented(found: Compared, sample: Sample) -> None:
    """Noise and subsets; placebo and planted confounders are about adjustment."""
    sample = refute.quick(sample)
    for one in found.estimated:
        if one.effects is None or one.estimator not in INSTRUMENTAL:
            continue
        _try_to_move(found, sample, one.estimator, INSTRUMENTAL[one.estimator], shown=True)


def _try_to_move(found: Compared, sample: Sample, name: str, fit: Fit, *, shown: bool) -> None:
    """Noise and subsets, held against a fit on the same data as it is."""
    unchanged = fit(sample)
    attempts = {
        "O6": refute.random_common_cause(sample, fit, unchanged, name),
        "O7": refute.subsets(sample, fit, unchanged, name),
    }
    for code, attempt in attempts.items():
        figures = {**attempt.figures} if shown else {**attempt.figures, "mean": None}
        found.add(code, {"estimator": name, **figures}, held=attempt.held)


def refusal_of(sample: Sample, where: str = "") -> tuple[Status, str] | None:
    """Why a sample cannot be compared, if it cannot."""
    arms = (sample.treated == 1, sample.treated == 0)
    if min(int(arm.sum()) for arm in arms) < FEWEST:
        return Status.INSUFFICIENT, f"fewer than {FEWEST} units {where}in an arm"
    values, counts = np.unique(sample.outcome, return_counts=True)
    if len(values) < 2:
        return Status.DEGENERATE, "the metric does not vary"
    commonest = values[int(np.argmax(counts))]
    if min(int((sample.outcome[arm] != commonest).sum()) for arm in arms) < FEWEST_VARYING:
        note = f"fewer than {FEWEST_VARYING} units in an arm differ from {commonest:g}"
        return Status.INSUFFICIENT, note
    if min(int(arm.sum()) for arm in arms) < 2 * sample.basis.shape[1]:
        return Status.INSUFFICIENT, "fewer than two units in an arm for each column held equal"
    return None


def refusal_in(sample: Sample, mask: NDArray[np.bool_]) -> tuple[Status, str] | None:
    """Why a cohort of a sample cannot be told, if it cannot."""
    part = sample.where(mask)
    bare = Sample(part.outcome, part.treated, {}, part.instruments, {}, part.seed)
    return refusal_of(bare, "of the cohort ")


def inference(found: Compared, effects: Effects, number: Number) -> Inference:
    """Interval and lift of an effect.

    The lift is over the level without treatment; its error adds both errors as if they went
    together (Cauchy and Schwarz), so its interval is never too narrow.
    """
    value, se = number
    relative, relative_se = None, None
    if found.base is not None and found.base[0] != 0:
        level, level_se = found.base
        relative = value / abs(level)
        relative_se = se / abs(level) + abs(value) * level_se / level**2
    contrast = Contrast(value, se, effects.dof, relative, relative_se)
    told = infer(contrast, StudentT(effects.dof), found.level)
    return told if found.base is None else told.with_lift(found.lifts, found.base[0])


def _run(name: str, fit: Fit, sample: Sample, note: str) -> Estimated:
    effects = fit(sample)
    value, se = effects.everybody
    if not (math.isfinite(value) and math.isfinite(se) and se > 0):
        return Estimated(name, Status.DEGENERATE, "nothing is left once the covariates are out")
    return Estimated(name, Status.OK, joined(note, effects.note), effects)


def _overlaps(row: Mapping[str, Any]) -> bool:
    worth = min(row["effective_arm"], row["effective_control"])
    return bool(
        row["trimmed_share"] <= balance.TRIMMED_WARNING and worth >= balance.EFFECTIVE_WARNING
    )


def _trimmed_note(trimmed: int) -> str:
    if not trimmed:
        return ""
    return f"{trimmed:,} {'unit' if trimmed == 1 else 'units'} without a counterpart left out"


def _weak_note(strength: float) -> str:
    return (
        f"the instruments hardly move the treatment: F = {strength:.1f}, must be at least "
        f"{STRONG_INSTRUMENT:.0f}"
    )


def _no_binary_instrument(sample: Sample) -> tuple[Status, str] | None:
    if sample.instruments.shape[1] == 1 and len(np.unique(sample.instruments)) == 2:
        return None
    return Status.INSUFFICIENT, "needs one instrument with two values"


def _judge_strength(found: Compared, name: str, effects: Effects) -> None:
    """Robustness values of the linear and the partialling-out estimate, and an E-value."""
    value, se = effects.everybody
    row: dict[str, Any] = {"estimator": name}
    held = True
    if name == "regression":
        rest = partialled(refute.quick(found.sample))
        statistic = rest.effect / rest.classical_se
        row["robustness_value"] = sensitivity.robustness_value(statistic, rest.dof)
        row["robustness_value_interval"] = sensitivity.robustness_value(
            statistic, rest.dof, found.level
        )
        held = row["robustness_value_interval"] >= WEAK
    elif effects.strength is not None:
        row["robustness_value"] = effects.strength
        held = effects.strength >= WEAK
    deviation = float(found.sample.outcome.std(ddof=1))
    ratio = sensitivity.ratio_of_difference(value, se, deviation)
    row["risk_ratio"] = ratio[0]
    row["e_value"], row["e_value_interval"] = sensitivity.e_values(*ratio)
    found.add("O9", row, held=held)


def _judge_agreement(found: Compared, refuted: Collection[str]) -> None:
    usable = [(name, effects) for name, effects in found.adjusted() if name not in refuted]
    if len(usable) < 2:
        return
    values = [effects.everybody[0] for _, effects in usable]
    widest = max(effects.everybody[1] for _, effects in usable)
    apart = (max(values) - min(values)) / widest
    row = {
        "unadjusted": found.unadjusted,
        "lowest": min(values),
        "highest": max(values),
        "standard_errors": apart,
    }
    found.add("O10", row, held=apart <= AGREEMENT)
