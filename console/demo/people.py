"""Customers before anything happens: attributes, identities, consent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from console.demo import arrow
from console.demo.setting import (
    COUNTRIES,
    DAY,
    DEVICES,
    END,
    SEGMENTS,
    SHARED_PERSONS,
    Flags,
    Integers,
    Numbers,
    stream,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

ALWAYS = 10 * 365 * DAY
"""Stands for "no end" in times; far outside the window."""


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Everybody, one array element each; times in milliseconds from the start of the window.

    ``intent`` (standard normal) drives buying *and* being targeted: it is the confounder, and no
    file ever shows it. ``consent_until`` is 0 or less for those who may not be touched at all.
    ``same_person`` holds the row of the customer who is the same human under another id, or −1.
    """

    seed: int
    customer_id: pa.StringArray
    segment: Integers
    country: Integers
    device: Integers
    intent: Numbers
    basket: Numbers
    prior_orders: Integers
    prior_revenue: Integers
    recency_days: Integers
    first_seen: Integers
    consent_until: Integers
    email_ok: Flags
    sms_ok: Flags
    same_person: Integers

    def __len__(self) -> int:
        return len(self.segment)

    def base(self) -> Numbers:
        """Probability of ordering within the window without the programme."""
        base = np.array([segment.base for segment in SEGMENTS])[self.segment]
        return np.asarray(np.minimum(base * np.exp(0.6 * self.intent - 0.18), 0.6))

    def effect(self) -> Numbers:
        """What the programme adds to that probability for somebody it reaches."""
        return np.asarray([segment.effect for segment in SEGMENTS])[self.segment]

    def reachable(self) -> Flags:
        """Whether the programme can reach them: consent in force and a channel left open."""
        return (self.consent_until > DAY) & (self.email_ok | self.sms_ok)

    def customers(self) -> pa.Table:
        """The ``customers`` table; money attributes in euros."""
        return pa.table(
            {
                "customer_id": self.customer_id,
                "first_seen_at": arrow.times(self.first_seen),
                "segment": arrow.pick([s.name for s in SEGMENTS], self.segment),
                "country": arrow.pick(list(COUNTRIES), self.country),
                "device": arrow.pick(list(DEVICES), self.device),
                "prior_orders": pa.array(self.prior_orders),
                "prior_revenue": pa.array(self.prior_revenue / 100),
                "recency_days": pa.array(self.recency_days),
            }
        )


def build_people(customers: int, seed: int) -> People:
    """Draw ``customers`` people; the same seed gives the same people."""
    draw = stream(seed, "people")
    intent = draw.standard_normal(customers)
    segment = draw.choice(len(SEGMENTS), customers, p=[s.share for s in SEGMENTS])
    basket = 62 * np.exp(0.25 * draw.standard_normal(customers) - 0.03)
    recency, first_seen = _history(draw, segment)
    orders, revenue = _purchases(draw, segment, intent, basket)
    consent = stream(seed, "consent")
    return People(
        seed=seed,
        customer_id=arrow.serial("c", customers, 7),
        segment=segment,
        country=_choose(draw, COUNTRIES, customers),
        device=_choose(draw, DEVICES, customers),
        intent=intent,
        basket=basket,
        prior_orders=orders,
        prior_revenue=revenue,
        recency_days=recency,
        first_seen=first_seen,
        consent_until=_consent_until(consent, customers),
        email_ok=consent.random(customers) >= 0.05,
        sms_ok=consent.random(customers) >= 0.15,
        same_person=_same_person(stream(seed, "same person"), customers),
    )


def _choose(draw: np.random.Generator, shares: Mapping[str, float], n: int) -> Integers:
    return draw.choice(len(shares), n, p=list(shares.values()))


def _history(draw: np.random.Generator, segment: Integers) -> tuple[Integers, Integers]:
    """Days since the last order, and when the customer was first seen (before that order)."""
    ranges = np.array([s.recency for s in SEGMENTS])[segment]
    recency = draw.integers(ranges[:, 0], ranges[:, 1] + 1)
    older = np.where(segment == 0, 0, draw.integers(1, 1200, len(segment)))
    return recency, -(recency + older) * DAY - draw.integers(0, DAY, len(segment))


def _purchases(
    draw: np.random.Generator, segment: Integers, intent: Numbers, basket: Numbers
) -> tuple[Integers, Integers]:
    """Earlier orders and their revenue in cents: both foretell what comes."""
    mean = np.array([s.orders for s in SEGMENTS])[segment]
    orders = 1 + draw.poisson(mean * np.exp(0.5 * intent - 0.125))
    noise = np.exp(0.2 * draw.standard_normal(len(segment)))
    return orders, np.rint(100 * orders * basket * noise).astype(np.int64)


