"""What the registry returns: entries, versions and events as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from designs.registry.amendments import phase_of
from designs.registry.lifecycle import State
from designs.specification import parse_specification
from measure.results import Result

if TYPE_CHECKING:
    from designs.experiment import Experiment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry(Result):
    """An experiment at the version in force. Times are ISO 8601 in UTC."""

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
    stopped_at: str | None = None
    proposed_version: int | None = None
    """A later version that waits for approval while this one runs."""
    approved_version: int | None = None
    """The last version that was approved; ``None`` when nobody ever reviewed one."""
    latest_version: int = 1
    """Highest version number; above ``version`` also after a proposal was turned down."""
    phase: int = 1
    """Which phase of the experiment this is; each has a key, a salt and arms of its own."""

    @property
    def experiment(self) -> Experiment:
        """What the specification means."""
        return parsed(self.text, f"{self.key}, version {self.version}")

    @property
    def start_time(self) -> datetime | None:
        """When it was started."""
        return datetime.fromisoformat(self.started_at) if self.started_at else None

    @property
    def reviewed(self) -> bool:
        """Whether somebody else approved the very version in force."""
        return self.approved_version == self.version

    def to_dict(self) -> dict[str, Any]:
        """All fields but the text."""
        return {name: v for name, v in Result.to_dict(self).items() if name != "text"}


@dataclass(frozen=True, slots=True)
class Version(Result):
    """One specification as it was written, and who wrote it when."""

    key: str
    version: int
    registered_at: str
    registered_by: str
    spec_hash: str
    plan_hash: str
    text: str

    @property
    def experiment(self) -> Experiment:
        """What the specification means."""
        return parsed(self.text, f"{self.key}, version {self.version}")


@dataclass(frozen=True, slots=True)
class Event(Result):
    """One step that somebody took or was refused; ``sequence`` orders them, not the clock."""

    sequence: int
    key: str
    at: str
    who: str
    what: str
    detail: Mapping[str, Any]
    role: str = ""
    """Role of ``who`` at that time; empty where the workspace names no people."""
    account: str = ""
    """Account of the operating system, where it says something else than ``who``."""


@lru_cache(maxsize=64)
def parsed(text: str, origin: str) -> Experiment:
    """Read a specification, once per text."""
    return parse_specification(text, origin).experiment


def micros(moment: datetime) -> int:
    """Return microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def iso(microseconds: int) -> str:
    """Return a stored time as ISO 8601 in UTC, ending in Z."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat().replace("+00:00", "Z")


def iso_or_none(microseconds: int | None) -> str | None:
    """Like :func:`iso`; a time that is not set stays so."""
    return None if microseconds is None else iso(microseconds)


def phase_number(key: str, known: frozenset[str]) -> int:
    """Which phase a key names; 1 unless the first phase is registered too."""
    first, phase = phase_of(key)
    return phase if first in known else 1
