"""Hierarchical Bayes over the cohorts of each dimension."""

from __future__ import annotations

import math
from collections.abc import Iterator

from measure.incrementality import bayes
from measure.incrementality.bayes import Observed
from measure.incrementality.cells import Cells, Finding, Target
from measure.incrementality.contrast import Inference
from measure.incrementality.difference import spread
from measure.results import Status


def pooled_cohorts(cells: Cells) -> Iterator[Finding]:
    """Hierarchical Bayes; one run of the sampler for every metric, arm and dimension."""
    found: dict[Target, Finding] = {}
    groups: list[list[Target]] = []
    for metric in cells.plan.metrics:
        for arm in cells.plan.treatments:
            everybody = Target(metric.name, arm, None)
            found[everybody] = _overall(cells, everybody)
            for cohorts in cells.cohorts.values():
                members = [Target(metric.name, arm, cohort) for cohort in cohorts]
                usable = [t for t in members if cells.difference(t).numbers is not None]
                found |= {t: cells.difference(t) for t in members if t not in usable}
                if len(usable) >= bayes.MIN_COHORTS and _metric_sd(cells, everybody) > 0:
                    groups.append(usable)
                else:
                    found |= {t: _lonely(t) for t in usable}
    found |= _pool(cells, groups)
    for target in cells.targets():
        yield found[target]


def _lonely(target: Target) -> Finding:
    note = f"pooling needs {bayes.MIN_COHORTS} cohorts with a usable difference"
    return Finding(target, Status.INSUFFICIENT, note)


def _overall(cells: Cells, target: Target) -> Finding:
    plain = cells.difference(target)
    sd = _metric_sd(cells, target)
    if not isinstance(plain.numbers, Inference):
        return plain
    if sd <= 0:
        return Finding(target, Status.DEGENERATE, "the control arm does not vary")
    posterior = bayes.overall(_observed(cells, target), sd, cells.plan.ci_level)
    return Finding(target, Status.OK, _posterior_note(plain), posterior)


def _pool(cells: Cells, groups: list[list[Target]]) -> dict[Target, Finding]:
    """Findings of all pooled cohorts."""
    plan = cells.plan
    observed = [[_observed(cells, target) for target in group] for group in groups]
    everybody = [Target(group[0].metric, group[0].arm, None) for group in groups]
    sds = [_metric_sd(cells, target) for target in everybody]
    found: dict[Target, Finding] = {}
    for group, pooled in zip(
        groups, bayes.pool(observed, sds, plan.ci_level, plan.seed), strict=True
    ):
        if pooled.complaint:
            found |= {t: Finding(t, Status.NOT_CONVERGED, pooled.complaint) for t in group}
            continue
        for target, posterior in zip(group, pooled.posteriors, strict=True):
            note = _posterior_note(cells.difference(target))
            found[target] = Finding(target, Status.OK, note, posterior)
    return found


def _posterior_note(plain: Finding) -> str:
    if not plain.note:
        return ""
    return f"standard error widened to the interval of the {plain.note}"


def _observed(cells: Cells, target: Target) -> Observed:
    """A usable difference as the likelihood sees it."""
    numbers = cells.difference(target).numbers
    control, _ = cells.pair(target)
    kind = cells.metric(target).kind
    value = numbers.value if numbers is not None else math.nan
    se = math.nan
    if isinstance(numbers, Inference):
        se = numbers.normal_se(cells.plan.ci_level)
    return Observed(value, se, float(control.mean[0]), spread(control, kind) / control.n)


def _metric_sd(cells: Cells, everybody: Target) -> float:
    """Standard deviation of the metric in the control arm, 0 where it has none."""
    control, _ = cells.pair(everybody)
    return math.sqrt(control.variance) if control.n > 1 else 0.0
