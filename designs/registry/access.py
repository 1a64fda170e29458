"""Who may do what: one function, one data file (``permissions.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from measure.errors import AccessError


class Role(StrEnum):
    """What somebody answers for."""

    ANALYST = "analyst"
    """Designs experiments, runs them, sees cohorts and single units."""
    FINANCE = "finance"
    """Reviews and approves, reads reports; never a single person's row."""
    MODELER = "modeler"
    """Reads designs and results; never raw ids."""
    ADMIN = "admin"
    """Keeps the workspace: audit, archive, emergency stop."""


class Action(StrEnum):
    """What can be asked for; the first ones are also steps of an experiment."""

    READ = "read"
    REGISTER = "register"
    SUBMIT = "submit"
    APPROVE = "approve"
    REJECT = "reject"
    START = "start"
    STOP = "stop"
    CONCLUDE = "conclude"
    ARCHIVE = "archive"
    ANALYZE = "analyze"
    ASSIGN = "assign"
    READ_PERSONS = "read_persons"
    EXPORT_AUDIENCE = "export_audience"
    VERIFY_AUDIT = "verify_audit"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a name, and the role that the settings give it."""

    name: str
    role: Role | None
    """``None``: the name is not among the people of the workspace."""
    trusted: bool = False
    """The workspace names no people, so whoever works in it may take every step."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What an action is about: an experiment, and who wrote what is up for approval."""

    key: str
    authors: frozenset[str] = frozenset()


@cache
def permissions() -> Mapping[Action, frozenset[Role]]:
    """Read the table of permissions; every action is in it exactly once."""
    text = resources.files("designs.registry").joinpath("permissions.toml").read_text("utf-8")
    written = {Action(name): frozenset(map(Role, roles)) for name, roles in _lines(text)}
    return {action: written.get(action, frozenset()) for action in Action}


def authorize(actor: Actor, action: Action, subject: Subject) -> None:
    """Let an actor take an action on a subject, or raise :class:`AccessError` with the way out."""
    if action is Action.APPROVE and actor.name in subject.authors:
        raise AccessError(
            f"{actor.name} wrote what is to be approved of {subject.key!r}; nobody approves their "
            "own design. Ask somebody else."
        )
    if actor.trusted:
        return
    if actor.role is None:
        raise AccessError(
            f"{actor.name!r} is not among the people of this workspace. Say who you are with --as "
            "NAME, or have yourself added under [people] in truelift.toml."
        )
    allowed = permissions()[action]
    if actor.role not in allowed:
        who = ", ".join(sorted(allowed))
        what = f" {subject.key!r}" if subject.key else ""
        verb = str(action).replace("_", " ") + what
        raise AccessError(f"{actor.name} ({actor.role}) may not {verb}; those who may: {who}.")


def _lines(text: str) -> list[tuple[str, list[str]]]:
    return list(tomllib.loads(text).items())
