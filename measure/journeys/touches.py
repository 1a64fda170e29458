"""Touches in order, each with the conversion it may claim.

A person's touches are cut at every conversion: a touch belongs to the next conversion if that
follows within the window of its channel and kind, else to a journey that ended without one. Touches
at the same instant are ordered by ``activation_id``; a touch at the instant of a conversion comes
before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from measure.engine.contracts import CONTRACTS
from measure.engine.expressions import (
    Table,
    Value,
    _,
    cases,
    coalesce,
    ifelse,
    interval,
    literal,
    moment,
    null,
    row_number,
    union,
    window,
)
from measure.errors import UnknownName
from measure.journeys.micro_conversions import micro_conversions
from measure.journeys.rules import JourneyRules
from measure.journeys.sales import one_currency, sales, table_of

if TYPE_CHECKING:
    from measure.engine.connection import Engine


def ordered_touches(engine: Engine, rules: JourneyRules) -> Table:
    """One row per touch: person, journey, place in it, and what follows.

    Columns: ``person``, ``journey`` (conversions before it), ``converted`` (0/1), ``channel``,
    ``following`` (next channel, null at the end), ``position`` (from 0), ``touches`` (in the
    journey), ``net`` (minor units of the conversion, 0 without), ``age_days`` (before the
    journey's last touch).
    """
    rows = _stream(engine, rules)
    by_time = [rows.ts, rows.is_sale, rows.id]
    so_far = window(group_by=rows.person, order_by=by_time, preceding=None, following=0)
    rows = rows.mutate(journey=rows.is_sale.sum().over(so_far) - rows.is_sale)
    whole = window(group_by=[rows.person, rows.journey])
    rows = rows.mutate(
        sold_at=ifelse(rows.is_sale == 1, rows.ts, null(rows.ts.type())).max().over(whole),
        sold_for=rows.net.sum().over(whole),
    )
    touches = rows.filter(rows.is_sale == 0)
    in_window = coalesce(_in_window(touches, rules), literal(False))  # noqa: FBT003 (no keyword)
    touches = touches.mutate(converted=ifelse(in_window, 1, 0))
    placed = _placed(touches)
    return _in_period(placed, rules)


def _in_window(touches: Table, rules: JourneyRules) -> Value:
    """Whether the conversion lies within the touch's window: the most particular one holds."""

    def reaches(days: int) -> Value:
        return touches.ts > touches.sold_at - interval(days=days)

    declared = []
    for chosen in sorted(rules.windows, key=lambda one: one.rank, reverse=True):
        of_channel = touches.channel == (chosen.channel or "")
        of_kind = touches.kind.isin(chosen.kinds)
        if chosen.channel is None:
            meant = of_kind
        else:
            meant = of_channel & of_kind if chosen.kinds else of_channel
        declared.append((meant, reaches(chosen.days)))
    otherwise = reaches(rules.lookback_days)
    return cases(*declared, else_=otherwise) if declared else otherwise


def _placed(touches: Table) -> Table:
    """Position, length, what follows, and distance in time to the last touch."""
    key = [touches.person, touches.journey, touches.converted]
    in_order = window(group_by=key, order_by=[touches.ts, touches.id])
    whole = window(group_by=key)
    touches = touches.mutate(
        following=touches.channel.lead().over(in_order),
        position=row_number().over(in_order),
        touches=_.count().over(whole),
        last_at=touches.ts.max().over(whole),
    )
    seconds = touches.last_at.epoch_seconds() - touches.ts.epoch_seconds()
    return touches.mutate(
        age_days=seconds.cast("float64") / 86400.0,
        net=ifelse(touches.converted == 1, touches.sold_for, 0),
    )


def _in_period(touches: Table, rules: JourneyRules) -> Table:
    """Keep journeys that converted, or ended, on or after the start."""
    if rules.start is None:
        return touches
    start = moment(rules.start, touches.ts)
    ended = ifelse(touches.converted == 1, touches.sold_at, touches.last_at)
    return touches.filter(ended >= start)


def _stream(engine: Engine, rules: JourneyRules) -> Table:
    """Touches and sales of all people in one table of the same columns."""
    activations = table_of(engine, "activations")
    shown = activations.filter(activations.kind.isin(rules.kinds), activations.customer_id != "")
    touches = shown.select(
        person=shown.customer_id,
        ts=shown.ts,
        is_sale=literal(0, type="int64"),
        id=shown.activation_id,
        channel=shown.channel,
        kind=shown.kind,
        net=literal(0, type="int64"),
    )
    sold = ends(engine, rules)
    sold = sold.select(
        person=sold.customer_id,
        ts=sold.ts.cast(shown.ts.type()),
        is_sale=literal(1, type="int64"),
        id=sold.conversion_id,
        channel=literal("", type="string"),
        kind=literal("", type="string"),
        net=sold.net.cast("int64"),
    )
    rows = union(touches, sold)
    if rules.start is not None:
        rows = rows.filter(rows.ts >= moment(rules.start - rules.longest, rows.ts))
    return rows if rules.end is None else rows.filter(rows.ts < moment(rules.end, rows.ts))


def ends(engine: Engine, rules: JourneyRules) -> Table:
    """What journeys lead to, by :func:`sales` or as worthless micro-conversions of its columns."""
    if rules.outcome is None:
        return sales(engine, rules.currency)
    reached = micro_conversions(engine, [rules.outcome], rules.sessions)
    nothing = literal(0, type="int64")
    return reached.select("customer_id", "ts", conversion_id="id", value=nothing, net=nothing)


def currency_of(engine: Engine, rules: JourneyRules) -> str | None:
    """The currency of what journeys lead to; micro-conversions have none."""
    return one_currency(engine, rules.currency) if rules.outcome is None else None


def people(engine: Engine, dimension: str | None, persons: Table) -> Table:
    """Cohort and bucket of each distinct person; an unknown attribute value is ``(unknown)``."""
    distinct = persons.select("person").distinct()
    if dimension is None:
        return distinct.mutate(cohort=literal("", type="string"))
    customers = table_of(engine, "customers")
    options = attributes(customers)
    if dimension not in options:
        raise UnknownName.of("cohort dimension", dimension, options, "table customers")
    known = customers.select(customer_id="customer_id", cohort=customers[dimension].cast("string"))
    joined = distinct.left_join(known, distinct.person == known.customer_id)
    return joined.select(person=joined.person, cohort=coalesce(joined.cohort, literal("(unknown)")))


def attributes(customers: Table) -> Sequence[str]:
    """Columns of ``customers`` beyond the contract."""
    contract = CONTRACTS["customers"].names
    return [name for name in customers.columns if name not in contract]
