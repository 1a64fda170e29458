"""What the page of a design says beside the numbers of its plan; the page knows no registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from designs.planning.results import DesignPlan
from reports.facts import ArmFacts, MetricFacts

if TYPE_CHECKING:
    from designs.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Approval:
    """One signature: who, in which role, what (``approve``, ``submit`` …), when, and why."""

    who: str
    role: str
    what: str
    when: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DesignReport:
    """A design for sign-off. ``held_out`` are sentences about who is not treated."""

    key: str
    hypothesis: str
    unit: str
    arms: tuple[ArmFacts, ...]
    control: str
    metrics: tuple[MetricFacts, ...]
    estimators: tuple[str, ...]
    plan: DesignPlan
    generated_on: date
    held_out: tuple[str, ...] = ()
    population: str = ""
    starts_on: date | None = None
    ends_on: date | None = None
    window_days: int | None = None
    ci_level: float = 0.95
    currency: str | None = None
    scale_if: str | None = None
    stop_if: str | None = None
    state: str = ""
    approvals: tuple[Approval, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def primary(self) -> MetricFacts:
        """The metric the decision hangs on."""
        return next((m for m in self.metrics if m.name == self.plan.primary), self.metrics[0])


def design_facts(
    experiment: Experiment,
    plan: DesignPlan,
    *,
    generated_on: date,
    approvals: Sequence[Approval] = (),
    versions: Mapping[str, str] | None = None,
    state: str = "",
) -> DesignReport:
    """The facts of a specification and its plan."""
    schedule, decision, cost = experiment.schedule, experiment.decision, experiment.cost
    return DesignReport(
        key=experiment.key,
        hypothesis=experiment.hypothesis,
        unit=experiment.unit,
        arms=tuple(
            ArmFacts(name, share, round(plan.units * share))
            for name, share in experiment.arms.items()
        ),
        control=experiment.control,
        metrics=tuple(
            MetricFacts(
                m.name,
                m.kind,
                m.unit,
                m.role,
                m.harm_below,
                m.harm_above,
                m.quantile,
                m.horizon,
            )
            for m in experiment.metrics
        ),
        estimators=tuple(experiment.analysis_plan().estimators),
        plan=plan,
        generated_on=generated_on,
        held_out=_held_out(experiment),
        population=_population(experiment),
        starts_on=schedule.start.date() if schedule else None,
        ends_on=schedule.end.date() if schedule and schedule.end else None,
        window_days=experiment.plan.window_days,
        ci_level=experiment.plan.ci_level,
        currency=cost.currency if cost else None,
        scale_if=decision.scale_if if decision else None,
        stop_if=decision.stop_if if decision else None,
        state=state,
        approvals=tuple(approvals),
        versions=versions or {},
    )


def _held_out(experiment: Experiment) -> tuple[str, ...]:
    """Who is not treated, and because of what."""
    share = experiment.arms[experiment.control]
    found = [f"{share:.1%} of the units assigned are held out in arm {experiment.control}"]
    found += [
        f"{holdout.share:.1%} of everybody keep the status quo in {holdout.name}"
        for holdout in experiment.standing_holdouts
    ]
    if experiment.layer is not None:
        first, end = experiment.layer.slot
        found.append(
            f"Only the slot {first:g} to {end:g} of layer {experiment.layer.name} takes part"
        )
    if experiment.rollout < 1:
        found.append(f"{experiment.rollout:.1%} of the slot are let in so far")
    return tuple(found)


def _population(experiment: Experiment) -> str:
    if experiment.source is not None:
        return f"Units of {experiment.source.path or experiment.source.table}"
    where = ", ".join(f"{name} = {value}" for name, value in experiment.population.where.items())
    consent = experiment.consent
    agreed = f", with consent to {consent.purpose} by {consent.channel}" if consent else ""
    return f"Customers{' with ' + where if where else ''}{agreed}"
