"""Do the registry's tables say what its audit says? Each step is taken again on paper.

The chain vouches for the audit alone. Somebody who owns the database could leave the audit as it
is and change what it speaks of: the text of an approved version, the state of an experiment, a
result, an approval that nobody gave. So the rows of the audit are replayed, and what they come to
is held against the tables. Rows of earlier releases say less; what they leave open is not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from designs.registry.audit import AuditRow, text_hash
from designs.registry.lifecycle import OPEN, State, Step
from designs.registry.models import ApprovalRow, ExperimentRow, ResultRow, VersionRow
from designs.registry.records import parsed

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_PAGE = 500


@dataclass(slots=True)
class _Replayed:
    """An experiment as its steps in the audit make it."""

    state: State = State.DRAFT
    version: int = 0
    approved: int | None = None
    proposed: int | None = None
    plan_hash: str | None = None
    result_hash: str | None = None
    versions: dict[int, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Author and what the audit says of each version."""
    certain: bool = True
    """Whether the rows say all of it; those of earlier releases do not."""


class Replay:
    """The steps of an audit that was verified, and what the tables must then hold."""

    def __init__(self, rows: Iterable[AuditRow]) -> None:
        self._experiments: dict[str, _Replayed] = {}
        self._approvals: dict[int, tuple[str, int, str, str, str]] = {}
        for row in rows:
            self._take(row)

    def disagreement(self, session: Session) -> str:
        """The first thing that the tables say otherwise, in one line; empty when they agree."""
        for check in (self._experiment_faults, self._version_faults, self._approval_faults):
            faults = list(check(session))  # to the end: a cursor left open stays on the server
            if faults:
                return faults[0]
        return ""

    def _take(self, row: AuditRow) -> None:
        if row.what not in set(Step):
            return
        detail = json.loads(row.detail)
        if row.what == Step.REGISTER:
            self._registered(row, detail)
            return
        found = self._experiments.setdefault(row.key, _Replayed())
        if row.what == Step.APPROVE:
            self._approved(found, row, detail)
        elif row.what == Step.REJECT:
            _rejected(found, detail)
        else:
            _moved(found, Step(row.what), detail)

    def _registered(self, row: AuditRow, detail: Mapping[str, Any]) -> None:
        found = self._experiments.setdefault(row.key, _Replayed())
        number = int(detail["version"])
        found.versions[number] = (row.who, detail)
        if found.state in OPEN:
            found.state, found.version = State.DRAFT, number
        elif "proposed" not in detail:
            found.certain = False
        elif detail["proposed"]:
            found.proposed = number
        else:
            found.version, found.proposed = number, None

    def _approved(self, found: _Replayed, row: AuditRow, detail: Mapping[str, Any]) -> None:
        number = int(detail["version"])
        reason = str(detail["reason"])
        self._approvals[row.sequence] = (row.key, number, row.who, row.role, reason)
        if "settles" not in detail:
            found.certain = False
        elif detail["settles"]:
            found.approved = number
            if found.proposed is None:
                found.state = State.APPROVED
            else:
                found.version, found.proposed = number, None

    def _experiment_faults(self, session: Session) -> Iterator[str]:
        rows = {row.key: row for row in session.scalars(select(ExperimentRow))}
        results = {row.key: row for row in session.scalars(select(ResultRow))}
        for key in sorted({*rows, *self._experiments, *results}):
            row, found = rows.get(key), self._experiments.get(key)
            if row is None or found is None:
                yield f"experiment {key!r} is in the {'audit' if row is None else 'tables'} only"
                continue
            yield from _state_faults(row, found)
            result = results.get(key)
            if (result.result_hash if result else None) != found.result_hash:
                yield f"the result of {key!r} is not the one in the audit"
            elif result is not None and text_hash(result.document) != result.result_hash:
                yield f"the result of {key!r} was changed after its conclusion"

    def _version_faults(self, session: Session) -> Iterator[str]:
        seen: dict[str, int] = {}
        query = select(VersionRow).order_by(VersionRow.key, VersionRow.version)
        for row in session.scalars(query.execution_options(yield_per=_PAGE)):
            seen[row.key] = seen.get(row.key, 0) + 1
            found = self._experiments.get(row.key)
            known = found.versions.get(row.version) if found else None
            if known is None:
                yield f"version {row.version} of {row.key!r} is not in the audit"
                continue
            who, detail = known
            if row.registered_by != who:
                yield f"version {row.version} of {row.key!r} is by {who} in the audit"
            if row.spec_hash != detail["spec_hash"] or not _is_text(row, detail):
                yield f"version {row.version} of {row.key!r} was changed after it was registered"
        for key, found in self._experiments.items():
            if seen.get(key, 0) != len(found.versions):
                yield f"versions of {key!r} are missing"

    def _approval_faults(self, session: Session) -> Iterator[str]:
        stored = {
            row.sequence: (row.key, row.version, row.who, row.role, row.reason)
            for row in session.scalars(select(ApprovalRow))
        }
        for sequence in sorted({*stored, *self._approvals}):
            if stored.get(sequence) != self._approvals.get(sequence):
                key = (stored.get(sequence) or self._approvals[sequence])[0]
                yield f"an approval of {key!r} (row {sequence}) is not the one in the audit"


def _moved(found: _Replayed, step: Step, detail: Mapping[str, Any]) -> None:
    """Take a step that ends in one state."""
    found.state = _ENDS_IN[step]
    if step is Step.START:
        found.plan_hash = str(detail["plan_hash"])
    if step in {Step.STOP, Step.CONCLUDE}:
        found.proposed = None
    if step is Step.CONCLUDE:
        found.result_hash = str(detail["result_hash"])


def _rejected(found: _Replayed, detail: Mapping[str, Any]) -> None:
    if found.proposed is None and found.state in OPEN:
        found.state = State.DRAFT
        found.approved = None if found.approved == int(detail["version"]) else found.approved
    found.proposed = None


_ENDS_IN = {
    Step.SUBMIT: State.IN_REVIEW,
    Step.START: State.RUNNING,
    Step.STOP: State.STOPPED,
    Step.CONCLUDE: State.CONCLUDED,
    Step.ARCHIVE: State.ARCHIVED,
}


_OF = {"version": "the", "approved": "the approved", "proposed": "the proposed"}


def _state_faults(row: ExperimentRow, found: _Replayed) -> Iterator[str]:
    if row.plan_hash != found.plan_hash:
        yield f"the frozen plan of {row.key!r} is not the one in the audit"
    if row.latest != max(found.versions, default=0):
        yield f"{row.key!r} is at version {row.latest}, not the last one in the audit"
    if not found.certain:
        return
    if row.state != found.state:
        yield f"{row.key!r} is {row.state} in the tables and {found.state} in the audit"
    for name, which in _OF.items():
        stored, replayed = getattr(row, name), getattr(found, name)
        if stored != replayed:
            yield f"{which} version of {row.key!r} is {stored}, in the audit {replayed}"


def _is_text(row: VersionRow, detail: Mapping[str, Any]) -> bool:
    """Whether a version's text is the one registered, and its plan the one that text declares."""
    if "text_hash" in detail:
        return text_hash(row.text) == str(detail["text_hash"])
    # An earlier release wrote down only what the text declares.
    return parsed(row.text, row.key).content_hash() == str(detail["spec_hash"])
