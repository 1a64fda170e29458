"""What a specification may declare about assignment beyond arms: values, checked one by one.

``designs.experiment`` puts them together and checks what must fit between them.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction as Exact
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from measure.declared import Frozen
from measure.engine.contracts import CONTRACTS
from measure.errors import hint
from measure.plan import Share

MAX_NAME = 200
EVERY_CHANNEL = "all"
"""The channel of a consent or a holdout that stands for every channel."""
MEMBER_OF = CONTRACTS["identities"].column("kind").allowed
"""Kinds of identifiers that can bind customers into a cluster."""
JOINED_BY = " + "
"""Between the levels in the name of a factorial arm."""


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


def _as_loaded(text: str) -> str:
    """The NFC form, which every text has once it is loaded; another form would match nobody."""
    return unicodedata.normalize("NFC", text)


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_plain_name)]
Slug = Annotated[str, AfterValidator(_slug)]
Moment = Annotated[AwareDatetime, BeforeValidator(_midnight), AfterValidator(_in_utc)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Split = Annotated[dict[Name, Share], Field(min_length=2)]
Loaded = Annotated[str, AfterValidator(_as_loaded)]
"""A value as the tables hold it."""


class Population(Frozen):
    """Who can take part: rows of ``customers`` whose attributes have these values."""

    table: str = "customers"
    where: dict[Name, Loaded] = Field(default_factory=dict)
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


class Rotation(Frozen):
    """When a holdout is drawn anew: every ``days`` days from ``since`` on."""

    days: Annotated[int, Field(ge=1, le=3_660)]
    since: Moment

    def period(self, at: datetime) -> int:
        """Number of the period that holds a moment; the one from ``since`` on is 0."""
        return (at - self.since) // timedelta(days=self.days)

    def begin(self, period: int) -> datetime:
        """First moment of a period; it ends where the next one begins."""
        return self.since + timedelta(days=self.days) * period


class StandingHoldout(Frozen):
    """Units that keep the status quo: nothing on these channels, whatever experiment runs.

    With ``rotation`` every period has members of its own; until it ends nobody enters or leaves.
    """

    name: Slug
    share: Share
    channels: Literal["all"] | Annotated[tuple[Name, ...], Field(min_length=1)] = "all"
    rotation: Rotation | None = None

    @field_validator("channels", mode="before")
    @classmethod
    def _all_or_list(cls, channels: Any) -> Any:
        if isinstance(channels, str) and channels != EVERY_CHANNEL:
            raise ValueError(f"{channels!r} must be all, or a list. Write [{channels}].")
        return channels

    def covers(self, channel: str) -> bool:
        """Whether its members may not be reached on a channel."""
        return self.channels == EVERY_CHANNEL or channel in self.channels


class Allocation(Frozen):
    """Shares of the arms that depend on an attribute; values not listed have the usual shares."""

    attribute: Name
    shares: Annotated[dict[Annotated[Name, AfterValidator(_as_loaded)], Split], Field(min_length=1)]

    def faults(self, arms: Mapping[str, float]) -> str:
        """The first cohort whose shares do not fit the arms, in words; empty when all do."""
        for value, shares in self.shares.items():
            if set(shares) != set(arms):
                return f"{value!r} must give a share to each of the arms {sorted(arms)}"
            total = sum(shares.values())
            if abs(total - 1) > 1e-9:
                return f"shares of {value!r} add up to {total:.6g}, they must add up to 1"
        return ""


class Cluster(Frozen):
    """Customers who share an identifier or an attribute get one arm together."""

    kind: str | None = None
    """A kind of identifier in table ``identities``."""
    attribute: Name | None = None
    """A column of table ``customers``."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.kind is None) == (self.attribute is None):
            raise ValueError("cluster: give exactly one of kind and attribute")
        if self.kind is not None and self.kind not in MEMBER_OF:
            raise ValueError(
                f"kind: {self.kind!r} is no kind of identifier. {hint(self.kind, MEMBER_OF)}"
            )
        return self

    @property
    def name(self) -> str:
        """What one cluster is called."""
        return str(self.kind or self.attribute)


class Balance(Frozen):
    """Assign a small population at once: of many random draws, the one balanced best.

    Within each stratum the arms have their exact shares (to one unit); among ``draws`` such draws
    the one with the smallest Mahalanobis distance between arms is taken.
    """

    attributes: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Numeric attributes of the customers to balance."""
    strata: tuple[Name, ...] = ()
    """Attributes whose combinations are strata."""
    draws: Annotated[int, Field(ge=1, le=100_000)] = 1_000


class Switchback(Frozen):
    """Time is cut into blocks; each unit (a region, a shop) changes arms from block to block."""

    units: Annotated[tuple[Name, ...], Field(min_length=1)]
    block_hours: Annotated[int, Field(ge=1, le=24 * 366)]
    washout_hours: Annotated[int, Field(ge=0)] = 0
    """From the beginning of each block, not measured: what the block before left behind."""

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.washout_hours >= self.block_hours:
            raise ValueError(
                f"washout_hours: {self.washout_hours} must be < block_hours ({self.block_hours})"
            )
        if len(set(self.units)) < len(self.units):
            raise ValueError("units: a unit is named twice")
        return self


def factorial_arms(factors: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Arms of a factorial design: every combination of levels, with the product of their shares."""
    arms: dict[str, float] = {}
    for levels in itertools.product(*(shares.items() for shares in factors.values())):
        share = Exact(1)
        for _, part in levels:
            share *= Exact(repr(float(part)))
        arms[JOINED_BY.join(level for level, _ in levels)] = float(share)
    return arms
