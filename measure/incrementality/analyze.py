"""``analyze``: checks first, then every estimator of the plan over every metric, arm and cohort."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from measure.errors import InputError
from measure.incrementality.cells import Cells, Finding, to_estimate
from measure.incrementality.checks import invalid_metrics, run_checks
from measure.incrementality.difference import RELATIVE_DEFINITIONS
from measure.incrementality.discovery import discover
from measure.incrementality.estimators import ESTIMATORS, Runner
from measure.incrementality.guardrails import judge_guardrails
from measure.incrementality.inputs import CountedValues, Units
from measure.incrementality.multiplicity import families
from measure.incrementality.observational import PACKAGES as OBSERVATIONAL_PACKAGES
from measure.incrementality.observational import Study, observe
from measure.incrementality.outliers import outlier_check
from measure.incrementality.pooling.priors import PastEffect
from measure.incrementality.strata_balance import strata_check
from measure.incrementality.withheld import said, withheld, without_effects
from measure.moments import COMPANIONS, Moments
from measure.plan import AnalysisPlan
from measure.results import Analysis, Check, Estimate, Outcome, Segment, Severity, Status

_SAME = 1 - 1e-9
_LATE = {
    "X5": tuple(name for name, runner in ESTIMATORS.items() if runner.adjusts),
    "X8": ("post_stratification",),
}
"""Estimators that must not be used when a check found what was measured after assignment."""


def analyze(
    units: Units,
    plan: AnalysisPlan,
    *,
    experiment: str,
    progress: Callable[[str], None] | None = None,
    past_effects: Mapping[str, Sequence[PastEffect]] | None = None,
    draws: Path | None = None,
) -> Analysis:
    """Analyse one experiment.

    ``units`` has one row per randomisation unit (:class:`measure.engine.units.UnitTable`);
    ``progress`` is told each step before it starts. Estimates come by metric, arm and estimator,
    everybody before cohorts. ``past_effects`` are the lifts of concluded experiments by metric, for
    priors learned from a registry; ``draws`` is a folder for posterior draws.

    When the sample ratio check, or another check with severity ``stop``, finds something, the
    analysis is ``invalid`` and so is every estimate it would have had: numbers that must not be
    used are withheld, because a table is copied without its warnings. Cells that are
    ``insufficient`` or ``degenerate`` anyway keep that status. Missing values that differ between
    arms withhold the estimates of their metric only, and covariates that differ between arms as
    chance would not withhold the estimates that adjust by them, and segments.

    Raises :class:`InputError` for a covariate that is an outcome or the arm in disguise.
    """
    told = progress or (lambda _step: None)
    cells = Cells(units, plan, past_effects, draws)
    told("moments and checks")
    refuse_leaking_covariates(cells)
    if plan.observational is None:
        study = _randomised(cells, told)
    else:
        study = observe(cells, plan.observational, told)
    return _judged(cells, study, experiment, told)


def _judged(cells: Cells, study: Study, experiment: str, told: Callable[[str], None]) -> Analysis:
    """What a study found, without the numbers that its checks forbid, and judged together."""
    plan, checks = cells.plan, study.checks
    unusable = invalid_metrics(plan, cells.moments)
    estimates = tuple(_withheld(study.estimates, checks, unusable))
    if _stops(checks):
        checks = tuple(without_effects(check) for check in checks)
    segments: tuple[Segment, ...] = ()
    # Segments are cut by covariates, which must come before assignment as those adjusted for do.
    if plan.discovery and not _stops(checks) and _flagged(checks, "X5") is None:
        told("segments")
        segments = discover(cells, unusable)
    return Analysis(
        experiment=experiment,
        status=Status.INVALID if _stops(checks) else Status.OK,
        checks=checks,
        estimates=_in_order(estimates, plan),
        multiplicity=families(estimates, plan),
        guardrails=judge_guardrails(estimates, plan),
        discovery=segments,
        provenance={**_provenance(cells.units, plan), **study.provenance},
    )


def _randomised(cells: Cells, told: Callable[[str], None]) -> Study:
    """Checks and estimators of units that were assigned at random."""
    plan = cells.plan
    checks = run_checks(plan, cells.moments, cells.profile)
    stopped = {metric.name for metric in plan.metrics if _stops(checks)}
    cells.withheld = stopped.union(invalid_metrics(plan, cells.moments))

    def counted(metric: str) -> Mapping[str, CountedValues]:
        return cells.units.value_counts(metric, None)

    checks += (outlier_check(plan, cells.moments, counted, cells.withheld),)
    if plan.strata:
        checks += (strata_check(plan, cells.strata),)
    found: list[Estimate] = []
    for name in plan.estimators:
        told(name)
        runner = ESTIMATORS[name]
        for finding in _findings(cells, runner, name):
            everybody = finding.target.cohort is None
            estimand = runner.estimand if everybody else runner.in_cohort
            found.append(to_estimate(cells, finding, name, estimand))
    return Study(checks, tuple(found), cells.asides)


def _findings(cells: Cells, runner: Runner, name: str) -> Iterator[Finding]:
    """Findings of an estimator, and for the kinds of metric it cannot estimate that it cannot."""
    kinds = {metric.name: cells.kind(metric) for metric in cells.plan.metrics}
    able = [metric for metric, kind in kinds.items() if kind in runner.kinds]
    if able:
        yield from runner.run(cells.only(able))
    for target in cells.targets():
        if target.metric not in able:
            kind = cells.metric(target).kind
            what = f"kind {kind}" if kind == kinds[target.metric] else f"kind {kind} over clusters"
            note = f"{name} cannot estimate metrics of {what}; use difference"
            yield Finding(target, Status.INSUFFICIENT, note)


def refuse_leaking_covariates(cells: Cells) -> None:
    """Refuse a covariate that repeats an outcome or tells the arm apart: it is no baseline.

    It would explain the effect away; :class:`InputError` names it.
    """
    plan = cells.plan
    for name in sorted(set(COMPANIONS).intersection(plan.covariates)):
        raise InputError.rule("covariate", name, "is a name kept for other columns", "Rename it.")
    for metric in plan.metrics:
        arms = [cells.moments.get(metric.name, arm) for arm in plan.arms]
        present = [moments for moments in arms if moments.n > 0]
        for index, name in enumerate(plan.covariates, start=1):
            if any(_repeats(moments, index) for moments in present) and all(
                _repeats(moments, index) or _still(moments, index) for moments in present
            ):
                raise InputError.rule(
                    "covariate",
                    name,
                    f"repeats the outcome {metric.name!r}",
                    "Covariates must be measured before assignment; remove it.",
                )
            if _tells_arms_apart(present, index):
                raise InputError.rule(
                    "covariate",
                    name,
                    "has one value per arm, so it repeats the assignment",
                    "Covariates must be measured before assignment; remove it.",
                )


def _repeats(moments: Moments, index: int) -> bool:
    """Whether outcome and covariate are perfectly correlated among at least three units."""
    outcome, covariate = moments.comoment[0, 0], moments.comoment[index, index]
    if moments.n < 3 or outcome <= 0 or covariate <= 0:
        return False
    return bool(abs(moments.comoment[0, index]) >= _SAME * np.sqrt(outcome * covariate))


def _still(moments: Moments, index: int) -> bool:
    """Whether neither outcome nor covariate varies."""
    return bool(moments.comoment[0, 0] <= 0 and moments.comoment[index, index] <= 0)


def _tells_arms_apart(arms: list[Moments], index: int) -> bool:
    """Whether a covariate is constant within arms of two units or more and differs between."""
    if len(arms) < 2 or any(m.n < 2 or m.comoment[index, index] > 0 for m in arms):
        return False
    return len({float(m.mean[index]) for m in arms}) > 1


def _stops(checks: tuple[Check, ...]) -> bool:
    stopping = (Outcome.FLAGGED, Outcome.FAILED)
    return any(c.severity is Severity.STOP and c.outcome in stopping for c in checks)


def _withheld(
    estimates: Sequence[Estimate], checks: tuple[Check, ...], metrics: Mapping[str, str]
) -> list[Estimate]:
    """Estimates with numbers taken out where a check forbids them."""
    stop = next((c for c in checks if _stops((c,)) and c.code in ("G5", "X1", "O3")), None)
    late = {
        estimator: check
        for code, estimators in _LATE.items()
        if (check := _flagged(checks, code)) is not None
        for estimator in estimators
    }
    result = []
    for estimate in estimates:
        reason = metrics.get(estimate.metric, "")
        if estimate.estimator in late:
            reason = reason or said(late[estimate.estimator])
        if stop is not None:
            reason = said(stop)
        result.append(withheld(estimate, reason) if reason else estimate)
    return result


def _flagged(checks: tuple[Check, ...], code: str) -> Check | None:
    return next((c for c in checks if c.code == code and c.outcome is Outcome.FLAGGED), None)


def _in_order(estimates: tuple[Estimate, ...], plan: AnalysisPlan) -> tuple[Estimate, ...]:
    """By metric, arm and estimator as the plan lists them; everybody before cohorts."""
    metrics = {metric.name: place for place, metric in enumerate(plan.metrics)}

    def place(estimate: Estimate) -> tuple[int, int, int]:
        return (
            metrics[estimate.metric],
            plan.treatments.index(estimate.arm),
            plan.running.index(estimate.estimator),
        )

    return tuple(sorted(estimates, key=place))


def _provenance(units: Units, plan: AnalysisPlan) -> dict[str, Any]:
    """What a reader needs to get the same numbers again."""
    packages = ["numpy", "scipy"]
    if plan.observational is None:
        packages += [package for name in plan.estimators for package in ESTIMATORS[name].packages]
    else:
        packages += OBSERVATIONAL_PACKAGES
    found: dict[str, Any] = {
        "plan_hash": plan.content_hash(),
        "data_hash": getattr(units, "data_hash", None),
        "seed": plan.seed,
        "relative": RELATIVE_DEFINITIONS[plan.relative],
        "versions": {name: _version(name) for name in packages},
    }
    return found


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
