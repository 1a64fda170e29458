"""`reconcile --check CODE --rows FILE`: all raw rows behind one check."""

from __future__ import annotations

from pathlib import Path

from console.cli.output import check_destination, deliver
from measure.errors import InputError
from measure.results import SCHEMA_VERSION


def rows(
    key: str | None, *, check: str | None, out: Path | None, acting: str | None, json: str | None
) -> None:
    """Write the rows, and say how they add up."""
    from console.drilling import write_flagged
    from console.permission import permit
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action

    check_destination(json)
    if check is None or out is None:
        raise InputError("--check and --rows go together: --check B1 --rows FILE.csv.")
    workspace = Workspace.find()
    permit(workspace, Action.RECONCILE, key or "", acting)
    permit(workspace, Action.READ_PERSONS, acting=acting)
    written = write_flagged(workspace, key, check, out, by=acting_person(acting))
    document = {"schema_version": SCHEMA_VERSION, **written.to_dict()}
    what = (
        f"{written.entities:,} entities in {written.rows:,} rows"
        if written.by_entity
        else (f"{written.rows:,} rows")
    )
    money = f", {written.money:,} minor units in question" if written.money is not None else ""
    lines = [
        f"Wrote {what} that {written.code} flags to {out}{money} (sha256 {written.sha256[:12]}…)."
    ]
    deliver(document, json, lines)
