"""Orders in another currency at the rate of their day, so that a claim can be held against them.

A rate holds from its date until the next one, for seven days at most, because none are published on
weekends and holidays. Only rates into the statement's currency are used, never their inverse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from measure.currency import minor_digits
from measure.engine.expressions import (
    Column,
    Table,
    cases,
    coalesce,
    desc,
    ifelse,
    interval,
    row_number,
    window,
)

if TYPE_CHECKING:
    from measure.engine.connection import Engine

LONGEST_DAYS = 7
_MONEY = ("order_value", "order_net", "order_tax", "order_shipping")


def converted(engine: Engine, orders: Table, rates: Table, ours: str) -> Table:
    """Orders with their money in the currency ``ours`` where a rate for their day is known.

    Sets ``order_rate`` on those, and ``order_currency`` to ``ours``; all others stay. One small
    query asks which currencies there are rates for.
    """
    rates = rates.filter(rates.to_currency == ours, rates.from_currency != ours, rates.rate > 0)
    names = engine.fetch(rates.select("from_currency").distinct().order_by("from_currency"))
    currencies = [str(name) for name in names["from_currency"].to_pylist()]
    if not currencies:
        return orders
    rated = _rates_of(orders, rates)
    orders = orders.drop("order_rate").left_join(rated, orders.matched_order == rated.rated_order)
    scale = _scale(orders.order_currency, currencies, ours)
    known = orders.order_rate.notnull()
    money = {
        name: ifelse(
            known, (orders[name] * orders.order_rate * scale + 0.5).floor(), orders[name]
        ).cast("int64")
        for name in _MONEY
    }
    currency = ifelse(known, ours, orders.order_currency)
    return orders.mutate(**money, order_currency=currency).drop("rated_order")


def _scale(currency: Column, currencies: list[str], ours: str) -> Column:
    """Minor units of the statement's currency per minor unit of another, at a rate of 1."""
    branches = [
        (currency == name, 10.0 ** (minor_digits(ours) - minor_digits(name))) for name in currencies
    ]
    return cases(*branches, else_=1.0)


def _rates_of(orders: Table, rates: Table) -> Table:
    """The latest rate of each foreign order's day: ``rated_order`` and ``order_rate``."""
    rates = rates.select(quoted="from_currency", quoted_on="date", order_rate="rate")
    foreign = orders.select(
        rated_order="matched_order", stated="order_currency", day=orders.ordered_at.date()
    )
    pairs = foreign.join(rates, foreign.stated == rates.quoted)
    pairs = pairs.filter(
        pairs.quoted_on <= pairs.day, pairs.day <= pairs.quoted_on + interval(days=LONGEST_DAYS)
    )
    order = window(group_by="rated_order", order_by=desc("quoted_on"))
    ranked = pairs.mutate(position=row_number().over(order))
    return ranked.filter(ranked.position == 0).select("rated_order", "order_rate")


def off_rate(claims: Table, tolerance: float) -> Table:
    """Claims that differ from their converted order by more than a share of it.

    Adds ``excess``: what the claim says beyond the order; 0 where E6 has taken it already.
    """
    apart = (claims.value - claims.order_value).abs()
    other = claims.filter(claims.order_rate.notnull(), apart > claims.order_value * tolerance)
    more = ifelse(other.value > other.order_value, other.value - other.order_value, 0)
    return other.mutate(excess=ifelse(coalesce(other.order_returned, 0) == 1, 0, more))
