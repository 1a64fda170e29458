"""Who sees what: activations of every campaign, placed by intent.

Search and retargeting follow people who are about to buy, whatever the arm, and the programme's
social impressions reach the keen more often than the rest. That is why those who saw an
advertisement buy more than those who did not, even where it changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from console.demo.orders import Delivery, Orders
from console.demo.people import People
from console.demo.setting import (
    CHANNELS,
    DAY,
    EMAIL_MICROS,
    END,
    HOUR,
    PROSPECTING_MICROS,
    RETARGETING_MICROS,
    SECOND,
    WINBACK_SMS_MICROS,
    WINBACK_SOCIAL_MICROS,
    Campaign,
    Flags,
    Integers,
    Numbers,
    Touch,
    stream,
)

FREE = -1
"""Cost of a touch that costs nothing by itself (an open, a click on a paid impression)."""


@dataclass(frozen=True, slots=True, eq=False)
class Touches:
    """Activations, one array element each; ``micros`` is :data:`FREE` where there is no price.

    ``planted`` marks those that are a defect of the log.
    """

    person: Integers
    campaign: Integers
    kind: Integers
    at: Integers
    micros: Integers
    planted: Flags

    def __len__(self) -> int:
        return len(self.person)

    def keep(self, rows: Flags | Integers) -> Touches:
        """Only these rows, in this order."""
        return Touches(*(getattr(self, f.name)[rows] for f in fields(self)))


def join(parts: Sequence[Touches]) -> Touches:
    """All parts, one after the other."""
    return Touches(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Touches)))


def touch(people: People, delivery: Delivery, orders: Orders, treated: Flags) -> Touches:
    """Every activation of the window in time order, the planted ones included."""
    everybody = np.arange(len(people))
    reached = np.flatnonzero(treated & delivery.reached & ~delivery.without_consent)
    natural = join(
        [
            _email(people, Campaign.NEWSLETTER, everybody[_newsletter(people)], (4 * DAY,)),
            _email(people, Campaign.WINBACK_EMAIL, reached, (8 * HOUR, 14 * DAY)),
            _sms(people, reached),
            _impressions(people, Campaign.WINBACK_SOCIAL, reached),
            _impressions(people, Campaign.PROSPECTING, everybody),
            _impressions(people, Campaign.RETARGETING, everybody),
            _generic_search(people),
            _brand_search(people, orders),
        ]
    )
    allowed = _allowed(people, natural)
    planted = _planted(people, delivery, treated)
    touches = join([natural.keep(allowed), planted])
    order = np.lexsort((touches.kind, touches.campaign, touches.person, touches.at))
    return _whole_cents(touches.keep(order))


def _allowed(people: People, touches: Touches) -> Flags:
    """Consent in force at that moment, the channel left open, and inside the window."""
    channel = np.array([campaign.platform for campaign in Campaign])[touches.campaign]
    person = touches.person
    consented = touches.at < people.consent_until[person]
    in_window = (touches.at >= 0) & (touches.at < END)
    mail = (channel != CHANNELS.index("email")) | people.email_ok[person]
    text = (channel != CHANNELS.index("sms")) | people.sms_ok[person]
    return np.asarray(consented & in_window & mail & text)


def _rows(
    campaign: Campaign, kind: Touch, person: Integers, at: Integers, micros: int | Integers
) -> Touches:
    n = len(person)
    return Touches(
        person=person,
        campaign=np.full(n, int(campaign)),
        kind=np.full(n, int(kind)),
        at=np.asarray(at, dtype=np.int64),
        micros=np.broadcast_to(np.asarray(micros, dtype=np.int64), n),
        planted=np.zeros(n, dtype=bool),
    )


def _newsletter(people: People) -> Flags:
    """Subscribers of the always-on newsletter, the keener ones more often."""
    draw = stream(people.seed, "newsletter readers").random(len(people))
    return np.asarray(draw < _share(people.intent, 0.2, 0.5))


def _share(intent: Numbers, level: float, slope: float) -> Numbers:
    """A probability that rises with intent (logistic)."""
    return 1 / (1 + np.exp(-(level + slope * intent)))


def _email(people: People, campaign: Campaign, to: Integers, mornings: tuple[int, ...]) -> Touches:
    """Sends at fixed times, some opened within a day, some of those clicked."""
    draw = stream(people.seed, campaign.label)
    person = np.tile(to, len(mornings))
    at = np.repeat(mornings, len(to)) + draw.integers(0, 2 * HOUR, len(person))
    keen = people.intent[person]
    opened = np.flatnonzero(draw.random(len(person)) < _share(keen, -1.0, 0.5))
    seen = at[opened] + 60 * SECOND + (draw.exponential(5 * HOUR, len(opened))).astype(np.int64)
    clicked = opened[follow := draw.random(len(opened)) < _share(keen[opened], -2.6, 0.4)]
    landed = seen[follow] + draw.integers(3 * SECOND, 90 * SECOND, len(clicked))
    return join(
        [
            _rows(campaign, Touch.SEND, person, at, EMAIL_MICROS),
            _rows(campaign, Touch.OPEN, person[opened], seen, FREE),
            _rows(campaign, Touch.CLICK, person[clicked], landed, FREE),
        ]
    )


def _sms(people: People, to: Integers) -> Touches:
    """One message on the third evening, rarely clicked."""
    draw = stream(people.seed, "winback sms")
    at = 2 * DAY + 17 * HOUR + draw.integers(0, HOUR, len(to))
    clicked = np.flatnonzero(draw.random(len(to)) < 0.025)
    landed = at[clicked] + draw.integers(20 * SECOND, 6 * HOUR, len(clicked))
    return join(
        [
            _rows(Campaign.WINBACK_SMS, Touch.SEND, to, at, WINBACK_SMS_MICROS),
            _rows(Campaign.WINBACK_SMS, Touch.CLICK, to[clicked], landed, FREE),
        ]
    )


_IMPRESSIONS = {
    # campaign: (level, slope) of being in the audience, mean impressions, clicks each, micros
    Campaign.WINBACK_SOCIAL: ((-0.2, 1.1), 2.2, 0.015, WINBACK_SOCIAL_MICROS),
    Campaign.PROSPECTING: ((-1.2, 0.5), 1.6, 0.012, PROSPECTING_MICROS),
    Campaign.RETARGETING: ((-1.3, 1.4), 2.0, 0.012, RETARGETING_MICROS),
}


def _impressions(people: People, campaign: Campaign, among: Integers) -> Touches:
    """Impressions over the whole window for the campaign's audience; a few are clicked."""
    (level, slope), mean, click_rate, micros = _IMPRESSIONS[campaign]
    draw = stream(people.seed, campaign.label)
    # One draw per customer, in the audience or not: who is treated must not shift the others.
    seen = draw.random(len(people)) < _share(people.intent, level, slope)
    count = np.where(seen, draw.poisson(mean, len(people)), 0)[among]
    person = np.repeat(among, count)
    at = draw.integers(0, END, len(person))
    if campaign is Campaign.WINBACK_SOCIAL:
        at = 8 * HOUR + (at * ((END - 8 * HOUR) / END)).astype(np.int64)
    clicked = np.flatnonzero(draw.random(len(person)) < click_rate)
    landed = at[clicked] + draw.integers(2 * SECOND, 60 * SECOND, len(clicked))
    return join(
        [
            _rows(campaign, Touch.IMPRESSION, person, at, micros),
            _rows(campaign, Touch.CLICK, person[clicked], landed, FREE),
        ]
    )


