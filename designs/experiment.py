"""``Experiment``: all that is decided about a test before its data exist."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Self

from pydantic import Field, FiniteFloat, ValidationError, field_validator, model_validator

from designs._wording import worded
from designs.assignment.declared import (
    EVERY_CHANNEL,
    Allocation,
    Balance,
    Cluster,
    Consent,
    Holdout,
    Layer,
    Name,
    Population,
    Schedule,
    Slug,
    Split,
    StandingHoldout,
    Switchback,
    factorial_arms,
)
from designs.decision_rule import NEEDS_COST, DecisionRule, parse_rule
from measure.declared import Frozen
from measure.errors import InputError
from measure.methods import Methods
from measure.plan import AnalysisPlan, Metric, Share, Source

_ASSIGNS_CUSTOMERS = (
    "population",
    "consent",
    "holdout",
    "holdouts",
    "layer",
    "rollout",
    "allocation",
    "cluster",
    "balance",
)
"""Fields that say which customers are assigned, and how."""


class Cost(Frozen):
    """What treating units costs and what a unit of revenue leaves, in major units of a currency."""

    per_unit: Annotated[FiniteFloat, Field(ge=0)]
    """Cost of treating one unit."""
    margin: Annotated[float, Field(gt=0, le=1)]
    """Share of revenue left after the cost of goods."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    fixed: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    """Cost of the campaign whatever the number of units."""


class Decision(Frozen):
    """What will be done, written down before anybody has seen a number."""

    scale_if: str
    stop_if: str | None = None

    @field_validator("scale_if", "stop_if")
    @classmethod
    def _parses(cls, text: str | None) -> str | None:
        try:
            return text if text is None else str(parse_rule(text))
        except InputError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _cannot_both_hold(self) -> Self:
        scale, stop = self.scale_rule, self.stop_rule
        if stop is None or (stop.quantity, stop.above) != (scale.quantity, scale.above):
            return self
        apart = scale.at_least and not stop.at_least and stop.probability < scale.probability
        if not apart:
            raise ValueError("decision: scale_if and stop_if could both hold; leave a gap between")
        return self

    @property
    def scale_rule(self) -> DecisionRule:
        """The rule for spending more."""
        return parse_rule(self.scale_if)

    @property
    def stop_rule(self) -> DecisionRule | None:
        """The rule for spending nothing."""
        return parse_rule(self.stop_if) if self.stop_if is not None else None


class Experiment(Frozen):
    """A holdout test as its analyst wrote it; immutable and hashed by content.

    With ``source`` the results are brought along; without it the registry assigns customers, and
    ``population``, ``consent``, ``holdout``, ``layer`` and ``rollout`` say which. A ``switchback``
    assigns blocks of time instead of customers.
    """

    later = (
        "title",
        "holdouts",
        "allocation",
        "cluster",
        "balance",
        "switchback",
        "factors",
        "exposure",
    )

    key: Slug
    title: Name | None = None
    """What people call it on pages; the key when it is not given."""
    hypothesis: Annotated[str, Field(min_length=1, max_length=4000)]
    unit: Name = "customer"
    source: Source | None = None
    arms: dict[Name, Share]
    control: Name
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    covariates: tuple[Name, ...] = ()
    cohorts: tuple[Name, ...] = ()
    plan: Methods = Methods()
    exposure: Name | None = None
    """Column with 1 where the unit was reached; for complier effects."""
    cost: Cost | None = None
    decision: Decision | None = None
    campaigns: tuple[Name, ...] = ()
    """Campaigns under test: only treated units should meet them."""
    channels: tuple[Name, ...] = ()
    """Channels the campaigns run in."""
    population: Population = Population()
    consent: Consent | None = None
    holdout: Holdout | None = None
    holdouts: tuple[StandingHoldout, ...] = ()
    """Further holdouts, global or of some channels; those of the experiment's channels count."""
    layer: Layer | None = None
    rollout: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Ramp: share of the slot let in so far; raising it only adds units."""
    allocation: Allocation | None = None
    """Shares of the arms by the value of an attribute."""
    cluster: Cluster | None = None
    """Customers who get one arm together; ``unit`` is then the cluster's name."""
    balance: Balance | None = None
    """Assign everybody at once, by the most balanced of many draws."""
    switchback: Switchback | None = None
    factors: dict[Slug, Split] = Field(default_factory=dict)
    """Factors and their levels; the arms are all combinations and need not be written."""
    schedule: Schedule | None = None
    salt: Slug = ""
    """Seed of the arm and rollout hashes; the key when it is not given."""

    @model_validator(mode="before")
    @classmethod
    def _derived(cls, data: Any) -> Any:
        """Fill in what follows from the rest: salt, name of the unit, arms of a factorial."""
        return _with_derived(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for fault in _design_faults(self):
            raise ValueError(fault)
        self._check_plan()
        self._check_assignment()
        self._check_decision()
        return self

    @property
    def standing_holdouts(self) -> tuple[StandingHoldout, ...]:
        """Every holdout declared, the single one first."""
        if self.holdout is None:
            return self.holdouts
        return (StandingHoldout(name=self.holdout.name, share=self.holdout.share), *self.holdouts)

    def analysis_plan(self) -> AnalysisPlan:
        """What ``measure`` is given, and what the registry freezes at the start."""
        return AnalysisPlan(
            arms=self.arms,
            control=self.control,
            metrics=self.metrics,
            covariates=self.covariates,
            cohorts=self.cohorts,
            exposure=self.exposure,
            **dict(self.plan),
        )

    def _check_plan(self) -> None:
        """Word a fault of the analysis plan as a fault of this specification."""
        try:
            self.analysis_plan()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(_in_own_words(first)) from None
        for metric in self.metrics:
            if metric.harm_below is not None and not math.isfinite(metric.harm_below):
                raise ValueError(f"metrics: harm_below of {metric.name!r} must be a finite number")

    def _check_assignment(self) -> None:
        """An experiment either brings its results along or is assigned here."""
        if self.source is not None:
            unused = [name for name in _ASSIGNS_CUSTOMERS if getattr(self, name) != _unset(name)]
            if unused:
                rule = "has no effect on results brought along by source; remove one of the two"
                raise ValueError(f"{unused[0]}: {rule}")
            return
        if self.switchback is not None:
            return
        unit = self.cluster.name if self.cluster else "customer"
        if self.unit != unit:
            raise ValueError(f"unit: {self.unit!r} cannot be assigned; use {unit}, or give source")
        if self.plan.window_days is None:
            rule = "is needed without source: outcomes count this many days from assignment"
            raise ValueError(f"plan.window_days: {rule}")

    def _check_decision(self) -> None:
        """A rule about money needs to know what was paid."""
        if self.decision is None or self.cost is not None:
            return
        rules = (self.decision.scale_rule, self.decision.stop_rule)
        if any(rule is not None and rule.quantity in NEEDS_COST for rule in rules):
            raise ValueError("decision: the rule speaks of money, but cost is missing; add it")


def _with_derived(data: dict[str, Any]) -> dict[str, Any]:
    """Salt, unit and arms, where they are left out and follow from other fields."""
    found: dict[str, Any] = {}
    if "key" in data:
        found["salt"] = data["key"]
    cluster, factors = data.get("cluster"), data.get("factors")
    if isinstance(cluster, dict) and cluster:
        found["unit"] = cluster.get("kind") or cluster.get("attribute")
    if isinstance(factors, dict) and factors and _are_splits(factors.values()):
        found["arms"] = factorial_arms(factors)
    plan, arms = data.get("plan"), data.get("arms")
    if isinstance(plan, dict) and plan.get("observational") and isinstance(arms, list) and arms:
        # Nobody was assigned, so a list of names is enough; equal shares stand for none.
        return {**found, **data, "arms": dict.fromkeys(arms, 1 / len(arms))}
    return {**found, **data}


def _are_splits(values: Iterable[Any]) -> bool:
    """Whether each value is names with shares, so that they can be multiplied."""
    return all(
        isinstance(levels, dict)
        and all(isinstance(name, str) for name in levels)
        and all(map(_is_share, levels.values()))
        for levels in values
    )


def _is_share(value: Any) -> bool:
    """Whether a value, perhaps still text, is a number between 0 and 1."""
    try:
        return 0 < float(value) < 1
    except (TypeError, ValueError):
        return False


def _design_faults(experiment: Experiment) -> Iterator[str]:
    """What does not fit together in the way units are assigned, worst first."""
    yield from _observational_faults(experiment)
    yield from _factor_faults(experiment)
    yield from _holdout_faults(experiment)
    yield from _combination_faults(experiment)
    allocation = experiment.allocation
    if allocation is not None:
        fault = allocation.faults(experiment.arms)
        if fault:
            yield f"allocation: {fault}"
        if allocation.attribute not in experiment.cohorts:
            yield f"cohorts: must list {allocation.attribute!r}, by which shares are allocated"
        if not set(experiment.plan.estimators) <= {"difference", "cuped"}:
            yield "plan.estimators: only difference and cuped know shares that differ by cohort"


def _observational_faults(experiment: Experiment) -> Iterator[str]:
    """Without randomisation results are brought along, unit by unit."""
    if experiment.plan.observational is None:
        return
    if experiment.source is None:
        yield "plan.observational: needs source; units that are assigned here are randomised"
    elif experiment.source.cluster is not None:
        yield "source.cluster: observational units are compared one by one; remove it"


def _factor_faults(experiment: Experiment) -> Iterator[str]:
    if not experiment.factors:
        return
    if len(experiment.factors) < 2:
        yield "factors: a factorial design has two factors or more"
    for name, levels in experiment.factors.items():
        if abs(sum(levels.values()) - 1) > 1e-9:
            yield f"factors: shares of {name!r} add up to {sum(levels.values()):.6g}, must be 1"
    if "arm" in experiment.factors:
        yield "factors: 'arm' is taken; give the factor another name"
    combinations = factorial_arms(experiment.factors)
    if len(combinations) < math.prod(map(len, experiment.factors.values())):
        yield "factors: two combinations of levels have the same name; rename a level"
    if experiment.arms != combinations:
        yield "arms: must be all combinations of the factors' levels. Leave arms out"


def _holdout_faults(experiment: Experiment) -> Iterator[str]:
    names = [holdout.name for holdout in experiment.standing_holdouts]
    if len(set(names)) < len(names):
        yield "holdouts: a name is given twice"
    schedule = experiment.schedule
    for holdout in experiment.standing_holdouts:
        if holdout.channels != EVERY_CHANNEL and not experiment.channels:
            yield f"channels: are needed to tell whether holdout {holdout.name!r} is concerned"
        rotation = holdout.rotation
        if rotation is None:
            continue
        if schedule is None or schedule.end is None:
            yield f"schedule: needs start and end, because holdout {holdout.name!r} rotates"
            return
        if schedule.start < rotation.since:
            yield f"schedule: starts before holdout {holdout.name!r} begins"
        change = rotation.begin(rotation.period(schedule.start) + 1)
        if schedule.end > change:
            yield (
                f"schedule: holdout {holdout.name!r} rotates on {change:%Y-%m-%d %H:%M} UTC, while "
                "the campaign runs. End it by then, or start it later"
            )


def _combination_faults(experiment: Experiment) -> Iterator[str]:
    """Ways of assigning that exclude each other."""
    ways = ("allocation", "cluster", "balance", "factors")
    used = [name for name in ways if getattr(experiment, name)]
    if len(used) > 1 and set(used) != {"cluster", "factors"}:
        yield f"{used[1]}: cannot be combined with {used[0]}; remove one of the two"
    if experiment.plan.discovery and (experiment.allocation or experiment.switchback):
        yield "plan.discovery: searches units with the same shares everywhere; remove it"
    if experiment.balance is not None and experiment.rollout < 1:
        yield "rollout: a balanced assignment is made at once; remove rollout or balance"
    if experiment.switchback is None:
        return
    clash = [n for n in (*_ASSIGNS_CUSTOMERS, "factors") if getattr(experiment, n) != _unset(n)]
    if clash:
        yield f"{clash[0]}: has no effect on a switchback, which assigns blocks of time"
    if experiment.schedule is None or experiment.schedule.end is None:
        yield "schedule: a switchback needs start and end"
    if experiment.unit == "customer":
        yield "unit: name what switches in a switchback, such as region"


def _unset(field: str) -> Any:
    """What a field is when a specification leaves it out."""
    return Experiment.model_fields[field].get_default(call_default_factory=True)


def _in_own_words(error: Any) -> str:
    """``field: rule. Way out`` for a fault of the analysis plan, in this file's field names."""
    message = ". ".join(part for part in worded(error) if part)
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    return f"plan.{name}: {message}" if name in Methods.model_fields else f"{name}: {message}"
