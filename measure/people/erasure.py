"""By what a person can be found in the tables, before they are taken out of them."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from measure.engine.contracts import CONTRACTS
from measure.engine.erasing import Marks
from measure.engine.tombstones import KINDS
from measure.people.measured import PERSON

if TYPE_CHECKING:
    from measure.engine.connection import Engine

_ROWS = {
    "activations": ("activation_id", "impression_id"),
    "conversions": ("conversion_id",),
    "events": ("event_id", "session_id"),
    "exposures": ("exposure_id",),
}
"""Ids of rows that lead back to a person wherever they are shown."""
_SHARED = {"order": "order_id", "click": "click_id", "identifier": "identifier"}
"""Ids that may belong to several people; only those of one person go with them."""


def marks_of(engine: Engine, customer: str) -> Marks:
    """All ids that are a person's alone: their own, of their rows, orders, clicks, identifiers.

    An order, a click or an identifier that is on record for somebody else as well is not among
    them. Marks without any id but the person's own mean that the tables know nobody of that id.
    """
    who = unicodedata.normalize("NFC", customer)
    ids: dict[str, set[str]] = {"person": {who}}
    words = {who}
    for kind, column in _SHARED.items():
        ids[kind] = _only_theirs(engine, who, column)
    words |= set().union(*ids.values())
    for table, columns in _ROWS.items():
        for column in columns:
            words |= set(_theirs(engine, who, table, column))
    if engine.has("claims"):
        words |= set(_claims(engine, ids))
    theirs = {kind: frozenset(found) for kind, found in ids.items() if kind != "identifier"}
    return Marks(theirs, frozenset(words))


def is_known(engine: Engine, customer: str) -> bool:
    """Whether any table has a row of the person."""
    who = unicodedata.normalize("NFC", customer)
    for table in filter(engine.has, CONTRACTS):
        rows = engine.table(table)
        for column in rows.columns:
            if KINDS.get(column) == "person":
                mine = rows.filter(rows[column] == who).select(column)
                if engine.fetch(mine.limit(1)).num_rows:
                    return True
    return False


def _theirs(engine: Engine, who: str, table: str, column: str) -> list[str]:
    if not engine.has(table) or column not in engine.table(table).columns:
        return []
    rows = engine.table(table)
    mine = rows.filter(rows[PERSON[table]] == who, rows[column].notnull(), rows[column] != "")
    found: list[str] = engine.fetch(mine.select(column).distinct())[column].to_pylist()
    return found


def _only_theirs(engine: Engine, who: str, column: str) -> set[str]:
    """What the person has in this column of any table, and nobody else has in any."""
    mine = {value for table in PERSON for value in _theirs(engine, who, table, column)}
    for table, person in PERSON.items():
        if not mine or not engine.has(table) or column not in engine.table(table).columns:
            continue
        rows = engine.table(table)
        others = rows.filter(rows[person] != who, rows[column].isin(sorted(mine)))
        mine -= set(engine.fetch(others.select(column).distinct())[column].to_pylist())
    return mine


def _claims(engine: Engine, ids: dict[str, set[str]]) -> list[str]:
    """Claims of platforms on orders or clicks that are the person's alone."""
    claims = engine.table("claims")
    mine = claims.order_id.isin(["", *sorted(ids["order"])]) | claims.click_id.isin(
        ["", *sorted(ids["click"])]
    )
    chosen = claims.filter(mine & ((claims.order_id != "") | (claims.click_id != "")))
    found: list[str] = engine.fetch(chosen.select("claim_id"))["claim_id"].to_pylist()
    return found