def _consent_until(draw: np.random.Generator, n: int) -> Integers:
    """94 % never withdraw, 2 % do so within the window, 2 % did before it, 2 % never agreed."""
    state = draw.choice(4, n, p=[0.94, 0.02, 0.02, 0.02])
    during = draw.integers(2 * DAY, END, n)
    before = -draw.integers(1, 60, n) * DAY
    return np.choose(state, [np.full(n, ALWAYS), during, before, np.full(n, -ALWAYS)])


def _same_person(draw: np.random.Generator, n: int) -> Integers:
    """Some humans registered twice: pair them up."""
    pairs = min(SHARED_PERSONS.count(n), n // 2)
    chosen = draw.permutation(n)[: 2 * pairs]
    other = np.full(n, -1, dtype=np.int64)
    other[chosen[:pairs]], other[chosen[pairs:]] = chosen[pairs:], chosen[:pairs]
    return other


def identities(people: People) -> pa.Table:
    """The ``identities`` table: an e-mail hash each, and devices and logins for some.

    Identifiers are unique to a person; only a human with two customer ids brings the same
    ``email_hash`` twice, and the same login where both ids have one.
    """
    n = len(people)
    draw = stream(people.seed, "identities")
    email = np.arange(n)
    twin = people.same_person
    email = np.where(twin >= 0, np.minimum(email, np.where(twin >= 0, twin, n)), email)
    hashes = arrow.hexadecimal(draw, n, 32)
    device = np.flatnonzero(draw.random(n) < 0.5)
    login = np.flatnonzero(draw.random(n) < 0.3)
    row = np.concatenate([np.arange(n), device, login])
    kind = np.repeat([0, 1, 2], [n, len(device), len(login)])
    identifier = pa.concat_arrays(
        [
            hashes.take(pa.array(email)),
            arrow.hexadecimal(draw, len(device), 8),
            arrow.prefixed("user-", people.customer_id.take(pa.array(email[login]))),
        ]
    )
    return pa.table(
        {
            "customer_id": people.customer_id.take(pa.array(row)),
            "kind": arrow.pick(["email_hash", "device", "login"], kind),
            "identifier": identifier,
            "seen_at": arrow.times(people.first_seen[row]),
            "source": arrow.pick(["shop", "app", "account"], kind),
        }
    )


def consents(people: People) -> pa.Table:
    """The ``consents`` table: purposes ``marketing`` and ``measurement`` for channel ``all``.

    One banner asks for both, so they are given and withdrawn together. A refusal for one channel is
    a row of its own.
    """
    n = len(people)
    until, since = people.consent_until, people.first_seen
    never, withdrawn = until == -ALWAYS, (until != ALWAYS) & (until != -ALWAYS)
    everyone, gone = np.arange(n), np.flatnonzero(withdrawn)
    email, sms = np.flatnonzero(~people.email_ok), np.flatnonzero(~people.sms_ok)
    ended = np.maximum(until, since + 1)  # nobody withdraws before being seen
    parts = [
        (everyone, 0, 0, ~never, since, np.where(withdrawn, ended, ALWAYS)),
        (everyone, 1, 0, ~never, since, np.where(withdrawn, ended, ALWAYS)),
        (gone, 0, 0, np.zeros(n, bool), ended, np.full(n, ALWAYS)),
        (gone, 1, 0, np.zeros(n, bool), ended, np.full(n, ALWAYS)),
        (email, 0, 1, np.zeros(n, bool), since, np.full(n, ALWAYS)),
        (sms, 0, 2, np.zeros(n, bool), since, np.full(n, ALWAYS)),
    ]
    return pa.concat_tables(_consent_rows(people, *part) for part in parts)


def _consent_rows(
    people: People,
    rows: Integers,
    purpose: int,
    channel: int,
    granted: Flags,
    valid_from: Integers,
    valid_to: Integers,
) -> pa.Table:
    n, ends = len(rows), valid_to[rows]
    began = arrow.times(valid_from[rows])
    return pa.table(
        {
            "customer_id": people.customer_id.take(pa.array(rows)),
            "purpose": arrow.pick(["marketing", "measurement"], np.full(n, purpose)),
            "channel": arrow.pick(["all", "email", "sms"], np.full(n, channel)),
            "granted": pa.array(granted[rows]),
            "valid_from": began,
            "valid_to": arrow.times(ends, missing=ends == ALWAYS),
            "recorded_at": began,
        }
    )
