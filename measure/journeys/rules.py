"""What a journey is, declared in one place before any data is read.

:class:`Journeys` is what a file ``journeys.yaml`` holds: touches and their windows, sessions, and
micro-conversions. :class:`JourneyRules` is what one reading of the tables needs of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from measure.declared import Frozen
from measure.engine.contracts import CONTRACTS
from measure.errors import InputError, UnknownName

TOUCH_KINDS = ("impression", "click", "send", "open")
"""Activations that count as touches; ``viewable`` repeats an impression, ``delivered`` a send."""
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Positive = Annotated[float, Field(gt=0)]


class TouchWindow(Frozen):
    """How long before a conversion a touch may lie, for one channel, some kinds, or both."""

    days: Annotated[int, Field(ge=1)]
    channel: str | None = None
    kinds: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.channel is None and not self.kinds:
            raise ValueError("name a channel, kinds, or both; lookback_days holds for all others")
        known = CONTRACTS["activations"].column("kind").allowed
        for kind in self.kinds:
            if kind not in known:
                raise ValueError(f"kind {kind!r} must be one of {', '.join(known)}")
        return self

    @property
    def rank(self) -> tuple[bool, bool]:
        """Channel and kinds come before a channel, a channel before kinds."""
        return self.channel is not None, bool(self.kinds)

    def words(self) -> str:
        """``click of search: 7 days``."""
        whose = " of ".join(part for part in (", ".join(self.kinds), self.channel) if part)
        return f"{whose}: {self.days} {'day' if self.days == 1 else 'days'}"


class SessionRules(Frozen):
    """What a session is: a person's actions without a long pause between them."""

    gap_minutes: Positive = 30.0
    """A longer pause begins a new session; one of exactly so many minutes does not."""
    midnight: bool = False
    """Whether midnight in ``time_zone`` ends a session."""
    time_zone: str = "UTC"
    """That of the platform whose sessions these are to equal."""
    campaign: bool = False
    """Whether an action of another campaign begins a new session."""
    own_ids: bool = False
    """Whether events that name their session keep it, whatever the pauses in it."""
    kinds: tuple[Literal["impression", "viewable", "click", "send", "delivered", "open"], ...] = (
        "click",
        "open",
    )
    """Activations that are actions, beside all events; those that a person does are. Empty for
    events alone."""

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{name!r} is no time zone; write one like Europe/Berlin") from error
        return name


class MicroConversion(Frozen):
    """A step on the way that counts in itself: an event, a deep session, or a long one.

    It happens at the event; at the action with which the session gets so deep; at the first action
    so many seconds after the session's begin.
    """

    name: Name
    """Column of the outcomes; ``…_count`` says how often."""
    event: Annotated[str, Field(min_length=1)] | None = None
    """Name of the event."""
    depth: Annotated[int, Field(ge=2)] | None = None
    """Actions in one session, at least."""
    seconds: Positive | None = None
    """Seconds between the first action of a session and a later one, at least."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(given is not None for given in (self.event, self.depth, self.seconds)) != 1:
            raise ValueError("give exactly one of event, depth and seconds")
        return self

    def words(self) -> str:
        """What has to happen."""
        if self.event is not None:
            return f"an event {self.event}"
        if self.depth is not None:
            return f"a session of at least {self.depth} actions"
        return f"a session of at least {self.seconds:g} seconds"


@dataclass(frozen=True, slots=True)
class JourneyRules:
    """What a journey is: window, touches, period (half-open, UTC; ``None`` is unbounded).

    ``windows`` replace ``lookback_days`` for the channels and kinds they name. A journey ends with
    an order, or with the micro-conversion ``outcome``, in ``sessions``.
    """

    lookback_days: int = 30
    kinds: tuple[str, ...] = TOUCH_KINDS
    start: datetime | None = None
    end: datetime | None = None
    currency: str | None = None
    windows: tuple[TouchWindow, ...] = ()
    outcome: MicroConversion | None = None
    sessions: SessionRules = field(default_factory=SessionRules)

    def __post_init__(self) -> None:
        """Refuse windows and kinds that cannot be."""
        if self.lookback_days < 1:
            raise InputError.rule("lookback_days", self.lookback_days, "must be >= 1")
        known = CONTRACTS["activations"].column("kind").allowed
        for kind in self.kinds:
            if kind not in known:
                raise UnknownName.of("kind of activation", kind, known)
        if not self.kinds:
            raise InputError.rule("kinds", self.kinds, "must name at least one kind")
        if self.start and self.end and self.start >= self.end:
            raise InputError.rule("start", self.start.isoformat(), f"must be < {self.end}")

    @property
    def longest(self) -> timedelta:
        """The longest window: no touch before it matters."""
        return timedelta(days=max([self.lookback_days, *(w.days for w in self.windows)]))


class Journeys(Frozen):
    """Touches, windows, sessions and micro-conversions of a workspace."""

    lookback_days: Annotated[int, Field(ge=1)] = 30
    touch_kinds: Annotated[tuple[str, ...], Field(min_length=1)] = TOUCH_KINDS
    windows: tuple[TouchWindow, ...] = ()
    sessions: SessionRules = SessionRules()
    micro_conversions: tuple[MicroConversion, ...] = ()

    @model_validator(mode="after")
    def _unambiguous(self) -> Self:
        names = [micro.name for micro in self.micro_conversions]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"micro_conversions: {name!r} stands there twice")
        said = [(w.channel, kind) for w in self.windows for kind in (w.kinds or (None,))]
        for channel, kind in said:
            if said.count((channel, kind)) > 1:
                whose = " of ".join(part for part in (kind, channel) if part)
                raise ValueError(f"windows: {whose} has two windows")
        return self

    def rules(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        currency: str | None = None,
        outcome: MicroConversion | None = None,
    ) -> JourneyRules:
        """What a journey is in one period."""
        return JourneyRules(
            self.lookback_days,
            self.touch_kinds,
            start,
            end,
            currency,
            self.windows,
            outcome,
            self.sessions,
        )
