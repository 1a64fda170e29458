"""Hierarchical Bayes over the cohorts of each dimension: which model, which prior, how computed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from measure.errors import InputError
from measure.incrementality.cells import Cells, Finding, Target
from measure.incrementality.contrast import Inference
from measure.incrementality.pooling import marginal, nuts
from measure.incrementality.pooling.exact import draw, overall, pool_exactly
from measure.incrementality.pooling.mixture import drawn_effects, of_draws
from measure.incrementality.pooling.priors import TAU_SHARE, learned_prior
from measure.incrementality.pooling.values import Group, Pooled
from measure.incrementality.runs.pooled_groups import (
    MIN_COHORTS,
    Lineup,
    Pooling,
    lonely,
    observed_of,
    refusal_of,
)
from measure.incrementality.runs.pooled_parts import pool_parts
from measure.incrementality.runs.pooled_together import (
    pool_together,
    refuse_together,
    together,
)
from measure.methods import PriorEffect
from measure.plan import Metric
from measure.results import Status


def pooled_cohorts(cells: Cells) -> Iterator[Finding]:
    """Hierarchical Bayes; at most one run of a sampler per kind of model."""
    _refuse(cells)
    pooling = Pooling(cells)
    models = {metric.name: model_of(cells, metric) for metric in cells.plan.metrics}
    refuse_together(cells, models)
    for metric in cells.plan.metrics:
        if models[metric.name] == "normal":
            prior = _prior(cells, metric)
            for arm in cells.plan.treatments:
                _line_up(pooling, Target(metric.name, arm, None), prior)
    _pool(pooling)
    for model in ("binomial", "hurdle"):
        metrics = [m for m in cells.plan.metrics if models[m.name] == model]
        if metrics:
            pool_parts(pooling, metrics, {m.name: _prior(cells, m) for m in metrics})
    cells.asides["hierarchical_bayes"] = _said(pooling, models)
    for target in cells.targets():
        yield pooling.found[target]


def model_of(cells: Cells, metric: Metric) -> str:
    """The model of one metric: counts and amounts have their own where the plan asks for it."""
    asked, kind = cells.plan.bayes.model, cells.kind(metric)
    if kind == "proportion" and asked != "normal":
        return "binomial"
    return "hurdle" if kind == "mean" and asked == "hurdle" else "normal"


def _refuse(cells: Cells) -> None:
    bayes = cells.plan.bayes
    others = [m for m in cells.plan.metrics if cells.kind(m) != "proportion"]
    if bayes.model == "binomial" and others:
        raise InputError.rule(
            "plan.bayes.model",
            "binomial",
            f"is for proportions, and {others[0].name!r} is a {cells.kind(others[0])}",
            "Use auto: binomial for proportions, normal for the rest.",
        )
    if bayes.keep_draws and cells.draws_folder is None:
        raise InputError.rule(
            "plan.bayes.keep_draws", bayes.keep_draws, "no folder was named", "Add --draws DIR."
        )


def _prior(cells: Cells, metric: Metric) -> PriorEffect | None:
    """Prior of the average effect relative to the control's mean; ``None`` is weak."""
    effect = cells.plan.bayes.effect
    if effect == "weak":
        return None
    if isinstance(effect, PriorEffect):
        return effect
    return learned_prior(cells.past_effects.get(metric.name, ()))


def _line_up(pooling: Pooling, everybody: Target, prior: PriorEffect | None) -> None:
    """Settle everybody and the cells without a usable difference; line up the rest."""
    cells = pooling.cells
    scales = _scales(pooling, everybody, prior)
    pooling.found[everybody] = _overall(cells, everybody, scales)
    if scales is not None and together(cells):
        pool_together(pooling, everybody, scales)
        return
    for cohorts in cells.cohorts.values():
        members = [Target(everybody.metric, everybody.arm, cohort) for cohort in cohorts]
        refused = {t: refusal_of(cells, t) for t in members}
        pooling.found |= {t: found for t, found in refused.items() if found is not None}
        usable = [t for t in members if refused[t] is None]
        if len(usable) >= MIN_COHORTS and scales is not None:
            pooling.lineups.append(Lineup(usable, scales))
        else:
            pooling.found |= {t: lonely(t) for t in usable}


