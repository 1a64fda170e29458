"""Looking things up inside a transaction: rows, entries, and what a review still lacks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import select

from designs.registry.access import Subject
from designs.registry.audit import AuditRow
from designs.registry.lifecycle import State, Step, require
from designs.registry.models import ApprovalRow, EventRow, ExperimentRow, ResultRow, VersionRow
from designs.registry.records import Entry, Version, iso, iso_or_none, parsed, phase_number
from measure.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

    from designs.experiment import Experiment
    from designs.registry.policy import Demand, Policy


_PAGE = 2_000


class Ledger:
    """The registry's rows as one transaction sees them."""

    def __init__(self, session: Session, policy: Policy) -> None:
        self.session = session
        self.policy = policy

    def row(self, key: str) -> ExperimentRow:
        """One experiment; :class:`UnknownName` when it was never registered."""
        row = self.session.get(ExperimentRow, key)
        if row is None:
            known = self.session.scalars(select(ExperimentRow.key)).all()
            raise UnknownName.of("experiment", key, known, "the registry")
        return row

    def version(self, row: ExperimentRow, number: int | None = None) -> VersionRow:
        """A version of an experiment; the one in force when no number is given."""
        return self.session.get_one(VersionRow, (row.key, number or row.version))

    def meaning(self, row: ExperimentRow, number: int | None = None) -> Experiment:
        """What a version declares."""
        version = self.version(row, number)
        return parsed(version.text, f"{version.key}, version {version.version}")

    def entry(self, row: ExperimentRow) -> Entry:
        """An experiment as callers see it."""
        version, recorded = self.version(row), self.session.get(ResultRow, row.key)
        return Entry(
            key=row.key,
            state=State(row.state),
            version=row.version,
            spec_hash=version.spec_hash,
            plan_hash=version.plan_hash,
            registered_at=iso(row.registered_at),
            started_at=iso_or_none(row.started_at),
            concluded_at=iso_or_none(row.concluded_at),
            result_hash=recorded.result_hash if recorded else None,
            text=version.text,
            stopped_at=iso_or_none(row.stopped_at),
            proposed_version=row.proposed,
            approved_version=row.approved,
            latest_version=row.latest,
            phase=self.phase(row.key),
        )

    def phase(self, key: str) -> int:
        """Which phase of an experiment a key names."""
        known = self.session.scalars(select(ExperimentRow.key)) if "-phase-" in key else ()
        return phase_number(key, frozenset(known))

    def last_step(self, key: str) -> EventRow | None:
        """The last step that was taken with an experiment, refusals left out."""
        steps = select(EventRow).where(EventRow.key == key, EventRow.what.in_(list(Step)))
        return self.session.scalars(steps.order_by(EventRow.sequence.desc()).limit(1)).first()

    def require(self, step: Step, row: ExperimentRow) -> None:
        """Refuse a step that the state of an experiment does not allow."""
        require(
            step,
            row.key,
            State(row.state),
            iso(row.state_since),
            approvals=self.policy.approvals,
            proposed=row.proposed is not None,
        )

    def subject(self, key: str) -> Subject:
        """An experiment as authorisation sees it: with the authors of what is not yet approved."""
        row = self.session.get(ExperimentRow, key)
        if row is None:
            return Subject(key)
        approved = row.approved or 0
        unapproved = select(VersionRow.registered_by).where(
            VersionRow.key == key, VersionRow.version > approved
        )
        authors = frozenset(self.session.scalars(unapproved))
        return Subject(key, authors, self._accounts(key, approved))

    def _accounts(self, key: str, approved: int) -> frozenset[str]:
        """Accounts of people under which versions after the approved one were written."""
        written = select(EventRow.account, EventRow.detail).where(
            EventRow.key == key, EventRow.what == Step.REGISTER, EventRow.account != ""
        )
        return frozenset(
            account
            for account, detail in self.session.execute(written)
            if self.policy.is_person(account) and json.loads(detail)["version"] > approved
        )

    def demands(self, row: ExperimentRow, planned_units: int | None) -> tuple[Demand, ...]:
        """Sign-offs that the version under review needs, given or not."""
        return self.policy.demands(self.meaning(row, candidate(row)), planned_units)

    def signed(self, row: ExperimentRow) -> tuple[ApprovalRow, ...]:
        """Approvals of the version under review since it was handed in."""
        given = select(ApprovalRow).where(
            ApprovalRow.key == row.key,
            ApprovalRow.version == candidate(row),
            ApprovalRow.sequence > (row.submission or 0),
        )
        return tuple(self.session.scalars(given))

    def outstanding(
        self, key: str, planned_units: int | None, also: str | None = None
    ) -> tuple[str, ...]:
        """Sign-offs still missing, each as one phrase; an approval by anybody comes first.

        ``also`` is a role that signs just now.
        """
        row = self.row(key)
        roles = {approval.role for approval in self.signed(row)}
        roles |= set() if also is None else {also}
        missing = () if roles else ("an approval by somebody who did not write it",)
        demands = self.demands(row, planned_units)
        return (*missing, *(str(demand) for demand in demands if demand.role not in roles))


def candidate(row: ExperimentRow) -> int:
    """Which version is up for review: the one proposed, else the one in force."""
    return row.version if row.proposed is None else row.proposed


def chain(session: Session) -> Iterator[AuditRow]:
    """Read the rows of the audit in their order, some thousands at a time."""
    query = select(*(getattr(EventRow, name) for name in AuditRow.__slots__))
    query, last = query.order_by(EventRow.sequence).limit(_PAGE), -(2**62)
    # Page by page: a cursor left open by a reader who stops early would stay open on the server.
    while rows := session.execute(query.where(EventRow.sequence > last)).all():
        yield from (AuditRow(*row) for row in rows)
        last = rows[-1].sequence


def version_of(row: VersionRow) -> Version:
    """Return a version as callers see it."""
    return Version(
        key=row.key,
        version=row.version,
        registered_at=iso(row.registered_at),
        registered_by=row.registered_by,
        spec_hash=row.spec_hash,
        plan_hash=row.plan_hash,
        text=row.text,
    )
