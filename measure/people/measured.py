"""The gate in front of reports: only people who consented to being measured are read.

Everything that reports rest on is read through :class:`MeasuredEngine`, so that no query of theirs
can reach anybody else. What cannot leave people out without breaking (sums of a log held against
sums of a platform) reads the tables as they are and shows nobody's rows: :func:`withheld` takes
them out of the evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from measure.engine.connection import Engine
from measure.people.consent import EVERY_CHANNEL, consenting

if TYPE_CHECKING:
    from measure.engine.expressions import Table
    from measure.results import Check

PURPOSE = "measurement"
PERSON = {
    "customers": "customer_id",
    "identities": "customer_id",
    "consents": "customer_id",
    "activations": "customer_id",
    "conversions": "customer_id",
    "events": "customer_id",
    "assignments": "unit_id",
    "exposures": "unit_id",
    "scores": "unit_id",
}
"""Tables with rows of people, and the column that says whose."""
NO_CONSENTS = "no consents are loaded"
NO_MEASUREMENT = "no record of consent speaks of measurement"
_IDS = {
    "identities": ("identifier",),
    "activations": ("activation_id", "click_id", "impression_id"),
    "conversions": ("conversion_id", "order_id", "click_id"),
    "events": ("event_id",),
    "exposures": ("exposure_id",),
}
"""Ids of rows by which somebody can be found again."""
_AT_ONCE = 2_000


class MeasuredEngine(Engine):
    """An engine whose tables hold only people with consent to be measured."""

    def __init__(self, engine: Engine, allowed: Table) -> None:
        super().__init__(engine.backend, engine.url)
        self._allowed = allowed

    def table(self, name: str) -> Table:
        """A table without the rows of people who may not be measured."""
        table = super().table(name)
        if name not in PERSON:
            return table
        return table.semi_join(self._allowed, table[PERSON[name]] == self._allowed.customer_id)


@dataclass(frozen=True, slots=True)
class Gate:
    """Whom a report may read."""

    whole: Engine
    """Everybody."""
    engine: Engine
    """Those who may be measured; everybody where the gate does not apply."""
    allowed: Table | None
    """Customers with consent; ``None`` where the gate does not apply."""
    why_open: str = ""
    """Why it does not apply; empty where it does."""

    def left_out(self, experiment: str) -> tuple[dict[str, int], dict[str, int]]:
        """Units of an experiment per arm, and how many of them are left out."""
        whole = _per_arm(self.whole, experiment)
        kept = whole if self.allowed is None else _per_arm(self.engine, experiment)
        return whole, {arm: n - kept.get(arm, 0) for arm, n in whole.items()}

    def unmeasured(self, table: str) -> Table:
        """The rows of a table that a report may not show."""
        rows = self.whole.table(table)
        if self.allowed is None:
            return rows.limit(0)
        return rows.anti_join(self.allowed, rows[PERSON[table]] == self.allowed.customer_id)


def measured(engine: Engine, at: datetime) -> Gate:
    """Close the gate to everybody without consent to be measured at a moment, by all that is known.

    Consent for every channel is asked for: outcomes belong to none. Where no consents are loaded,
    or none speaks of measurement, the gate does not apply, and says so.
    """
    if not engine.has("consents"):
        return Gate(engine, engine, None, NO_CONSENTS)
    consents = engine.table("consents")
    records = consents.filter(consents.purpose == PURPOSE)
    if not engine.fetch(records.limit(1)).num_rows:
        return Gate(engine, engine, None, NO_MEASUREMENT)
    found = consenting(consents, PURPOSE, EVERY_CHANNEL, at).select("customer_id")
    allowed = engine.materialize(found)
    return Gate(engine, MeasuredEngine(engine, allowed), allowed)


def withheld(gate: Gate, checks: Iterable[Check]) -> tuple[Check, ...]:
    """The checks without evidence rows of people who may not be measured; counts stay whole."""
    listed = tuple(checks)
    if gate.allowed is None:
        return listed
    values = {v for check in listed for row in check.evidence for v in _texts(row)}
    hidden = _of_unmeasured(gate, sorted(values))
    return tuple(_without(check, hidden) for check in listed)


def _without(check: Check, hidden: set[str]) -> Check:
    shown = tuple(row for row in check.evidence if hidden.isdisjoint(_texts(row)))
    gone = len(check.evidence) - len(shown)
    if not gone:
        return check
    rows = "row is" if gone == 1 else "rows are"
    note = f"{gone:,} {rows} not shown, of people without consent to be measured."
    return replace(check, evidence=shown, message=f"{check.message} {note}")


def _texts(row: Mapping[str, Any]) -> list[str]:
    return [value for value in row.values() if isinstance(value, str)]


def _of_unmeasured(gate: Gate, values: list[str]) -> set[str]:
    """Which of these values are ids of people who may not be measured, or of rows of theirs."""
    found: set[str] = set()
    for first in range(0, len(values), _AT_ONCE):
        some = values[first : first + _AT_ONCE]
        for rows, column in _identified(gate):
            hits = gate.whole.fetch(rows.filter(rows[column].isin(some)).select(column).distinct())
            found.update(hits[column].to_pylist())
    return found


def _identified(gate: Gate) -> Iterator[tuple[Table, str]]:
    """Tables and columns by which somebody who may not be measured can be found again."""
    for table, own in PERSON.items():
        if not gate.whole.has(table):
            continue
        rows = gate.unmeasured(table)
        for column in (own, *_IDS.get(table, ())):
            if column in rows.columns:
                yield rows, column
    if gate.whole.has("claims") and gate.whole.has("conversions"):
        claims, orders = gate.whole.table("claims"), gate.unmeasured("conversions")
        yield claims.semi_join(orders, claims.order_id == orders.order_id), "claim_id"


def _per_arm(engine: Engine, experiment: str) -> dict[str, int]:
    assigned = engine.table("assignments")
    mine = assigned.filter(assigned.experiment == experiment)
    rows = engine.fetch(mine.group_by("arm").aggregate(units=mine.count())).to_pylist()
    return {row["arm"]: int(row["units"]) for row in rows}
