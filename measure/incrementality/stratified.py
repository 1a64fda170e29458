"""One analysis from several, when the designed shares of the arms differ between strata.

Pooling raw units would mix who is in a stratum with what the arm did (Simpson's paradox). Each
stratum is analysed with its own designed shares; effects are then averaged with the strata's
shares of the population as weights, the post-stratified difference in means (Miratrix, Sekhon and
Yu 2013, JRSS B 75:369-396).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from measure.errors import InputError
from measure.incrementality.analyze import analyze
from measure.incrementality.contrast import Contrast, StudentT, infer
from measure.incrementality.guardrails import judge_guardrails
from measure.incrementality.inputs import Units
from measure.incrementality.multiplicity import families
from measure.plan import AnalysisPlan
from measure.results import Analysis, Check, Cohort, Estimate, Outcome, Status

POOLABLE = frozenset({"difference", "cuped"})
"""Estimators whose effects and standard errors may be averaged over strata."""

_WORST_FIRST = (Outcome.FAILED, Outcome.FLAGGED, Outcome.PASSED, Outcome.NOT_APPLICABLE)
_Cell = tuple[str, str, str, Cohort | None]


def analyze_strata(
    units_of: Callable[[str, AnalysisPlan], Units],
    plan: AnalysisPlan,
    shares: Mapping[str, Mapping[str, float]],
    *,
    experiment: str,
) -> Analysis:
    """Analyse each stratum under its designed shares, and pool.

    ``shares`` has the designed share of each arm per stratum; ``units_of`` is given the name of a
    stratum and its plan, and returns its units. Everything is keyed by the strata's names, which
    appear in checks and notes. :class:`InputError` for estimators that cannot be pooled.
    """
    unknown = [name for name in plan.estimators if name not in POOLABLE]
    if unknown:
        rule = "cannot be averaged over strata with different shares"
        raise InputError.rule("estimator", unknown[0], rule, "Use difference or cuped.")
    if plan.sequential is not False:
        # Strata fill at their own pace, so no share of planned_units says where they are.
        rule = "has no boundary for an average over strata with different shares"
        raise InputError.rule("plan.sequential", plan.sequential.method, rule, "Use false.")
    if plan.discovery:
        rule = "cannot search units whose shares differ by stratum"
        raise InputError.rule("plan.discovery", plan.discovery, rule, "Use false.")
    found: dict[str, Analysis] = {}
    for name, arms in shares.items():
        own = plan.model_copy(update={"arms": {arm: arms[arm] for arm in plan.arms}})
        found[name] = analyze(units_of(name, own), own, experiment=experiment)
    return pooled(found, plan)


def pooled(strata: Mapping[str, Analysis], plan: AnalysisPlan) -> Analysis:
    """One analysis of all strata; a stratum without a usable estimate leaves none for the whole."""
    estimates = _pooled_estimates(strata)
    analyses = list(strata.values())
    invalid = any(analysis.status is Status.INVALID for analysis in analyses)
    provenance = {**analyses[0].provenance, "plan_hash": plan.content_hash()}
    provenance["strata"] = {name: one.provenance["plan_hash"] for name, one in strata.items()}
    return Analysis(
        experiment=analyses[0].experiment,
        status=Status.INVALID if invalid else Status.OK,
        checks=_worst_checks(strata),
        estimates=estimates,
        multiplicity=families(estimates, plan),
        guardrails=judge_guardrails(estimates, plan),
        provenance=provenance,
    )


def _pooled_estimates(strata: Mapping[str, Analysis]) -> tuple[Estimate, ...]:
    """Every cell that some stratum has, in the order in which they first appear."""
    cells: dict[_Cell, list[tuple[str, Estimate]]] = defaultdict(list)
    sizes: dict[_Cell, int] = {}
    for name, analysis in strata.items():
        for one in analysis.estimates:
            cells[one.metric, one.arm, one.estimator, one.cohort].append((name, one))
            cell = (name, one.metric, one.estimator, one.cohort)
            # The control stands beside every arm, but its units are there once.
            sizes[cell] = sizes.get(cell, one.n_control) + one.n_arm
    return tuple(
        _average([(n, e, sizes[n, e.metric, e.estimator, e.cohort]) for n, e in parts])
        for parts in cells.values()
    )


def _average(parts: Sequence[tuple[str, Estimate, int]]) -> Estimate:
    """The effect averaged over strata by their numbers of units."""
    first = parts[0][1]
    if len(parts) == 1:
        return first
    some = [part for part in parts if part[2] > 0]
    whole: dict[str, Any] = {
        "n_control": sum(estimate.n_control for _, estimate, _ in parts),
        "n_arm": sum(estimate.n_arm for _, estimate, _ in parts),
        "relative": None,
        "relative_ci_low": None,
        "relative_ci_high": None,
    }
    broken = next(((name, one) for name, one, _ in some if not _usable(one)), None)
    if broken is not None:
        name, estimate = broken
        gone: dict[str, Any] = dict.fromkeys(("value", "se", "ci_low", "ci_high", "p_value"))
        status = Status.INSUFFICIENT if estimate.status is Status.OK else estimate.status
        note = f"stratum {name}: {estimate.note or 'no standard error'}"
        return replace(first, **whole, **gone, status=status, note=note)
    found = infer(_contrast(some), StudentT(math.inf), first.ci_level)
    return replace(
        first,
        **whole,
        value=found.value,
        se=found.se,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        p_value=found.p_value,
        status=Status.OK,
        note=f"averaged over {len(some)} strata by their numbers of units",
    )


def _contrast(some: Sequence[tuple[str, Estimate, int]]) -> Contrast:
    """The weighted mean of independent effects.

    Each stratum's error is that of the normal whose interval is as long as its own on the longer
    side, so that few units and small holdouts of skewed metrics keep what they cost.
    """
    n = sum(size for _, _, size in some)
    value = math.fsum((e.value or 0.0) * size / n for _, e, size in some)
    se = math.sqrt(math.fsum((_normal_se(e) * size / n) ** 2 for _, e, size in some))
    return Contrast(value, se, math.inf, None, None)


def _normal_se(estimate: Estimate) -> float:
    ends = [end for end in (estimate.ci_low, estimate.ci_high) if end is not None]
    longer = max((abs(end - (estimate.value or 0.0)) for end in ends), default=0.0)
    return max(estimate.se or 0.0, longer / StudentT(math.inf).quantiles(estimate.ci_level)[1])


def _usable(estimate: Estimate) -> bool:
    return estimate.status is Status.OK and estimate.value is not None and bool(estimate.se)


def _worst_checks(strata: Mapping[str, Analysis]) -> tuple[Check, ...]:
    """Of each check the finding of the stratum where it looks worst, which is named."""
    worst: dict[str, tuple[tuple[int, float], Check]] = {}
    for name, analysis in strata.items():
        for check in analysis.checks:
            p_value = 1.0 if check.p_value is None else check.p_value
            rank = (_WORST_FIRST.index(check.outcome), p_value)
            named = replace(check, message=f"{name}: {check.message}")
            if check.code not in worst or rank < worst[check.code][0]:
                worst[check.code] = (rank, named)
    return tuple(check for _, check in worst.values())
