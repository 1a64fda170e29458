"""The canonical tables: columns, types, keys and rules, in one place.

Ids are text and stay text; time is UTC microseconds; money is integer minor units beside its
currency; the cost of one touch is in micros (millionths of the currency unit), because an
impression costs less than a cent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """How a value is read, stored and refused."""

    TEXT = "text"
    """Unicode text, NFC-normalised, no NUL, at most 16,384 bytes; never guessed to be a number."""
    INTEGER = "integer"
    """Signed 64-bit integer in plain digits."""
    NUMBER = "number"
    """Finite decimal number in plain or exponent form."""
    MONEY = "money"
    """Integer minor units (cents)."""
    MICROS = "micros"
    """Integer millionths of the currency unit."""
    BOOLEAN = "boolean"
    """``true``/``false`` or ``1``/``0``."""
    TIMESTAMP = "timestamp"
    """ISO 8601 with an offset or Z, between 1990 and 2100; stored as UTC microseconds."""
    DATE = "date"
    """ISO 8601 calendar date."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its kind, whether it may be missing, and the values it may take."""

    name: str
    kind: Kind = Kind.TEXT
    required: bool = True
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contract:
    """A table: columns, the key that makes a row the same row, and what else may stand in it."""

    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    keeps_extra: bool = False
    """Columns beyond the contract are kept as text (attributes); otherwise they are refused."""

    def column(self, name: str) -> Column:
        """The column of this name; ``KeyError`` when there is none."""
        return {column.name: column for column in self.columns}[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)


def _text(name: str, *allowed: str, required: bool = True) -> Column:
    return Column(name, Kind.TEXT, required, allowed)


def _optional(name: str, kind: Kind = Kind.TEXT, *allowed: str) -> Column:
    return Column(name, kind, required=False, allowed=allowed)


IDENTITY_KINDS = ("email_hash", "phone_hash", "device", "login", "household")

