"""The whole world: people, what happened to them under their arms, and its canonical tables."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from console.demo import tables
from console.demo.claims import claim
from console.demo.defects import Spoiled, order_copies, overbilled, spoil_claims
from console.demo.exposure import Touches, touch
from console.demo.orders import Delivery, Orders, Outcomes, buy, deliver
from console.demo.people import People, build_people, consents, identities
from console.demo.setting import (
    CONTROL,
    DAY,
    EXPERIMENT,
    MICROS_PER_CENT,
    SHARES,
    TREATMENT,
    WINDOW_DAYS,
    Flags,
    Integers,
)
from measure.errors import InputError, UnknownName


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Everything that happened. Arrays are rows of the same order of people, touches and orders.

    ``billed_campaign``, ``billed_day``, ``billed`` are the spend cells, with the planted
    ``overbilled`` cents already in ``billed``; ``copies`` are rows of orders exported twice.
    """

    people: People
    treated: Flags
    delivery: Delivery
    if_control: Outcomes
    if_treated: Outcomes
    orders: Orders
    copies: Integers
    touches: Touches
    spoiled: Spoiled
    billed_campaign: Integers
    billed_day: Integers
    billed: Integers
    overbilled: Integers

    def behaviour(self) -> dict[str, pa.Table]:
        """What happened after assignment, as canonical tables after loading."""
        return {
            "activations": tables.activations(self.people, self.touches),
            "conversions": tables.conversions(self.people, self.orders, self.touches, self.copies),
            "claims": tables.claims(self.spoiled.claims, self.touches),
            "spend": tables.spend(self.billed_campaign, self.billed_day, self.billed),
        }

    def tables(self) -> dict[str, pa.Table]:
        """All canonical tables as they stand after loading, ``assignments`` included."""
        return {
            "customers": self.people.customers(),
            "identities": identities(self.people),
            "consents": consents(self.people),
            **self.behaviour(),
            "assignments": tables.assignments(self.people, self.treated),
        }


def simulate(people: People, arms: Mapping[str, str] | Sequence[str] | pa.Array) -> World:
    """Let the window happen to ``people`` under their arms.

    ``arms`` names :data:`~console.demo.setting.TREATMENT` or ``CONTROL`` per customer, as a mapping
    from customer id or in the order of ``people.customer_id``; anything else raises
    :class:`~measure.errors.InputError`.
    """
    treated = _treated(people, arms)
    seed, customers = people.seed, len(people)
    delivery = deliver(people)
    if_control, if_treated, orders = buy(people, delivery, treated)
    touches = touch(people, delivery, orders, treated)
    campaign, day, cents = _bills(touches)
    extra = overbilled(seed, campaign, cents)
    return World(
        people=people,
        treated=treated,
        delivery=delivery,
        if_control=if_control,
        if_treated=if_treated,
        orders=orders,
        copies=order_copies(seed, customers, orders),
        touches=touches,
        spoiled=spoil_claims(seed, customers, orders, claim(seed, orders, touches)),
        billed_campaign=campaign,
        billed_day=day,
        billed=cents + extra,
        overbilled=extra,
    )


def build_world(customers: int, seed: int) -> World:
    """People, a 90/10 assignment by a hash of seed and customer id, and their window."""
    people = build_people(customers, seed)
    salt = f"{EXPERIMENT}/{seed}/".encode()
    limit = int(SHARES[CONTROL] * 2**32)
    arms = [
        CONTROL if int(hashlib.sha256(salt + i.encode()).hexdigest()[:8], 16) < limit else TREATMENT
        for i in people.customer_id.to_pylist()
    ]
    return simulate(people, arms)


def _treated(people: People, arms: Mapping[str, str] | Sequence[str] | pa.Array) -> Flags:
    if isinstance(arms, Mapping):
        ids = people.customer_id.to_pylist()
        missing = next((i for i in ids if i not in arms), None)
        if missing is not None:
            raise InputError(f"arms: customer {missing!r} has no arm. Assign everybody first.")
        arms = [arms[i] for i in ids]
    named = np.asarray(arms)
    if len(named) != len(people):
        raise InputError.rule("len(arms)", len(named), f"there are {len(people)} customers")
    for name in np.unique(named):
        if name not in SHARES:
            raise UnknownName.of("arm", str(name), SHARES)
    return np.asarray(named == TREATMENT)


def _bills(touches: Touches) -> tuple[Integers, Integers, Integers]:
    """Cost of each campaign and day in cents: (campaign, day, cents) of the cells that cost."""
    priced = touches.micros > 0
    cell = touches.campaign[priced] * WINDOW_DAYS + touches.at[priced] // DAY
    sums = np.bincount(cell, weights=touches.micros[priced]).astype(np.int64)
    cells = np.flatnonzero(sums)
    return cells // WINDOW_DAYS, cells % WINDOW_DAYS, sums[cells] // MICROS_PER_CENT
