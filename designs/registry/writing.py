"""The steps themselves, inside one transaction that holds the registry's write lock."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from designs.registry.amendments import changes, phase_key, phase_of, require_valid
from designs.registry.audit import (
    FIRST_LINK,
    SEAL,
    AuditRow,
    canonical,
    link,
    one_line,
    text_hash,
)
from designs.registry.ledger import Ledger, candidate, chain
from designs.registry.lifecycle import OPEN, State, Step
from designs.registry.models import ApprovalRow, EventRow, ExperimentRow, ResultRow, VersionRow
from measure.errors import InputError, LifecycleError, RegistryError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from designs.experiment import Experiment
    from designs.registry.models import HeadRow
    from designs.registry.policy import Policy


NOBODY = "unknown"
"""Who acts when no name is given."""


class Writing(Ledger):
    """One transaction of one person. Every step checks first, then changes, then notes."""

    def __init__(
        self,
        session: Session,
        head: HeadRow,
        secret: bytes,
        policy: Policy,
        by: str,
        account: str,
        now: Callable[[], int],
    ) -> None:
        super().__init__(session, policy)
        self._head, self._secret, self._now = head, secret, now
        name = one_line(by) or NOBODY
        self.actor = policy.actor(name, account)
        self._account = "" if account == by else one_line(account)

    def register(self, text: str, experiment: Experiment, expected: int | None) -> ExperimentRow:
        """Enter a text as the next version, unless it changes nothing."""
        row = self.session.get(ExperimentRow, experiment.key)
        if row is None:
            self._require_next_phase(experiment)
            return self._add_version(self._new_row(experiment.key), text, experiment, {})
        if self._unchanged(row, text, experiment):
            return row
        self.require(Step.REGISTER, row)
        self._require_latest(row, text, expected)
        before = self.meaning(row)
        if row.state == State.RUNNING:
            require_valid(before, experiment)
        changed = [str(change) for change in changes(before, experiment)]
        return self._add_version(row, text, experiment, {"changed": changed})

    def submit(self, key: str, planned_units: int | None) -> ExperimentRow:
        """Put a draft into review."""
        row = self.row(key)
        if self._repeats(Step.SUBMIT, key):
            return row
        self.require(Step.SUBMIT, row)
        self._enter(row, State.IN_REVIEW)
        needs = [str(demand) for demand in self.demands(row, planned_units)]
        detail = {"version": row.version, "planned_units": planned_units, "needs": needs}
        row.submission = self.note(Step.SUBMIT, key, detail)
        return row

    def approve(
        self, key: str, reason: str, planned_units: int | None, expected: int | None
    ) -> ExperimentRow:
        """Add one approval; the last one that is needed makes the version approved."""
        row = self.row(key)
        reason = one_line(reason, 2000)
        if self._repeats(Step.APPROVE, key, reason):
            return row
        self.require(Step.APPROVE, row)
        number = candidate(row)
        self._require_read(row, number, expected)
        if row.proposed is not None:
            require_valid(self.meaning(row), self.meaning(row, number))
        demands = [d for d in self.demands(row, planned_units) if d.role == self.actor.role]
        if demands and not reason:
            raise InputError(
                f"{key!r} needs the sign-off of {demands[0]}. Say why it may run: --reason TEXT."
            )
        settles = not self.outstanding(key, planned_units, also=self.actor.role or "")
        detail = {
            "version": number,
            "spec_hash": self.version(row, number).spec_hash,
            "reason": reason,
            "signs_off": [demand.rule for demand in demands],
            "planned_units": planned_units,
            "settles": settles,
        }
        self._sign(self.note(Step.APPROVE, key, detail), row, number, reason)
        if settles:
            self._settle(row, number)
        return row

    def reject(self, key: str, reason: str) -> ExperimentRow:
        """Send back to draft, or drop the change proposed to a running experiment."""
        row = self.row(key)
        reason = one_line(reason, 2000)
        if self._repeats(Step.REJECT, key, reason):
            return row
        self.require(Step.REJECT, row)
        if not reason:
            raise InputError(f"rejecting {key!r} needs a reason. Give one: --reason TEXT.")
        number = candidate(row)
        if row.proposed is None:
            self._enter(row, State.DRAFT)
            row.approved = None if row.approved == number else row.approved
        row.proposed = row.submission = None
        self.note(Step.REJECT, key, {"version": number, "reason": reason})
        return row

    def start(self, key: str) -> ExperimentRow:
        """Freeze the plan of the version in force."""
        row = self.row(key)
        if self._repeats(Step.START, key):
            return row
        self.require(Step.START, row)
        self._require_earlier_phase_ended(key)
        version = self.version(row)
        row.plan_hash = version.plan_hash
        self._enter(row, State.RUNNING)
        row.started_at = row.state_since
        detail = {
            "version": row.version,
            "plan_hash": row.plan_hash,
            "spec_hash": version.spec_hash,
            "reviewed": row.approved == row.version,
        }
        self.note(Step.START, key, detail)
        return row

    def stop(self, key: str, reason: str) -> ExperimentRow:
        """End the campaign; a change still proposed is dropped."""
        row = self.row(key)
        reason = one_line(reason, 2000)
        if self._repeats(Step.STOP, key, reason):
            return row
        self.require(Step.STOP, row)
        self._enter(row, State.STOPPED)
        row.stopped_at, row.proposed, row.submission = row.state_since, None, None
        self.note(Step.STOP, key, {"reason": reason})
        return row

    def conclude(self, key: str, analysis: Mapping[str, Any]) -> ExperimentRow:
        """Record the result and close."""
        document = canonical(analysis)
        result_hash = text_hash(document)
        row = self.row(key)
        recorded = self.session.get(ResultRow, key)
        if recorded is not None and recorded.result_hash == result_hash:
            return row
        self.require(Step.CONCLUDE, row)
        self._enter(row, State.CONCLUDED)
        now = row.concluded_at = row.state_since
        row.proposed = row.submission = None
        self.session.add(
            ResultRow(key=key, document=document, result_hash=result_hash, recorded_at=now)
        )
        self.note(Step.CONCLUDE, key, {"result_hash": result_hash})
        return row

    def archive(self, key: str, reason: str) -> ExperimentRow:
        """Put away."""
        row = self.row(key)
        reason = one_line(reason, 2000)
        if self._repeats(Step.ARCHIVE, key, reason):
            return row
        self.require(Step.ARCHIVE, row)
        was = row.state
        self._enter(row, State.ARCHIVED)
        self.note(Step.ARCHIVE, key, {"was": was, "reason": reason})
        return row

    def note(self, what: str, key: str, detail: Mapping[str, Any]) -> int:
        """Add a row to the audit chain and move its head; returns the row's number."""
        row = AuditRow(
            sequence=self._head.sequence + 1,
            key=one_line(key),
            at=self._now(),
            who=self.actor.name,
            role=self.actor.role or "",
            account=self._account,
            what=one_line(what, 40),
            detail=canonical(detail),
        )
        if self._head.sequence and not self._head.hash:
            raise RegistryError(
                "the head of the audit lost its hash, so nothing can be added that follows from "
                "it. Restore the registry from a backup."
            )
        hashed = link(self._secret, self._head.hash or FIRST_LINK, row)
        values = {name: getattr(row, name) for name in AuditRow.__slots__}
        self.session.add(EventRow(**{**values, "hash": hashed}))
        self._head.sequence, self._head.hash = row.sequence, hashed
        self.session.flush()
        return row.sequence

    def seal(self) -> None:
        """Vouch for rows from before the chain with the first row that has a hash.

        Done once, when a registry of an earlier release is upgraded; from then on a row without a
        hash that is not among those counted here is a fault.
        """
        link_before, unchained = FIRST_LINK, 0
        for row in chain(self.session):
            link_before = link(self._secret, link_before, row)
            unchained += not row.hash
        if not unchained:
            return
        self._head.hash = self._head.hash or link_before
        self.note(SEAL, "", {"unchained": unchained})

    def _repeats(self, step: Step, key: str, reason: str = "") -> bool:
        """Whether the same person took this very step last: an acknowledgement that got lost."""
        last = self.last_step(key)
        if last is None or (last.what, last.who) != (step, self.actor.name):
            return False
        return str(json.loads(last.detail).get("reason", "")) == reason

    def _sign(self, sequence: int, row: ExperimentRow, number: int, reason: str) -> None:
        self.session.add(
            ApprovalRow(
                sequence=sequence,
                key=row.key,
                version=number,
                who=self.actor.name,
                role=self.actor.role or "",
                reason=reason,
                at=self._now(),
            )
        )
        self.session.flush()

    def _settle(self, row: ExperimentRow, number: int) -> None:
        row.approved, row.submission = number, None
        if row.proposed is None:
            self._enter(row, State.APPROVED)
        else:
            row.version, row.proposed = number, None

    def _enter(self, row: ExperimentRow, state: State) -> None:
        row.state, row.state_since = state, self._now()

    def _new_row(self, key: str) -> ExperimentRow:
        now = self._now()
        row = ExperimentRow(
            key=key, state=State.DRAFT, version=1, latest=0, registered_at=now, state_since=now
        )
        self.session.add(row)
        self.session.flush()
        return row

    def _add_version(
        self, row: ExperimentRow, text: str, experiment: Experiment, detail: Mapping[str, Any]
    ) -> ExperimentRow:
        row.latest += 1
        version = VersionRow(
            key=row.key,
            version=row.latest,
            text=text,
            spec_hash=experiment.content_hash(),
            plan_hash=experiment.analysis_plan().content_hash(),
            registered_at=self._now(),
            registered_by=self.actor.name,
        )
        self.session.add(version)
        base = {
            "version": row.latest,
            "spec_hash": version.spec_hash,
            "text_hash": text_hash(text),
            "proposed": row.state not in OPEN and self.policy.approvals,
        }
        sequence = self.note(Step.REGISTER, row.key, {**base, **detail})
        if row.state in OPEN:
            row.version, row.submission = row.latest, None
            if row.state != State.DRAFT:
                self._enter(row, State.DRAFT)
        elif self.policy.approvals:
            row.proposed, row.submission = row.latest, sequence
        else:
            row.version, row.proposed, row.submission = row.latest, None, None
        self.session.flush()
        return row

    def _unchanged(self, row: ExperimentRow, text: str, experiment: Experiment) -> bool:
        """Whether registering would change nothing; layout does not count once it runs."""
        latest = self.version(row, candidate(row))
        if row.state not in OPEN:
            return latest.spec_hash == experiment.content_hash()
        return latest.text == text

    def _require_latest(self, row: ExperimentRow, text: str, expected: int | None) -> None:
        if expected is None or expected == row.latest:
            return
        latest = self.version(row, row.latest)
        raise LifecycleError(
            f"{row.key!r} is at version {row.latest} by {latest.registered_by}, not {expected}; "
            f"read it again. Its text and yours differ: {difference(latest.text, text)}"
        )

    def _require_read(self, row: ExperimentRow, number: int, expected: int | None) -> None:
        """Refuse to approve a version that somebody wrote after the approver had read another."""
        if expected is None or expected == number:
            return
        under_review = self.version(row, number)
        known = self.session.get(VersionRow, (row.key, expected))
        told = f" It differs: {difference(known.text, under_review.text)}" if known else ""
        raise LifecycleError(
            f"{row.key!r}: version {number} by {under_review.registered_by} is under review, not "
            f"{expected}; read it first.{told}"
        )

    def _require_next_phase(self, experiment: Experiment) -> None:
        """Let ``KEY-phase-3`` in only after ``KEY-phase-2``, and with a salt of its own."""
        first, phase = phase_of(experiment.key)
        if phase == 1 and experiment.key == first:
            return
        before = self.session.get(ExperimentRow, phase_key(first, phase - 1)) if phase > 1 else None
        if before is None or before.started_at is None:
            wanted = phase_key(first, phase - 1) if phase > 2 else first
            raise LifecycleError(
                f"{experiment.key!r} would be phase {phase} of {first!r}, but {wanted!r} was never "
                "started. Use a key that does not end in -phase-NUMBER."
            )
        earlier = {self.meaning(before).salt, first}
        if experiment.salt in earlier:
            raise LifecycleError(
                f"{experiment.key!r}: salt {experiment.salt!r} is that of an earlier phase, so its "
                "arms would follow the old ones. Leave salt out: it is then the key."
            )

    def _require_earlier_phase_ended(self, key: str) -> None:
        first, phase = phase_of(key)
        before = self.session.get(ExperimentRow, phase_key(first, phase - 1)) if phase > 1 else None
        if before is not None and before.state == State.RUNNING:
            raise LifecycleError(
                f"{before.key!r} is still running, and {key!r} would assign the same units anew. "
                f"Run `truelift stop {before.key}`."
            )


def difference(old: str, new: str) -> str:
    """First changed lines of two texts, on one line."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    return "; ".join(changed[:4]) + ("; …" if len(changed) > 4 else "")
