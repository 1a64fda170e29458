"""`audit verify` and `audit head`."""

from __future__ import annotations

from pathlib import Path

from console.cli.output import MARKS, check_destination, deliver
from measure.errors import DataError, MissingFile
from measure.results import SCHEMA_VERSION


def verify(*, head: Path | None, acting: str | None, json: str | None) -> None:
    """Walk the audit chain; the first row that is wrong or missing is an error."""
    from console.workspace import Workspace, acting_person
    from designs.registry.audit import read_head

    check_destination(json)
    exported = None
    if head is not None:
        if not head.is_file():
            raise MissingFile.at(head, "Export one: truelift audit head --out FILE.")
        exported = read_head(head.read_text(encoding="utf-8"), str(head))
    with Workspace.find().open_registry() as registry:
        found = registry.verify_audit(by=acting_person(acting), exported=exported)
    if not found.intact:
        if json is not None:
            deliver({"schema_version": SCHEMA_VERSION, **found.to_dict()}, json, [])
        fault = f"audit chain: {found.reason}" if found.reason else f"registry: {found.record}"
        raise DataError(f"{fault}. Restore the registry from a backup.")
    lines = [
        f"{MARKS['passed']} {found.rows:,} rows, each follows from the one before.",
        f"{MARKS['passed']} Experiments, versions, approvals and results are what they say.",
    ]
    if found.unchained:
        lines.append(
            f"  Rows 1 to {found.unchained:,} were written before there was a chain; the upgrade "
            "vouches for them."
        )
    if exported is None:
        lines.append("  Only an exported head (--head FILE) shows whether the end was cut off.")
    else:
        lines.append(f"  Row {exported.sequence:,} is the one in {head}.")
    deliver({"schema_version": SCHEMA_VERSION, **found.to_dict()}, json, lines)


def head(*, out: Path, acting: str | None, json: str | None) -> None:
    """Write down how far the chain has come, to be kept outside."""
    from console.files import to_json, write_atomically
    from console.workspace import Workspace, acting_person

    check_destination(json)
    if not out.resolve().parent.is_dir():
        raise MissingFile.at(out.parent, "Name a file in a folder that exists.")
    with Workspace.find().open_registry() as registry:
        found = registry.audit_head(by=acting_person(acting))
    document = {"schema_version": SCHEMA_VERSION, **found.to_dict()}
    write_atomically(out, to_json(document))
    line = f"Wrote the head at row {found.sequence:,} to {out}. Keep it where others cannot write."
    deliver(document, json, [line])