def _generic_search(people: People) -> Touches:
    """Paid clicks on general words, by intent."""
    draw = stream(people.seed, "generic search")
    person = np.repeat(
        np.arange(len(people)), draw.poisson(0.05 * np.exp(0.8 * people.intent - 0.3))
    )
    cents = draw.integers(25, 61, len(person))
    return _rows(
        Campaign.GENERIC, Touch.CLICK, person, draw.integers(0, END, len(person)), cents * 10_000
    )


def _brand_search(people: People, orders: Orders) -> Touches:
    """Clicks on the retailer's own name: a third of all orders have one on the way to the till."""
    draw = stream(people.seed, "brand search")
    wandering = np.repeat(np.arange(len(people)), draw.poisson(0.02 * np.exp(people.intent - 0.5)))
    buying = np.flatnonzero(draw.random(len(orders)) < 0.35)
    ahead = np.exp(draw.uniform(np.log(2 * 60 * SECOND), np.log(36 * HOUR), len(buying)))
    person = np.concatenate([wandering, orders.person[buying]])
    at = np.concatenate(
        [draw.integers(0, END, len(wandering)), orders.at[buying] - ahead.astype(np.int64)]
    )
    return _rows(
        Campaign.BRAND, Touch.CLICK, person, at, draw.integers(6, 21, len(person)) * 10_000
    )


def _planted(people: People, delivery: Delivery, treated: Flags) -> Touches:
    """The programme's touches on held-out people, and on people without consent."""
    draw = stream(people.seed, "planted touches")
    held_out = np.flatnonzero(~treated & delivery.contaminated)
    refused = np.flatnonzero(treated & delivery.without_consent)
    person = np.concatenate([held_out, refused])
    again = np.flatnonzero(draw.random(len(person)) < 0.5)
    sent = 2 * DAY + 17 * HOUR + draw.integers(0, HOUR, len(person))
    shown = draw.integers(3 * DAY, END, len(again))
    planted = join(
        [
            _rows(Campaign.WINBACK_SMS, Touch.SEND, person, sent, WINBACK_SMS_MICROS),
            _rows(
                Campaign.WINBACK_SOCIAL,
                Touch.IMPRESSION,
                person[again],
                shown,
                WINBACK_SOCIAL_MICROS,
            ),
        ]
    )
    return Touches(
        planted.person,
        planted.campaign,
        planted.kind,
        planted.at,
        planted.micros,
        np.ones(len(planted), dtype=bool),
    )


def _whole_cents(touches: Touches) -> Touches:
    """Add what is missing to a whole cent to the last touch of each campaign and day.

    Platforms bill cents, and log and bill must agree exactly except where a defect is planted.
    """
    priced = np.flatnonzero((touches.micros > 0) & ~touches.planted)
    cell = touches.campaign[priced] * (END // DAY) + touches.at[priced] // DAY
    sums = np.bincount(cell, weights=touches.micros[priced]).astype(np.int64)  # exact below 2**53
    cells, from_end = np.unique(cell[::-1], return_index=True)
    last = priced[len(priced) - 1 - from_end]
    micros = touches.micros.copy()
    micros[last] += -sums[cells] % 10_000
    return Touches(
        touches.person, touches.campaign, touches.kind, touches.at, micros, touches.planted
    )
