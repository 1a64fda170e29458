"""One person's timeline: everything on record about them, in order of time, with raw row ids.

Identifiers (hashes, devices, logins) and attributes of customers are never part of it: who somebody
is in the outside world does not follow from their timeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from measure.engine.contracts import CONTRACTS
from measure.errors import InputError, MissingFile
from measure.journeys.sales import table_of
from measure.results import Result

if TYPE_CHECKING:
    from measure.engine.connection import Engine

MOST_IDS = 200
"""Customer ids beyond which a person is no person but an accident of identifiers."""
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Moment(Result):
    """One row of a table on a timeline.

    ``row_id`` names the row in its table (parts of a key joined by " / "), ``key`` holds the parts;
    ``facts`` are the row's own values, money in minor units.
    """

    at: datetime
    kind: str
    table: str
    row_id: str
    customer_id: str
    facts: Mapping[str, Any]
    key: Key = field(default=(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Without the parts of the key, which the row's id holds; the time in ISO 8601."""
        plain = Result.to_dict(self)
        del plain["key"]
        return {**plain, "at": iso(self.at), "facts": {k: iso(v) for k, v in self.facts.items()}}


@dataclass(frozen=True, slots=True)
class _Part:
    """What a table brings to a timeline: whose row it is, when, and its kind."""

    table: str
    whose: str
    when: str
    kind: Callable[[Mapping[str, Any]], str]
    shown: tuple[str, ...]


def _always(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda _: name


_PARTS = (
    _Part("customers", "customer_id", "first_seen_at", _always("first seen"), ()),
    _Part(
        "consents",
        "customer_id",
        "valid_from",
        lambda row: "consent given" if row["granted"] else "consent refused",
        ("purpose", "channel", "granted", "valid_to", "recorded_at"),
    ),
    _Part("assignments", "unit_id", "assigned_at", _always("assigned"), ("experiment", "arm")),
    _Part("scores", "unit_id", "scored_at", _always("scored"), ("model", "version", "score")),
    _Part("exposures", "unit_id", "ts", _always("exposed"), ("experiment", "channel")),
    _Part(
        "activations",
        "customer_id",
        "ts",
        lambda row: str(row["kind"]),
        ("platform", "channel", "campaign", "click_id", "cost_micros", "currency", "received_at"),
    ),
    _Part(
        "events",
        "customer_id",
        "ts",
        lambda row: f"event {row['name']}",
        ("channel", "device", "session_id", "value"),
    ),
    _Part(
        "conversions",
        "customer_id",
        "ts",
        _always("conversion"),
        (
            *("order_id", "value", "refunded_value", "currency", "status", "click_id"),
            *("new_customer", "received_at"),
        ),
    ),
)
_CLAIM = _Part(
    "claims",
    "customer_id",
    "converted_at",
    _always("claimed"),
    (
        *("platform", "channel", "campaign", "order_id", "click_id", "touched_at", "value"),
        *("currency", "window_days"),
    ),
)
"""A claim names an order or a click, and so its customer only in a roundabout way."""
_ORDER = {part.table: place for place, part in enumerate((*_PARTS, _CLAIM))}
"""Rows of one instant: consent and arm first, then what happened, then what is said about it."""


def timeline(engine: Engine, customers: Sequence[str]) -> tuple[Moment, ...]:
    """All rows about these customer ids, in order of time (then table, then row id)."""
    found: list[Moment] = []
    for part in _PARTS:
        if engine.has(part.table):
            table = engine.table(part.table)
            mine = table.filter(table[part.whose].isin(list(customers)))
            rows = engine.fetch(mine).to_pylist()
            found += [moment_of_row(part.table, row) for row in rows]
    found += _claims(engine, found)
    return tuple(sorted(found, key=lambda m: (m.at, _ORDER[m.table], m.row_id)))


def moment_of_row(table: str, row: Mapping[str, Any], customer: str | None = None) -> Moment:
    """A raw row as a moment; ``customer`` where the row itself names none."""
    part = next(p for p in (*_PARTS, _CLAIM) if p.table == table)
    key = tuple(row[name] for name in CONTRACTS[table].key)
    facts = {name: _plain(row[name]) for name in part.shown if row.get(name) is not None}
    return Moment(
        at=_aware(row[part.when]),
        kind=part.kind(row),
        table=table,
        row_id=" / ".join(str(iso(_plain(value))) for value in key),
        customer_id=str(row.get(part.whose) or customer or ""),
        facts=facts,
        key=key,
    )


def known_customer(engine: Engine, customer: str) -> bool:
    """Whether any table of people has this id."""
    for part in _PARTS:
        if engine.has(part.table):
            table = engine.table(part.table)
            mine = table.filter(table[part.whose] == customer).limit(1)
            if engine.fetch(mine.select(part.whose)).num_rows:
                return True
    return False


def customers_of_person(engine: Engine, customer: str) -> tuple[str, ...]:
    """All customer ids of the person that one of them belongs to, sorted; itself when alone.

    The person is that of the identity graph (:mod:`measure.people.identities`), without links that
    are only likely. :class:`InputError` when more than :data:`MOST_IDS` hang together, which no
    person does.
    """
    import pyarrow.compute as pc

    from measure.people.identities import identity_graph

    if not engine.has("identities"):
        return (customer,)
    persons = identity_graph(engine).components.persons
    keys = persons.filter(pc.equal(persons["customer_id"], customer))["person_key"]
    if not len(keys):
        return (customer,)
    mine = persons.filter(pc.equal(persons["person_key"], keys[0]))["customer_id"].to_pylist()
    if len(mine) > MOST_IDS:
        raise InputError(
            f"{len(mine):,} customer ids hang together with this one; their identifiers do not "
            "tell people apart. `truelift reconcile` says which (I2)."
        )
    return tuple(sorted(mine))


def _claims(engine: Engine, moments: Sequence[Moment]) -> list[Moment]:
    """Claims on the orders found, by order id, or by the click of one where they name no order."""
    if not engine.has("claims"):
        return []
    sold = [m for m in moments if m.table == "conversions"]
    orders = {m.facts["order_id"]: m.customer_id for m in sold}
    clicks = {
        m.facts["click_id"]: m.customer_id
        for m in moments
        if m.table in {"conversions", "activations"} and "click_id" in m.facts
    }
    if not orders and not clicks:
        return []
    claims = table_of(engine, "claims")
    columns = claims.columns
    wanted = []
    if orders and "order_id" in columns:
        wanted.append(claims.filter(claims.order_id.isin(sorted(orders))))
    if clicks and "click_id" in columns:
        loose = claims.filter(claims.order_id.isnull()) if "order_id" in columns else claims
        wanted.append(loose.filter(loose.click_id.isin(sorted(clicks))))
    found = []
    for expression in wanted:
        for row in engine.fetch(expression).to_pylist():
            whose = orders.get(row.get("order_id")) or clicks.get(row.get("click_id"))
            found.append(moment_of_row("claims", row, whose))
    return found


def require_known(engine: Engine, customer: str) -> None:
    """Refuse an id that no table has; the id itself is not repeated, for it may be an address."""
    if not any(engine.has(part.table) for part in _PARTS):
        raise MissingFile.at("table customers", "Load it with `truelift load customers FILE…`.")
    if not known_customer(engine, customer):
        raise InputError(
            "nobody of this id is on record. Give a customer id as it stands in table customers."
        )


def iso(value: Any) -> Any:
    """Times as ISO 8601 in UTC with Z; anything else as it is."""
    if isinstance(value, datetime):
        return _aware(value).astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def _plain(value: Any) -> Any:
    return _aware(value) if isinstance(value, datetime) else value


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
