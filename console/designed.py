"""What a design adds to its analysis: draws made again, effects of factors, blocks of time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from console.progress import tell
from measure.errors import DataError, InputError
from measure.results import Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from designs.assignment.switchback import Block
    from designs.experiment import Experiment
    from measure.engine.connection import Engine
    from measure.engine.units import UnitTable
    from measure.incrementality.rerandomized import Redrawn
    from measure.incrementality.switchback import Laid
    from measure.plan import AnalysisPlan
    from measure.results import Analysis

REPLICATES = 499
"""Re-drawn assignments; each of them takes as many draws as the real one."""
FEWER = 199
"""The same above :data:`MANY` units, where each takes seconds."""
MANY = 2_000
SCHEDULES = 999
"""Re-drawn schedules of a switchback."""


def judged_by_redrawing(
    engine: Engine, experiment: Experiment, units: UnitTable, analysis: Analysis
) -> Analysis:
    """P-values and intervals of a balanced experiment from drawing its population again.

    What is drawn again must first give the very arms on record: when attributes were changed
    since, it does not, and the usual intervals stay, with a note that they are too wide.
    """
    from measure.incrementality.rerandomized import TOO_WIDE, noted, rerandomized

    try:
        redrawn = _redrawn(engine, experiment)
    except InputError as error:
        reason = str(error).rstrip(".")
        return noted(analysis, f"{TOO_WIDE}; it could not be drawn again: {reason}")
    tell("")
    return rerandomized(analysis, units, experiment.analysis_plan(), redrawn)


def with_factors(experiment: Experiment, units: UnitTable, analysis: Analysis) -> Analysis:
    """The analysis with main effects and interactions of a factorial design."""
    from designs.assignment.steps import arm_named
    from measure.incrementality.checks import invalid_metrics
    from measure.incrementality.factorial import factorial_effects, layout_of

    if analysis.status is Status.INVALID:
        return analysis
    plan, moments = experiment.analysis_plan(), units.moments()
    factors = {name: tuple(levels) for name, levels in experiment.factors.items()}
    layout = layout_of(factors, lambda levels: arm_named(list(levels)), experiment.control)
    withheld = invalid_metrics(plan, moments)
    effects = factorial_effects(moments, plan, layout)
    return replace(analysis, factorial=tuple(e for e in effects if e.metric not in withheld))


def analyse_switchback(
    engine: Engine, experiment: Experiment, base: Path
) -> tuple[Analysis, str | None]:
    """Analyse blocks that were brought along, one row per unit and block; and the file's hash.

    The source has columns ``unit`` and ``block`` as ``truelift schedule`` writes them. Blocks may
    be missing; one that the schedule does not have, or has with another arm, is refused.
    """
    from measure.engine.units import open_source
    from measure.incrementality import analyze
    from measure.incrementality.switchback import analyze_blocks

    source = experiment.source
    if source is None:
        raise InputError(f"{experiment.key}: source: is missing, so there are no blocks to read.")
    plan = _plan_of_blocks(experiment)
    named = plan.model_copy(update={"cohorts": ("unit", "block")})
    rows = open_source(engine, source, named, base).rows(
        ["unit", "block", *(metric.name for metric in plan.metrics)]
    )
    units = open_source(engine, source, plan, base)
    usual = analyze(units, plan, experiment=experiment.key)
    return analyze_blocks(usual, plan, _laid(experiment, rows)), units.data_hash


def _plan_of_blocks(experiment: Experiment) -> AnalysisPlan:
    """The plan, as long as it asks for nothing that blocks of time cannot give."""
    plan = experiment.analysis_plan()
    asked = {
        "cohorts": plan.cohorts,
        "covariates": plan.covariates,
        "plan.sequential": plan.sequential,
        "plan.estimators": tuple(n for n in plan.estimators if n != "difference"),
    }
    for name, value in asked.items():
        if value:
            raise InputError(f"{experiment.key}: {name} has no meaning in a switchback. Remove it.")
    kinds = [m.name for m in plan.metrics if m.kind not in ("mean", "proportion", "count")]
    if kinds:
        raise InputError(f"{experiment.key}: metric {kinds[0]!r} must be a mean per block.")
    return plan


def _laid(experiment: Experiment, rows: pa.Table) -> Laid:
    """The blocks as codes, with the arms of re-drawn schedules; they must be those scheduled."""
    import numpy as np

    from designs.assignment.switchback import redrawn_schedules, round_of, switchback_schedule
    from measure.incrementality.switchback import Laid

    scheduled = {(b.unit, str(b.block)): b for b in switchback_schedule(experiment)}
    pairs = list(zip(rows["unit"].to_pylist(), rows["block"].to_pylist(), strict=True))
    _require_scheduled(experiment, pairs, rows["arm"].to_pylist(), scheduled)
    arms = {arm: code for code, arm in enumerate(experiment.analysis_plan().arms)}
    blocks = [scheduled[pair] for pair in pairs]
    redrawn = [
        [arms[schedule[block.unit, block.block]] for block in blocks]
        for schedule in redrawn_schedules(experiment, SCHEDULES)
    ]
    units = sorted({block.unit for block in blocks})
    length = len(round_of(experiment))
    return Laid(
        outcomes={
            metric.name: rows[metric.name].cast("float64").to_numpy()
            for metric in experiment.metrics
        },
        arms=np.array([arms[block.arm] for block in blocks]),
        units=np.array([units.index(block.unit) for block in blocks]),
        rounds=np.array([block.block // length for block in blocks]),
        redrawn=np.array(redrawn),
    )


def _require_scheduled(
    experiment: Experiment,
    pairs: list[tuple[str, str]],
    arms: list[str],
    scheduled: Mapping[tuple[str, str], Block],
) -> None:
    """Refuse rows that are not blocks of the schedule, each at most once, under its arm."""
    seen: set[tuple[str, str]] = set()
    for pair, arm in zip(pairs, arms, strict=True):
        block = scheduled.get(pair)
        where = f"{experiment.key}: unit {pair[0]!r}, block {pair[1]}"
        if block is None:
            raise DataError(f"{where} is not in the schedule. Compare with `truelift schedule`.")
        if pair in seen:
            raise DataError(f"{where} is there twice; one row per unit and block is needed.")
        if block.arm != arm:
            raise DataError(f"{where} has arm {arm!r}, but {block.arm!r} was scheduled.")
        seen.add(pair)


def _redrawn(engine: Engine, experiment: Experiment) -> Redrawn:
    from designs.assignment.balance import redrawn, replayed
    from designs.assignment.small import small_population
    from measure.incrementality.rerandomized import Redrawn

    table = engine.table("assignments")
    mine = table.filter(table.experiment == experiment.key).select("unit_id", "arm")
    recorded = {row["unit_id"]: row["arm"] for row in engine.fetch(mine).to_pylist()}
    small = small_population(engine, experiment, list(recorded))
    if replayed(experiment, small, 0) != tuple(recorded[unit] for unit in small.unit_ids):
        raise InputError(
            f"{experiment.key}: the draw now gives other arms than those on record, so attributes "
            "of customers were changed since."
        )
    replicates = FEWER if len(recorded) > MANY else REPLICATES
    codes = redrawn(
        experiment,
        small,
        replicates,
        lambda done: tell(f"drawing assignments again, {done} of {replicates}"),
    )
    return Redrawn(small.unit_ids, sorted(experiment.arms), codes)
