"""Arrow tables of touches, orders, claims, bills and arms in the canonical columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from console.demo import arrow
from console.demo.claims import UNKNOWN, Claims
from console.demo.exposure import Touches
from console.demo.orders import Orders, State
from console.demo.people import People
from console.demo.setting import (
    CHANNELS,
    CONTROL,
    CURRENCY,
    EXPERIMENT,
    HOUR,
    PLATFORMS,
    SECOND,
    TREATMENT,
    Campaign,
    Flags,
    Integers,
    Touch,
    calendar_day,
    stream,
)

_PLATFORM = np.array([campaign.platform for campaign in Campaign])
_LABELS = [campaign.label for campaign in Campaign]
_KINDS = [kind.name.lower() for kind in Touch]
_STATES = [state.name.lower() for state in State]
_CLICK_PREFIXES = ("pb.", "ci.", "ns.", "bl.", "tx.")


def activations(people: People, touches: Touches) -> pa.Table:
    """The ``activations`` table, one row per touch; clicks carry a click id."""
    n = len(touches)
    platform = _PLATFORM[touches.campaign]
    free = touches.micros < 0
    clicks = np.flatnonzero(touches.kind == Touch.CLICK)
    return pa.table(
        {
            "activation_id": arrow.serial("t", n, 9),
            "platform": arrow.pick(PLATFORMS, platform),
            "channel": arrow.pick(CHANNELS, platform),
            "campaign": arrow.pick(_LABELS, touches.campaign),
            "kind": arrow.pick(_KINDS, touches.kind),
            "ts": arrow.times(touches.at),
            "customer_id": people.customer_id.take(pa.array(touches.person)),
            "click_id": arrow.optional(_click_ids(touches, clicks), clicks, n),
            "cost_micros": pa.array(touches.micros, mask=free),
            "currency": pa.array([CURRENCY]).take(pa.array(np.zeros(n, dtype=int), mask=free)),
        }
    )


def _click_ids(touches: Touches, rows: Integers) -> pa.StringArray:
    """Click ids of given touches: a prefix of the platform and the row's number, scrambled."""
    prefix = arrow.pick(_CLICK_PREFIXES, _PLATFORM[touches.campaign[rows]])
    scrambled = (
        rows * 48_271 + 11
    ) % 2_147_483_647  # Lehmer's multiplier: one to one, looks random
    digits = arrow.numbered("", scrambled, 10)
    return pa.compute.binary_join_element_wise(prefix, digits, "")


def conversions(people: People, orders: Orders, touches: Touches, copies: Integers) -> pa.Table:
    """The ``conversions`` table: every order, then the copies under ids of their own."""
    n = len(orders)
    row = np.concatenate([np.arange(n), copies])
    at = orders.at[row] + np.where(np.arange(len(row)) < n, 0, 2 * SECOND)
    lag = stream(people.seed, "order export").integers(SECOND, HOUR, len(row))
    landing, clicked = _landing_clicks(orders, touches)
    found = np.flatnonzero(clicked[row])
    ids = _click_ids(touches, landing[row[found]])
    return pa.table(
        {
            "conversion_id": arrow.serial("v", len(row), 7),
            "order_id": arrow.numbered("o", row, 7),
            "customer_id": people.customer_id.take(pa.array(orders.person[row])),
            "ts": arrow.times(at),
            "value": pa.array(orders.value[row]),
            "refunded_value": pa.array(orders.refunded[row]),
            "currency": arrow.pick([CURRENCY], np.zeros(len(row), dtype=int)),
            "status": arrow.pick(_STATES, orders.state[row]),
            "received_at": arrow.times(at + lag),
            "click_id": arrow.optional(ids, found, len(row)),
        }
    )


def _landing_clicks(orders: Orders, touches: Touches) -> tuple[Integers, Flags]:
    """The search click of the same visit (the last hour), where there is one."""
    brand = np.flatnonzero(touches.campaign == Campaign.BRAND)
    if not len(brand):
        return np.zeros(len(orders), dtype=np.int64), np.zeros(len(orders), dtype=bool)
    key = (touches.person[brand] << 32) | touches.at[brand]
    sorting = np.argsort(key, kind="stable")
    wanted = (orders.person << 32) | orders.at
    position = np.searchsorted(key[sorting], wanted, side="right") - 1
    found = brand[sorting[np.maximum(position, 0)]]
    same = (position >= 0) & (touches.person[found] == orders.person)
    return found, same & (orders.at - touches.at[found] <= HOUR)


def claims(claims: Claims, touches: Touches) -> pa.Table:
    """The ``claims`` table; a ghost order gets an id that no conversion has."""
    n = len(claims)
    platform = claims.platform
    ghost = claims.order < 0
    order = np.where(ghost, 9_000_000 + np.arange(n), claims.order)
    logged, unknown = np.flatnonzero(claims.click >= 0), np.flatnonzero(claims.click == UNKNOWN)
    ids = pa.concat_arrays(
        [_click_ids(touches, claims.click[logged]), arrow.numbered("lost.", unknown, 10)]
    )
    by_click = claims.click != -1
    return pa.table(
        {
            "claim_id": arrow.serial("k", n, 7),
            "platform": arrow.pick(PLATFORMS, platform),
            "channel": arrow.pick(CHANNELS, platform),
            "campaign": arrow.pick(_LABELS, claims.campaign),
            "order_id": arrow.numbered("o", order, 7),
            "click_id": arrow.optional(ids, np.concatenate([logged, unknown]), n),
            "kind": arrow.pick(["view", "click"], by_click.astype(np.int64)),
            "touched_at": arrow.times(claims.touched_at),
            "converted_at": arrow.times(claims.converted_at),
            "value": pa.array(claims.value),
            "currency": arrow.pick([CURRENCY], np.zeros(n, dtype=int)),
            "window_days": pa.array(claims.window_days),
        }
    )


def spend(campaign: Integers, day: Integers, cents: Integers) -> pa.Table:
    """The ``spend`` table: what each campaign was billed each day."""
    platform = _PLATFORM[campaign]
    return pa.table(
        {
            "platform": arrow.pick(PLATFORMS, platform),
            "channel": arrow.pick(CHANNELS, platform),
            "campaign": arrow.pick(_LABELS, campaign),
            "date": pa.array([calendar_day(int(d)) for d in day], pa.date32()),
            "amount": pa.array(cents),
            "currency": arrow.pick([CURRENCY], np.zeros(len(cents), dtype=int)),
        }
    )


def assignments(people: People, treated: Flags) -> pa.Table:
    """The ``assignments`` table of the experiment, at the first moment of the window."""
    n = len(people)
    return pa.table(
        {
            "experiment": arrow.pick([EXPERIMENT], np.zeros(n, dtype=int)),
            "unit_id": people.customer_id,
            "arm": arrow.pick([CONTROL, TREATMENT], treated.astype(np.int64)),
            "assigned_at": arrow.times(np.zeros(n, dtype=np.int64)),
        }
    )
