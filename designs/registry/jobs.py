"""Jobs: what takes a while is on record while it runs, and never "running" after its process died.

A job knows its process by host, number and the moment that process began, since numbers are used
again. Whoever opens the registry next on that host sees at once whether it still lives; a job of
another host counts as dead when it has not been heard of for :data:`SILENCE`.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from designs.registry.audit import one_line
from designs.registry.models import JobRow
from designs.registry.records import iso, iso_or_none
from measure.errors import RegistryError
from measure.results import Result

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from designs.registry.database import Database

HEARTBEAT_SECONDS = 30.0
SILENCE = timedelta(minutes=5)
RUNNING, DONE, FAILED = "running", "done", "failed"
_DIED = "its process ended before the work did; run the command again"


@dataclass(frozen=True, slots=True)
class Job(Result):
    """Something that takes a while. Times are ISO 8601 in UTC."""

    id: int
    key: str
    kind: str
    state: str
    started_at: str
    finished_at: str | None
    note: str


class Jobs:
    """The jobs of one registry; ``now`` gives microseconds since 1970."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now

    @contextmanager
    def work(self, kind: str, key: str) -> Iterator[int]:
        """Keep a job on record for as long as the block runs; yields its number."""
        number = self._begin(kind, key)
        stop = threading.Event()
        beat = threading.Thread(target=self._beat, args=(number, stop), daemon=True)
        beat.start()
        state, note = FAILED, "stopped"
        try:
            yield number
            state, note = DONE, ""
        except Exception as error:
            note = one_line(f"{type(error).__name__}: {error}", 500)
            raise
        finally:
            stop.set()
            beat.join()
            self._finish(number, state, note)

    def sweep(self) -> int:
        """Mark as failed whatever runs no more; return how many jobs that were."""
        with self._database.reading() as session:
            dead = [row.id for row in _running(session) if not self._lives(row)]
        if not dead:
            return 0
        with self._database.writing() as (session, _):
            rows = [row for row in _running(session) if not self._lives(row)]
            for row in rows:
                row.state, row.note, row.finished_at = FAILED, _DIED, self._now()
            return len(rows)

    def all(self) -> tuple[Job, ...]:
        """All jobs, oldest first."""
        with self._database.reading() as session:
            return tuple(
                Job(
                    r.id,
                    r.key,
                    r.kind,
                    r.state,
                    iso(r.started_at),
                    iso_or_none(r.finished_at),
                    r.note,
                )
                for r in session.scalars(select(JobRow).order_by(JobRow.id))
            )

    def _begin(self, kind: str, key: str) -> int:
        now = self._now()
        with self._database.writing() as (session, _):
            row = JobRow(
                key=one_line(key),
                kind=kind,
                state=RUNNING,
                host=socket.gethostname()[:200],
                pid=os.getpid(),
                process_started=process_started(os.getpid()) or "",
                started_at=now,
                heartbeat_at=now,
                note="",
            )
            session.add(row)
            session.flush()
            return row.id

    def _beat(self, number: int, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            try:
                self._change(number, heartbeat_at=self._now())
            except RegistryError:
                continue  # a busy or full database: the work goes on, and the next beat may get in

    def _finish(self, number: int, state: str, note: str) -> None:
        self._change(number, state=state, note=note, finished_at=self._now())

    def _change(self, number: int, **values: object) -> None:
        # A job that was given up meanwhile stays given up.
        mine = (JobRow.id == number, JobRow.state == RUNNING)
        with self._database.writing() as (session, _):
            session.execute(update(JobRow).where(*mine).values(**values))

    def _lives(self, row: JobRow) -> bool:
        if row.host == socket.gethostname()[:200]:
            return process_started(row.pid) == row.process_started
        return self._now() - row.heartbeat_at < SILENCE // timedelta(microseconds=1)


def process_started(pid: int) -> str | None:
    """When a process of this host began, as the system counts it; ``None`` when there is none.

    From field 22 of ``/proc/PID/stat`` (proc(5)); elsewhere the process is only asked for.
    """
    stat = Path(f"/proc/{pid}/stat")
    try:
        fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return _without_proc(pid)
    return None if fields[0] == "Z" else fields[19]


def _without_proc(pid: int) -> str | None:
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""


def _running(session: Session) -> list[JobRow]:
    return list(session.scalars(select(JobRow).where(JobRow.state == RUNNING)))
