"""Complier effects over all cells; the effect of assignment stands beside each of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from measure.incrementality import compliance
from measure.incrementality.cells import Cells, Finding, Target
from measure.incrementality.compliance import FirstStage
from measure.incrementality.contrast import Inference, StudentT
from measure.incrementality.difference import difference
from measure.incrementality.notes import joined
from measure.incrementality.orthogonal import models
from measure.incrementality.runs.orthogonal import through
from measure.incrementality.small_holdout import Judged, Method, reference_from_counts
from measure.moments import Moments
from measure.results import Status

KINDS = ("mean", "proportion", "count")


def complier_effects(cells: Cells) -> Iterator[Finding]:
    """Wald ratio of each cell, with the interval that its first stage allows."""
    for target in cells.targets():
        yield refused(cells, target) or _complier_effect(cells, target)


def complier_effects_by_cohort(cells: Cells) -> Iterator[Finding]:
    """EconML's instrument of assignment; one cross-fit serves all cohorts."""
    name = "complier_effect_by_cohort"
    for finding in through(models.instrumented, name, refused)(cells):
        numbers = finding.numbers
        if not isinstance(numbers, Inference):
            yield finding
            continue
        stage = compliance.first_stage(*pair(cells, finding.target))
        note = joined(described(stage), finding.note)
        if stage.strength < compliance.STRONG:
            note += f"; first stage F = {stage.strength:.0f}, so the interval may be too short"
        yield replace(finding, note=note, numbers=absolute(numbers))


def absolute(numbers: Inference) -> Inference:
    """Without the lift: the outcome that compliers would have had is not the control's mean."""
    lift = ("relative", "relative_ci_low", "relative_ci_high", "log_low", "log_high")
    gone: dict[str, Any] = dict.fromkeys(lift)
    return replace(numbers, **gone)


def refused(cells: Cells, target: Target) -> Finding | None:
    """Why a cell has no complier effect; ``None`` when it has one."""
    kind = cells.metric(target).kind
    if kind not in KINDS:
        note = f"there are complier effects of {', '.join(KINDS[:-1])} and {KINDS[-1]}, not {kind}"
        return Finding(target, Status.INSUFFICIENT, note)
    plain = cells.difference(target)
    if plain.status is not Status.OK:
        return plain
    stage = compliance.first_stage(*pair(cells, target))
    if stage.strength < compliance.WEAK:
        note = (
            f"assignment hardly moves exposure: {shares(stage)}, F = {stage.strength:.1f}, "
            f"must be at least {compliance.WEAK:.0f}"
        )
        return Finding(target, Status.INSUFFICIENT, note)
    if stage.gap < 0:
        note = f"more units are reached in control than in the arm: {shares(stage)}"
        return Finding(target, Status.INVALID, note)
    return None


def pair(cells: Cells, target: Target) -> tuple[Moments, Moments]:
    """Moments of (outcome, exposure) in control and arm."""
    control, arm = cells.joint(target)
    return compliance.joint(control), compliance.joint(arm)


def _complier_effect(cells: Cells, target: Target) -> Finding:
    control, arm = pair(cells, target)
    stage = compliance.first_stage(control, arm)
    judged, look = _judged(cells, target), cells.look(target)
    if look is not None and judged.reference is not None:
        judged = look.judged(judged)
    if judged.reference is None:
        return Finding(target, Status.INSUFFICIENT, judged.note)
    level = cells.plan.ci_level
    # One look and a large holdout: the ratio has degrees of freedom of its own.
    own = look is None and judged.method is Method.NORMAL
    numbers = compliance.complier_effect(control, arm, level, None if own else judged.reference)
    if numbers is None or not math.isfinite(numbers.se) or numbers.se <= 0:
        return Finding(target, Status.DEGENERATE, f"{target.metric} does not vary")
    notes = [described(stage), judged.note]
    if stage.strength < compliance.STRONG:
        reference = judged.reference
        interval = compliance.anderson_rubin(control, arm, level, reference)
        if interval is None:
            note = f"no bounded interval at {level:.0%}: F = {stage.strength:.1f}"
            return Finding(target, Status.INSUFFICIENT, note)
        plain = compliance.intention_to_treat(control, arm, "mean", level)
        p_value = reference.p_value(plain.value / plain.se)
        numbers = replace(numbers, ci_low=interval[0], ci_high=interval[1], p_value=p_value)
        notes.insert(1, f"Anderson–Rubin interval, first stage F = {stage.strength:.0f}")
    return Finding(target, Status.OK, joined(*notes), numbers, at_look=look is not None)


def _judged(cells: Cells, target: Target) -> Judged:
    """The reference of the outcome where a small holdout asks for permutation."""
    judgement = cells.judgement(target, cells.pair(target))
    metric = cells.metric(target)
    contrast = difference(*cells.pair(target), metric.kind)
    if judgement.method is Method.NORMAL:
        return Judged(Method.NORMAL, "", StudentT(contrast.dof))
    if judgement.method is not Method.PERMUTATION or cells.kind(metric) == "ratio":
        return Judged(Method.REFUSE, judgement.reason, None)
    asked = cells.comparison(target)
    return reference_from_counts(judgement, contrast, asked.values(), asked.cell, metric.kind)


def described(stage: FirstStage) -> str:
    """One- or two-sided non-compliance, in words."""
    if math.isinf(stage.strength):
        return "everybody was reached as assigned"
    if stage.control == 0:
        kind = "one-sided non-compliance"
    elif stage.arm == 1:
        kind = "one-sided non-compliance in control"
    else:
        kind = "two-sided non-compliance, nobody assumed to do the opposite"
    return f"{kind}: {shares(stage)}"


def shares(stage: FirstStage) -> str:
    """Share of units reached in both arms."""
    return f"reached {_percent(stage.arm)} of the arm and {_percent(stage.control)} of control"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if 0 < share < 0.1 else f"{100 * share:.1f} %"
