"""``analyze``: checks first, then every estimator of the plan over every metric, arm and cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from measure.errors import InputError
from measure.incrementality.cells import Cells, to_estimate
from measure.incrementality.checks import invalid_metrics, run_checks
from measure.incrementality.difference import RELATIVE_DEFINITION
from measure.incrementality.estimators import ESTIMATORS
from measure.incrementality.guardrails import judge_guardrails
from measure.incrementality.inputs import Units
from measure.incrementality.multiplicity import families
from measure.moments import Moments
from measure.plan import AnalysisPlan
from measure.results import Analysis, Check, Estimate, Outcome, Severity, Status

_SAME = 1 - 1e-9


def analyze(
    units: Units,
    plan: AnalysisPlan,
    *,
    experiment: str,
    progress: Callable[[str], None] | None = None,
) -> Analysis:
    """Analyse one experiment.

    ``units`` has one row per randomisation unit (:class:`measure.engine.units.UnitTable`);
    ``progress`` is told each step before it starts. Estimates come by metric, arm and estimator,
    everybody before cohorts.

    When the sample ratio check, or another check with severity ``stop``, finds something, the
    analysis is ``invalid`` and so is every estimate it would have had: numbers that must not be
    used are withheld, because a table is copied without its warnings. Cells that are
    ``insufficient`` or ``degenerate`` anyway keep that status. Missing values that differ between
    arms withhold the estimates of their metric only.

    Raises :class:`InputError` for a covariate that is an outcome or the arm in disguise.
    """
    told = progress or (lambda _step: None)
    cells = Cells(units, plan)
    told("moments and checks")
    refuse_leaking_covariates(cells)
    checks = run_checks(plan, cells.moments, cells.profile)
    found: list[Estimate] = []
    for name in plan.estimators:
        told(name)
        runner = ESTIMATORS[name]
        for finding in runner.run(cells):
            everybody = finding.target.cohort is None
            estimand = runner.estimand if everybody else runner.in_cohort
            found.append(to_estimate(cells, finding, name, estimand))
    estimates = tuple(_withheld(found, checks, invalid_metrics(plan, cells.moments)))
    return Analysis(
        experiment=experiment,
        status=Status.INVALID if _stops(checks) else Status.OK,
        checks=checks,
        estimates=_in_order(estimates, plan),
        multiplicity=families(estimates, plan),
        guardrails=judge_guardrails(estimates, plan),
        provenance=_provenance(units, plan),
    )


def refuse_leaking_covariates(cells: Cells) -> None:
    """Refuse a covariate that repeats an outcome or tells the arm apart: it is no baseline.

    It would explain the effect away; :class:`InputError` names it.
    """
    plan = cells.plan
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
    estimates: list[Estimate], checks: tuple[Check, ...], metrics: Mapping[str, str]
) -> list[Estimate]:
    """Estimates with numbers taken out where a check forbids them."""
    stop = next((c for c in checks if _stops((c,)) and c.code in ("G5", "X1")), None)
    result = []
    for estimate in estimates:
        reason = metrics.get(estimate.metric, "")
        if stop is not None:
            reason = f"check {stop.code} ({stop.title.lower()}): {stop.message.rstrip('.')}"
        withhold = reason and estimate.status in (Status.OK, Status.NOT_CONVERGED)
        result.append(_invalid(estimate, reason) if withhold else estimate)
    return result


def _invalid(estimate: Estimate, reason: str) -> Estimate:
    return replace(
        estimate,
        value=None,
        se=None,
        ci_low=None,
        ci_high=None,
        p_value=None,
        relative=None,
        relative_ci_low=None,
        relative_ci_high=None,
        status=Status.INVALID,
        note=reason,
    )


def _in_order(estimates: tuple[Estimate, ...], plan: AnalysisPlan) -> tuple[Estimate, ...]:
    """By metric, arm and estimator as the plan lists them; everybody before cohorts."""
    metrics = {metric.name: place for place, metric in enumerate(plan.metrics)}

    def place(estimate: Estimate) -> tuple[int, int, int]:
        return (
            metrics[estimate.metric],
            plan.treatments.index(estimate.arm),
            list(plan.estimators).index(estimate.estimator),  # type: ignore[arg-type]
        )

    return tuple(sorted(estimates, key=place))


def _provenance(units: Units, plan: AnalysisPlan) -> dict[str, Any]:
    """What a reader needs to get the same numbers again."""
    packages = ["numpy", "scipy"]
    for name in plan.estimators:
        packages += ESTIMATORS[name].packages
    found: dict[str, Any] = {
        "plan_hash": plan.content_hash(),
        "data_hash": getattr(units, "data_hash", None),
        "seed": plan.seed,
        "relative": RELATIVE_DEFINITION,
        "versions": {name: _version(name) for name in packages},
    }
    if "hierarchical_bayes" in plan.estimators:
        from measure.incrementality.sampling import CHAINS, DRAWS, SAMPLER, TUNE

        found["sampler"] = {"name": SAMPLER, "chains": CHAINS, "draws": DRAWS, "tune": TUNE}
    return found


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
