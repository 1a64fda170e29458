"""Cohorts of all dimensions in one additive model, over the combinations of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measure.errors import InputError
from measure.incrementality.cells import Cells, Target
from measure.incrementality.contrast import Inference
from measure.incrementality.difference import spread
from measure.incrementality.findings import Finding
from measure.incrementality.kinds.registry import AS_MEANS
from measure.incrementality.pooling.additive import (
    NODES,
    Codes,
    Crossed,
    averages,
    pool_crossed,
    shifts,
)
from measure.incrementality.pooling.values import Pooled, Vector
from measure.incrementality.ratio import linearised, unstable
from measure.incrementality.runs.pooled_groups import MIN_COHORTS, Pooling, lonely, observed_of
from measure.moments import DENOMINATOR, Moments
from measure.results import Status

MIN_UNITS = 2
"""Units per arm below which a combination is left out."""
MOST_COHORTS = 150
"""Cohorts of all dimensions; the equations solved have one unknown for each."""
SHARED_DEGREES = 30
"""Degrees of freedom that the common variance of an arm counts for in every combination."""


def together(cells: Cells) -> bool:
    """Whether dimensions are pooled in one model; with one dimension there is nothing to join."""
    return cells.plan.bayes.dimensions == "together" and len(cells.plan.cohorts) > 1


def refuse_together(cells: Cells, models: Mapping[str, str]) -> None:
    """Refuse options and sizes that one model of all dimensions does not have."""
    if not together(cells):
        return
    bayes, number = cells.plan.bayes, len(cells.plan.cohorts)
    reason, way_out = "", "Use dimensions: apart."
    if set(models.values()) != {"normal"}:
        reason, way_out = "is for the normal model", "Use model: normal, or dimensions: apart."
    elif bayes.compute == "sample":
        reason, way_out = "is integrated, not sampled", "Use compute: exact, or dimensions: apart."
    elif cells.draws_folder is not None:
        reason = "keeps no draws"
    elif number > max(NODES):
        reason = f"is for {max(NODES)} dimensions of cohorts at most; there are {number}"
        way_out = "Name fewer, or use dimensions: apart."
    elif (cohorts := sum(map(len, cells.cohorts.values()))) > MOST_COHORTS:
        reason = f"is for {MOST_COHORTS} cohorts at most; there are {cohorts:,}"
        way_out = "Name coarser dimensions, or use dimensions: apart."
    if reason:
        raise InputError.rule("plan.bayes.dimensions", "together", reason, way_out)


def pool_together(pooling: Pooling, everybody: Target, prior: tuple[float, float, float]) -> None:
    """Settle every cohort of one metric and arm."""
    cells = pooling.cells
    members = {
        dimension: [Target(everybody.metric, everybody.arm, cohort) for cohort in cohorts]
        for dimension, cohorts in cells.cohorts.items()
    }
    everyone = [target for some in members.values() for target in some]
    unfit = {t for t in everyone if not isinstance(cells.difference(t).numbers, Inference)}
    pooling.found |= {t: cells.difference(t) for t in unfit}
    usable = [t for t in everyone if t not in unfit]
    kind = cells.kind(cells.metric(everybody))
    if kind in AS_MEANS:
        note = f"dimensions are not pooled together for a {kind}; use dimensions: apart"
        pooling.found |= {t: Finding(t, Status.INSUFFICIENT, note) for t in usable}
        return
    joint = _Joint.of(cells, everybody)
    pooling.combinations.append(joint.said(everybody))
    if joint.used.sum() < MIN_COHORTS:
        pooling.found |= {t: _left_alone(t, joint) for t in usable}
        return
    _settle(pooling, everyone, usable, joint, prior)


def _settle(
    pooling: Pooling,
    everyone: Sequence[Target],
    usable: Sequence[Target],
    joint: _Joint,
    prior: tuple[float, float, float],
) -> None:
    """Pool, and hand the posteriors over dimension by dimension."""
    cells = pooling.cells
    sizes = tuple(len(cohorts) for cohorts in cells.cohorts.values())
    seen = averages(joint.codes[joint.used], sizes, np.ones(int(joint.used.sum())))
    rows = averages(joint.codes, sizes, joint.population)
    fit = set(usable)
    unknown = {t for t, used, row in zip(everyone, seen, rows, strict=True)
               if t in fit and not (used.any() and row.any())}  # fmt: skip
    pooling.found |= {t: _left_alone(t, joint) for t in unknown}
    places = [place for place, t in enumerate(everyone) if t in fit - unknown]
    asked = [everyone[place] for place in places]
    if not asked:
        return
    crossed = Crossed(
        joint.estimate[joint.used], joint.se[joint.used], joint.codes[joint.used], sizes, *prior
    )
    observed = [observed_of(cells, target) for target in asked]
    pooled, moves = pool_crossed(crossed, rows[places], observed, cells.plan.ci_level)
    start = 0
    for dimension in cells.cohorts:
        own = [t for t in asked if t.cohort is not None and t.cohort.dimension == dimension]
        if own:
            here = slice(start, start + len(own))
            some = Pooled(pooled.posteriors[here], shifts=shifts(moves, here))
            pooling.settle(own, some, [joint.note] * len(own))
            start += len(own)


def _left_alone(target: Target, joint: _Joint) -> Finding:
    if not joint.used.any():
        return Finding(target, Status.INSUFFICIENT, f"nothing to pool: {joint.note}")
    return lonely(target)


@dataclass(frozen=True, slots=True, eq=False)
class _Joint:
    """Combinations of cohorts of one metric and arm; all arrays have a row per combination.

    ``population`` weighs a combination within a cohort; ``used`` tells which have an estimate.
    """

    codes: Codes
    population: Vector
    estimate: Vector
    se: Vector
    used: NDArray[np.bool_]

    @classmethod
    def of(cls, cells: Cells, everybody: Target) -> _Joint:
        """Estimates of all combinations.

        Where a combination has few units its own variance says little, and the luck that makes it
        small moves the mean too. It counts as its degrees of freedom beside a fixed number of those
        of the arm's common variance within combinations (after Smyth 2004, section 3). A variance
        of n units has 2 (n − 1) / (κ − 1) degrees of freedom, κ = 3 + 1.5 skewness² as for a gamma.
        """
        pairs = _pairs(cells, everybody)
        is_ratio = cells.kind(cells.metric(everybody)) == "ratio"
        places = [
            {cohort.value: place for place, cohort in enumerate(cohorts)}
            for cohorts in cells.cohorts.values()
        ]
        codes = [[p[v] for p, v in zip(places, values, strict=True)] for values in pairs]
        n = np.array([[m.n for m in pair] for pair in pairs.values()], dtype=float)
        fit = [not is_ratio or not any(map(unstable, pair)) for pair in pairs.values()]
        used = (n >= MIN_UNITS).all(axis=1) & np.array(fit)
        weights = [
            sum(m.n * (float(m.mean[m.at(DENOMINATOR)]) if is_ratio else 1.0) for m in pair)
            for pair in pairs.values()
        ]
        seen = [[linearised(m) if is_ratio else m for m in pair] for pair in pairs.values()]
        error = _errors(cells, everybody, seen, n, used)
        mean = np.array([[float(m.mean[0]) for m in pair] for pair in seen])
        varies = error > 0
        return cls(
            np.array(codes, dtype=np.int64),
            np.maximum(weights, 0.0),
            mean[:, 1] - mean[:, 0],
            np.sqrt(np.where(varies, error, 1.0)),
            used & varies,
        )

    @property
    def note(self) -> str:
        """How many combinations were left out, if any."""
        left = int((~self.used).sum())
        if not left:
            return ""
        return (
            f"{left:,} of {len(self.used):,} combinations of cohorts left out: fewer than "
            f"{MIN_UNITS} units in an arm, or no variance"
        )

    def said(self, everybody: Target) -> dict[str, object]:
        """How many combinations took part."""
        left = int((~self.used).sum())
        where = {"metric": everybody.metric, "arm": everybody.arm}
        return {**where, "used": len(self.used) - left, "left_out": left}


def _pairs(cells: Cells, everybody: Target) -> dict[tuple[str, ...], tuple[Moments, Moments]]:
    """Moments of control and arm of every combination with a unit in either, by its values."""
    found = cells.combinations
    metric, control, arm = everybody.metric, cells.plan.control, everybody.arm
    empty = Moments.empty(cells.moments.get(metric, control).columns)
    occurring = sorted({values for name, values, _ in found if name == metric})
    pairs = {
        values: (
            found.get((metric, values, control), empty),
            found.get((metric, values, arm), empty),
        )
        for values in occurring
    }
    return {values: pair for values, pair in pairs.items() if pair[0].n + pair[1].n > 0}


def _errors(
    cells: Cells,
    everybody: Target,
    seen: Sequence[Sequence[Moments]],
    n: Vector,
    used: NDArray[np.bool_],
) -> Vector:
    """Squared standard error of every combination's difference, (c,)."""
    kind = cells.kind(cells.metric(everybody))
    own = np.array([[spread(m, kind) if m.n >= MIN_UNITS else 0.0 for m in pair] for pair in seen])
    inside = np.maximum(n - 1, 0.0) * used[:, None]
    common = (own * inside).sum(axis=0) / np.maximum(inside.sum(axis=0), 1.0)
    skewness = np.nan_to_num([m.skewness for m in cells.pair(everybody)])
    degrees = np.maximum(n - 1, 0.0) / (1 + 0.75 * skewness**2)
    variance = (degrees * own + SHARED_DEGREES * common) / (degrees + SHARED_DEGREES)
    return np.asarray((variance / np.maximum(n, 1.0)).sum(axis=1))
