"""Who may do what: one function, one data file (``permissions.toml``)."""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from measure.errors import AccessError

_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164") | frozenset(
    map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10)))
)
"""Signs that are letters or marks to Unicode, and nothing to a reader."""


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
    """Estimates and credits from the workspace's tables, in cohorts."""
    RECONCILE = "reconcile"
    """Logs and claims against conversions: counts and money, nobody's rows."""
    REPORT = "report"
    """The pages, with what they need computed."""
    ASSIGN = "assign"
    READ_PERSONS = "read_persons"
    """What is on record about one unit, and why it got what it got."""
    EXPORT_AUDIENCE = "export_audience"
    """Lists of ids: whom to reach, whom not to."""
    ERASE_PERSON = "erase_person"
    """Take everything about one person out of the workspace."""
    VERIFY_AUDIT = "verify_audit"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a name, and the role that the settings give it."""

    name: str
    role: Role | None
    """``None``: the name is not among the people of the workspace."""
    trusted: bool = False
    """The workspace names no people, so whoever works in it may take every step."""
    account: str = ""
    """Account of the operating system, where it is that of one of the people."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What an action is about: an experiment, and who wrote what is up for approval."""

    key: str
    authors: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    """Accounts of people, under which the authors wrote in another name."""


@cache
def permissions() -> Mapping[Action, frozenset[Role]]:
    """Read the table of permissions; every action is in it exactly once."""
    text = resources.files("designs.registry").joinpath("permissions.toml").read_text("utf-8")
    written = {Action(name): frozenset(map(Role, roles)) for name, roles in _lines(text)}
    return {action: written.get(action, frozenset()) for action in Action}


def authorize(actor: Actor, action: Action, subject: Subject) -> None:
    """Let an actor take an action on a subject, or raise :class:`AccessError` with the way out."""
    author = _author(actor, subject) if action is Action.APPROVE else ""
    if author:
        raise AccessError(
            f"{author} wrote what is to be approved of {subject.key!r}; nobody approves their "
            "own design. Ask somebody else."
        )
    if actor.trusted:
        return
    if actor.role is None:
        raise AccessError(
            f"{actor.name!r} is not among the people of this workspace. Say who you are with --as "
            "NAME (or TRUELIFT_USER), or have yourself added under [people] in truelift.toml."
        )
    allowed = permissions()[action]
    if actor.role not in allowed:
        who = ", ".join(sorted(allowed))
        what = f" {subject.key!r}" if subject.key else ""
        verb = str(action).replace("_", " ") + what
        raise AccessError(f"{actor.name} ({actor.role}) may not {verb}; those who may: {who}.")


def identity(name: str) -> str:
    """What tells one person from another: case, width, blanks and invisible signs do not.

    Compatibility forms and case are folded as Unicode says (UAX 15, NFKC; section 3.13).
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(c for c in folded if c.isprintable() and not c.isspace() and c not in _UNSEEN)


def _author(actor: Actor, subject: Subject) -> str:
    """The author that somebody is, by name or by account; nothing when they are none."""
    authors = {identity(name) for name in subject.authors}
    accounts = {identity(name) for name in subject.accounts}
    if identity(actor.name) in authors | accounts:
        return actor.name
    return actor.account if actor.account and identity(actor.account) in authors else ""


def _lines(text: str) -> list[tuple[str, list[str]]]:
    return list(tomllib.loads(text).items())
