"""What can be asked of a registry without changing it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from designs.registry.agreement import Replay
from designs.registry.amendments import FieldChange, changes, departures
from designs.registry.audit import Head, Verification, verify
from designs.registry.ledger import Ledger, chain, version_of
from designs.registry.models import EventRow, ExperimentRow, HeadRow, ResultRow, VersionRow
from designs.registry.policy import Policy
from designs.registry.records import Entry, Event, Version, iso
from measure.errors import UnknownName

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from designs.registry.database import Database
    from designs.registry.lifecycle import Step
    from measure.plan import AnalysisPlan


class Reading:
    """Questions to a registry; each is answered from one consistent view."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> Entry:
        """One experiment; :class:`UnknownName` when it was never registered."""
        with self._database.reading() as session:
            ledger = Ledger(session, Policy())
            return ledger.entry(ledger.row(key))

    def entries(self) -> tuple[Entry, ...]:
        """All experiments in the order of their keys."""
        with self._database.reading() as session:
            ledger = Ledger(session, Policy())
            rows = session.scalars(select(ExperimentRow)).all()
            # Sorted here: databases do not agree on the order of letters and signs.
            return tuple(ledger.entry(row) for row in sorted(rows, key=lambda row: row.key))

    def require_known(self, key: str) -> None:
        """Raise :class:`UnknownName` when an experiment was never registered."""
        with self._database.reading() as session:
            Ledger(session, Policy()).row(key)

    def is_planned(self, key: str, plan: AnalysisPlan) -> bool:
        """Whether a plan is the one frozen at the start; anything else is exploratory."""
        with self._database.reading() as session:
            return Ledger(session, Policy()).row(key).plan_hash == plan.content_hash()

    def is_as_registered(self, key: str, experiment: Experiment) -> bool:
        """Whether an analysis of this specification is the one planned before the start.

        Its plan must be the frozen one, and nothing else that decides what is measured or concluded
        may differ from the version in force: who is one unit, who is in which arm, which rule.
        """
        with self._database.reading() as session:
            ledger = Ledger(session, Policy())
            row = ledger.row(key)
            if row.plan_hash != experiment.analysis_plan().content_hash():
                return False
            return not departures(ledger.meaning(row), experiment)

    def result(self, key: str) -> dict[str, Any] | None:
        """The recorded analysis, ``None`` before the conclusion."""
        with self._database.reading() as session:
            Ledger(session, Policy()).row(key)
            recorded = session.get(ResultRow, key)
            document: dict[str, Any] | None = json.loads(recorded.document) if recorded else None
            return document

    def versions(self, key: str) -> tuple[Version, ...]:
        """All specifications ever written under a key, oldest first."""
        with self._database.reading() as session:
            Ledger(session, Policy()).row(key)
            query = select(VersionRow).where(VersionRow.key == key).order_by(VersionRow.version)
            return tuple(version_of(row) for row in session.scalars(query))

    def version(self, key: str, number: int) -> Version:
        """One specification; :class:`UnknownName` when there is no such version."""
        with self._database.reading() as session:
            row = Ledger(session, Policy()).row(key)
            found = session.get(VersionRow, (key, number))
            if found is None:
                known = [str(n) for n in range(1, row.latest + 1)]
                raise UnknownName.of("version", str(number), known, key)
            return version_of(found)

    def text(self, key: str, version: int) -> str:
        """A specification as it was written; :class:`UnknownName` when there is no such version."""
        return self.version(key, version).text

    def changes(self, key: str, before: int, after: int) -> tuple[FieldChange, ...]:
        """Fields in which two versions differ, in the order of the specification."""
        return changes(self.version(key, before).experiment, self.version(key, after).experiment)

    def events(self, key: str | None = None) -> tuple[Event, ...]:
        """What was done and refused, oldest first; of all experiments when no key is given."""
        query = select(EventRow).order_by(EventRow.sequence)
        with self._database.reading() as session:
            if key is not None:
                Ledger(session, Policy()).row(key)
                query = query.where(EventRow.key == key)
            return tuple(_event(row) for row in session.scalars(query))

    def _allowing(self, step: Step, key: str, *, approvals: bool) -> Entry:
        with self._database.reading() as session:
            ledger = Ledger(session, Policy(approvals=approvals))
            row = ledger.row(key)
            ledger.require(step, row)
            return ledger.entry(row)

    def _stored_head(self) -> Head:
        with self._database.reading() as session:
            row = session.scalars(select(HeadRow)).one()
            return Head(row.sequence, row.hash)

    def _verify(self, key: bytes, exported: Head | None) -> Verification:
        with self._database.reading() as session:
            row = session.scalars(select(HeadRow)).one_or_none()
            stored = Head(row.sequence, row.hash) if row else Head(0, "")
            found = verify(chain(session), key, stored, exported)
            if not found.intact:
                return found
            record = Replay(chain(session)).disagreement(session)
            return dataclasses.replace(found, record=record)


def _event(row: EventRow) -> Event:
    detail = json.loads(row.detail)
    at = iso(row.at)
    return Event(row.sequence, row.key, at, row.who, row.what, detail, row.role, row.account)
