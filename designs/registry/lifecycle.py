"""States of an experiment, and which step each of them allows."""

from __future__ import annotations

from enum import StrEnum

from measure.errors import LifecycleError


class State(StrEnum):
    """Where an experiment stands."""

    DRAFT = "draft"
    """Its specification may still change; each change is a new version."""
    IN_REVIEW = "in review"
    """Submitted; a new version makes it a draft again."""
    APPROVED = "approved"
    """Every approval it needs was given to this very version."""
    RUNNING = "running"
    """The analysis plan is frozen and units are assigned; only what keeps it valid may change."""
    STOPPED = "stopped"
    """The campaign has ended; nobody is assigned any more, and the result is still to come."""
    CONCLUDED = "concluded"
    """Its result is recorded; nothing changes any more."""
    ARCHIVED = "archived"
    """Put away. Nothing of it is ever deleted."""


class Step(StrEnum):
    """What can be done to an experiment; also the name of the audit row it leaves."""

    REGISTER = "register"
    SUBMIT = "submit"
    APPROVE = "approve"
    REJECT = "reject"
    START = "start"
    STOP = "stop"
    CONCLUDE = "conclude"
    ARCHIVE = "archive"


OPEN = frozenset({State.DRAFT, State.IN_REVIEW, State.APPROVED})
"""States before the start."""

ALLOWED: dict[Step, frozenset[State]] = {
    Step.REGISTER: OPEN | {State.RUNNING},
    Step.SUBMIT: frozenset({State.DRAFT}),
    Step.APPROVE: frozenset({State.IN_REVIEW}),
    Step.REJECT: frozenset({State.IN_REVIEW, State.APPROVED}),
    Step.START: frozenset({State.APPROVED}),
    Step.STOP: frozenset({State.RUNNING}),
    Step.CONCLUDE: frozenset({State.RUNNING, State.STOPPED}),
    Step.ARCHIVE: OPEN | {State.STOPPED, State.CONCLUDED},
}
"""In which states a step can be taken."""

_ONLY = {
    Step.REGISTER: "only a draft or a running experiment can be changed; register it under a "
    "new key",
    Step.SUBMIT: "only a draft can be submitted",
    Step.APPROVE: "only what is in review can be approved",
    Step.REJECT: "only what is in review or approved can be rejected",
    Step.START: "only an approved experiment can be started",
    Step.STOP: "only a running experiment can be stopped",
    Step.CONCLUDE: "only a running or stopped experiment can be concluded",
    Step.ARCHIVE: "a running experiment must be stopped before it is archived",
}
_SHOWN = {State.DRAFT: "is a draft", State.ARCHIVED: "was archived"}
_WAY_OUT = {
    (Step.START, State.DRAFT): "Run `truelift submit {key}`, then have it approved.",
    (Step.START, State.IN_REVIEW): "Have it approved: `truelift approve {key}`.",
    (Step.APPROVE, State.DRAFT): "Run `truelift submit {key}` first.",
    (Step.STOP, State.DRAFT): "Start it first.",
    (Step.CONCLUDE, State.DRAFT): "Start it first.",
    (Step.CONCLUDE, State.IN_REVIEW): "Start it first.",
    (Step.CONCLUDE, State.APPROVED): "Start it first.",
    (Step.ARCHIVE, State.RUNNING): "Run `truelift stop {key}`.",
}


def allows(step: Step, state: State, *, approvals: bool, proposed: bool = False) -> bool:
    """Whether a state allows a step.

    Where no approvals are required (``approvals`` false), any experiment not yet started can be
    started. A change proposed to a running experiment can be approved and rejected while it runs.
    """
    if step is Step.START and not approvals:
        return state in OPEN
    if step in {Step.APPROVE, Step.REJECT} and proposed and state is State.RUNNING:
        return True
    return state in ALLOWED[step]


def require(
    step: Step, key: str, state: State, since: str, *, approvals: bool, proposed: bool = False
) -> None:
    """Refuse a step that a state does not allow; :class:`LifecycleError` says what does."""
    if allows(step, state, approvals=approvals, proposed=proposed):
        return
    shown = _SHOWN.get(state, f"is {state}")
    only = _ONLY[step]
    if step is Step.START and not approvals:
        only = "only a draft can be started"
    way_out = _WAY_OUT.get((step, state), "").format(key=key)
    raise LifecycleError(f"{key!r} {shown} since {since}; {only}. {way_out}".strip())
