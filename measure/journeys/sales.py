"""Conversions that count: paid or refunded orders, each once, net of refunds, in one currency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measure.currency import minor_digits
from measure.engine.clock_offsets import on_corrected_time
from measure.engine.contracts import COUNTED
from measure.engine.expressions import Table, row_number, window
from measure.errors import DataError, MissingFile

if TYPE_CHECKING:
    from measure.engine.connection import Engine


def sales(engine: Engine, currency: str | None = None) -> Table:
    """Counted conversions: ``conversion_id, customer_id, ts, value, net`` (integer minor units).

    An order id that occurs again is counted the first time only (by ``ts``, then
    ``conversion_id``).
    """
    orders = table_of(engine, "conversions")
    orders = orders.filter(orders.status.isin(COUNTED))
    if currency is not None:
        orders = orders.filter(orders.currency == currency)
    by_order = window(group_by=orders.order_id, order_by=[orders.ts, orders.conversion_id])
    orders = orders.mutate(repetition=row_number().over(by_order))
    return orders.filter(orders.repetition == 0).select(
        "conversion_id", "customer_id", "ts", "value", net=orders.value - orders.refunded_value
    )


def one_currency(engine: Engine, currency: str | None = None) -> str | None:
    """The currency of all counted conversions, ``None`` when there are none.

    Several are a :class:`DataError`: amounts of different currencies do not add up.
    """
    if currency is not None:
        return currency
    orders = table_of(engine, "conversions")
    found = orders.filter(orders.status.isin(COUNTED)).select("currency").distinct()
    names = sorted(str(name) for name in engine.fetch(found)["currency"].to_pylist())
    if len(names) > 1:
        raise DataError(
            f"conversions are in {', '.join(names)}, and money of several currencies does not add "
            "up. Name one currency, or load amounts converted to one."
        )
    return names[0] if names else None


def minor_units(currency: str | None) -> int:
    """Minor units in one major unit: 100 cents, but 1 yen and 1,000 fils."""
    return int(10 ** minor_digits(currency or ""))


def table_of(engine: Engine, name: str) -> Table:
    """A canonical table, or :class:`MissingFile` with the way to load it."""
    if not engine.has(name):
        raise MissingFile.at(f"table {name}", f"Load it with `truelift load {name} FILE…`.")
    return on_corrected_time(engine, name)
