"""An analysis judged by re-drawn assignments, where units were dealt together and not by coins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from measure.incrementality import cuped
from measure.incrementality.cells import Cells, Target
from measure.incrementality.contrast import Contrast, Inference
from measure.incrementality.difference import difference
from measure.incrementality.guardrails import judge_guardrails
from measure.incrementality.inputs import Units
from measure.incrementality.multiplicity import families
from measure.incrementality.notes import joined
from measure.incrementality.randomization import (
    Randomization,
    infer_randomized,
    randomization,
    with_numbers,
    without_numbers,
)
from measure.plan import AnalysisPlan, Metric
from measure.results import Analysis, Estimate, Outcome, Status

JUDGED = frozenset({"difference", "cuped"})
"""Estimators that re-drawn assignments can judge."""
ADJUSTING = frozenset({"cuped"})
KINDS = frozenset({"mean", "proportion", "count"})
TOO_WIDE = (
    "the interval does not know that the arms were balanced: it is too wide, never too narrow"
)

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Redrawn:
    """Assignments by the procedure of the real one, which is not among them.

    ``codes`` (r, n) number the ``arms`` and stand for ``unit_ids`` (n).
    """

    unit_ids: Sequence[str]
    arms: Sequence[str]
    codes: Codes


def rerandomized(
    analysis: Analysis, units: Units, plan: AnalysisPlan, redrawn: Redrawn
) -> Analysis:
    """The analysis with p-values and intervals of ``difference`` and ``cuped`` from re-drawing.

    Also estimates that were too small for the usual methods get their numbers, because the test
    is exact. ``units`` must have ids. Estimates of other methods, of other kinds of metrics and of
    sequential plans keep theirs, with a note; an invalid analysis stays as it is, and so does
    ``cuped`` where covariates differ between arms as chance would not.
    """
    if analysis.status is Status.INVALID:
        return analysis
    cells = Cells(units, plan)
    codes = _in_order_of_rows(units, plan, redrawn)
    late = any(c.code == "X5" and c.outcome is Outcome.FLAGGED for c in analysis.checks)
    kept = ADJUSTING if late else frozenset()
    found = tuple(
        one if one.estimator in kept else _judged(cells, codes, one) for one in analysis.estimates
    )
    inference = {"inference": "randomization", "redrawn_assignments": len(redrawn.codes)}
    return replace(
        analysis,
        estimates=found,
        multiplicity=families(found, plan),
        guardrails=judge_guardrails(found, plan),
        provenance={**analysis.provenance, **inference},
    )


def noted(analysis: Analysis, note: str) -> Analysis:
    """The analysis with a note at every estimate that has numbers."""
    found = tuple(_with_note(estimate, note) for estimate in analysis.estimates)
    return replace(analysis, estimates=found)


def _in_order_of_rows(units: Units, plan: AnalysisPlan, redrawn: Redrawn) -> Codes:
    """The re-drawn codes with columns as the rows come, and arms numbered as the plan does."""
    place = {unit: i for i, unit in enumerate(redrawn.unit_ids)}
    ids = units.rows(["id"])["id"].to_pylist()
    number = np.array([list(plan.arms).index(arm) for arm in redrawn.arms], dtype=np.int64)
    ordered: Codes = number[redrawn.codes[:, [place[unit] for unit in ids]]]
    return ordered


def _judged(cells: Cells, codes: Codes, estimate: Estimate) -> Estimate:
    plan = cells.plan
    metric = plan.metric(estimate.metric)
    usual = (
        estimate.estimator not in JUDGED or metric.kind not in KINDS or plan.sequential is not False
    )
    if usual:
        return _with_note(estimate, TOO_WIDE)
    if estimate.status not in (Status.OK, Status.INSUFFICIENT):
        return estimate
    outcomes, contrast = _outcome(cells, estimate, metric)
    if contrast is None:
        return estimate
    target = _target(estimate)
    mine = cells.rows.members(target.cohort)
    order = list(plan.arms)
    test = randomization(
        np.where(mine, outcomes, np.nan),
        cells.rows.arm,
        codes,
        order.index(estimate.arm),
        order.index(plan.control),
        metric.kind,
    )
    numbers = None if test is None else infer_randomized(contrast, test, plan.ci_level)
    if numbers is not None:
        base = float(cells.pair(target)[0].mean[0])
        numbers = numbers.with_lift(plan.relative, base)
    return _told(estimate, test, numbers)


def _outcome(
    cells: Cells, estimate: Estimate, metric: Metric
) -> tuple[NDArray[np.float64], Contrast | None]:
    """Outcome per row, adjusted where the estimator adjusts, and the contrast of its arms."""
    target = _target(estimate)
    outcomes, pair = cells.rows.outcomes[metric.name], cells.pair(target)
    if min(moments.n for moments in pair) < 2 or all(m.comoment[0, 0] <= 0 for m in pair):
        return outcomes, None
    if estimate.estimator == "difference" or not cells.plan.covariates:
        known = estimate.estimator == "difference"
        return outcomes, difference(*pair, metric.kind) if known else None
    everybody = cells.pair(Target(metric.name, estimate.arm, None))
    fitted = cuped.fit(*everybody)
    explained = (cells.rows.covariates - fitted.centre) @ fitted.theta
    return outcomes - explained, cuped.cuped_difference(*pair, fitted)


def _told(estimate: Estimate, test: Randomization | None, numbers: Inference | None) -> Estimate:
    """The estimate with the numbers of the test, or without any."""
    if numbers is not None and test is not None:
        note = f"p-value and interval from {test.draws:,} re-drawn assignments"
        return with_numbers(estimate, numbers, note)
    if estimate.status is Status.INSUFFICIENT:
        return estimate
    return without_numbers(
        estimate, "re-drawn assignments are too few or too alike for an interval"
    )


def _with_note(estimate: Estimate, note: str) -> Estimate:
    if estimate.status is not Status.OK:
        return estimate
    return replace(estimate, note=joined(estimate.note, note))


def _target(estimate: Estimate) -> Target:
    return Target(estimate.metric, estimate.arm, estimate.cohort)
