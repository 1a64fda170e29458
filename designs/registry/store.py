"""The registry: which experiments there are, what was fixed when, and by whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from designs.registry.access import Action, Subject, authorize
from designs.registry.audit import Head, Verification, chain_key, one_line
from designs.registry.database import Database
from designs.registry.jobs import Job, Jobs
from designs.registry.ledger import Ledger
from designs.registry.lifecycle import OPEN, State, Step
from designs.registry.policy import Policy
from designs.registry.reading import Reading
from designs.registry.records import Entry, micros, parsed
from designs.registry.writing import NOBODY, Writing
from measure.errors import AccessError, InputError, LifecycleError, RegistryError

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy.orm import Session

    from designs.experiment import Experiment
    from designs.registry.models import HeadRow

UPGRADE = "upgrade"
"""Who seals the rows of an earlier release."""


class Registry(Reading):
    """Experiments, their lifecycle and the audit of it. A context manager.

    Every method is one transaction; what has returned is on disk. A step that the same person
    took last is taken as sent twice and changes nothing. ``secret`` is the workspace's
    key: without it the registry can be read, not written. ``policy`` says who may do what;
    ``account`` is the account of the operating system; ``clock`` gives aware times. Each step takes
    ``by``, the name of who takes it; :class:`AccessError` when they may not, which is audited too.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: bytes | None = None,
        policy: Policy | None = None,
        account: str = "",
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._clock = clock or (lambda: datetime.now(UTC))
        self._key = None if secret is None else chain_key(secret)
        self.policy = policy or Policy()
        self._account = account
        super().__init__(Database(url))
        self._jobs = Jobs(self._database, self._now)
        try:
            self._database.prepare(self._now(), None if self._key is None else self._seal)
            self._jobs.sweep()
        except BaseException:
            self.close()  # nobody else could: there is no registry to close
            raise

    def register(
        self, text: str, experiment: Experiment, *, by: str, expected_version: int | None = None
    ) -> Entry:
        """Enter a draft, or a new version of it; the same content again changes nothing.

        What is in review or approved becomes a draft again. A running experiment takes what keeps
        it valid (:mod:`designs.registry.amendments`); where approvals are required, the new version
        waits as a proposal. With ``expected_version`` a text that somebody else changed meanwhile
        is refused, with the difference. A key ``KEY-phase-2`` opens the next phase of ``KEY``.
        """
        if parsed(text, experiment.key).content_hash() != experiment.content_hash():
            raise InputError(f"{experiment.key!r}: the text does not say what the experiment says.")
        return self._take(
            Action.REGISTER,
            experiment.key,
            by,
            lambda writing: writing.register(text, experiment, expected_version),
        )

    def submit(self, key: str, *, by: str, planned_units: int | None = None) -> Entry:
        """Hand a draft in for review; ``planned_units`` counts the units to be treated."""
        return self._take(Action.SUBMIT, key, by, lambda w: w.submit(key, planned_units))

    def approve(
        self,
        key: str,
        *,
        by: str,
        reason: str = "",
        planned_units: int | None = None,
        expected_version: int | None = None,
    ) -> Entry:
        """Approve what is in review, or the change proposed to a running experiment.

        Under a high-impact rule a reason is needed; the experiment stays in review until every
        role demanded has signed off (:meth:`outstanding`). With ``expected_version``, the version
        that was read, one that somebody wrote meanwhile is refused, with the difference.
        """
        return self._take(
            Action.APPROVE,
            key,
            by,
            lambda w: w.approve(key, reason, planned_units, expected_version),
        )

    def reject(self, key: str, *, by: str, reason: str) -> Entry:
        """Send what is in review back to draft, with a reason; or turn a proposed change down."""
        return self._take(Action.REJECT, key, by, lambda w: w.reject(key, reason))

    def start(self, key: str, *, by: str) -> Entry:
        """Freeze the analysis plan; of a later phase only once the phase before has ended."""
        return self._take(Action.START, key, by, lambda w: w.start(key))

    def stop(self, key: str, *, by: str, reason: str = "") -> Entry:
        """End a running experiment; its result is still to be recorded."""
        return self._take(Action.STOP, key, by, lambda w: w.stop(key, reason))

    def conclude(self, key: str, analysis: Mapping[str, Any], *, by: str) -> Entry:
        """Record the result (JSON-ready) and close; recording the same result again is no error."""
        return self._take(Action.CONCLUDE, key, by, lambda w: w.conclude(key, analysis))

    def archive(self, key: str, *, by: str, reason: str = "") -> Entry:
        """Put away what is not running; nothing of it is deleted."""
        return self._take(Action.ARCHIVE, key, by, lambda w: w.archive(key, reason))

    def permit(self, action: Action, key: str = "", *, by: str) -> None:
        """Let somebody do something that changes nothing here, or refuse and audit the refusal.

        Without a key it is about the workspace as a whole. Who may not is told nothing of which
        experiments there are.
        """
        actor = self.policy.actor(one_line(by) or NOBODY, self._account)
        try:
            authorize(actor, action, Subject(key))
        except AccessError:
            self._refused_or(action, key, by, lambda _writing: None)
        if key:
            self.require_known(key)

    def require_step(self, step: Step, key: str) -> Entry:
        """Return an experiment whose state allows a step; :class:`LifecycleError` otherwise."""
        return self._allowing(step, key, approvals=self.policy.approvals)

    def require_running(self, key: str) -> Entry:
        """Return an experiment that can be concluded: running, or stopped."""
        return self.require_step(Step.CONCLUDE, key)

    def require_assignable(self, key: str, *, everybody: bool = False) -> Entry:
        """Return an experiment whose arms may be computed; an unapproved design has none.

        ``everybody``: arms are to be recorded for the population, which ends with the experiment.
        """
        entry = self.get(key)
        if everybody and entry.state in {State.STOPPED, State.CONCLUDED, State.ARCHIVED}:
            raise LifecycleError(f"{key!r} is {entry.state}; nobody is assigned any more.")
        if self.policy.approvals and entry.state in OPEN and entry.state is not State.APPROVED:
            raise LifecycleError(
                f"{key!r} is {'a ' if entry.state is State.DRAFT else ''}{entry.state}; an "
                f"unapproved design cannot be assigned. Have it approved: truelift approve {key}."
            )
        return entry

    def outstanding(self, key: str, planned_units: int | None = None) -> tuple[str, ...]:
        """What is still to be signed off in the review under way, each as one phrase."""
        with self._database.reading() as session:
            return Ledger(session, self.policy).outstanding(key, planned_units)

    def job(self, kind: str, key: str) -> AbstractContextManager[int]:
        """Keep a job on record while a block runs; if its process dies it is marked as failed."""
        return self._jobs.work(kind, key)

    def jobs(self) -> tuple[Job, ...]:
        """All jobs, oldest first; what died since this registry was opened is marked first."""
        self._jobs.sweep()
        return self._jobs.all()

    def audit_head(self, *, by: str) -> Head:
        """Return the end of the audit chain, to be kept outside; the export is audited itself."""
        self._refused_or(Action.VERIFY_AUDIT, "", by, lambda w: w.note("export audit head", "", {}))
        return self._stored_head()

    def verify_audit(self, *, by: str, exported: Head | None = None) -> Verification:
        """Walk the audit chain and name the first row that is wrong or missing."""
        self._refused_or(Action.VERIFY_AUDIT, "", by, lambda _writing: None)
        return self._verify(self._secret(), exported)

    def record_export(self, key: str, receipt: Mapping[str, Any], *, by: str) -> int:
        """Note in the audit chain that a list of people left the workspace; return the row."""
        row: int = self._refused_or(
            Action.EXPORT_AUDIENCE, key, by, lambda w: w.note("export list", key, receipt)
        )
        return row

    def record_erasure(self, facts: Mapping[str, Any], *, by: str) -> int:
        """Note in the audit chain that a person was erased, and not which; return the row."""
        row: int = self._refused_or(
            Action.ERASE_PERSON, "", by, lambda w: w.note("erase person", "", facts)
        )
        return row

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self, action: Action, key: str, by: str, change: Callable[[Writing], Any]) -> Entry:
        entry: Entry = self._refused_or(
            action, key, by, lambda writing: writing.entry(change(writing))
        )
        return entry

    def _refused_or(
        self, action: Action, key: str, by: str, change: Callable[[Writing], Any]
    ) -> Any:
        """Make a change in one transaction; a refusal is written into the audit instead."""
        secret = self._secret()
        with self._database.writing() as (session, head):
            writing = Writing(session, head, secret, self.policy, by, self._account, self._now)
            try:
                authorize(writing.actor, action, writing.subject(key))
                return change(writing)
            except AccessError as error:
                # Nothing was changed before the refusal: authorisation comes first in every step.
                refusal = error
            writing.note("refuse", key, {"action": action, "because": str(refusal)})
        raise refusal

    def _seal(self, session: Session, head: HeadRow) -> None:
        Writing(
            session, head, self._secret(), self.policy, UPGRADE, self._account, self._now
        ).seal()

    def _secret(self) -> bytes:
        if self._key is None:
            raise RegistryError(
                f"registry {self._database.url}: opened without the workspace's key, so it can "
                "only be read."
            )
        return self._key

    def _now(self) -> int:
        return micros(self._clock())
