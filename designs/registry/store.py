"""The registry: which experiments there are, what was fixed when, and by whom."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from designs.registry.database import Database
from designs.registry.lifecycle import State, Step, require
from designs.registry.models import EventRow, ExperimentRow, ResultRow, VersionRow
from designs.specification import parse_specification
from measure.errors import InputError, LifecycleError, UnknownName
from measure.plan import AnalysisPlan
from measure.results import Result

if TYPE_CHECKING:
    from types import TracebackType

    from designs.experiment import Experiment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry(Result):
    """An experiment at its latest version. Times are ISO 8601 in UTC."""

    key: str
    state: State
    version: int
    spec_hash: str
    plan_hash: str
    """Of this version; frozen once ``started_at`` is set."""
    registered_at: str
    started_at: str | None
    concluded_at: str | None
    result_hash: str | None
    text: str
    """The specification as it was written."""

    @property
    def experiment(self) -> Experiment:
        """What the specification means."""
        return _parsed(self.text, f"{self.key}, version {self.version}")

    @property
    def start_time(self) -> datetime | None:
        """When it was started."""
        return datetime.fromisoformat(self.started_at) if self.started_at else None

    def to_dict(self) -> dict[str, Any]:
        """All fields but the text."""
        return {name: v for name, v in Result.to_dict(self).items() if name != "text"}


@dataclass(frozen=True, slots=True)
class Event(Result):
    """One step that somebody took; ``sequence`` orders events whatever the clock said."""

    sequence: int
    key: str
    at: str
    who: str
    what: str
    detail: Mapping[str, Any]


class Registry:
    """Experiments and their lifecycle: register, start, conclude. A context manager.

    Every method is one transaction; what has returned is on disk. ``clock`` gives aware times.
    """

    def __init__(self, url: str, clock: Callable[[], datetime] | None = None) -> None:
        self._clock = clock or (lambda: datetime.now(UTC))
        self._database = Database(url)
        self._database.prepare(self._now())

    def register(
        self, text: str, experiment: Experiment, *, by: str, expected_version: int | None = None
    ) -> Entry:
        """Enter a draft, or a new version of it; the same content again changes nothing.

        With ``expected_version`` a draft that somebody else changed meanwhile is refused, with
        the difference. :class:`LifecycleError` also when the experiment is no draft any more.
        """
        if _parsed(text, experiment.key).content_hash() != experiment.content_hash():
            raise InputError(f"{experiment.key!r}: the text does not say what the experiment says.")
        with self._database.writing() as session:
            row = session.get(ExperimentRow, experiment.key)
            if row is not None and self._unchanged(session, row, text, experiment):
                return _entry(session, row)
            if row is not None:
                _require(Step.REGISTER, row)
                self._expect(session, row, text, expected_version)
            row = self._add_version(session, row, text, experiment, by)
            return _entry(session, row)

    def start(self, key: str, *, by: str) -> Entry:
        """Freeze the analysis plan; :class:`LifecycleError` unless the experiment is a draft."""
        with self._database.writing() as session:
            row = self._row(session, key)
            _require(Step.START, row)
            version = _version(session, row)
            row.state, row.started_at = State.RUNNING, self._now()
            row.plan_hash = version.plan_hash
            frozen = {"version": row.version, "plan_hash": row.plan_hash}
            self._note(session, key, by, Step.START, {**frozen, "spec_hash": version.spec_hash})
            return _entry(session, row)

    def conclude(self, key: str, analysis: Mapping[str, Any], *, by: str) -> Entry:
        """Record the result (JSON-ready) and close; recording the same result again is no error."""
        document = _canonical(analysis)
        result_hash = _sha256(document)
        with self._database.writing() as session:
            row = self._row(session, key)
            recorded = session.get(ResultRow, key)
            if recorded is not None and recorded.result_hash == result_hash:
                return _entry(session, row)
            _require(Step.CONCLUDE, row)
            now = self._now()
            row.state, row.concluded_at = State.CONCLUDED, now
            session.add(
                ResultRow(key=key, document=document, result_hash=result_hash, recorded_at=now)
            )
            self._note(session, key, by, Step.CONCLUDE, {"result_hash": result_hash})
            return _entry(session, row)

    def get(self, key: str) -> Entry:
        """One experiment; :class:`UnknownName` when it was never registered."""
        with self._database.reading() as session:
            return _entry(session, self._row(session, key))

    def entries(self) -> tuple[Entry, ...]:
        """All experiments in the order of their keys."""
        with self._database.reading() as session:
            rows = session.scalars(select(ExperimentRow).order_by(ExperimentRow.key)).all()
            return tuple(_entry(session, row) for row in rows)

    def require_running(self, key: str) -> Entry:
        """One experiment that runs; :class:`LifecycleError` when it does not."""
        with self._database.reading() as session:
            row = self._row(session, key)
            _require(Step.CONCLUDE, row)
            return _entry(session, row)

    def is_planned(self, key: str, plan: AnalysisPlan) -> bool:
        """Whether a plan is the one frozen at the start; anything else is exploratory."""
        with self._database.reading() as session:
            return self._row(session, key).plan_hash == plan.content_hash()

    def result(self, key: str) -> dict[str, Any] | None:
        """The recorded analysis, ``None`` before the conclusion."""
        with self._database.reading() as session:
            self._row(session, key)
            recorded = session.get(ResultRow, key)
            document: dict[str, Any] | None = json.loads(recorded.document) if recorded else None
            return document

    def text(self, key: str, version: int) -> str:
        """A specification as it was written; :class:`UnknownName` when there is no such version."""
        with self._database.reading() as session:
            row = self._row(session, key)
            found = session.get(VersionRow, (key, version))
            if found is None:
                known = [str(number) for number in range(1, row.version + 1)]
                raise UnknownName.of("version", str(version), known, key)
            return found.text

    def events(self, key: str | None = None) -> tuple[Event, ...]:
        """What was done, oldest first; of all experiments when no key is given."""
        query = select(EventRow).order_by(EventRow.id)
        with self._database.reading() as session:
            if key is not None:
                self._row(session, key)
                query = query.where(EventRow.key == key)
            return tuple(
                Event(e.id, e.key, _iso(e.at), e.who, e.what, json.loads(e.detail))
                for e in session.scalars(query)
            )

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

    def _row(self, session: Session, key: str) -> ExperimentRow:
        row = session.get(ExperimentRow, key)
        if row is None:
            known = session.scalars(select(ExperimentRow.key)).all()
            raise UnknownName.of("experiment", key, known, "the registry")
        return row

    def _unchanged(
        self, session: Session, row: ExperimentRow, text: str, experiment: Experiment
    ) -> bool:
        """Whether registering would change nothing; layout does not count once it runs."""
        latest = _version(session, row)
        if row.state != State.DRAFT:
            return latest.spec_hash == experiment.content_hash()
        return latest.text == text

    def _expect(
        self, session: Session, row: ExperimentRow, text: str, expected_version: int | None
    ) -> None:
        if expected_version is None or expected_version == row.version:
            return
        latest = _version(session, row)
        raise LifecycleError(
            f"{row.key!r} is at version {row.version} by {latest.registered_by}, not "
            f"{expected_version}; read it again. Its text and yours differ: "
            f"{_difference(latest.text, text)}"
        )

    def _add_version(
        self,
        session: Session,
        row: ExperimentRow | None,
        text: str,
        experiment: Experiment,
        by: str,
    ) -> ExperimentRow:
        now = self._now()
        if row is None:
            row = ExperimentRow(key=experiment.key, state=State.DRAFT, version=0, registered_at=now)
            session.add(row)
        row.version += 1
        session.flush()
        version = VersionRow(
            key=experiment.key,
            version=row.version,
            text=text,
            spec_hash=experiment.content_hash(),
            plan_hash=experiment.analysis_plan().content_hash(),
            registered_at=now,
            registered_by=_one_line(by),
        )
        session.add(version)
        detail = {"version": row.version, "spec_hash": version.spec_hash}
        self._note(session, experiment.key, by, Step.REGISTER, detail)
        session.flush()
        return row

    def _note(
        self, session: Session, key: str, by: str, step: Step, detail: Mapping[str, Any]
    ) -> None:
        session.add(
            EventRow(
                key=key, at=self._now(), who=_one_line(by), what=step, detail=_canonical(detail)
            )
        )

    def _now(self) -> int:
        return (self._clock() - _EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=64)
def _parsed(text: str, origin: str) -> Experiment:
    return parse_specification(text, origin).experiment


def _version(session: Session, row: ExperimentRow) -> VersionRow:
    return session.get_one(VersionRow, (row.key, row.version))


def _entry(session: Session, row: ExperimentRow) -> Entry:
    version, recorded = _version(session, row), session.get(ResultRow, row.key)
    return Entry(
        key=row.key,
        state=State(row.state),
        version=row.version,
        spec_hash=version.spec_hash,
        plan_hash=version.plan_hash,
        registered_at=_iso(row.registered_at),
        started_at=None if row.started_at is None else _iso(row.started_at),
        concluded_at=None if row.concluded_at is None else _iso(row.concluded_at),
        result_hash=recorded.result_hash if recorded else None,
        text=version.text,
    )


def _require(step: Step, row: ExperimentRow) -> None:
    since = row.concluded_at or row.started_at or row.registered_at
    require(step, row.key, State(row.state), _iso(since))


def _iso(micros: int) -> str:
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def _one_line(text: str) -> str:
    """Keep a name from forging further lines in a log."""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:200] or "unknown"


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _difference(old: str, new: str) -> str:
    """First changed lines of two texts, on one line."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    return "; ".join(changed[:4]) + ("; …" if len(changed) > 4 else "")
