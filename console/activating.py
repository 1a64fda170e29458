"""Lists for the platforms: whom to reach, whom never to reach, and who is held out from what."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from console.assigning import running_experiments
from measure.errors import InputError, LifecycleError, UnknownName
from measure.results import SCHEMA_VERSION, Result

if TYPE_CHECKING:
    import pyarrow as pa

    from console.workspace import Workspace
    from designs.assignment.holdouts import Membership
    from designs.experiment import Experiment
    from measure.engine.connection import Engine

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Export(Result):
    """A list that was written: the same tables and moment give the same bytes."""

    kind: str
    """``suppression`` or ``audience``."""
    file: str
    channel: str
    at: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt(Result):
    """Who wrote an export when, and the row of the audit chain that says so."""

    export: Export
    experiment: str | None
    by: str
    written_at: str
    audit_row: int

    @property
    def file(self) -> Path:
        """Where the receipt is kept, beside the list."""
        return Path(self.export.file + ".receipt.json")


def export_suppression(workspace: Workspace, channel: str, out: Path, at: datetime) -> Export:
    """Write who must not be reached on a channel: unit_id, holdouts, control_of."""
    from designs.assignment.activation import suppression_query

    _check_file(out)
    running = running_experiments(workspace)
    with workspace.connect() as engine:
        _known_channel(engine, running, channel)
        rows = engine.fetch(suppression_query(engine, running, channel, at))
    return _written(workspace, "suppression", rows, out, channel, at)


def export_audience(
    workspace: Workspace,
    key: str,
    channel: str,
    out: Path,
    at: datetime,
    now: datetime | None = None,
) -> Export:
    """Write who may meet an experiment's campaign on a channel: unit_id, arm.

    ``now`` is the moment at which consent must still be in force; the present by default.
    """
    from designs.assignment.activation import audience_query
    from designs.registry import Registry

    _check_file(out)
    with Registry(workspace.registry_url) as registry:
        experiment = registry.get(key).experiment
    running = running_experiments(workspace)
    if key not in {one.key for one in running}:
        raise LifecycleError(f"{key} does not run, so nobody is to be reached for it.")
    with workspace.connect() as engine:
        present = now or datetime.now(UTC)
        rows = engine.fetch(audience_query(engine, experiment, running, channel, at, present))
    return _written(workspace, "audience", rows, out, channel, at)


def with_receipt(workspace: Workspace, export: Export, key: str, by: str) -> Receipt:
    """Note an export in the audit chain, and beside the list in ``FILE.receipt.json``.

    A list that cannot be accounted for is taken away again.
    """
    from console.files import to_json, write_atomically

    out = Path(export.file)
    try:
        with workspace.open_registry() as registry:
            row = registry.record_export(key, export.to_dict(), by=by)
        receipt = Receipt(export, key or None, by, datetime.now(UTC).isoformat(), row)
        write_atomically(
            receipt.file, to_json({"schema_version": SCHEMA_VERSION, **receipt.to_dict()})
        )
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return receipt


def memberships(workspace: Workspace, unit: str, at: datetime) -> tuple[Membership, ...]:
    """Whether a unit is held out, and from what: one answer per holdout in force."""
    from designs.assignment.holdouts import held_out_of, in_force

    return held_out_of(in_force(running_experiments(workspace)), unit, at)


def moment_of(text: str | None) -> datetime:
    """The moment a list is made for: as given in ISO 8601, else now."""
    if text is None:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError.rule("--at", text, "must be a date or time such as 2026-03-29") from None
    return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)


def write_rows(path: Path, rows: pa.Table) -> str:
    """Write a table as CSV or Parquet, whole or not at all; return the SHA-256 of the file.

    Ids stay exactly as they are: these files are read by machines, never by a spreadsheet.
    """
    import pyarrow.csv
    import pyarrow.parquet

    _check_file(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        if path.suffix == ".csv":
            pyarrow.csv.write_csv(rows, temporary)
        else:
            pyarrow.parquet.write_table(rows, temporary)
        with temporary.open("rb+") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        temporary.chmod(0o600)  # lists of people are for their owner
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return sha256


def _check_file(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise InputError(f"--out {path}: must end in {' or '.join(SUFFIXES)}.")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: the folder {path.parent} does not exist. Make it first.")


def _written(
    workspace: Workspace, name: str, rows: pa.Table, out: Path, channel: str, at: datetime
) -> Export:
    # Sorted here, because databases sort text by collations of their own.
    written = write_rows(out, rows.sort_by("unit_id"))
    return Export(name, workspace.named(out), channel, at.isoformat(), len(rows), written)


def _known_channel(engine: Engine, running: list[Experiment], channel: str) -> None:
    """Refuse a channel that nothing knows of: its list would be empty for the wrong reason."""
    known = {name for experiment in running for name in experiment.channels}
    for experiment in running:
        for holdout in experiment.standing_holdouts:
            known |= set() if isinstance(holdout.channels, str) else set(holdout.channels)
    if channel in known:
        return
    for table in ("activations", "spend", "consents"):
        if engine.has(table):
            found = engine.fetch(engine.table(table).select("channel").distinct())
            known |= set(found["channel"].to_pylist())
    if channel not in known:
        raise UnknownName.of("channel", channel, known)
