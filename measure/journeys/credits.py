"""The touches behind single conversions, each with its share under every rule.

The same journeys and shares as those that channels are credited from
(:mod:`measure.journeys.paths`), cut down to the people asked about: summed over all conversions
they give the credits of channels.
Markov credits are no sum over journeys and cannot be told apart by conversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from measure.engine.expressions import Table, moment, row_number, window
from measure.journeys.paths import with_shares
from measure.journeys.rules import JourneyRules
from measure.journeys.sales import sales
from measure.journeys.tables import RULES
from measure.journeys.touches import ordered_touches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from measure.engine.connection import Engine


@dataclass(frozen=True, slots=True)
class Credited:
    """A touch of a converting journey; ``shares`` of the conversion by rule, each from 0 to 1."""

    conversion_id: str
    activation_id: str
    channel: str
    position: int
    shares: Mapping[str, float]


def credited_touches(
    engine: Engine,
    rules: JourneyRules,
    customers: Sequence[str],
    *,
    models: Sequence[str] = RULES,
    half_life_days: float = 7.0,
) -> tuple[Credited, ...]:
    """Touches credited with the conversions of some customers, in order.

    A conversion without a touch in its window, outside the period, repeated or not counted has no
    row. The shares of one conversion under one rule sum to 1.
    """
    wanted = tuple(rule for rule in RULES if rule in models)
    touches = ordered_touches(engine, rules)
    touches = touches.filter(touches.converted == 1, touches.person.isin(list(customers)))
    shared = with_shares(touches, wanted, half_life_days)
    sold = _numbered_sales(engine, rules, customers)
    rows = shared.join(sold, [shared.person == sold.buyer, shared.journey == sold.number])
    found = engine.fetch(
        rows.select(
            "conversion_id",
            activation_id="id",
            channel="channel",
            position="position",
            **{rule: rows[f"{rule}_share"] for rule in wanted},
        ).order_by(["conversion_id", "position"])
    )
    return tuple(
        Credited(
            row["conversion_id"],
            row["activation_id"],
            row["channel"],
            int(row["position"]),
            {rule: float(row[rule]) for rule in wanted},
        )
        for row in found.to_pylist()
    )


def _numbered_sales(engine: Engine, rules: JourneyRules, customers: Sequence[str]) -> Table:
    """Conversions of a person, numbered from 0 in the order that journeys are cut at."""
    sold = sales(engine, rules.currency)
    sold = sold.filter(sold.customer_id.isin(list(customers)))
    if rules.start is not None:
        earliest = rules.start - timedelta(days=rules.lookback_days)
        sold = sold.filter(sold.ts >= moment(earliest, sold.ts))
    if rules.end is not None:
        sold = sold.filter(sold.ts < moment(rules.end, sold.ts))
    by_time = window(group_by="customer_id", order_by=["ts", "conversion_id"])
    return sold.select("conversion_id", buyer="customer_id", number=row_number().over(by_time))
