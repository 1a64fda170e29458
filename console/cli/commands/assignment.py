"""`assign` and `explain`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.output import MARKS, check_destination, deliver, table
from measure.errors import InputError
from measure.results import SCHEMA_VERSION

if TYPE_CHECKING:
    from designs.experiment import Experiment


def assign(key: str, *, ids: Path | None, out: Path | None, json: str | None) -> None:
    """Arms for a list of ids, or for everybody."""
    from console.workspace import Workspace
    from designs.registry import Registry

    check_destination(json)
    workspace = Workspace.find()
    with Registry(workspace.registry_url) as registry:
        entry = registry.get(key)
    if ids is not None:
        _assign_ids(entry.experiment, ids, out, json)
        return
    if out is not None:
        raise InputError("--out goes with --ids; the population's arms are in table assignments.")
    from console.assigning import assign_population

    counts = assign_population(workspace, entry)
    rows = [(name, f"{n:,}") for name, n in counts.items()]
    document = {"schema_version": SCHEMA_VERSION, "experiment": key, "units": counts}
    deliver(document, json, [*table(("outcome", "units"), rows), "", "Loaded into assignments."])


def explain(key: str, unit: str, *, json: str | None) -> None:
    """Each decision about one unit."""
    from console.assigning import context_of
    from console.workspace import Workspace
    from designs.assignment.explain import explain as decide
    from designs.registry import Registry

    check_destination(json)
    workspace = Workspace.find()
    with Registry(workspace.registry_url) as registry:
        entry = registry.get(key)
    with workspace.connect() as engine:
        context = context_of(engine, entry, unit) if entry.started_at else None
    decisions = decide(entry.experiment, unit, context)
    lines = [f"{unit} in {key}"]
    for decision in decisions:
        mark = MARKS["passed"] if decision.passed else MARKS["failed"]
        lines.append(f"  {mark} {decision.step}: {decision.sentence}")
    document = {
        "schema_version": SCHEMA_VERSION,
        "experiment": key,
        "unit_id": unit,
        "decisions": [decision.to_dict() for decision in decisions],
    }
    deliver(document, json, lines)


def _assign_ids(experiment: Experiment, ids: Path, out: Path | None, json: str | None) -> None:
    from console.assigning import read_ids
    from console.files import write_atomically
    from designs.assignment.assign import assign as assign_units

    assigned = assign_units(experiment, read_ids(ids))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("unit_id", "outcome", "arm"))
    writer.writerows((a.unit_id, a.outcome.value, a.arm or "") for a in assigned)
    document = {
        "schema_version": SCHEMA_VERSION,
        "experiment": experiment.key,
        "assignments": [a.to_dict() for a in assigned],
    }
    if out is not None:
        write_atomically(out, text.getvalue())
        deliver(document, json, [f"Wrote {len(assigned):,} arms to {out}."])
        return
    deliver(document, json, text.getvalue().splitlines())
