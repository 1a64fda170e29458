"""What may change while an experiment runs, field by field, and how two designs differ.

A running experiment keeps its validity only if nobody moves between arms and nothing that was
fixed beforehand is fixed again in the light of data. What would break that opens a new phase: the
same experiment under the key ``KEY-phase-2``, with a salt, arms and results of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from measure.errors import LifecycleError

if TYPE_CHECKING:
    from designs.experiment import Experiment

MAX_KEY = 80


class Amendment(StrEnum):
    """How a field may change while the experiment runs."""

    FREE = "may be reworded at any time"
    GROWS = "may only grow, so that units are added and nobody is moved"
    LATER = "may only end later; the start stays, since units are assigned at that moment"
    PHASE = "decides who is in which arm, or what the arms meet; it stays until a new phase"
    PLAN = "is part of the analysis plan, which was frozen at the start"
    DECISION = "was fixed beforehand, so that no result can bend it"


RULES: Mapping[str, Amendment] = {
    "key": Amendment.PHASE,
    "title": Amendment.FREE,
    "hypothesis": Amendment.DECISION,
    "unit": Amendment.PHASE,
    "source": Amendment.PHASE,
    "arms": Amendment.PHASE,
    "control": Amendment.PHASE,
    "metrics": Amendment.PLAN,
    "covariates": Amendment.PLAN,
    "cohorts": Amendment.PLAN,
    "plan": Amendment.PLAN,
    "cost": Amendment.DECISION,
    "decision": Amendment.DECISION,
    "campaigns": Amendment.PHASE,
    "channels": Amendment.PHASE,
    "population": Amendment.PHASE,
    "consent": Amendment.PHASE,
    "holdout": Amendment.PHASE,
    "holdouts": Amendment.PHASE,
    "layer": Amendment.PHASE,
    "rollout": Amendment.GROWS,
    "allocation": Amendment.PHASE,
    "exposure": Amendment.PLAN,
    "cluster": Amendment.PHASE,
    "balance": Amendment.PHASE,
    "switchback": Amendment.PHASE,
    "factors": Amendment.PHASE,
    "schedule": Amendment.LATER,
    "salt": Amendment.PHASE,
}
"""One line for every field of ``Experiment``; a field without a line waits for a new phase."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that two designs disagree on, with its values as JSON has them."""

    field: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.field}: {_shown(self.before)} → {_shown(self.after)}"


def changes(old: Experiment, new: Experiment) -> tuple[FieldChange, ...]:
    """Return the fields in which two designs differ, with parts of nested fields named singly."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return tuple(
        FieldChange(place, *values)
        for name in {**before, **after}
        for place, *values in _differences(name, before.get(name), after.get(name))
    )


def departures(old: Experiment, new: Experiment) -> tuple[str, ...]:
    """Return the fields whose difference makes an analysis another than the one registered."""
    before, after = old.model_dump(), new.model_dump()
    return tuple(
        name
        for name in before
        if before[name] != after[name] and RULES.get(name, Amendment.PHASE) in _DEPARTS
    )


def require_valid(old: Experiment, new: Experiment) -> None:
    """Refuse a change that a running experiment could not survive, with the way out."""
    before, after = old.model_dump(), new.model_dump()
    for name in before:
        if before[name] == after[name]:
            continue
        rule = RULES.get(name, Amendment.PHASE)
        if not _PERMITTED[rule](before[name], after[name]):
            what = next(str(c) for c in changes(old, new) if c.field.split(".")[0] == name)
            raise LifecycleError(
                f"{old.key!r} is running; {what}: {name} {rule}. {_way_out(old.key, rule)}"
            )


_DEPARTS = {Amendment.PHASE, Amendment.PLAN, Amendment.DECISION}


def phase_of(key: str) -> tuple[str, int]:
    """Return the key of the first phase, and which phase this is: ``spring-phase-2`` → 2."""
    found = re.fullmatch(r"(.+)-phase-([1-9]\d*)", key)
    return (found[1], int(found[2])) if found else (key, 1)


def phase_key(key: str, phase: int) -> str:
    """Return the key of a phase of an experiment; also its salt unless one is written."""
    first, _ = phase_of(key)
    return first if phase == 1 else f"{first}-phase-{phase}"


def _way_out(key: str, rule: Amendment) -> str:
    first, phase = phase_of(key)
    name = phase_key(first, phase + 1)
    if len(name) > MAX_KEY:
        return "Stop it, and register the change under a new, shorter key."
    analyse = "Analyse it all the same with `truelift analyze SPEC.yaml` (labelled exploratory), or"
    begin = analyse if rule is Amendment.PLAN else ""
    way = f"{begin} open a new phase: stop this one, write key: {name} and register that file"
    return f"{way.strip()[0].upper()}{way.strip()[1:]}; its salt and its arms are new."


def _grows(old: Any, new: Any) -> bool:
    return bool(new > old)


def _ends_later(old: Any, new: Any) -> bool:
    if old is None or new is None or {**old, "end": None} != {**new, "end": None}:
        return False
    if old["end"] is None:
        return False
    return new["end"] is None or bool(new["end"] > old["end"])


def _always(_old: Any, _new: Any) -> bool:
    return True


def _never(_old: Any, _new: Any) -> bool:
    return False


_PERMITTED: Mapping[Amendment, Callable[[Any, Any], bool]] = {
    Amendment.FREE: _always,
    Amendment.GROWS: _grows,
    Amendment.LATER: _ends_later,
    Amendment.PHASE: _never,
    Amendment.PLAN: _never,
    Amendment.DECISION: _never,
}


def _differences(place: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            found
            for name in {**old, **new}
            for found in _differences(f"{place}.{name}", old.get(name), new.get(name))
        ]
    return [(place, old, new)]


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = str(value)
    return text if len(text) <= 80 else text[:79] + "…"
