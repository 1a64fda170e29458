"""One person's path through a workspace: what happened to them, and the arms they were given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from measure.errors import InputError
from measure.journeys.timeline import (
    Moment,
    customers_of_person,
    iso,
    require_known,
    timeline,
)
from measure.results import SCHEMA_VERSION, Result

if TYPE_CHECKING:
    from console.workspace import Workspace
    from measure.engine.connection import Engine

_MAIL = re.compile(r"[^\s@/:]+@[^\s@/:]+")
_TELEPHONE = re.compile(r"\+[0-9][0-9 ().\-/]{6,}[0-9]")


@dataclass(frozen=True, slots=True)
class GivenArm(Result):
    """An arm on record, and what the registered design gives the same unit today.

    ``computed_arm`` is ``None`` where the design does not say: it is not in the registry, draws its
    whole population at once, or does not let the unit in any more.
    """

    experiment: str
    customer_id: str
    arm: str
    assigned_at: str
    state: str | None
    computed_arm: str | None
    agrees: bool | None


@dataclass(frozen=True, slots=True)
class PersonPath:
    """Everything on record about one person."""

    person: str
    customers: tuple[str, ...]
    measured: bool
    """Whether reports may count this person, by consent to be measured."""
    arms: tuple[GivenArm, ...]
    moments: tuple[Moment, ...]

    def to_dict(self) -> dict[str, Any]:
        """The ``path`` JSON document; e-mail addresses and telephone numbers are blotted out."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "person": self.person,
            "customers": list(self.customers),
            "measured": self.measured,
            "arms": [arm.to_dict() for arm in self.arms],
            "timeline": [moment.to_dict() for moment in self.moments],
        }
        blotted: dict[str, Any] = without_contacts(document)
        return blotted


def person_path(workspace: Workspace, person: str) -> PersonPath:
    """Return the path of the person that a customer id belongs to.

    :class:`InputError` when nobody of this id is on record.
    """
    with workspace.connect() as engine:
        require_known(engine, person)
        customers = customers_of_person(engine, person)
        moments = timeline(engine, customers)
        return PersonPath(
            person,
            customers,
            may_be_measured(engine, customers) != frozenset(),
            given_arms(workspace, engine, moments),
            moments,
        )


def may_be_measured(engine: Engine, customers: Sequence[str]) -> frozenset[str]:
    """Which customers reports may count; all of them where the gate does not apply."""
    from console.gates import report_gate

    gate = report_gate(engine)
    if gate.allowed is None:
        return frozenset(customers)
    mine = gate.allowed.filter(gate.allowed.customer_id.isin(list(customers)))
    return frozenset(engine.fetch(mine)["customer_id"].to_pylist())


def given_arms(
    workspace: Workspace, engine: Engine, moments: Sequence[Moment]
) -> tuple[GivenArm, ...]:
    """Arms among the moments, each held against the registered design."""
    from designs.registry import Registry

    with Registry(workspace.registry_url) as registry:
        entries = {entry.key: entry for entry in registry.entries()}
    found = []
    for moment in moments:
        if moment.table != "assignments":
            continue
        key, arm = str(moment.facts["experiment"]), str(moment.facts["arm"])
        entry = entries.get(key)
        computed = _computed(engine, entry, moment.customer_id) if entry else None
        found.append(
            GivenArm(
                key,
                moment.customer_id,
                arm,
                iso(moment.at),
                str(entry.state) if entry else None,
                computed,
                None if computed is None else computed == arm,
            )
        )
    return tuple(found)


def _computed(engine: Engine, entry: Any, unit: str) -> str | None:
    """The arm that the design gives a unit; ``None`` where a step before the arm stops it."""
    from console.assigning import context_of
    from designs.assignment.explain import explain

    if entry.started_at is None or entry.experiment.balance is not None:
        return None
    try:
        context = context_of(engine, entry, unit)
    except InputError:  # the unit is no customer that is loaded
        return None
    decisions = explain(entry.experiment, unit, context)
    last = decisions[-1]
    return last.arm if last.passed else None


def without_contacts(value: Any) -> Any:
    """A document whose texts hold no e-mail address and no international telephone number."""
    if isinstance(value, str):
        return _TELEPHONE.sub("(telephone hidden)", _MAIL.sub("(e-mail hidden)", value))
    if isinstance(value, Mapping):
        return {name: without_contacts(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_contacts(item) for item in value]
    return value
