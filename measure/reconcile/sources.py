"""The tables as the checks see them: optional columns filled in, one currency, orders matched.

What many checks ask for (orders, claims with their order and with their click) is computed once and
kept in the engine; everything else is an expression that the engine evaluates inside the check that
uses it. Only :attr:`Sources.currency`, :meth:`Sources.number` and the rates of exchange leave it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from measure.engine.clock_offsets import on_corrected_time
from measure.engine.contracts import CONTRACTS, Kind
from measure.engine.expressions import (
    Column,
    Table,
    coalesce,
    desc,
    greatest,
    ifelse,
    interval,
    null,
    row_number,
    window,
)
from measure.reconcile.exchange import converted

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.people.identities import IdentityGraph
    from measure.reconcile.settings import ExperimentWindow, IncrementalRevenue, Settings
    from measure.results import Attribution

STORED_AS = {
    Kind.TEXT: "string",
    Kind.INTEGER: "int64",
    Kind.MONEY: "int64",
    Kind.MICROS: "int64",
    Kind.NUMBER: "float64",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamp('UTC')",
}
"""Type of an optional column that a table leaves out."""


def seconds_of(time: Column) -> Column:
    """Whole seconds since 1970; some engines keep the fraction."""
    return time.epoch_seconds().floor().cast("int64")


class Sources:
    """Tables of one engine under one set of settings."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        experiment: ExperimentWindow | None,
        *,
        incremental: IncrementalRevenue | None = None,
        attribution: Attribution | None = None,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.experiment = experiment
        self.incremental = incremental
        self.attribution = attribution
        self.names = frozenset(engine.tables())
        self._tables: dict[str, Table] = {}
        self._numbers: dict[Any, int] = {}

    def has(self, name: str) -> bool:
        """Whether the table exists."""
        return name in self.names

    def columns(self, name: str) -> tuple[str, ...]:
        """Columns that the table really has."""
        return tuple(self.engine.table(name).columns)

    def table(self, name: str) -> Table:
        """A canonical table; optional columns that it leaves out are there and empty."""
        if name not in self._tables:
            self._tables[name] = self._completed(name)
        return self._tables[name]

    def _completed(self, name: str) -> Table:
        table = on_corrected_time(self.engine, name)
        absent = {
            column.name: null().cast(STORED_AS[column.kind])
            for column in CONTRACTS[name].columns
            if not column.required and column.name not in table.columns
        }
        return table.mutate(**absent) if absent else table

    @cached_property
    def identities(self) -> IdentityGraph:
        """Who is one person; built once for all checks."""
        from measure.people.identities import IdentityRules, identity_graph

        kinds, most = self.settings.identity_kinds, self.settings.identity_customers
        return identity_graph(self.engine, IdentityRules(kinds=kinds, most_customers=most))

    @cached_property
    def persons(self) -> Table:
        """Persons of several customers: customer_id, person_key, customers."""
        return self.engine.hold(self.identities.components.persons)

    def number(self, table: Table) -> int:
        """Count the rows of an expression, once for all checks that ask."""
        key = table.op()
        if key not in self._numbers:
            counted = self.engine.fetch(table.aggregate(rows=table.count()))
            self._numbers[key] = int(counted["rows"][0].as_py())
        return self._numbers[key]

    @cached_property
    def currency(self) -> str:
        """The statement's currency: as set, else the commonest in the first table that has one."""
        if self.settings.currency:
            return self.settings.currency
        for name in ("claims", "conversions", "spend"):
            if not self.has(name):
                continue
            table = self.table(name)
            counted = table.group_by("currency").aggregate(rows=table.count())
            top = self.engine.fetch(counted.order_by([desc("rows"), "currency"]).limit(1))
            if top.num_rows:
                return str(top["currency"][0].as_py())
        return "EUR"

    @cached_property
    def clock(self) -> Any:
        """The tolerance between clocks."""
        return interval(seconds=self.settings.clock_tolerance_seconds)

    @cached_property
    def claims(self) -> Table:
        """Claims in the statement's currency; the others are set aside by F4."""
        claims = self.table("claims")
        return claims.filter(claims.currency == self.currency)

    @cached_property
    def orders(self) -> Table:
        """One row per order: its first conversion, and what is left of its value.

        An order recorded twice is one order: the row with the earliest time stands, ties by id.
        ``order_net`` is value less refund, never below 0; 0 when every row is cancelled, or when
        a row is refunded without saying how much. An order in another currency is converted at
        ``order_rate`` where the table of rates knows one for its day.
        """
        table = self.table("conversions")
        same = window(group_by="order_id")
        silent = (table.status == "refunded") & (coalesce(table.refunded_value, 0) == 0)
        ranked = table.mutate(
            position=row_number().over(
                window(group_by="order_id", order_by=["ts", "conversion_id"])
            ),
            refunded=coalesce(table.refunded_value, 0).max().over(same),
            cancelled=ifelse(table.status == "cancelled", 1, 0).min().over(same),
            silent=ifelse(silent, 1, 0).max().over(same),
        )
        first = ranked.filter(ranked.position == 0)
        void = (first.cancelled == 1) | (first.silent == 1)
        orders = first.select(
            matched_order=first.order_id,
            conversion_id=first.conversion_id,
            order_customer=first.customer_id,
            ordered_at=first.ts,
            order_value=first.value,
            order_net=ifelse(void, 0, greatest(first.value - first.refunded, 0)).cast("int64"),
            order_returned=ifelse(void | (first.refunded > 0), 1, 0),
            order_currency=first.currency,
            order_status=first.status,
            order_tax=coalesce(first.tax, 0),
            order_shipping=coalesce(first.shipping, 0),
            order_rate=null().cast("float64"),
        )
        if self.has("rates"):
            orders = converted(self.engine, orders, self.table("rates"), self.currency)
        return self.engine.materialize(orders)

    @cached_property
    def matched_claims(self) -> Table:
        """Claims with the order they match; the order's columns are empty where there is none.

        A claim matches by its order id; one without an order id by its click id, to the conversion
        of that click nearest in time within the tolerance.
        """
        claims = self.claims
        by_click = self._orders_by_click()
        claims = claims.left_join(by_click, claims.claim_id == by_click.clicked_claim)
        claims = claims.mutate(wanted=coalesce(claims.order_id, claims.clicked_order))
        claims = claims.drop("clicked_claim", "clicked_order")
        orders = self.orders
        matched = claims.left_join(orders, claims.wanted == orders.matched_order)
        return self.engine.materialize(matched)

    def _orders_by_click(self) -> Table:
        """For claims without an order id: the order that their click led to."""
        claims, conversions = self.claims, self.table("conversions")
        loose = claims.filter(claims.order_id.isnull(), claims.click_id.notnull())
        loose = loose.select("claim_id", "click_id", "converted_at")
        found = conversions.filter(conversions.click_id.notnull()).select(
            clicked="click_id",
            found_order="order_id",
            found_at="ts",
            found_id="conversion_id",
        )
        pairs = loose.join(found, loose.click_id == found.clicked)
        near = interval(seconds=self.settings.match_tolerance_seconds)
        pairs = pairs.filter(
            pairs.found_at >= pairs.converted_at - near, pairs.found_at <= pairs.converted_at + near
        )
        apart = (pairs.found_at.epoch_seconds() - pairs.converted_at.epoch_seconds()).abs()
        pairs = pairs.mutate(apart=apart)
        order = window(group_by="claim_id", order_by=["apart", "found_at", "found_id"])
        ranked = pairs.mutate(position=row_number().over(order))
        nearest = ranked.filter(ranked.position == 0)
        return nearest.select(clicked_claim="claim_id", clicked_order="found_order")

    @cached_property
    def claim_clicks(self) -> Table:
        """The activation behind the click id of each claim, see :meth:`clicks_of`."""
        return self.engine.materialize(self.clicks_of(self.claims, "claim_id"))

    @cached_property
    def conversion_clicks(self) -> Table:
        """The activation behind the click id of each conversion, see :meth:`clicks_of`."""
        return self.engine.materialize(self.clicks_of(self.table("conversions"), "conversion_id"))

    def clicks_of(self, table: Table, id_column: str) -> Table:
        """The activation behind the click id of each row: its id, time, customer and channel.

        Where several activations carry the same click id the earliest stands, ties by id. Columns:
        ``clicker`` (the row's id), ``click_activation``, ``clicked_at``, ``click_customer``,
        ``click_channel``.
        """
        rows = table.filter(table.click_id.notnull())
        rows = rows.select(clicker=rows[id_column], wanted_click=rows.click_id)
        log = self.table("activations")
        log = log.filter(log.click_id.notnull()).select(
            logged_click="click_id",
            click_activation="activation_id",
            clicked_at="ts",
            click_customer="customer_id",
            click_channel="channel",
        )
        pairs = rows.join(log, rows.wanted_click == log.logged_click)
        order = window(group_by="clicker", order_by=["clicked_at", "click_activation"])
        ranked = pairs.mutate(position=row_number().over(order))
        first = ranked.filter(ranked.position == 0)
        return first.drop("position", "wanted_click", "logged_click")

    def money_of(self, table: Table, column: str = "value") -> Column:
        """A money column where it is in the statement's currency, else 0 (F4 names those rows)."""
        return ifelse(table.currency == self.currency, table[column], 0).cast("int64")

    def cost_of(self, touches: Table) -> Column:
        """Cost in micros of touches: 0 where unknown or in another currency."""
        ours = touches.currency.isnull() | (touches.currency == self.currency)
        return ifelse(ours, coalesce(touches.cost_micros, 0), 0).cast("int64")
