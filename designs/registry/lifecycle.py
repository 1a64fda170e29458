"""States of an experiment, and which step each of them allows."""

from __future__ import annotations

from enum import StrEnum

from measure.errors import LifecycleError


class State(StrEnum):
    """Where an experiment stands."""

    DRAFT = "draft"
    """Its specification may still change; each change is a new version."""
    RUNNING = "running"
    """Specification and analysis plan are frozen; units are assigned."""
    CONCLUDED = "concluded"
    """Its result is recorded; nothing changes any more."""


class Step(StrEnum):
    """What can be done to an experiment; also the name of the event it leaves."""

    REGISTER = "register"
    START = "start"
    CONCLUDE = "conclude"


_ALLOWED = {Step.REGISTER: State.DRAFT, Step.START: State.DRAFT, Step.CONCLUDE: State.RUNNING}
_ONLY = {
    Step.REGISTER: "only a draft can be changed; register it under a new key",
    Step.START: "only a draft can be started",
    Step.CONCLUDE: "only a running experiment can be concluded",
}


def require(step: Step, key: str, state: State, since: str) -> None:
    """Refuse a step that a state does not allow; :class:`LifecycleError` says what does."""
    if state is _ALLOWED[step]:
        return
    verb = {State.DRAFT: "is a draft", State.RUNNING: "is running", State.CONCLUDED: "is concluded"}
    way_out = " Start it first." if step is Step.CONCLUDE and state is State.DRAFT else ""
    raise LifecycleError(f"{key!r} {verb[state]} since {since}; {_ONLY[step]}.{way_out}")
