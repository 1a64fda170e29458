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
    system_start: AwareDatetime | None = None
    """Nothing can have happened before this time; ``None`` leaves that unasked."""
    close_days: Annotated[int, Field(ge=0)] = 10
    """Days into the next month after which a month's books are closed."""
    fastest_seconds: Annotated[int, Field(ge=0)] = 5
    """A conversion sooner than this after its click was not made by a person."""
    complete_share: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Share of conversions that must have had time to arrive for a period to be complete."""
    skew_seconds: Annotated[int, Field(ge=0)] = 60
    """Median time between click and landing beyond which a platform's clock is off."""
    skew_share: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share of landings before their click beyond which a platform's clock is off."""
    gap_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """An hour with less than this share of its usual rows is a gap in the log."""
    gap_least_rows: Annotated[int, Field(ge=1)] = 30
    """Usual rows that an hour must have before a gap can be told from chance."""
    volume_step: Annotated[float, Field(gt=0)] = 0.2
    """Share by which rows per unit of spend must change at a release to be called a step."""
    volume_deviations: Annotated[float, Field(gt=0)] = 6.0
    """Standard errors that such a step must exceed as well."""
    missing_jump: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Rise of a column's share of missing values within a day that is called a jump."""
    missing_least_rows: Annotated[int, Field(ge=1)] = 100
    """Rows that a day must have before a jump can be told from chance."""
    total_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of a platform's own total that may be missing from its claims."""
    periodic_clicks: Annotated[int, Field(ge=3)] = 10
    """Clicks at a constant interval that no person makes."""
    invalid_traffic_model: str = "invalid_traffic"
    """Model in table scores whose score says how suspicious a person's traffic is."""
    invalid_traffic_score: float = 0.9
    """Score above which traffic is held."""
    brand_campaigns: tuple[str, ...] = ()
    """Campaigns that people meet who already look for the brand."""
    checkout_minutes: Annotated[int, Field(ge=1)] = 30
    """Minutes before an order in which a brand click is part of the checkout."""
    outlier_factor: Annotated[int, Field(ge=2)] = 5
    """Times the touches that 99 % of people stay below, beyond which nobody is one person."""
    outlier_touches: Annotated[int, Field(ge=1)] = 50
    """Touches that a person must have to be an outlier at all."""
    compared_units: Annotated[int, Field(ge=2)] = 100
    """Units per arm below which arms are not compared."""
    compared_p: Annotated[float, Field(gt=0, lt=1)] = 0.001
    """p below which arms differ by more than chance; divided among the arms compared."""
    min_cell: Annotated[int, Field(ge=1)] = 50
    """Conversions below which a cohort may not be published."""
    consent_lasts_days: Annotated[int, Field(ge=1)] | None = None
    """Age at which a consent must have been renewed (13 months are 396 days), where one is set."""
    identity_kinds: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "email_hash",
        "login",
        "phone_hash",
    )
    """Kinds of identifier that belong to one person; devices and households are shared."""
    identity_customers: Annotated[int, Field(ge=2)] = 10
    """Customers that may carry one identifier; one that more carry is shared and joins nobody."""
    person_customers: Annotated[int, Field(ge=2)] = 5
    """Customer ids of one person beyond which several people were taken for one."""
    bridge_customers: Annotated[int, Field(ge=2)] = 3
    """Customers on either side of an identifier that alone holds a person together."""
    fragmented_share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of orders by people with one identifier and no earlier touch that is still usual."""
    link_least: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Match probability below which a link between customers counts for nothing."""
    link_confidence: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Match probability below which credit over a link is weak."""
    click_id_patterns: dict[str, str] = Field(default_factory=dict)
    """Regular expression that click ids of a platform match, by platform."""
    click_id_people: Annotated[int, Field(ge=1)] = 1
    """People, those of one household or identity counted once, who may carry one click id."""
    landing_gap: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of a campaign day's clicks that may be lost before landing."""
    landing_clicks: Annotated[int, Field(ge=1)] = 20
    """Campaign days with fewer clicks are not judged by their landings."""
    match_rate_deviations: Annotated[float, Field(gt=0)] = 4.0
    """Standard deviations by which a day's match rate may fall below the 28 days before."""
    match_rate_rows: Annotated[int, Field(ge=1)] = 30
    """Days with fewer conversions are not judged by their match rate."""
    event_copy_hours: Annotated[int, Field(ge=0)] = 48
    """Two alike events of a person within this time are one event."""
    nested_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share by which an action may differ from the sum of the actions it contains."""
    nested_claims: Annotated[int, Field(ge=1)] = 20
    """Actions with fewer claims are not taken for the sum of others."""
    near_touch_seconds: Annotated[int, Field(ge=0)] = 1
    """Touches of one person, channel and kind no further apart than this are one."""
    burst_clicks: Annotated[int, Field(ge=1)] = 3
    """Clicks of one person on one campaign in one minute beyond which they are a burst."""
    rate_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share by which a claim may differ from its order in another currency at the day's rate."""
    unit_tolerance: Annotated[float, Field(ge=0, lt=0.5)] = 0.005
    """Share by which a claim may differ from a whole unit factor of its order."""
    unit_tolerance_of_spend: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    """The same for the spend of a day against its logged cost."""
    unmapped_channels: tuple[str, ...] = ("(not set)", "other", "unassigned", "unknown", "unmapped")
    """Names of channels that say nothing, in any case; an empty name says nothing either."""
    unmapped_share: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of spend that may be mapped to no channel."""
    model_disagreement: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Range of a channel's share between models that is still agreement."""
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
    every_look: bool = False
    """The plan is sequential: sizes of the arms are tested so that they may be looked at often."""

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
