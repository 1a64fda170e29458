"""Identities as tables: which identifiers may join customers, and the persons that they make.

The data engine selects, from all identities, the identifiers that several customers carry; only
those rows cross into Python as Arrow, become a graph there (:mod:`measure.people.graph`), and the
persons go back as a table. An identifier that more than ``most_customers`` carry is a shared device
or a placeholder: it joins nobody and is reported. A row of table ``unlinks`` takes an edge out from
its time on, so that what was joined by mistake falls apart again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from measure.declared import Frozen
from measure.engine.expressions import Table, greatest, least, literal, moment, null, union
from measure.errors import InputError, MissingFile
from measure.people.graph import Components, components

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.engine.connection import Engine

NEEDED = ("customer_id", "kind", "identifier", "seen_at")


class IdentityRules(Frozen):
    """What joins two customers, and what keeps them apart whatever joins them."""

    kinds: Annotated[tuple[str, ...], Field(min_length=1)] = ("email_hash", "login", "phone_hash")
    """Kinds of identifier that belong to one person; at equal times the first named joins first."""
    most_customers: Annotated[int, Field(ge=2)] = 10
    """Customers that may carry one identifier; one that more carry joins nobody."""
    apart_kinds: tuple[str, ...] = ("login",)
    """Customers with identifiers of such a kind but none in common are different people."""
    apart_attributes: tuple[str, ...] = ("birth_date",)
    """The same for attributes of table customers, where they exist and are not empty."""


@dataclass(frozen=True, slots=True)
class IdentityGraph:
    """Persons, and the sightings they were made from; ``shared`` are identifiers that join nobody.

    ``sightings`` has (customer_id, kind, identifier, at, last_at, source), ``shared`` (kind,
    identifier, customers), ``links`` (customer_id, other_customer_id, probability).
    """

    components: Components
    sightings: pa.Table
    shared: pa.Table
    links: pa.Table
    customers: int

    @property
    def persons(self) -> int:
        """Number of persons among all customers."""
        return self.customers - len(self.components.merges)


def identity_graph(
    engine: Engine,
    rules: IdentityRules | None = None,
    *,
    at: datetime | None = None,
    threshold: float | None = None,
) -> IdentityGraph:
    """Who is one person, by what was known at a time (aware; everything when left out).

    With a ``threshold`` links of at least that match probability join as well, after identifiers.
    :class:`MissingFile` without table identities, :class:`InputError` for a threshold outside
    (0, 1] or a time without a zone.
    """
    rules = rules or IdentityRules()
    if at is not None and at.tzinfo is None:
        raise InputError.rule("at", at.isoformat(), "must say its time zone")
    if threshold is not None and not 0 < threshold <= 1:
        raise InputError.rule("threshold", threshold, "must lie above 0 and not above 1")
    if not engine.has("identities"):
        raise MissingFile.at("table identities", "Load it: truelift load identities FILE…")
    carried = sightings(engine, rules, at)
    holders = carried.group_by(["kind", "identifier"]).aggregate(
        customers=carried.customer_id.nunique()
    )
    several = holders.filter(holders.customers > 1)
    joining = several.filter(several.customers <= rules.most_customers)
    rows = carried.semi_join(
        joining, [carried.kind == joining.kind, carried.identifier == joining.identifier]
    )
    found = _texts(engine.fetch(rows))
    linked = _fetch_links(engine, at, threshold)
    return IdentityGraph(
        components(found, _fetch_facts(engine, rules, rows, at), linked, rules.kinds),
        found,
        _texts(engine.fetch(several.filter(several.customers > rules.most_customers))),
        linked,
        _number_of_customers(engine),
    )


def sightings(engine: Engine, rules: IdentityRules, at: datetime | None = None) -> Table:
    """Edges in force: (customer_id, kind, identifier, at, last_at, source), each once."""
    known = engine.table("identities")
    source = known.source if "source" in known.columns else null().cast("string")
    known = known.mutate(source=source)
    known = known.filter(known.kind.isin(rules.kinds))
    if at is not None:
        known = known.filter(known.seen_at <= moment(at, known.seen_at))
    edges = known.group_by(["customer_id", "kind", "identifier"]).aggregate(
        at=known.seen_at.min(), last_at=known.seen_at.max(), source=known.source.min()
    )
    if not engine.has("unlinks"):
        return edges
    gone = engine.table("unlinks")
    if at is not None:
        gone = gone.filter(gone.unlinked_at <= moment(at, gone.unlinked_at))
    same = [edges[name] == gone[name] for name in ("customer_id", "kind", "identifier")]
    return edges.anti_join(gone, same)


def members(engine: Engine, graph: IdentityGraph) -> Table:
    """Persons of several customers as a table of the engine: customer_id, person_key, customers."""
    return engine.hold(graph.components.persons)


def links_between(engine: Engine, at: datetime | None = None) -> Table:
    """Links of table ``links``: (customer_id, other_customer_id, probability), each pair once.

    Where several models judged a pair, the likeliest stands.
    """
    rows = engine.table("links")
    if at is not None:
        rows = rows.filter(rows.linked_at <= moment(at, rows.linked_at))
    one, other = rows.customer_id, rows.other_customer_id
    rows = rows.filter(one != other).select(
        customer_id=least(one, other),
        other_customer_id=greatest(one, other),
        probability=rows.probability,
    )
    return rows.group_by(["customer_id", "other_customer_id"]).aggregate(
        probability=rows.probability.max()
    )


def _fetch_links(engine: Engine, at: datetime | None, threshold: float | None) -> pa.Table:
    import pyarrow as pa

    if threshold is None:
        kinds = [("customer_id", "string"), ("other_customer_id", "string")]
        return pa.schema([*kinds, ("probability", "float64")]).empty_table()
    if not engine.has("links"):
        raise MissingFile.at("table links", "Load it: truelift load links FILE…")
    rows = links_between(engine, at)
    return _texts(engine.fetch(rows.filter(rows.probability >= threshold)))


def _fetch_facts(
    engine: Engine, rules: IdentityRules, joined: Table, at: datetime | None
) -> pa.Table:
    """What tells customers apart: (customer_id, rule, value), of those that could be joined."""
    import pyarrow as pa

    parts = []
    known = engine.table("identities")
    if at is not None:
        known = known.filter(known.seen_at <= moment(at, known.seen_at))
    for kind in rules.apart_kinds:
        mine = known.filter(known.kind == kind)
        parts.append(mine.select("customer_id", rule=literal(kind), value="identifier"))
    if engine.has("customers"):
        customers = engine.table("customers")
        for name in rules.apart_attributes:
            if name in customers.columns:
                value = customers[name].cast("string").nullif("")
                told = customers.select("customer_id", rule=literal(name), value=value)
                parts.append(told.filter(told.value.notnull()))
    if not parts:
        return pa.schema([(n, "string") for n in ("customer_id", "rule", "value")]).empty_table()
    facts = union(*parts) if len(parts) > 1 else parts[0]
    if not engine.has("links"):
        facts = facts.semi_join(joined, facts.customer_id == joined.customer_id)
    return _texts(engine.fetch(facts.distinct()))


def _number_of_customers(engine: Engine) -> int:
    """Customers that table identities, customers or links names."""
    names = ("identities", "customers", "links")
    ids = [engine.table(name).select("customer_id") for name in names if engine.has(name)]
    if engine.has("links"):
        ids.append(engine.table("links").select(customer_id="other_customer_id"))
    people = (union(*ids) if len(ids) > 1 else ids[0]).distinct()
    return int(engine.fetch(people.aggregate(n=people.count()))["n"][0].as_py())


def _texts(table: pa.Table) -> pa.Table:
    """Plain strings, whatever kind of text an engine answers with."""
    import pyarrow as pa

    plain = [
        pa.field(f.name, "string") if pa.types.is_large_string(f.type) else f for f in table.schema
    ]
    return table.cast(pa.schema(plain))