_CONTRACTS = (
    Contract(
        "customers",
        (
            _text("customer_id"),
            Column("first_seen_at", Kind.TIMESTAMP),
            _optional("minor", Kind.BOOLEAN),
        ),
        ("customer_id",),
        keeps_extra=True,
    ),
    Contract(
        "identities",
        (
            _text("customer_id"),
            _text("kind", *IDENTITY_KINDS),
            _text("identifier"),
            Column("seen_at", Kind.TIMESTAMP),
            _optional("source"),
        ),
        ("customer_id", "kind", "identifier", "seen_at"),
    ),
    Contract(
        "unlinks",
        (
            _text("customer_id"),
            _text("kind", *IDENTITY_KINDS),
            _text("identifier"),
            Column("unlinked_at", Kind.TIMESTAMP),
            _optional("reason"),
        ),
        ("customer_id", "kind", "identifier"),
    ),
    Contract(
        "links",
        (
            _text("customer_id"),
            _text("other_customer_id"),
            Column("probability", Kind.NUMBER),
            _text("model"),
            Column("linked_at", Kind.TIMESTAMP),
        ),
        ("customer_id", "other_customer_id", "model"),
    ),
    Contract(
        "consents",
        (
            _text("customer_id"),
            _text("purpose", "measurement", "marketing", "personalisation"),
            _text("channel"),
            Column("granted", Kind.BOOLEAN),
            Column("valid_from", Kind.TIMESTAMP),
            _optional("valid_to", Kind.TIMESTAMP),
            Column("recorded_at", Kind.TIMESTAMP),
            _optional("source"),
        ),
        ("customer_id", "purpose", "channel", "valid_from", "recorded_at"),
    ),
    Contract(
        "activations",
        (
            _text("activation_id"),
            _text("platform"),
            _text("channel"),
            _text("campaign"),
            _text("kind", "impression", "viewable", "click", "send", "delivered", "open"),
            Column("ts", Kind.TIMESTAMP),
            _optional("received_at", Kind.TIMESTAMP),
            _text("customer_id"),
            _optional("click_id"),
            _optional("cost_micros", Kind.MICROS),
            _optional("currency"),
            _optional("creative"),
            _optional("impression_id"),
            _optional("viewable", Kind.BOOLEAN),
            _optional("network", Kind.TEXT, "residential", "mobile", "data_centre", "internal"),
            _optional("agent", Kind.TEXT, "browser", "app", "declared_bot", "prefetch"),
        ),
        ("activation_id",),
    ),
    Contract(
        "conversions",
        (
            _text("conversion_id"),
            _text("order_id"),
            _text("customer_id"),
            Column("ts", Kind.TIMESTAMP),
            Column("value", Kind.MONEY),
            Column("refunded_value", Kind.MONEY),
            _text("currency"),
            _text("status", "paid", "refunded", "cancelled", "test", "internal"),
            _optional("received_at", Kind.TIMESTAMP),
            _optional("click_id"),
            _optional("new_customer", Kind.BOOLEAN),
            _optional("tax", Kind.MONEY),
            _optional("shipping", Kind.MONEY),
            _optional("geo"),
        ),
        ("conversion_id",),
    ),
    Contract(
        "claims",
        (
            _text("claim_id"),
            _text("platform"),
            _text("channel"),
            _text("campaign"),
            _optional("order_id"),
            _optional("click_id"),
            _text("kind", "click", "view"),
            Column("touched_at", Kind.TIMESTAMP),
            Column("converted_at", Kind.TIMESTAMP),
            Column("value", Kind.MONEY),
            _text("currency"),
            Column("window_days", Kind.INTEGER),
            _optional("event_id"),
            _optional("event_name"),
            _optional("action"),
            _optional("count_mode", Kind.TEXT, "one", "many"),
            _optional("weight", Kind.NUMBER),
        ),
        ("claim_id",),
    ),
    Contract(
        "claim_totals",
        (
            _text("platform"),
            _text("campaign"),
            Column("date", Kind.DATE),
            _text("date_basis", "click", "conversion"),
            Column("conversions", Kind.INTEGER),
            Column("value", Kind.MONEY),
            _text("currency"),
            _optional("suppressed", Kind.BOOLEAN),
        ),
        ("platform", "campaign", "date", "date_basis"),
    ),
    Contract(
        "spend",
        (
            _text("platform"),
            _text("channel"),
            _text("campaign"),
            Column("date", Kind.DATE),
            Column("amount", Kind.MONEY),
            _text("currency"),
        ),
        ("platform", "channel", "campaign", "date"),
    ),
    Contract(
        "invoices",
        (
            _text("platform"),
            Column("month", Kind.DATE),
            _text("kind", "media", "fee", "credit", "tax"),
            Column("amount", Kind.MONEY),
            _text("currency"),
        ),
        ("platform", "month", "kind"),
    ),
    Contract(
        "rates",
        (
            Column("date", Kind.DATE),
            _text("from_currency"),
            _text("to_currency"),
            Column("rate", Kind.NUMBER),
        ),
        ("date", "from_currency", "to_currency"),
    ),
    Contract(
        "platforms",
        (
            _text("platform"),
            _text("time_zone"),
            Column("click_window_days", Kind.INTEGER),
            Column("view_window_days", Kind.INTEGER),
            _optional("clock_tolerance_seconds", Kind.INTEGER),
            _optional("count_mode", Kind.TEXT, "one", "many"),
        ),
        ("platform",),
    ),
    Contract(
        "clock_offsets",
        (
            _text("platform"),
            Column("offset_seconds", Kind.INTEGER),
            _text("evidence"),
            _text("recorded_by"),
            Column("recorded_at", Kind.TIMESTAMP),
        ),
        ("platform", "recorded_at"),
    ),
    Contract(
        "campaigns",
        (
            _text("platform"),
            _text("campaign"),
            Column("starts_on", Kind.DATE),
            Column("ends_on", Kind.DATE),
            _optional("budget", Kind.MONEY),
            _optional("currency"),
            _optional("sensitive", Kind.BOOLEAN),
        ),
        ("platform", "campaign"),
    ),
    Contract(
        "releases",
        (_text("release"), Column("released_on", Kind.DATE), _optional("platform")),
        ("release",),
    ),
    Contract(
        "list_uploads",
        (
            _text("list_id"),
            _text("experiment"),
            _text("platform"),
            _text("kind", "suppression", "audience"),
            _optional("arm"),
            Column("uploaded_at", Kind.TIMESTAMP),
            _text("sha256"),
            _optional("registered_sha256"),
            _optional("members", Kind.INTEGER),
            _optional("matched", Kind.INTEGER),
        ),
        ("list_id", "platform"),
    ),
    Contract(
        "hash_variants",
        (
            _text("kind", "email_hash", "phone_hash"),
            _text("identifier"),
            _text("normal"),
            _text("variant"),
        ),
        ("kind", "identifier"),
    ),
    Contract(
        "assignments",
        (
            _text("experiment"),
            _text("unit_id"),
            _text("arm"),
            Column("assigned_at", Kind.TIMESTAMP),
        ),
        ("experiment", "unit_id"),
    ),
    Contract(
        "exposures",
        (
            _text("exposure_id"),
            _text("experiment"),
            _text("unit_id"),
            Column("ts", Kind.TIMESTAMP),
            _optional("channel"),
        ),
        ("exposure_id",),
    ),
    Contract(
        "events",
        (
            _text("event_id"),
            _text("customer_id"),
            _text("name"),
            Column("ts", Kind.TIMESTAMP),
            _optional("channel"),
            _optional("device"),
            _optional("session_id"),
            _optional("value", Kind.NUMBER),
            _optional("received_at", Kind.TIMESTAMP),
        ),
        ("event_id",),
        keeps_extra=True,
    ),
    Contract(
        "scores",
        (
            _text("unit_id"),
            _text("model"),
            _text("version"),
            Column("scored_at", Kind.TIMESTAMP),
            Column("score", Kind.NUMBER),
        ),
        ("unit_id", "model", "version", "scored_at"),
    ),
)

CONTRACTS: Mapping[str, Contract] = MappingProxyType({c.table: c for c in _CONTRACTS})
"""All canonical tables by name."""

COUNTED = ("paid", "refunded")
"""Statuses of an order that happened; cancelled, test and internal ones did not."""
