"""`erase`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.cli.output import check_destination, deliver, table
from measure.results import SCHEMA_VERSION

if TYPE_CHECKING:
    from console.erasing import Erased


def erase(
    customer: str, *, reason: str, days: int | None, acting: str | None, json: str | None
) -> None:
    """Take a person out of the workspace, and say what was done without saying whom."""
    from console.erasing import REMEMBERED_DAYS
    from console.erasing import erase as carry_out
    from console.permission import permit
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    permit(workspace, Action.ERASE_PERSON, acting=acting)
    remembered = REMEMBERED_DAYS if days is None else days
    done = carry_out(workspace, customer, reason, by=acting_person(acting), days=remembered)
    deliver({"schema_version": SCHEMA_VERSION, **done.to_dict()}, json, _lines(done))


def _lines(done: Erased) -> list[str]:
    rows = [(name, f"{number:,}") for name, number in done.rows.items()]
    lines = table(("table", "rows taken out"), rows)
    if done.quarantined:
        lines.append(f"Refused rows taken out: {done.quarantined:,}.")
    for key, arms in done.units.items():
        listed = ", ".join(f"{arm} {number:,}" for arm, number in arms.items())
        lines.append(f"Units of the open experiment {key}: {listed}. Its analysis is made anew.")
    lines += [f"Rewritten: {name}" for name in done.rewritten]
    if done.remembered_until:
        lines.append(f"Old files do not bring them back until {done.remembered_until[:10]}.")
    else:
        lines.append("Whatever fills this database must leave them out from now on.")
    lines += [f"Still names the person, delete it yourself: {name}" for name in done.remaining]
    lines.append(f"Row {done.audit_row} of the audit keeps the fact, not the person.")
    return lines
