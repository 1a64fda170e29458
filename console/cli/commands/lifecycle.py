"""The lifecycle of an experiment, from `register` to `archive`, and what tells of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.output import check_destination, deliver, table
from measure.errors import UnknownName
from measure.results import SCHEMA_VERSION

if TYPE_CHECKING:
    from console.workspace import Workspace
    from designs.experiment import Experiment
    from designs.registry import Entry, Event, Registry


def register(spec: Path, *, acting: str | None, expected: int | None, json: str | None) -> None:
    """Enter a draft or a change; the same content again changes nothing."""
    from console.workspace import Workspace, acting_person
    from designs.specification import read_specification

    check_destination(json)
    read = read_specification(spec)
    workspace = Workspace.find()
    with workspace.open_registry() as registry:
        entry = registry.register(
            read.text, read.experiment, by=acting_person(acting), expected_version=expected
        )
        approvals = registry.policy.approvals
        replaced = _replaced(registry, entry)
    _deliver(entry, json, [*_registered(entry), *replaced, *_next(entry, approvals=approvals)])


def submit(key: str, *, acting: str | None, json: str | None) -> None:
    """Hand a draft in for review, and say what it needs."""
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    person = acting_person(acting)
    with workspace.open_registry() as registry:
        registry.permit(Action.SUBMIT, key, by=person)
        units = _planned_units(workspace, registry.get(key).experiment)
        entry = registry.submit(key, by=person, planned_units=units)
        needs = registry.outstanding(key, units)
    _deliver(entry, json, [f"{key} is in review. It needs:", *(f"  {need}" for need in needs)])


def approve(
    key: str, *, reason: str, expected: int | None, acting: str | None, json: str | None
) -> None:
    """Approve what is under review, and nothing that was written since it was looked up."""
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    person = acting_person(acting)
    with workspace.open_registry() as registry:
        registry.permit(Action.READ, key, by=person)
        before = registry.get(key)
        proposed = before.proposed_version
        version = registry.version(key, proposed or before.version)
        units = _planned_units(workspace, version.experiment)
        entry = registry.approve(
            key,
            by=person,
            reason=reason,
            planned_units=units,
            expected_version=version.version if expected is None else expected,
        )
        settled = entry.approved_version == version.version
        needs = () if settled else registry.outstanding(key, units)
    lines = [f"Version {version.version} of {key} is approved."] if settled else []
    if needs:
        lines = [f"Noted. {key} still needs:", *(f"  {need}" for need in needs)]
    elif proposed is None:
        lines.append(f"Next: truelift start {key}.")
    _deliver(entry, json, lines)


def reject(key: str, *, reason: str, acting: str | None, json: str | None) -> None:
    """Send back what is under review, with the reason."""
    from console.workspace import Workspace, acting_person

    check_destination(json)
    with Workspace.find().open_registry() as registry:
        entry = registry.reject(key, by=acting_person(acting), reason=reason)
    now = "runs on as it was" if entry.started_at else "is a draft again"
    _deliver(entry, json, [f"{key} {now}."])


def start(key: str, *, acting: str | None, json: str | None) -> None:
    """Freeze the plan."""
    from console.workspace import Workspace, acting_person

    check_destination(json)
    with Workspace.find().open_registry() as registry:
        entry = registry.start(key, by=acting_person(acting))
    _deliver(
        entry,
        json,
        [
            f"{key} is running since {entry.started_at}"
            f"{'.' if entry.reviewed else '; nobody reviewed its design.'}",
            f"The analysis plan is frozen: {entry.plan_hash}.",
        ],
    )


def stop(key: str, *, reason: str, acting: str | None, json: str | None) -> None:
    """End a running experiment."""
    from console.workspace import Workspace, acting_person

    check_destination(json)
    with Workspace.find().open_registry() as registry:
        entry = registry.stop(key, by=acting_person(acting), reason=reason)
    _deliver(
        entry, json, [f"{key} is stopped: {entry.stopped_at}.", f"Next: truelift conclude {key}."]
    )


def conclude(key: str, *, acting: str | None, json: str | None) -> None:
    """Analyse a last time and close the experiment with that result."""
    from console.cli.commands.analysis import describe
    from console.measuring import measure_registered
    from console.store import save
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    person = acting_person(acting)
    with workspace.open_registry() as registry:
        registry.permit(Action.CONCLUDE, key, by=person)
        registry.require_running(key)
        with registry.job("conclude", key):
            measured = measure_registered(workspace, key)
            save(workspace.results(key), "analysis", measured.analysis)
            entry = registry.conclude(key, measured.analysis.to_dict(), by=person)
    _deliver(
        entry,
        json,
        [*describe(measured.analysis), "", f"{key} is concluded: {entry.concluded_at}."],
    )


def archive(key: str, *, reason: str, acting: str | None, json: str | None) -> None:
    """Put an experiment away."""
    from console.workspace import Workspace, acting_person

    check_destination(json)
    with Workspace.find().open_registry() as registry:
        entry = registry.archive(key, by=acting_person(acting), reason=reason)
    _deliver(entry, json, [f"{key} is archived; all its versions and results stay."])


def list_experiments(*, acting: str | None, json: str | None) -> None:
    """One line per experiment."""
    from console.permission import permit
    from console.workspace import Workspace
    from designs.registry import Registry
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    permit(workspace, Action.READ, acting=acting)
    with Registry(workspace.registry_url) as registry:
        entries = registry.entries()
    rows = [(e.key, e.state, str(e.version), e.started_at or "–") for e in entries]
    lines = table(("experiment", "state", "version", "started"), rows, left=2)
    document = {"schema_version": SCHEMA_VERSION, "experiments": [e.to_dict() for e in entries]}
    deliver(document, json, lines if rows else ["No experiments yet: truelift register SPEC.yaml"])


def history(key: str, *, acting: str | None, json: str | None) -> None:
    """What was done to an experiment, refusals included, and what each change changed."""
    from console.permission import permit
    from console.workspace import Workspace
    from designs.registry import Registry
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    permit(workspace, Action.READ, key, acting=acting)
    with Registry(workspace.registry_url) as registry:
        events = registry.events(key)
    document = {
        "schema_version": SCHEMA_VERSION,
        "experiment": key,
        "events": [event.to_dict() for event in events],
    }
    deliver(document, json, [line for event in events for line in _told(event)])


def diff(
    key: str, before: int | None, after: int | None, *, acting: str | None, json: str | None
) -> None:
    """How two versions differ, field by field; the last two when none are named."""
    from console.permission import permit
    from console.workspace import Workspace
    from designs.registry import Registry
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    permit(workspace, Action.READ, key, acting=acting)
    with Registry(workspace.registry_url) as registry:
        last = registry.get(key).latest_version
        new = after if after is not None else last
        old = before if before is not None else new - 1
        if old < 1:
            known = [str(number) for number in range(1, last + 1)]
            raise UnknownName.of("version", str(old), known, key)
        found = registry.changes(key, old, new)
    document = {
        "schema_version": SCHEMA_VERSION,
        "experiment": key,
        "before": old,
        "after": new,
        "changes": [{"field": c.field, "before": c.before, "after": c.after} for c in found],
    }
    lines = [f"{key}, version {old} → {new}", *(f"  {change}" for change in found)]
    deliver(document, json, lines if found else [*lines, "  only the layout differs"])


def jobs(*, acting: str | None, json: str | None) -> None:
    """One line per job."""
    from console.permission import permit
    from console.workspace import Workspace
    from designs.registry import Registry
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    permit(workspace, Action.READ, acting=acting)
    with Registry(workspace.registry_url) as registry:
        found = registry.jobs()
    rows = [(str(j.id), j.kind, j.key, j.state, j.started_at, j.note) for j in found]
    lines = table(("job", "kind", "experiment", "state", "started", "note"), rows, left=6)
    document = {"schema_version": SCHEMA_VERSION, "jobs": [job.to_dict() for job in found]}
    deliver(document, json, lines if rows else ["No jobs yet."])


def _deliver(entry: Entry, json: str | None, lines: list[str]) -> None:
    deliver({"schema_version": SCHEMA_VERSION, **entry.to_dict()}, json, lines)


def _registered(entry: Entry) -> list[str]:
    if entry.proposed_version is not None:
        return [
            f"Version {entry.proposed_version} of {entry.key} is proposed; it runs on as it is."
        ]
    state = "a draft" if entry.started_at is None else f"{entry.state}"
    return [f"Registered {entry.key} as {state}, version {entry.version}."]


def _replaced(registry: Registry, entry: Entry) -> list[str]:
    """What became of the version before, when somebody else wrote that: it may have been news."""
    if entry.latest_version < 2:
        return []
    now = registry.version(entry.key, entry.latest_version)
    before = registry.version(entry.key, entry.latest_version - 1)
    if before.registered_by == now.registered_by:
        return []
    found = registry.changes(entry.key, before.version, now.version)
    head = f"It follows version {before.version} by {before.registered_by}"
    return [f"{head}:", *(f"  {change}" for change in found)] if found else []


def _next(entry: Entry, *, approvals: bool) -> list[str]:
    key = entry.key
    if entry.proposed_version is not None:
        return [f"Next: truelift approve {key}, by somebody else."]
    if entry.started_at is not None:
        return []
    if approvals:
        return [f"Next: truelift submit {key}, then truelift approve {key} by somebody else."]
    return [f"Next: truelift start {key}, then truelift assign {key}."]


def _told(event: Event) -> list[str]:
    who = f"{event.who} ({event.role})" if event.role else event.who
    version = event.detail.get("version")
    head = f"{event.sequence:>5}  {event.at}  {who}  {event.what}"
    lines = [f"{head}, version {version}" if version else head]
    told = [event.detail.get("because"), event.detail.get("reason")]
    told += event.detail.get("changed", ())
    return lines + [f"       {text}" for text in told if text]


def _planned_units(workspace: Workspace, experiment: Experiment) -> int | None:
    """Units to be treated among the customers loaded; ``None`` when nobody asks or knows."""
    if experiment.source is not None or not workspace.policy.weighs_spend:
        return None
    with workspace.connect() as engine:
        if not engine.has("customers"):
            return None
        customers = engine.table("customers")
        for name, value in experiment.population.where.items():
            if name not in customers.columns:
                return None
            customers = customers.filter(customers[name].cast("string") == value)
        found = engine.fetch(customers.aggregate(n=customers.count())).to_pylist()[0]["n"]
    treated = 1 - experiment.arms[experiment.control]
    return round(int(found) * treated * experiment.rollout)
