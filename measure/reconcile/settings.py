"""What a reconciliation is told: thresholds, the experiment held against it, its money.

Every threshold has a default here and nowhere else; the report prints the values used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from measure.currency import minor_digits
from measure.declared import Frozen
from measure.errors import InputError
from measure.plan import Share
from measure.results import Estimate, Status


class Settings(Frozen):
    """Thresholds of all checks. Times are in seconds or days, money in minor units."""

    currency: Annotated[str, Field(min_length=3, max_length=3)] | None = None
    """Currency of the statement; ``None`` takes the one that most claims are in."""
    click_window_days: Annotated[int, Field(ge=0)] = 30
    """Longest time a click may precede its conversion; a platform's shorter window stands."""
    view_window_days: Annotated[int, Field(ge=0)] = 7
    """The same for views."""
    clock_tolerance_seconds: Annotated[int, Field(ge=0)] = 300
    """How far two clocks may disagree before an order of events is called impossible."""
    match_tolerance_seconds: Annotated[int, Field(ge=0)] = 300
    """A claim without an order id matches a conversion of its click within this time."""
    spend_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the larger amount by which spend and logged cost of a day may differ."""
    spend_floor: Annotated[int, Field(ge=0)] = 1
    """Differences up to this amount (minor units) are rounding, whatever their share."""
    consent_purposes: Annotated[tuple[str, ...], Field(min_length=1)] = ("marketing", "measurement")
    """A touch needs consent in force for each of these purposes."""
    consent_every_channel: str = "all"
    """The channel name that stands for every channel."""
    identity_kinds: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "email_hash",
        "login",
        "phone_hash",
    )
    """Kinds of identifier that belong to one person; devices and households are shared."""
    evidence_rows: Annotated[int, Field(ge=0, le=10_000)] = 100
    """Flagged rows returned with each check; the count is always complete."""


class ExperimentWindow(Frozen):
    """The experiment whose integrity is checked."""

    key: str
    arms: dict[str, Share]
    """Designed share of each arm, control included; they sum to 1."""
    control: str
    start: AwareDatetime
    end: AwareDatetime
    """Touches from ``start`` to ``end``, both included, count as contamination."""
    campaigns: tuple[str, ...] = ()
    """Campaigns under test: no control unit should meet them."""

    @field_validator("start", "end")
    @classmethod
    def _utc(cls, moment: datetime) -> datetime:
        return moment.astimezone(UTC)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.control not in self.arms:
            raise ValueError(f"control: {self.control!r} is not one of the arms {list(self.arms)}")
        if self.end < self.start:
            raise ValueError("end must not lie before start")
        return self


@dataclass(frozen=True, slots=True)
class IncrementalRevenue:
    """What the experiment says the programme brought in: a total in minor units of ``currency``."""

    money: int
    money_low: int
    money_high: int
    ci_level: float
    currency: str

    @classmethod
    def from_estimate(
        cls, estimate: Estimate, currency: str, *, units: int | None = None
    ) -> IncrementalRevenue:
        """Multiply an effect per unit (major units of ``currency``) by the units it reached.

        ``units`` defaults to the units of the treated arm. :class:`InputError` when the estimate
        has no number to multiply (its status is not ``ok``).
        """
        value, low, high = estimate.value, estimate.ci_low, estimate.ci_high
        if estimate.status is not Status.OK or value is None or low is None or high is None:
            raise InputError.rule(
                f"status of the estimate of {estimate.metric}",
                str(estimate.status),
                "must be ok to be turned into money",
                "Leave the incremental line out; the bridge then ends at reconciled revenue.",
            )
        factor = (estimate.n_arm if units is None else units) * 10 ** minor_digits(currency)
        if not all(math.isfinite(number * factor) for number in (value, low, high)):
            raise InputError.rule(f"estimate of {estimate.metric}", value, "must be finite")
        return cls(
            money=round(value * factor),
            money_low=round(low * factor),
            money_high=round(high * factor),
            ci_level=estimate.ci_level,
            currency=currency,
        )
