"""What the platforms say they sold: last click in their own window, else a view.

Every platform looks only at its own touches, so several claim the same order; that over-claiming
is not planted, it follows. Platforms withdraw claims on refunded and cancelled orders, except where
:mod:`console.demo.defects` makes them forget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from console.demo.exposure import Touches
from console.demo.orders import Orders, State
from console.demo.setting import (
    CLICK_WINDOW_DAYS,
    DAY,
    PLATFORMS,
    VIEW_WINDOW_DAYS,
    Campaign,
    Flags,
    Integers,
    Touch,
    stream,
)

NONE = -1
"""No click id, as in every claim on a view."""
UNKNOWN = -2
"""A click id that no activation log holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """Claims, one array element each.

    ``order`` is a row of the orders, or :data:`NONE` for an order that does not exist; ``click`` is
    a row of the touches, :data:`NONE` or :data:`UNKNOWN`.
    """

    order: Integers
    campaign: Integers
    click: Integers
    touched_at: Integers
    converted_at: Integers
    value: Integers
    window_days: Integers

    def __len__(self) -> int:
        return len(self.order)

    @property
    def platform(self) -> Integers:
        """Code of the platform."""
        return np.array([campaign.platform for campaign in Campaign])[self.campaign]

    def keep(self, rows: Flags | Integers) -> Claims:
        """Only these rows, in this order."""
        return Claims(*(getattr(self, f.name)[rows] for f in fields(self)))


def join(parts: Sequence[Claims]) -> Claims:
    """All parts, one after the other."""
    return Claims(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Claims)))


def claim(seed: int, orders: Orders, touches: Touches) -> Claims:
    """Claims of every platform on paid orders, resting on touches that were rightly made."""
    buyers = np.zeros(max(orders.person.max(initial=0), touches.person.max(initial=0)) + 1, bool)
    buyers[orders.person] = True
    rows = np.flatnonzero(buyers[touches.person] & ~touches.planted)
    near = touches.keep(rows)
    platform = np.array([campaign.platform for campaign in Campaign])[near.campaign]
    draw = stream(seed, "claims")
    parts = []
    for code in range(len(PLATFORMS)):
        here = platform == code
        noticed = draw.random(len(orders)), draw.random(len(orders))
        parts.append(_of_platform(code, orders, near.keep(here), rows[here], noticed))
    return join(parts)


def _of_platform(
    code: int,
    orders: Orders,
    touches: Touches,
    row: Integers,
    noticed: tuple[np.ndarray, np.ndarray],
) -> Claims:
    """Last click within the click window; failing that, last view within the view window."""
    clicks = np.flatnonzero(touches.kind == Touch.CLICK)
    # A text message is "seen" when it is sent; an e-mail only when it is opened.
    seen = Touch.SEND if PLATFORMS[code] == "texto" else Touch.OPEN
    views = np.flatnonzero((touches.kind == Touch.IMPRESSION) | (touches.kind == seen))
    paid = orders.state == State.PAID
    click, clicked = _last_before(orders, touches, clicks, CLICK_WINDOW_DAYS[code])
    clicked &= paid & (noticed[0] < 0.97)
    view, viewed = _last_before(orders, touches, views, VIEW_WINDOW_DAYS[code])
    viewed &= paid & ~clicked & (noticed[1] < 0.85)
    order = np.concatenate([np.flatnonzero(clicked), np.flatnonzero(viewed)])
    touch = np.concatenate([click[clicked], view[viewed]])
    by_click = np.repeat([True, False], [clicked.sum(), viewed.sum()])
    return Claims(
        order=order,
        campaign=touches.campaign[touch],
        click=np.where(by_click, row[touch], NONE),
        touched_at=touches.at[touch],
        converted_at=orders.at[order],
        value=orders.value[order],
        window_days=np.where(by_click, CLICK_WINDOW_DAYS[code], VIEW_WINDOW_DAYS[code]),
    )


def _last_before(
    orders: Orders, touches: Touches, among: Integers, days: int
) -> tuple[Integers, Flags]:
    """For each order the last of some touches by the same customer, and whether it is in time."""
    if not len(among):
        return np.zeros(len(orders), dtype=np.int64), np.zeros(len(orders), dtype=bool)
    # Person and time in one sortable number: 28 days in milliseconds fit into 32 bits.
    key = (touches.person[among].astype(np.int64) << 32) | touches.at[among]
    sorting = np.argsort(key, kind="stable")
    wanted = (orders.person.astype(np.int64) << 32) | orders.at
    position = np.searchsorted(key[sorting], wanted, side="right") - 1
    found = among[sorting[np.maximum(position, 0)]]
    in_time = (
        (position >= 0)
        & (touches.person[found] == orders.person)
        & (orders.at - touches.at[found] <= days * DAY)
    )
    return found, in_time
