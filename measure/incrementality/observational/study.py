"""``observe``: graph, identification, estimates, refuters, for every metric and arm of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from measure.incrementality.cells import Cells
from measure.incrementality.checks import run_checks
from measure.incrementality.observational.checks import (
    no_chance,
    no_shares,
    observational_checks,
)
from measure.incrementality.observational.comparing import (
    INSTRUMENTAL,
    Compared,
    Estimated,
    compare_adjusted,
    compare_instrumented,
    inference,
    refusal_in,
    refute_adjusted,
    refute_instrumented,
)
from measure.incrementality.observational.graph import CausalGraph, read_graph
from measure.incrementality.observational.identify import Identified, identify
from measure.incrementality.observational.sample import Sample, cohort_masks, sample_of
from measure.methods import Observational
from measure.plan import AnalysisPlan
from measure.results import Check, Cohort, Estimand, Estimate, Severity, Status

_NUMBERS = ("value", "se", "ci_low", "ci_high", "p_value")
_LIFT = ("relative", "relative_ci_low", "relative_ci_high")
_REFUTED = "finds an effect of a made-up treatment (check O5)"
PACKAGES = ("dowhy", "econml", "lightgbm", "networkx", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Study:
    """What a study found: checks, estimates by metric and arm, and what they rest on."""

    checks: tuple[Check, ...]
    estimates: tuple[Estimate, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)


def observe(cells: Cells, declared: Observational, told: Callable[[str], None]) -> Study:
    """Compare units that were not randomised, under the assumptions of their graph.

    Refuters and sensitivity always run; an estimator that finds an effect of a made-up treatment
    has its estimates withheld. Raises :class:`InputError` for a graph that contradicts itself or
    identifies nothing, and for covariates that come after the treatment.
    """
    plan = cells.plan
    graph = read_graph(plan, declared)
    told("identification")
    identified = {metric.name: identify(graph, metric.name) for metric in plan.metrics}
    comparisons = []
    for metric in plan.metrics:
        for arm in plan.treatments:
            told(f"estimates and refuters of {metric.name}, {arm}")
            comparisons.append(_compare(cells, declared, identified[metric.name], arm))
    checks = (*_plain_checks(cells), *observational_checks(graph, comparisons))
    estimates = tuple(e for one in comparisons for e in _estimates(plan, one))
    return Study(checks, estimates, _provenance(graph, identified))


def _compare(cells: Cells, declared: Observational, identified: Identified, arm: str) -> Compared:
    plan = cells.plan

    def units(held: tuple[str, ...], instruments: tuple[str, ...]) -> Sample:
        arms = (plan.control, arm)
        return sample_of(
            cells.rows, identified.metric, arms, held, instruments, plan.covariates, plan.seed
        )

    adjustable = tuple(name for name in declared.running if name not in INSTRUMENTAL)
    sample = units(identified.adjustment or (), ())
    found = Compared(identified.metric, arm, identified, sample, plan.ci_level, plan.relative)
    if identified.adjustment is None:
        note = "the graph leaves a path open that no covariate closes"
        found.estimated += [Estimated(name, Status.INVALID, note) for name in adjustable]
    else:
        compare_adjusted(found, adjustable)
        refute_adjusted(found)
    if identified.instruments:
        instrumented = units(identified.given, identified.instruments)
        compare_instrumented(found, instrumented)
        refute_instrumented(found, instrumented)
        if identified.adjustment is None:
            found.sample = instrumented
    return found


def _plain_checks(cells: Cells) -> tuple[Check, ...]:
    """Checks of the data, without those that only randomisation gives a meaning."""
    found = []
    for check in run_checks(cells.plan, cells.moments, cells.profile):
        if check.code == "G5":
            found.append(no_shares(check))
        elif check.code == "X5":
            found.append(no_chance(check))
        elif check.code == "X4" and check.rows:
            # A confounder replaced by its mean is not held equal among those who lack it.
            found.append(replace(check, severity=Severity.WARNING))
        else:
            found.append(check)
    return tuple(found)


def _estimates(plan: AnalysisPlan, found: Compared) -> Iterator[Estimate]:
    """Everybody first, then cohorts, by estimator."""
    placebos = found.attempts.get("O5", [])
    refuted = {row["estimator"] for row in placebos if not row["held"]}
    masks = list(cohort_masks(found.sample))
    for estimated in found.estimated:
        one = estimated
        if estimated.estimator in refuted:
            one = Estimated(estimated.estimator, Status.INVALID, _REFUTED)
        yield _everybody(plan, found, one)
        if one.effects is None or not one.effects.cohorts:
            continue
        for dimension, label, mask in masks:
            part = found.sample.where(mask)
            refusal = refusal_in(found.sample, mask)
            number = one.effects.cohorts.get((dimension, label))
            if refusal is None and number is not None:
                numbers = _numbers(found, one, number, lift=False)
                status, note = Status.OK, one.note
            else:
                numbers, (status, note) = {}, refusal or (Status.INSUFFICIENT, "not estimated")
            cohort = Cohort(dimension, label)
            yield _estimate(plan, found, one, part, cohort, status, note, numbers)


def _everybody(plan: AnalysisPlan, found: Compared, one: Estimated) -> Estimate:
    numbers = {} if one.effects is None else _numbers(found, one, one.effects.everybody, lift=True)
    return _estimate(plan, found, one, found.sample, None, one.status, one.note, numbers)


def _numbers(
    found: Compared, one: Estimated, number: tuple[float, float], *, lift: bool
) -> dict[str, float | None]:
    """Fields of an estimate; the lift is known for everybody only, and not for instruments."""
    effects = one.effects
    if effects is None:
        return {}
    told = inference(found, effects, number)
    names = (*_NUMBERS, *_LIFT) if lift and one.estimator not in INSTRUMENTAL else _NUMBERS
    return {name: getattr(told, name) for name in names}


def _estimate(
    plan: AnalysisPlan,
    found: Compared,
    one: Estimated,
    sample: Sample,
    cohort: Cohort | None,
    status: Status,
    note: str,
    numbers: dict[str, float | None],
) -> Estimate:
    fields = dict.fromkeys((*_NUMBERS, *_LIFT))
    estimand = Estimand.ATE if cohort is None else Estimand.CATE
    if one.estimator in INSTRUMENTAL:
        estimand = Estimand.CACE
    return Estimate(
        metric=found.metric,
        arm=found.arm,
        control=plan.control,
        cohort=cohort,
        estimand=estimand,
        estimator=one.estimator,
        ci_level=plan.ci_level,
        n_control=sample.n - sample.n_treated,
        n_arm=sample.n_treated,
        status=status,
        note=note,
        **{**fields, **numbers},
    )


def _provenance(graph: CausalGraph, identified: dict[str, Identified]) -> dict[str, Any]:
    assumed = dict.fromkeys(text for one in identified.values() for text in one.assumptions)
    return {
        "design": "observational",
        "estimand": {metric: one.estimand for metric, one in identified.items()},
        "assumptions": list(assumed),
        "graph": [f"{cause} -> {effect}" for cause, effect in graph.edges],
    }
