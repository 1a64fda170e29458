"""Outcomes of a registry-run experiment: one row per assigned unit, counted from its assignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from measure.engine.expressions import (
    Table,
    Value,
    coalesce,
    ifelse,
    interval,
    literal,
    null,
    trimmed,
)
from measure.errors import DataError, InputError, UnknownName
from measure.journeys.micro_conversions import column_outcomes, micro_outcomes
from measure.journeys.rules import MicroConversion, SessionRules
from measure.journeys.sales import minor_units, one_currency, sales, table_of
from measure.journeys.touches import attributes
from measure.people.feature_values import feature_values
from measure.people.features import Features

if TYPE_CHECKING:
    from measure.engine.connection import Engine

OUTCOMES = ("unit_id", "arm", "conversion", "orders", "revenue", "net_revenue")
"""Columns that every outcome table has, whatever the attributes of the customers."""

EXPOSED = "exposed"
"""1 for a unit that the campaigns under test reached inside its window, else 0."""
REACHING = ("send", "delivered", "impression", "viewable", "click", "open")
"""Kinds of activation that reach a unit."""

_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"


def unit_outcomes(
    engine: Engine,
    experiment_key: str,
    window_days: int,
    numeric: Sequence[str] = (),
    currency: str | None = None,
    campaigns: Sequence[str] = (),
    *,
    micro: Sequence[MicroConversion] = (),
    sessions: SessionRules | None = None,
    columns: Sequence[str] = (),
    features: Features | None = None,
) -> Table:
    """Outcomes within ``window_days`` of the assignment, and the attributes of the customers.

    One row per assigned unit (a customer): ``unit_id``, ``arm``, ``conversion`` (0/1), ``orders``,
    ``revenue`` and ``net_revenue`` (net of refunds; major units). The window is half-open,
    ``assigned_at <= ts < assigned_at + window_days``; paid and refunded orders count, each order
    id once, by its first conversion. Attributes stay text; those named in ``numeric`` become
    float64, empty ones missing. With ``campaigns`` there is a column ``exposed``: 1 where at least
    one activation of them met the unit inside the window, else 0. Each micro-conversion (in
    ``sessions``) gives a column of its name (0/1) and one with ``_count``; among ``columns``, those
    a metric may name (:func:`measure.journeys.micro_conversions.of_column`) are added under their
    names. ``features`` give a column each, of what was known strictly before the unit's assignment;
    they may be ``numeric``.
    Raises :class:`InputError` for unknown names, an experiment without assignments, text in a
    numeric attribute, and money in several currencies.
    """
    if window_days < 1:
        raise InputError.rule("window_days", window_days, "must be >= 1")
    assigned = assigned_units_of(engine, experiment_key)
    per_major = float(minor_units(one_currency(engine, currency)))
    bought = _bought(assigned, sales(engine, currency), window_days, per_major)
    units = assigned.left_join(bought, assigned.unit_id == bought.buyer).drop("buyer")
    orders = coalesce(units.orders, literal(0, type="int64"))
    units = units.select(
        "unit_id",
        "arm",
        conversion=ifelse(orders > 0, 1, 0).cast("int64"),
        orders=orders,
        revenue=coalesce(units.revenue, literal(0.0)),
        net_revenue=coalesce(units.net_revenue, literal(0.0)),
    )
    if campaigns:
        reached = _reached(engine, assigned, window_days, campaigns)
        units = units.left_join(reached, units.unit_id == reached.reached)
        met = ifelse(units.reached.notnull(), 1, 0).cast("int64")
        units = units.mutate(**{EXPOSED: met}).drop("reached")
    if micro:
        reached = micro_outcomes(engine, assigned, window_days, micro, sessions)
        units = _beside(units, reached)
    steps = column_outcomes(engine, assigned, window_days, columns, sessions)
    if steps is not None:
        units = _beside(units, steps)
    if features is not None:
        units = _beside(units, _known_before(engine, assigned, features))
        numeric = [name for name in numeric if name not in units.columns]
    return _with_attributes(engine, units, numeric)


def _beside(units: Table, more: Table) -> Table:
    """Add the columns of a table that has one row per unit too."""
    taken = sorted(set(more.columns) & set(units.columns) - {"unit_id"})
    if taken:
        raise DataError(f"{taken[0]!r} is the name of an outcome already. Rename what has it too.")
    more = more.rename(same_unit="unit_id")
    return units.left_join(more, units.unit_id == more.same_unit).drop("same_unit")


def _known_before(engine: Engine, assigned: Table, features: Features) -> Table:
    """Features of each unit at its assignment."""
    pairs = assigned.select(customer_id=assigned.unit_id, at=assigned.assigned_at)
    values = feature_values(engine, features, pairs)
    return values.drop("at").rename(unit_id="customer_id")


def assigned_units_of(engine: Engine, experiment_key: str) -> Table:
    """(unit_id, arm, assigned_at) of one experiment; an error names those that have any."""
    assignments = table_of(engine, "assignments")
    mine = assignments.filter(assignments.experiment == experiment_key)
    found = engine.fetch(mine.aggregate(n=mine.count()))["n"][0].as_py()
    if not found:
        keys = engine.fetch(assignments.select("experiment").distinct())["experiment"].to_pylist()
        raise UnknownName.of("experiment", experiment_key, keys, "table assignments")
    return mine.select("unit_id", "arm", "assigned_at")


def _bought(assigned: Table, sold: Table, window_days: int, per_major: float) -> Table:
    """Orders and money per unit inside its window."""
    begin = assigned.assigned_at
    ts = sold.ts.cast(begin.type())
    joined = assigned.inner_join(
        sold,
        [
            assigned.unit_id == sold.customer_id,
            ts >= begin,
            ts < begin + interval(days=window_days),
        ],
    )
    # Whole minor units are summed, so that the order of rows cannot change the result.
    sums = joined.group_by(buyer=joined.unit_id).aggregate(
        orders=joined.count().cast("int64"),
        gross=joined.value.sum().cast("int64"),
        net=joined.net.sum().cast("int64"),
    )
    return sums.select(
        "buyer",
        "orders",
        revenue=sums.gross.cast("float64") / per_major,
        net_revenue=sums.net.cast("float64") / per_major,
    )


def _reached(engine: Engine, assigned: Table, window_days: int, campaigns: Sequence[str]) -> Table:
    """Ids of units with an activation of the campaigns inside their window, each once."""
    log = table_of(engine, "activations")
    log = log.filter(log.campaign.isin(sorted(campaigns)), log.kind.isin(REACHING))
    begin = assigned.assigned_at
    ts = log.ts.cast(begin.type())
    met = assigned.inner_join(
        log,
        [
            assigned.unit_id == log.customer_id,
            ts >= begin,
            ts < begin + interval(days=window_days),
        ],
    )
    return met.select(reached="unit_id").distinct()


def _with_attributes(engine: Engine, units: Table, numeric: Sequence[str]) -> Table:
    if not engine.has("customers"):
        if numeric:
            raise UnknownName.of("attribute", numeric[0], (), "table customers")
        return units
    customers = engine.table("customers")
    names = list(attributes(customers))
    for name in numeric:
        if name not in names:
            raise UnknownName.of("attribute", name, names, "table customers")
    taken = sorted(set(names).intersection(units.columns))
    if taken:
        raise DataError(
            f"table customers: attribute {taken[0]!r} has the name of an outcome. Rename it."
        )
    _refuse_text(engine, customers, numeric)
    chosen: Mapping[str, Value] = {
        name: _number(customers[name]) if name in numeric else customers[name] for name in names
    }
    known = customers.select(known_id=customers.customer_id, **chosen)
    return units.left_join(known, units.unit_id == known.known_id).drop("known_id")


def _refuse_text(engine: Engine, customers: Table, numeric: Sequence[str]) -> None:
    """One scan that finds a value of a numeric attribute which is no number."""
    texts = [name for name in numeric if customers[name].type().is_string()]
    if not texts:
        return
    worst: dict[str, Value] = {}
    for name in texts:
        text = trimmed(customers[name])
        wrong = (text != "") & ~text.re_search(_NUMBER)
        worst[name] = ifelse(wrong, text, null("string")).min()
    found = engine.fetch(customers.aggregate(**worst)).to_pylist()[0]
    for name, value in found.items():
        if value is not None:
            raise DataError(
                f"table customers: {name} == {value!r}, must be a number where it is used as one. "
                "Correct it, or leave it empty where it is unknown."
            )


def _number(column: Any) -> Value:
    """A column as float64; empty text is missing."""
    if not column.type().is_string():
        return column.cast("float64")
    return trimmed(column).nullif("").cast("float64")
