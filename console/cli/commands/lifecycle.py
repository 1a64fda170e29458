"""`register`, `start`, `conclude` and `list`."""

from __future__ import annotations

import getpass
from pathlib import Path

from console.cli.output import check_destination, deliver, table
from measure.results import SCHEMA_VERSION


def register(spec: Path, *, json: str | None) -> None:
    """Enter a draft; the same content again changes nothing."""
    from console.workspace import Workspace
    from designs.registry import Registry
    from designs.specification import load_experiment

    check_destination(json)
    experiment = load_experiment(spec)
    with Registry(Workspace.find().registry_url) as registry:
        entry = registry.register(spec.read_text(encoding="utf-8"), experiment, by=_who())
    deliver(
        {"schema_version": SCHEMA_VERSION, **entry.to_dict()},
        json,
        [
            f"Registered {entry.key} as a draft, version {entry.version}.",
            f"Next: truelift start {entry.key}, then truelift assign {entry.key}.",
        ],
    )


def start(key: str, *, json: str | None) -> None:
    """Freeze the plan."""
    from console.workspace import Workspace
    from designs.registry import Registry

    check_destination(json)
    with Registry(Workspace.find().registry_url) as registry:
        entry = registry.start(key, by=_who())
    deliver(
        {"schema_version": SCHEMA_VERSION, **entry.to_dict()},
        json,
        [
            f"{key} is running since {entry.started_at}.",
            f"The analysis plan is frozen: {entry.plan_hash}.",
        ],
    )


def conclude(key: str, *, json: str | None) -> None:
    """Analyse a last time and close the experiment with that result."""
    from console.cli.commands.analysis import describe
    from console.measuring import measure_registered
    from console.store import save
    from console.workspace import Workspace
    from designs.registry import Registry

    check_destination(json)
    workspace = Workspace.find()
    with Registry(workspace.registry_url) as registry:
        registry.require_running(key)
        measured = measure_registered(workspace, key)
        save(workspace.results(key), "analysis", measured.analysis)
        entry = registry.conclude(key, measured.analysis.to_dict(), by=_who())
    deliver(
        {"schema_version": SCHEMA_VERSION, **entry.to_dict()},
        json,
        [*describe(measured.analysis), "", f"{key} is concluded: {entry.concluded_at}."],
    )


def list_experiments(*, json: str | None) -> None:
    """One line per experiment."""
    from console.workspace import Workspace
    from designs.registry import Registry

    check_destination(json)
    with Registry(Workspace.find().registry_url) as registry:
        entries = registry.entries()
    rows = [(e.key, e.state, str(e.version), e.started_at or "–") for e in entries]
    lines = table(("experiment", "state", "version", "started"), rows, left=2)
    document = {"schema_version": SCHEMA_VERSION, "experiments": [e.to_dict() for e in entries]}
    deliver(document, json, lines if rows else ["No experiments yet: truelift register SPEC.yaml"])


def _who() -> str:
    """Name of the person at the keyboard, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
