"""What customers buy under either arm, and the orders that really happen.

Both potential outcomes of an assignment are drawn with the same random numbers: a customer's draw
decides at which buying probability an order is placed, and what it is worth does not depend on the
arm. The programme therefore only ever adds orders, and its true effect is known person by person.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from console.demo.people import People
from console.demo.setting import (
    CONTAMINATED,
    DAY,
    END,
    HOUR,
    TEST_ORDERS,
    WITHOUT_CONSENT,
    Flags,
    Integers,
    Numbers,
    stream,
)


class State(IntEnum):
    """Status of an order by code; the first two are purchases."""

    PAID = 0
    REFUNDED = 1
    CANCELLED = 2
    TEST = 3
    INTERNAL = 4


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """Whom the programme touches: ``reached`` if treated, ``contaminated`` if held out.

    ``without_consent`` are the reached who should not have been. All three are drawn for everybody,
    so that both potential outcomes exist for everybody.
    """

    reached: Flags
    contaminated: Flags
    without_consent: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Potential outcomes of one arm, one element per customer: purchases and cents."""

    conversion: Flags
    revenue: Integers
    net_revenue: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Orders:
    """Orders placed, in time order; ``at`` in milliseconds, money in cents."""

    person: Integers
    at: Integers
    value: Integers
    refunded: Integers
    state: Integers

    def __len__(self) -> int:
        return len(self.person)


@dataclass(frozen=True, slots=True, eq=False)
class _Basket:
    """What somebody's order would be, were it placed."""

    at: Integers
    value: Integers
    refunded: Integers
    state: Integers

    @property
    def purchase(self) -> Flags:
        return self.state <= State.REFUNDED


def deliver(people: People) -> Delivery:
    """Draw reach, leaks into the holdout, and touches without consent."""
    n = len(people)
    draw = stream(people.seed, "delivery")
    reachable = people.reachable()
    slips = _some(draw, people.consent_until <= 0, WITHOUT_CONSENT.count(n))
    may_leak = reachable & (people.consent_until > END) & people.sms_ok
    return Delivery(
        reached=reachable | slips,
        contaminated=_some(draw, may_leak, CONTAMINATED.count(n)),
        without_consent=slips,
    )


def _some(draw: np.random.Generator, among: Flags, count: int) -> Flags:
    chosen = np.zeros(len(among), dtype=bool)
    candidates = np.flatnonzero(among)
    chosen[draw.permutation(candidates)[:count]] = True
    return chosen


def buy(people: People, delivery: Delivery, treated: Flags) -> tuple[Outcomes, Outcomes, Orders]:
    """Potential outcomes if held out, if treated, and the orders that follow from the arms."""
    n = len(people)
    draw = stream(people.seed, "orders")
    threshold, base, effect = draw.random(n), people.base(), people.effect()
    if_control = threshold < base + effect * delivery.contaminated
    if_treated = threshold < base + effect * delivery.reached
    when = draw.random(n)
    # An order that only the programme brings comes after its first message: the e-mail of the
    # first morning, for the others the text message of the third evening.
    mailed = treated & people.email_ok & ~delivery.without_consent
    since = np.where(threshold < base, 0, np.where(mailed, 12 * HOUR, 3 * DAY))
    at = (since + when * (END - since)).astype(np.int64)
    first = _basket(draw, people.basket, at)
    gap = (draw.random(n) * (END - at)).astype(np.int64)
    second = _basket(draw, people.basket, at + gap)
    again = draw.random(n) < 0.12
    bought = np.where(treated, if_treated, if_control)
    placed = _placed(people, bought, first, second, again)
    return (
        _outcomes(if_control, first, second, again),
        _outcomes(if_treated, first, second, again),
        placed,
    )


def _basket(draw: np.random.Generator, basket: Numbers, at: Integers) -> _Basket:
    n = len(basket)
    euros = np.clip(basket * np.exp(0.45 * draw.standard_normal(n) - 0.1), 8, 250)
    value = np.rint(100 * euros).astype(np.int64)
    state = draw.choice(3, n, p=[0.89, 0.08, 0.03])
    share = np.where(draw.random(n) < 0.7, 1.0, draw.uniform(0.2, 0.8, n))
    refunded = np.where(state == State.REFUNDED, np.rint(value * share), 0).astype(np.int64)
    return _Basket(at, value, refunded, state)


def _outcomes(bought: Flags, first: _Basket, second: _Basket, again: Flags) -> Outcomes:
    one, two = bought & first.purchase, bought & again & second.purchase
    return Outcomes(
        conversion=one | two,
        revenue=one * first.value + two * second.value,
        net_revenue=one * (first.value - first.refunded) + two * (second.value - second.refunded),
    )


def _placed(people: People, bought: Flags, first: _Basket, second: _Basket, again: Flags) -> Orders:
    """Realised orders, and the retailer's own test orders, sorted by time."""
    tests = _test_orders(people)
    one, two = np.flatnonzero(bought), np.flatnonzero(bought & again)
    person = np.concatenate([one, two, tests.person])
    columns = [
        np.concatenate(
            [getattr(first, name)[one], getattr(second, name)[two], getattr(tests, name)]
        )
        for name in ("at", "value", "refunded", "state")
    ]
    order = np.lexsort((person, columns[0]))
    return Orders(person[order], *(column[order] for column in columns))


def _test_orders(people: People) -> Orders:
    draw = stream(people.seed, "test orders")
    count = TEST_ORDERS.count(len(people))
    nothing = np.zeros(count, dtype=np.int64)
    return Orders(
        person=draw.integers(0, len(people), count),
        at=draw.integers(DAY, END, count),
        value=np.full(count, 100, dtype=np.int64),
        refunded=nothing,
        state=draw.choice([int(State.TEST), int(State.INTERNAL)], count),
    )