def _scales(
    pooling: Pooling, everybody: Target, prior: PriorEffect | None
) -> tuple[float, float, float] | None:
    """Centre and scale of the average effect's prior and scale of the spread's, metric's unit.

    ``None`` where the control does not vary, or has no mean that a relative prior could refer to.
    """
    control, _ = pooling.cells.pair(everybody)
    sd = math.sqrt(control.variance) if control.n > 1 else 0.0
    base = abs(float(control.mean[0]))
    if not sd > 0 or (prior is not None and not base > 0):
        return None
    found = (0.0, sd, TAU_SHARE * sd)
    if prior is not None:
        found = (prior.mean * base, prior.sd * base, TAU_SHARE * sd)
    names = ("average_effect_mean", "average_effect_sd", "cohort_spread_scale")
    pooling.priors.append(
        {
            "metric": everybody.metric,
            "arm": everybody.arm,
            "relative": None if prior is None else {"mean": prior.mean, "sd": prior.sd},
            **dict(zip(names, found, strict=True)),
        }
    )
    return found


def _overall(cells: Cells, target: Target, scales: tuple[float, float, float] | None) -> Finding:
    plain = cells.difference(target)
    if not isinstance(plain.numbers, Inference):
        return plain
    if scales is None:
        note = "the control arm does not vary, or its mean is zero under a relative prior"
        return Finding(target, Status.DEGENERATE, note)
    posterior = overall(observed_of(cells, target), *scales[:2], cells.plan.ci_level)
    return Finding(target, Status.OK, _posterior_note(plain), posterior, plain.at_look)


def _pool(pooling: Pooling) -> None:
    """Pool all groups of the normal model, exactly or by sampling."""
    cells, lineups = pooling.cells, pooling.lineups
    level, seed = cells.plan.ci_level, cells.plan.seed
    observed = [[observed_of(cells, target) for target in lineup.members] for lineup in lineups]
    groups = [Group.of(some, *lineup.prior) for some, lineup in zip(observed, lineups, strict=True)]
    if cells.plan.bayes.compute == "sample":
        pooled = marginal.pool_by_sampling(groups, observed, level, seed)
    else:
        pooled = pool_exactly(groups, observed, level)
    for lineup, group, each in zip(lineups, groups, pooled, strict=True):
        drawn = _with_effects(cells, group, each)
        notes = [_posterior_note(cells.difference(target)) for target in lineup.members]
        judged = all(cells.difference(target).at_look for target in lineup.members)
        pooling.settle(lineup.members, drawn, notes, at_look=judged)


def _with_effects(cells: Cells, group: Group, pooled: Pooled) -> Pooled:
    """Add draws of effects where draws are wanted; the exact posterior is drawn independently."""
    if cells.draws_folder is None or pooled.complaint:
        return pooled
    seed, shape = cells.plan.seed, (nuts.CHAINS, marginal.ATTEMPTS[0].draws)
    if pooled.draws is None:
        found = draw(group, shape, seed)
        drawn = {"average": found.mean.reshape(shape), "spread": found.tau.reshape(shape)}
    else:
        drawn = dict(pooled.draws)
        found = of_draws(drawn["average"], drawn["spread"])
        shape = drawn["average"].shape
    return replace(pooled, draws={**drawn, "effect": drawn_effects(group, found, shape, seed)})


def _posterior_note(plain: Finding) -> str:
    if not plain.note:
        return ""
    return f"standard error widened to the interval of the {plain.note}"


def _said(pooling: Pooling, models: dict[str, str]) -> dict[str, Any]:
    """What a reader needs to judge the posteriors and to get them again."""
    bayes = pooling.cells.plan.bayes
    sampled = bayes.compute == "sample" or set(models.values()) != {"normal"}
    return {
        "compute": {
            name: "exact" if model == "normal" and bayes.compute == "exact" else "sample"
            for name, model in models.items()
        },
        "models": models,
        "sampler": {"name": nuts.SAMPLER, "chains": nuts.CHAINS} if sampled else None,
        "priors": pooling.priors,
        "sensitivity": pooling.sensitivity,
        "draws": pooling.kept,
        **({"combinations": pooling.combinations} if pooling.combinations else {}),
    }
