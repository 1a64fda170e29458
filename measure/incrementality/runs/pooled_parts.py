"""Pooled cohorts by counts, and by counts and amounts: proportions, and revenue in two parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from measure.incrementality.cells import Cells, Finding, Target
from measure.incrementality.inputs import CountedValues
from measure.incrementality.pooling.outcomes import (
    MIN_BUYERS,
    Parts,
    cohorts,
    everybody,
    misfit,
)
from measure.incrementality.pooling.paired import (
    MOST_ROWS,
    Amounts,
    Counts,
    Pairs,
    Priors,
    sample_pairs,
)
from measure.incrementality.pooling.priors import (
    LEVEL_SCALE,
    LEVEL_SPREAD,
    LOG_AMOUNT_SPREAD,
    LOGIT_SPREAD,
    WEAK_LOG_SCALE,
)
from measure.incrementality.pooling.values import Posterior
from measure.incrementality.runs.pooled_groups import MIN_COHORTS, Pooling, lonely
from measure.methods import PriorEffect
from measure.plan import Metric
from measure.results import Status


def pool_parts(
    pooling: Pooling, metrics: Sequence[Metric], effects: Mapping[str, PriorEffect | None]
) -> None:
    """Settle every cell of metrics of one model; two runs of the sampler at most."""
    lined: list[tuple[list[Target], Parts]] = []
    for metric in metrics:
        for arm in pooling.cells.plan.treatments:
            lined += _line_up(pooling, Target(metric.name, arm, None), effects[metric.name])
    if not lined:
        return
    plan = pooling.cells.plan
    chances = sample_pairs([parts.counts for _, parts in lined], plan.seed)
    amounts: list[Any] = [None] * len(lined)
    if lined[0][1].amounts is not None:
        amounts = list(sample_pairs([p.amounts for _, p in lined if p.amounts], plan.seed + 100))
    for (members, parts), chance, amount in zip(lined, chances, amounts, strict=True):
        pooled = cohorts(chance, amount, parts, plan.ci_level)
        pooling.settle(members, pooled, [""] * len(members))


def _line_up(
    pooling: Pooling, whole: Target, effect: PriorEffect | None
) -> list[tuple[list[Target], Parts]]:
    """Settle everybody and the cohorts that cannot be pooled; return the groups that can."""
    cells = pooling.cells
    refusal = _refusal(cells, whole)
    members = {name: [Target(whole.metric, whole.arm, c) for c in some]
               for name, some in cells.cohorts.items()}  # fmt: skip
    if refusal is not None:
        everything = [whole, *(t for some in members.values() for t in some)]
        pooling.found |= {t: Finding(t, *refusal) for t in everything}
        return []
    overall = _parts(cells, [whole], whole, effect)
    pooling.priors.append(_shown(whole, overall, effect))
    answer = everybody(overall, cells.plan.ci_level, cells.plan.seed)
    pooling.found[whole] = (
        Finding(whole, Status.OK, numbers=answer)
        if isinstance(answer, Posterior)
        else Finding(whole, Status.NOT_CONVERGED, answer)
    )
    lined = []
    for some in members.values():
        usable = [t for t in some if min(m.n for m in cells.pair(t)) > 0]
        known = set(usable)
        pooling.found |= {t: _nobody(t) for t in some if t not in known}
        if len(usable) > MOST_ROWS:
            note = f"more than {MOST_ROWS:,} cohorts; use model: normal"
            pooling.found |= {t: Finding(t, Status.INSUFFICIENT, note) for t in usable}
        elif len(usable) >= MIN_COHORTS:
            lined.append((usable, _parts(cells, usable, whole, effect)))
        else:
            pooling.found |= {t: lonely(t) for t in usable}
    return lined


def _nobody(target: Target) -> Finding:
    return Finding(target, Status.INSUFFICIENT, "an arm has no units here")


def _refusal(cells: Cells, whole: Target) -> tuple[Status, str] | None:
    """Why a metric cannot be modelled in this arm."""
    control, arm = cells.pair(whole)
    if min(control.n, arm.n) == 0:
        return Status.INSUFFICIENT, "an arm has no units with a value"
    if cells.kind(cells.metric(whole)) == "proportion":
        varies = (control + arm).comoment[0, 0] > 0
        nothing = f"{whole.metric} does not vary, so there is nothing to test"
        return None if varies else (Status.DEGENERATE, nothing)
    values = _values(cells, whole)
    if any(side.values.size and side.values.min() < 0 for side in values):
        return Status.INVALID, "holds negative amounts; use model: normal"
    buyers = [float(side.counts[side.values > 0].sum()) for side in values]
    if min(buyers) < MIN_BUYERS:
        return Status.INSUFFICIENT, f"fewer than {MIN_BUYERS} buyers in an arm"
    amounts = _amounts([values])
    if not float(amounts.squares.sum()) > 0:
        return Status.DEGENERATE, "all buyers paid the same; use the share of buyers"
    spent = (float(m.mean[0]) * m.n / b for m, b in zip((control, arm), buyers, strict=True))
    complaint = misfit(amounts, (next(spent), next(spent)))
    return (Status.INVALID, complaint) if complaint else None


def _parts(
    cells: Cells, members: Sequence[Target], whole: Target, effect: PriorEffect | None
) -> Parts:
    """Counts, and amounts where the metric is one, of cohorts with their priors."""
    if cells.kind(cells.metric(whole)) == "proportion":
        counts = _successes(cells, members)
        return Parts(Pairs(counts, _count_priors(_successes(cells, [whole]), effect, 1.0)))
    values = [_values(cells, target) for target in members]
    overall = [_values(cells, whole)]
    counts, amounts = _buyers(values), _amounts(values)
    return Parts(
        Pairs(counts, _count_priors(_buyers(overall), effect, 0.5)),
        Pairs(amounts, _amount_priors(_amounts(overall), effect)),
    )


def _successes(cells: Cells, members: Sequence[Target]) -> Counts:
    pairs = [cells.pair(target) for target in members]
    n = np.array([[float(m.n) for m in pair] for pair in pairs]).T
    y = np.array([[float(m.mean[0]) * m.n for m in pair] for pair in pairs]).T
    return Counts(n, np.rint(y))


def _values(cells: Cells, target: Target) -> list[CountedValues]:
    found = cells.comparison(target).values()
    return [found[cells.plan.control], found[target.arm]]


def _buyers(values: Sequence[Sequence[CountedValues]]) -> Counts:
    n = np.array([[float(side.counts.sum()) for side in pair] for pair in values]).T
    y = np.array([[float(side.counts[side.values > 0].sum()) for side in pair] for pair in values])
    return Counts(n, y.T)


def _amounts(values: Sequence[Sequence[CountedValues]]) -> Amounts:
    found = np.array([[_log_moments(side) for side in pair] for pair in values])
    return Amounts(*(found[:, :, place].T for place in range(3)))


def _log_moments(side: CountedValues) -> tuple[float, float, float]:
    """Number, mean and centred sum of squares of the logs of positive values."""
    positive = side.values > 0
    logs, counts = np.log(side.values[positive]), side.counts[positive].astype(float)
    n = float(counts.sum())
    mean = float(counts @ logs) / n if n else 0.0
    return n, mean, float(counts @ (logs - mean) ** 2)


def _count_priors(whole: Counts, effect: PriorEffect | None, part: float) -> Priors:
    """Of logits. ``part`` is the share of a relative effect that falls to buying at all."""
    base = (float(whole.y[0].sum()) + 0.5) / (float(whole.n[0].sum()) + 1)
    centre, scale = 0.0, WEAK_LOG_SCALE
    if effect is not None:
        risen = min(base * math.exp(part * math.log1p(effect.mean)), (1 + base) / 2)
        centre = _logit(risen) - _logit(base)
        scale = math.sqrt(part) * effect.sd / (1 + effect.mean) / (1 - risen)
    spread = (LEVEL_SPREAD, LOGIT_SPREAD)
    return Priors((_logit(base), centre), (LEVEL_SCALE, scale), spread)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def _amount_priors(whole: Amounts, effect: PriorEffect | None) -> Priors:
    """Of log amounts: half of a relative effect falls to them."""
    centre, scale = 0.0, WEAK_LOG_SCALE
    if effect is not None:
        centre = 0.5 * math.log1p(effect.mean)
        scale = math.sqrt(0.5) * effect.sd / (1 + effect.mean)
    spread = (LEVEL_SPREAD, LOG_AMOUNT_SPREAD)
    return Priors((float(whole.mean[0, 0]), centre), (LEVEL_SCALE, scale), spread)


def _shown(whole: Target, parts: Parts, effect: PriorEffect | None) -> dict[str, Any]:
    """Priors as a reader sees them."""
    found: dict[str, Any] = {
        "metric": whole.metric,
        "arm": whole.arm,
        "relative": None if effect is None else {"mean": effect.mean, "sd": effect.sd},
    }
    named: dict[str, Pairs | None] = {"log_odds": parts.counts, "log_amount": parts.amounts}
    for name, pairs in named.items():
        if pairs is not None:
            found[f"{name}_ratio_mean"] = pairs.priors.centre[1]
            found[f"{name}_ratio_sd"] = pairs.priors.scale[1]
            found[f"{name}_spread_scale"] = pairs.priors.spread[1]
    return found
