"""`assign`, `explain`, `suppress`, `audience`, `holdout` and `schedule`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.output import MARKS, check_destination, deliver, table
from measure.errors import InputError
from measure.results import SCHEMA_VERSION

if TYPE_CHECKING:
    from datetime import datetime

    from console.activating import Receipt
    from console.workspace import Workspace
    from designs.assignment.balance import BalanceReport
    from designs.experiment import Experiment
    from designs.registry import Entry


def assign(
    key: str, *, ids: Path | None, out: Path | None, acting: str | None, json: str | None
) -> None:
    """Arms for a list of ids, or for everybody."""
    from console.assigning import assign_everybody, refuse_conflicts
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    with workspace.open_registry() as registry:
        registry.permit(Action.ASSIGN, key, by=acting_person(acting))
        entry = registry.require_assignable(key, everybody=ids is None)
    if ids is not None:
        refuse_conflicts(workspace, entry)
        _assign_ids(workspace, entry, ids, out, json)
        return
    if out is not None:
        raise InputError("--out goes with --ids; the population's arms are in table assignments.")
    found = assign_everybody(workspace, entry)
    rows = [(name, f"{n:,}") for name, n in found.units.items()]
    document = {
        "schema_version": SCHEMA_VERSION,
        "experiment": key,
        "units": found.units,
        "consent": found.consent,
    }
    lines = [*table(("outcome", "units"), rows), "", "Loaded into assignments."]
    lines.append(str(found.consent["message"]))
    if found.balance is not None:
        document["balance"] = found.balance.to_dict()
        lines += ["", *_balance_lines(found.balance)]
    deliver(document, json, lines)


def explain(key: str, unit: str, *, acting: str | None, json: str | None) -> None:
    """Each decision about one unit."""
    from console.assigning import context_of
    from console.workspace import Workspace, acting_person
    from designs.assignment.explain import explain as decide
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    with workspace.open_registry() as registry:
        registry.permit(Action.READ_PERSONS, key, by=acting_person(acting))
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


def suppress(
    channel: str, *, out: Path, at: str | None, acting: str | None, json: str | None
) -> None:
    """Whom no campaign, or not the campaign of an experiment, may reach on a channel."""
    from console.activating import export_suppression, moment_of, with_receipt
    from console.permission import permit
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    permit(workspace, Action.EXPORT_AUDIENCE, acting=acting)
    export = export_suppression(workspace, channel, out, moment_of(at))
    receipt = with_receipt(workspace, export, "", acting_person(acting))
    _deliver_export(receipt, "must not be", json)


def audience(
    key: str, *, channel: str, out: Path, at: str | None, acting: str | None, json: str | None
) -> None:
    """Whom the campaign of an experiment may reach on a channel."""
    from console.activating import export_audience, moment_of, with_receipt
    from console.workspace import Workspace, acting_person
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    with workspace.open_registry() as registry:
        registry.permit(Action.EXPORT_AUDIENCE, key, by=acting_person(acting))
    export = export_audience(workspace, key, channel, out, moment_of(at))
    _deliver_export(with_receipt(workspace, export, key, acting_person(acting)), "may be", json)


def holdout(unit: str, *, at: str | None, acting: str | None, json: str | None) -> None:
    """Whether a unit is held out, and from what."""
    from console.activating import memberships, moment_of
    from console.permission import permit
    from console.workspace import Workspace
    from designs.registry.access import Action

    check_destination(json)
    workspace = Workspace.find()
    permit(workspace, Action.READ_PERSONS, acting=acting)
    moment = moment_of(at)
    found = memberships(workspace, unit, moment)
    held = [one for one in found if one.held_out]
    summary = (
        f"{unit} is held out by {', '.join(one.holdout for one in held)}"
        if held
        else f"{unit} is in no holdout"
    )
    marks = {True: MARKS["failed"], False: MARKS["passed"]}
    lines = [f"{summary}, as of {moment:%Y-%m-%d %H:%M} UTC"]
    lines += [f"  {marks[one.held_out]} {one.sentence}" for one in found]
    if not found:
        lines.append("  No running experiment declares a holdout.")
    document = {
        "schema_version": SCHEMA_VERSION,
        "unit_id": unit,
        "at": moment.isoformat(),
        "held_out": bool(held),
        "holdouts": [one.to_dict() for one in found],
    }
    deliver(document, json, lines)


def schedule(target: str, *, out: Path | None, acting: str | None, json: str | None) -> None:
    """Which unit of a switchback has which arm, and when."""
    from console.activating import write_rows
    from designs.assignment.switchback import switchback_schedule

    check_destination(json)
    blocks = switchback_schedule(_experiment_of(target, acting))
    rows = [
        (b.unit, str(b.block), _iso(b.begin), _iso(b.measured_from), _iso(b.end), b.arm)
        for b in blocks
    ]
    header = ("unit", "block", "begin", "measured_from", "end", "arm")
    named = [dict(zip(header, row, strict=True)) for row in rows]
    document = {"schema_version": SCHEMA_VERSION, "experiment": target, "blocks": named}
    if out is None:
        deliver(document, json, table(header, rows))
        return
    import pyarrow as pa

    write_rows(out, pa.Table.from_pylist(named))
    deliver(document, json, [f"Wrote {len(rows):,} blocks to {out}."])


def _experiment_of(target: str, acting: str | None) -> Experiment:
    """An experiment by its file or by its key."""
    from console.measuring import is_specification
    from console.permission import permit
    from console.workspace import Workspace
    from designs.registry import Registry
    from designs.registry.access import Action
    from designs.specification import load_experiment

    if is_specification(target):
        return load_experiment(Path(target))
    workspace = Workspace.find()
    permit(workspace, Action.READ, target, acting=acting)
    with Registry(workspace.registry_url) as registry:
        return registry.get(target).experiment


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _deliver_export(receipt: Receipt, verb: str, json: str | None) -> None:
    export = receipt.export
    document = {"schema_version": SCHEMA_VERSION, **export.to_dict()}
    lines = [
        f"Wrote {export.rows:,} ids that {verb} reached on {export.channel} to {export.file} "
        f"(sha256 {export.sha256[:12]}…).",
        f"Receipt: {receipt.file}, row {receipt.audit_row} of the audit.",
    ]
    deliver(document, json, lines)


def _balance_lines(report: BalanceReport) -> list[str]:
    """How well a balanced assignment balances, in a few lines."""
    names = sorted(report.units)
    rows = [
        (
            one.attribute,
            *(f"{one.means[name]:,.3f}" for name in names),
            f"{one.largest_difference:.4f}",
        )
        for one in report.attributes
    ]
    return [
        f"Draw {report.chosen} of {report.draws:,}: distance {report.distance:.4g}, half of all "
        f"draws have more than {report.median_distance:.4g}.",
        *table(("mean of", *names, "largest gap, sd"), rows),
    ]


def _assign_ids(
    workspace: Workspace, entry: Entry, ids: Path, out: Path | None, json: str | None
) -> None:
    from console.assigning import assign_loose, read_ids
    from console.files import write_atomically

    assigned = assign_loose(workspace, entry, read_ids(ids))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("unit_id", "outcome", "arm"))
    writer.writerows((a.unit_id, a.outcome.value, a.arm or "") for a in assigned)
    document = {
        "schema_version": SCHEMA_VERSION,
        "experiment": entry.key,
        "assignments": [a.to_dict() for a in assigned],
    }
    if out is not None:
        write_atomically(out, text.getvalue())
        deliver(document, json, [f"Wrote {len(assigned):,} arms to {out}."])
        return
    deliver(document, json, text.getvalue().splitlines())
