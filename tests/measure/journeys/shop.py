"""A seeded shop of 200 people with everything that makes journeys hard, and its own bookkeeping.

Touches and orders share instants, order ids repeat, people lack a row in ``customers``, orders are
cancelled, refunded, tests. The oracle below walks each person's events one by one.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pyarrow as pa

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("impression", "click", "send", "open", "viewable", "delivered")
CHANNELS = ("email", "search", "social: paid", "тв")
STATUSES = ("paid", "paid", "paid", "refunded", "cancelled", "test", "internal")
MOMENT = pa.timestamp("us", tz="UTC")
LOOKBACK = 14
COUNTED_KINDS = {"impression", "click", "send", "open"}


@cache
def activations():
    draw = np.random.default_rng(20260101)
    return [
        {
            "activation_id": f"a{(i * 7919) % 10_007:05d}",
            "platform": "p",
            "channel": CHANNELS[draw.integers(0, 4)],
            "campaign": "c",
            "kind": KINDS[draw.integers(0, 6)],
            # whole quarter days, so that many events share an instant
            "ts": START + timedelta(hours=6 * int(draw.integers(0, 360))),
            "customer_id": f"u{draw.integers(0, 190):03d}",
        }
        for i in range(1500)
    ]


@cache
def conversions():
    draw = np.random.default_rng(20260102)
    rows = []
    for i in range(300):
        value = int(draw.integers(100, 30_000))
        status = STATUSES[draw.integers(0, len(STATUSES))]
        rows.append(
            {
                "conversion_id": f"k{(i * 101) % 997:03d}",
                "order_id": f"o{draw.integers(0, 270):03d}",
                "customer_id": f"u{draw.integers(0, 200):03d}",
                "ts": START + timedelta(hours=6 * int(draw.integers(0, 360))),
                "value": value,
                "refunded_value": value // 2 if status == "refunded" else 0,
                "currency": "EUR",
                "status": status,
            }
        )
    return rows


@cache
def customers():
    return [
        {
            "customer_id": f"u{i:03d}",
            "first_seen_at": START,
            "segment": ("new", "loyal", None)[i % 3],
            "prior_revenue": "" if i % 7 == 0 else f"{i}.5",
        }
        for i in range(180)
    ]


@cache
def assignments():
    return [
        {
            "experiment": "other" if i % 10 == 9 else "spring",
            "unit_id": f"u{i:03d}",
            "arm": "holdout" if i % 4 == 0 else "mail",
            "assigned_at": START + timedelta(hours=6 * (i % 200)),
        }
        for i in range(200)
    ]


def tables():
    found = {
        "activations": activations(),
        "conversions": conversions(),
        "customers": customers(),
        "assignments": assignments(),
    }
    return {name: table(rows) for name, rows in found.items()}


def table(rows):
    types = {"ts": MOMENT, "first_seen_at": MOMENT, "assigned_at": MOMENT}
    types |= {"value": pa.int64(), "refunded_value": pa.int64()}
    return pa.table(
        {
            name: pa.array([row[name] for row in rows], types.get(name, pa.string()))
            for name in rows[0]
        }
    )


def counted_orders():
    """Paid or refunded orders, each id at its first conversion only."""
    first = {}
    for row in sorted(conversions(), key=lambda row: (row["ts"], row["conversion_id"])):
        if row["status"] in ("paid", "refunded"):
            first.setdefault(row["order_id"], row)
    return list(first.values())


def journeys(start=None, end=None, lookback=LOOKBACK):
    """(person, [(channel, ts)], net or None) of every journey, walked event by event."""
    begin = START - timedelta(days=9999) if start is None else start - timedelta(days=lookback)
    finish = end or START + timedelta(days=9999)
    events = defaultdict(list)
    for row in activations():
        if row["kind"] in COUNTED_KINDS and begin <= row["ts"] < finish:
            key = (row["ts"], 0, row["activation_id"])
            events[row["customer_id"]].append((key, row["channel"], None))
    for row in counted_orders():
        if begin <= row["ts"] < finish:
            key = (row["ts"], 1, row["conversion_id"])
            net = row["value"] - row["refunded_value"]
            events[row["customer_id"]].append((key, None, net))
    found = []
    for person, timeline in events.items():
        waiting = []
        for (ts, is_sale, _), channel, net in sorted(timeline):
            if not is_sale:
                waiting.append((channel, ts))
                continue
            near = [touch for touch in waiting if touch[1] > ts - timedelta(days=lookback)]
            far = [touch for touch in waiting if touch[1] <= ts - timedelta(days=lookback)]
            found += [(person, far, None, far[-1][1])] if far else []
            found += [(person, near, net, ts)] if near else []
            waiting = []
        found += [(person, waiting, None, waiting[-1][1])] if waiting else []
    return [journey[:3] for journey in found if start is None or journey[3] >= start]
