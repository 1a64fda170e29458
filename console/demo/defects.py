"""Defects planted in claims, orders and bills, each on rows of its own, so that none counts twice.

Claims are spoiled only on paid orders that a single platform claims; orders that several platforms
claim stay as they are and are the truth of check B1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from console.demo.claims import NONE, UNKNOWN, Claims, join
from console.demo.orders import Orders, State
from console.demo.setting import (
    CLAIMS_BEFORE_TOUCH,
    CLAIMS_OUTSIDE_WINDOW,
    CLAIMS_REFUNDED,
    CLAIMS_TWICE,
    CLAIMS_UNKNOWN_CLICK,
    CLAIMS_WITHOUT_ORDER,
    CLICK_WINDOW_DAYS,
    DAY,
    END,
    HOUR,
    ORDERS_TWICE,
    OVERBILLED_DAYS,
    PROGRAMME,
    VIEW_WINDOW_DAYS,
    Campaign,
    Flags,
    Integers,
    stream,
)


@dataclass(frozen=True, slots=True, eq=False)
class Spoiled:
    """Claims with their defects, and the rows (of ``claims``) of each kind by check code."""

    claims: Claims
    rows: dict[str, Integers]


def spoil_claims(seed: int, customers: int, orders: Orders, claims: Claims) -> Spoiled:
    """Plant A1, A3, B2, C1, C3 and E6."""
    draw = stream(seed, "spoiled claims")
    claimed = np.bincount(claims.order, minlength=len(orders))
    single = draw.permutation(np.flatnonzero(claimed[claims.order] == 1))
    wanted = (CLAIMS_TWICE, CLAIMS_UNKNOWN_CLICK, CLAIMS_BEFORE_TOUCH, CLAIMS_OUTSIDE_WINDOW)
    ends = np.cumsum([planned.count(customers) for planned in wanted])
    twice, unknown, before, outside = (np.sort(part) for part in np.split(single, ends)[:4])
    changed = _unknown_click(claims, unknown)
    changed = _before_touch(draw, changed, before)
    changed = _outside_window(draw, changed, outside)
    extra = (
        changed.keep(np.repeat(twice, 1 + (np.arange(len(twice)) % 5 == 0))),
        _without_order(draw, CLAIMS_WITHOUT_ORDER.count(customers)),
        _refunded(draw, orders, CLAIMS_REFUNDED.count(customers)),
    )
    starts = len(claims) + np.cumsum([0, *map(len, extra)])
    added = [np.arange(starts[i], starts[i + 1]) for i in range(3)]
    rows = {"A1": added[1], "A3": unknown, "B2": added[0], "C1": before, "C3": outside}
    return Spoiled(join([changed, *extra]), rows | {"E6": added[2]})


def _unknown_click(claims: Claims, rows: Integers) -> Claims:
    """The platform sends a click id that nobody logged."""
    click, days = claims.click.copy(), claims.window_days.copy()
    click[rows] = UNKNOWN
    days[rows] = np.array(CLICK_WINDOW_DAYS)[claims.platform[rows]]
    return replace(claims, click=click, window_days=days)


def _before_touch(draw: np.random.Generator, claims: Claims, rows: Integers) -> Claims:
    """The touch happened hours after the order it is said to have caused."""
    touched = claims.touched_at.copy()
    touched[rows] = claims.converted_at[rows] + draw.integers(HOUR, 20 * HOUR, len(rows))
    return replace(claims, touched_at=touched)


def _outside_window(draw: np.random.Generator, claims: Claims, rows: Integers) -> Claims:
    """The touch is older than the platform's own window allows."""
    touched = claims.touched_at.copy()
    age = claims.window_days[rows] * DAY + draw.integers(DAY, 6 * DAY, len(rows))
    touched[rows] = claims.converted_at[rows] - age
    return replace(claims, touched_at=touched)


def _without_order(draw: np.random.Generator, count: int) -> Claims:
    """Claims for orders that the shop never saw."""
    converted = draw.integers(5 * DAY, END, count)
    value = np.rint(100 * np.clip(60 * np.exp(0.5 * draw.standard_normal(count)), 8, 250))
    return _views(draw, np.full(count, NONE), converted, value.astype(np.int64))


def _refunded(draw: np.random.Generator, orders: Orders, count: int) -> Claims:
    """Claims that stayed although the order was refunded or cancelled."""
    gone = np.flatnonzero((orders.state == State.REFUNDED) | (orders.state == State.CANCELLED))
    chosen = np.sort(draw.permutation(gone)[:count])
    return _views(draw, chosen, orders.at[chosen], orders.value[chosen])


def _views(
    draw: np.random.Generator, order: Integers, converted: Integers, value: Integers
) -> Claims:
    """Claims on a view some hours before, by campaigns that are only ever seen."""
    n = len(order)
    among = np.array([Campaign.PROSPECTING, Campaign.RETARGETING, Campaign.WINBACK_SOCIAL])
    campaign = draw.choice(among, n)
    days = np.array(VIEW_WINDOW_DAYS)[[Campaign(code).platform for code in campaign]]
    return Claims(
        order=order,
        campaign=campaign,
        click=np.full(n, NONE),
        touched_at=converted - draw.integers(HOUR, 20 * HOUR, n),
        converted_at=converted,
        value=value,
        window_days=days,
    )


def order_copies(seed: int, customers: int, orders: Orders) -> Integers:
    """Rows of paid orders that the shop exports twice, under another conversion id (B8)."""
    draw = stream(seed, "order copies")
    paid = np.flatnonzero(orders.state == State.PAID)
    return np.sort(draw.permutation(paid)[: ORDERS_TWICE.count(customers)])


def overbilled(seed: int, campaign: Integers, cents: Integers) -> Integers:
    """What is billed beyond the logs, per (campaign, day) cell, in cents (F1).

    Falls on large cells of always-on campaigns, so that what the programme costs stays known.
    """
    extra = np.zeros(len(cents), dtype=np.int64)
    always_on: Flags = ~np.isin(campaign, PROGRAMME)
    largest = np.flatnonzero(always_on)[np.argsort(-cents[always_on], kind="stable")]
    draw = stream(seed, "overbilled")
    # Every third of the largest, so that several campaigns and days are hit.
    chosen = largest[::3][:OVERBILLED_DAYS]
    extra[chosen] = np.ceil(cents[chosen] * draw.uniform(0.15, 0.3, len(chosen))).astype(np.int64)
    return extra
