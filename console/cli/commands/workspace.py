"""`init`, `load` and `example`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.cli.output import check_destination, deliver
from measure.results import SCHEMA_VERSION

if TYPE_CHECKING:
    from measure.engine.loading import LoadReport
    from measure.engine.local_time import Epoch


def init(folder: Path, *, time_zone: str, currency: str, json: str | None) -> None:
    """Make a workspace."""
    from console.workspace import Workspace

    check_destination(json)
    workspace = Workspace.create(folder, time_zone=time_zone, currency=currency)
    deliver(
        {"schema_version": SCHEMA_VERSION, "workspace": str(workspace.root)},
        json,
        [
            f"Made the workspace {workspace.root}.",
            f"Next: cd {workspace.root}, truelift load customers FILE…, "
            "then put a specification under experiments/.",
        ],
    )


def load(
    table: str,
    files: list[Path],
    *,
    time_zone: str | None,
    epoch: Epoch | None,
    json: str | None,
) -> None:
    """Load files exactly once and account for every row."""
    from console.workspace import Workspace
    from measure.engine.loading import Warehouse
    from measure.engine.local_time import Reading

    check_destination(json)
    reading = Reading(time_zone, epoch)
    reports = Warehouse(Workspace.find().warehouse).load(table, files, reading)
    lines = []
    for report in reports:
        if report.already_loaded:
            lines.append(f"{report.file}: already loaded (same content), nothing changed.")
            continue
        lines.append(
            f"{report.file}: {report.read:,} read = {report.accepted:,} accepted"
            f" + {report.duplicates:,} duplicates + {report.quarantined:,} quarantined"
            + (f" (of which {report.conflicts:,} conflicts)" if report.conflicts else "")
        )
        if report.quarantine_file:
            lines.append(f"  refused rows and reasons: {report.quarantine_file}")
    document = {"schema_version": SCHEMA_VERSION, "files": [_plain(r) for r in reports]}
    deliver(document, json, lines)


def _plain(report: LoadReport) -> dict[str, Any]:
    """A report's fields, paths as text."""
    fields = dataclasses.asdict(report)
    return {name: str(v) if isinstance(v, Path) else v for name, v in fields.items()}


def example(name: str, folder: Path | None, *, json: str | None) -> None:
    """Put a data set and its specification into a folder."""
    from console.examples import write_example

    check_destination(json)
    spec = write_example(name, folder or Path(name))
    deliver(
        {"schema_version": SCHEMA_VERSION, "spec": str(spec)},
        json,
        [f"Wrote {spec} and its data.", f"Next: truelift analyze {spec}"],
    )
