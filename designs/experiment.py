"""``Experiment``: all that is decided about a test before its data exist."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from designs._wording import worded
from designs.decision_rule import NEEDS_COST, DecisionRule, parse_rule
from measure.engine.contracts import CONTRACTS
from measure.errors import InputError, hint
from measure.plan import AnalysisPlan, Frozen, Metric, Share, Source, content_hash

MAX_NAME = 200
EVERY_CHANNEL = "all"
"""The channel of a consent that stands for every channel."""


def _plain_name(name: str) -> str:
    """Refuse control characters, which would corrupt logs and tables."""
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ValueError(f"{name!r} holds a control character; remove it")
    return name


def _slug(text: str) -> str:
    """Refuse whatever could not be a file name or a URL part on every system."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", text):
        rule = (
            "must be 1 to 80 lower-case letters a-z, digits, '-' or '_', and not start with a sign"
        )
        raise ValueError(f"{text[:90]!r} {rule}")
    return text


def _midnight(value: Any) -> Any:
    """Read a plain date as midnight UTC."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            return datetime.combine(date.fromisoformat(value), time(), tzinfo=UTC)
        except ValueError as error:
            raise ValueError(f"{value!r} is not a date ({error})") from None
    return value


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _default(field: str) -> Any:
    """The default of the analysis plan, so that there is only one."""
    return AnalysisPlan.model_fields[field].default


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_plain_name)]
Slug = Annotated[str, AfterValidator(_slug)]
Moment = Annotated[AwareDatetime, BeforeValidator(_midnight), AfterValidator(_in_utc)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class PlanOptions(Frozen):
    """How the data will be analysed; the fields mean what they mean in an ``AnalysisPlan``."""

    ci_level: float = _default("ci_level")
    sequential: bool = _default("sequential")
    multiplicity: str = _default("multiplicity")
    estimators: tuple[str, ...] = _default("estimators")
    window_days: int | None = _default("window_days")
    seed: int = _default("seed")


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


class Population(Frozen):
    """Who can take part: rows of ``customers`` whose attributes have these values."""

    table: str = "customers"
    where: dict[Name, str] = Field(default_factory=dict)
    """Attribute and its value; attributes are text, compared as they are written."""

    @field_validator("table")
    @classmethod
    def _customers(cls, table: str) -> str:
        if table != "customers":
            raise ValueError(f"{table!r}: only 'customers' can be assigned")
        return table


class Consent(Frozen):
    """The consent a unit must have given, as recorded when it is assigned.

    Records for the channel and for every channel (``all``) count alike: the last one decides.
    """

    purpose: str
    channel: Name

    @field_validator("purpose")
    @classmethod
    def _known(cls, purpose: str) -> str:
        allowed = CONTRACTS["consents"].column("purpose").allowed
        if purpose not in allowed:
            raise ValueError(f"{purpose!r} is no purpose of consent. {hint(purpose, allowed)}")
        return purpose


class Holdout(Frozen):
    """A global holdout: units held back from every campaign, the same in all experiments."""

    name: Slug = "global"
    share: Share


class Layer(Frozen):
    """A slot of a layer; experiments in disjoint slots of one layer never share a unit."""

    name: Slug
    slot: tuple[Fraction, Fraction]
    """From (inclusive) and to (exclusive), as shares of the layer."""

    @field_validator("slot")
    @classmethod
    def _ordered(cls, slot: tuple[float, float]) -> tuple[float, float]:
        if slot[0] >= slot[1]:
            raise ValueError(f"from {slot[0]:g} to {slot[1]:g} is empty; the first must be smaller")
        return slot


class Schedule(Frozen):
    """When units are assigned and until when the campaign runs, in UTC."""

    start: Moment
    end: Moment | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError("schedule: end must lie after start")
        return self


class Experiment(Frozen):
    """A holdout test as its analyst wrote it; immutable and hashed by content.

    With ``source`` the results are brought along; without it the registry assigns customers, and
    ``population``, ``consent``, ``holdout``, ``layer`` and ``rollout`` say which.
    """

    key: Slug
    hypothesis: Annotated[str, Field(min_length=1, max_length=4000)]
    unit: Name = "customer"
    source: Source | None = None
    arms: dict[Name, Share]
    control: Name
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    covariates: tuple[Name, ...] = ()
    cohorts: tuple[Name, ...] = ()
    plan: PlanOptions = PlanOptions()
    cost: Cost | None = None
    decision: Decision | None = None
    campaigns: tuple[Name, ...] = ()
    """Campaigns under test: only treated units should meet them."""
    channels: tuple[Name, ...] = ()
    """Channels the campaigns run in."""
    population: Population = Population()
    consent: Consent | None = None
    holdout: Holdout | None = None
    layer: Layer | None = None
    rollout: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Ramp: share of the slot let in so far; raising it only adds units."""
    schedule: Schedule | None = None
    salt: Slug = ""
    """Seed of the arm and rollout hashes; the key when it is not given."""

    @model_validator(mode="before")
    @classmethod
    def _salt_is_key(cls, data: Any) -> Any:
        if isinstance(data, dict) and "salt" not in data and "key" in data:
            return {**data, "salt": data["key"]}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_plan()
        self._check_assignment()
        self._check_decision()
        return self

    def analysis_plan(self) -> AnalysisPlan:
        """What ``measure`` is given, and what the registry freezes at the start."""
        return AnalysisPlan(
            arms=self.arms,
            control=self.control,
            metrics=self.metrics,
            covariates=self.covariates,
            cohorts=self.cohorts,
            **self.plan.model_dump(),
        )

    def content_hash(self) -> str:
        """SHA-256 (64 hex digits) of the canonical JSON form of everything declared."""
        return content_hash(self)

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
        fields = ("population", "consent", "holdout", "layer", "rollout")
        if self.source is not None:
            unused = [name for name in fields if getattr(self, name) != _unset(name)]
            if unused:
                rule = "has no effect on results brought along by source; remove one of the two"
                raise ValueError(f"{unused[0]}: {rule}")
            return
        if self.unit != "customer":
            raise ValueError(
                f"unit: {self.unit!r} cannot be assigned; use customer, or give source"
            )
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


def _unset(field: str) -> Any:
    """What a field is when a specification leaves it out."""
    return Experiment.model_fields[field].get_default(call_default_factory=True)


def _in_own_words(error: Any) -> str:
    """``field: rule. Way out`` for a fault of the analysis plan, in this file's field names."""
    message = ". ".join(part for part in worded(error) if part)
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    return f"plan.{name}: {message}" if name in PlanOptions.model_fields else f"{name}: {message}"
