"""`report`."""

from __future__ import annotations

from pathlib import Path

from console.cli.output import check_destination, deliver
from measure.errors import InputError
from measure.results import SCHEMA_VERSION


def report(target: str | None, *, out: Path | None, acting: str | None, json: str | None) -> None:
    """Write the pages and say which to open."""
    from console.cli.commands.analysis import permit_specification
    from console.measuring import is_specification
    from console.permission import permit
    from console.publishing import publish, publish_specification
    from console.workspace import Workspace
    from designs.registry.access import Action

    check_destination(json)
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file. Name a folder.")
    if target is not None and is_specification(target):
        permit_specification(Path(target), acting)
        page = publish_specification(Path(target), out or Path("reports"))
    else:
        workspace = Workspace.find()
        permit(workspace, Action.REPORT, target or "", acting)
        page = publish(workspace, key=target, out=out)
    deliver({"schema_version": SCHEMA_VERSION, "page": str(page)}, json, [f"Open {page}"])
