"""What is fixed about the demo's world: dates, segments, campaigns, prices, numbers of defects.

Time inside the generator is integer milliseconds since :data:`START`; money is integer euro cents;
the cost of one touch is integer micros (millionths of a euro).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

EXPERIMENT = "winback-2025-10"
CONTROL = "holdout"
TREATMENT = "winback"
SHARES = {CONTROL: 0.1, TREATMENT: 0.9}
CURRENCY = "EUR"
MARGIN = 0.3
"""Share of net revenue that is left after the cost of goods."""

START = datetime(2025, 10, 1, tzinfo=UTC)
"""Everybody is assigned at this moment; outcomes count from here."""
WINDOW_DAYS = 28
SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
END = WINDOW_DAYS * DAY
MICROS_PER_CENT = 10_000


@dataclass(frozen=True, slots=True)
class Segment:
    """A kind of customer: how common, how likely to buy anyway, and what the programme adds.

    ``base`` and ``effect`` are probabilities of ordering within the window; ``orders`` is the mean
    number of earlier orders beyond the first, ``recency`` the range of days since the last one.
    """

    name: str
    share: float
    base: float
    effect: float
    orders: float
    recency: tuple[int, int]


SEGMENTS = (
    Segment("new", 0.20, 0.045, 0.004, 0.0, (1, 30)),
    Segment("active", 0.30, 0.062, 0.012, 3.0, (5, 90)),
    Segment("lapsed", 0.30, 0.030, 0.024, 2.0, (180, 720)),
    Segment("loyal", 0.20, 0.090, 0.000, 11.0, (1, 45)),
)
COUNTRIES = {"DE": 0.38, "FR": 0.22, "NL": 0.16, "ES": 0.14, "AT": 0.10}
DEVICES = {"mobile": 0.58, "desktop": 0.34, "tablet": 0.08}

PLATFORMS = ("postbird", "circle", "northsearch", "bannerline", "texto")
CHANNELS = ("email", "paid_social", "search", "display", "sms")
"""One channel a platform, in the same order."""
CLICK_WINDOW_DAYS = (7, 7, 14, 7, 7)
VIEW_WINDOW_DAYS = (3, 1, 1, 1, 3)
"""How long after a touch each platform still claims an order."""


class Campaign(IntEnum):
    """Campaigns by code; the three of the tested programme start with ``WINBACK``."""

    NEWSLETTER = 0
    PROSPECTING = 1
    BRAND = 2
    GENERIC = 3
    RETARGETING = 4
    WINBACK_EMAIL = 5
    WINBACK_SOCIAL = 6
    WINBACK_SMS = 7

    @property
    def label(self) -> str:
        """The name in the logs, for example ``winback-email``."""
        return self.name.lower().replace("_", "-")

    @property
    def platform(self) -> int:
        """Code of the platform (and of its channel)."""
        return (0, 1, 2, 2, 3, 0, 1, 4)[self]


PROGRAMME = (Campaign.WINBACK_EMAIL, Campaign.WINBACK_SOCIAL, Campaign.WINBACK_SMS)


class Touch(IntEnum):
    """Kinds of activation by code."""

    IMPRESSION = 0
    CLICK = 1
    SEND = 2
    OPEN = 3


EMAIL_MICROS = 2_000
PROSPECTING_MICROS = 8_000
RETARGETING_MICROS = 4_000
WINBACK_SOCIAL_MICROS = 20_000
WINBACK_SMS_MICROS = 130_000


@dataclass(frozen=True, slots=True)
class Planned:
    """How many defects of a kind to plant: a rate per 100,000 customers, and a least number."""

    rate: float
    least: int

    def count(self, customers: int) -> int:
        """The number for a world of this size."""
        return max(self.least, round(self.rate * customers / 100_000))


SHARED_PERSONS = Planned(600, 60)
CONTAMINATED = Planned(400, 60)
WITHOUT_CONSENT = Planned(150, 12)
CLAIMS_WITHOUT_ORDER = Planned(100, 6)
CLAIMS_TWICE = Planned(80, 5)
CLAIMS_UNKNOWN_CLICK = Planned(60, 4)
CLAIMS_BEFORE_TOUCH = Planned(50, 4)
CLAIMS_OUTSIDE_WINDOW = Planned(60, 4)
CLAIMS_REFUNDED = Planned(60, 4)
ORDERS_TWICE = Planned(50, 5)
OVERBILLED_DAYS = 5
TEST_ORDERS = Planned(40, 4)


def stream(seed: int, topic: str) -> np.random.Generator:
    """A generator of its own for each topic, so that a new topic never shifts an old one."""
    return np.random.default_rng([seed, zlib.crc32(topic.encode())])


def calendar_day(day: int) -> date:
    """The calendar date of a day of the window, counted from 0."""
    return (START + timedelta(days=day)).date()
