"""Assigning the population of a running experiment, and explaining one unit, in a workspace."""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure.errors import InputError, LifecycleError, MissingFile

if TYPE_CHECKING:
    import pyarrow as pa

    from console.workspace import Workspace
    from designs.assignment.explain import Context
    from designs.registry import Entry
    from measure.engine.connection import Engine

ARMS_SHOWN = "assigned"


def assign_population(workspace: Workspace, entry: Entry) -> dict[str, int]:
    """Assign every customer in the engine and load the arms; return units per outcome.

    Assigning again adds newcomers and moves nobody: rows already there are duplicates.
    """
    import pyarrow.parquet as pq

    from measure.engine.loading import Warehouse

    if entry.started_at is None:
        raise LifecycleError(f"{entry.key} is a {entry.state}. Run `truelift start {entry.key}`.")
    rows = _population(workspace, entry)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{entry.key}.parquet"
        pq.write_table(_as_assignments(rows, entry.key), path)
        (report,) = Warehouse(workspace.warehouse).load("assignments", [path])
    if report.conflicts:
        raise InputError(
            f"{report.conflicts:,} units of {entry.key} have another arm already; nobody is moved. "
            f"The arms now computed are in {report.quarantine_file}."
        )
    counts = Counter(row or "" for row in rows["arm"].to_pylist())
    held = Counter(rows["outcome"].to_pylist())
    return {
        **{arm: counts[arm] for arm in entry.experiment.arms},
        **{name: n for name, n in sorted(held.items()) if name != ARMS_SHOWN},
    }


def context_of(engine: Engine, entry: Entry, unit: str) -> Context | None:
    """Return what is on record about a unit; ``None`` when no customers are loaded."""
    from designs.assignment.explain import ConsentRecord, Context

    if not engine.has("customers"):
        return None
    found = _rows(engine, "customers", unit)
    if not found:
        raise InputError(f"unit {unit!r} is not among the customers loaded. Load them first.")
    (customer,) = found
    records = [] if not engine.has("consents") else _rows(engine, "consents", unit)
    return Context(
        assigned_at=_assigned_at(entry),
        first_seen_at=_aware(customer["first_seen_at"]),
        attributes={
            name: None if value is None else str(value)
            for name, value in customer.items()
            if name not in {"customer_id", "first_seen_at"}
        },
        consents=[
            ConsentRecord(
                purpose=row["purpose"],
                channel=row["channel"],
                granted=row["granted"],
                valid_from=_aware(row["valid_from"]),
                valid_to=_aware(row["valid_to"]) if row["valid_to"] else None,
                recorded_at=_aware(row["recorded_at"]),
            )
            for row in records
        ],
    )


def read_ids(path: Path) -> list[str]:
    """Read one id per line; blank lines are left out, nothing else is changed."""
    if not path.is_file():
        raise MissingFile.at(path, "Give a text file with one unit id per line.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8."
        ) from error
    ids = [line for line in lines if line.strip()]
    if not ids:
        raise InputError(f"{path}: holds no ids. Write one unit id per line.")
    return ids


def _population(workspace: Workspace, entry: Entry) -> pa.Table:
    from designs.assignment.assign import population_query

    with workspace.connect() as engine:
        if not engine.has("customers"):
            raise MissingFile.at("table customers", "Load it: truelift load customers FILE…")
        return engine.fetch(population_query(engine, entry.experiment, _assigned_at(entry)))


def _as_assignments(rows: pa.Table, key: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    assigned = rows.filter(pc.equal(rows["outcome"], ARMS_SHOWN))
    experiment = pa.array([key] * len(assigned), pa.string())
    return assigned.select(["unit_id", "arm", "assigned_at"]).append_column(
        "experiment", experiment
    )


def _rows(engine: Engine, table: str, unit: str) -> list[dict[str, Any]]:
    found = engine.table(table)
    rows: list[dict[str, Any]] = engine.fetch(found.filter(found.customer_id == unit)).to_pylist()
    return rows


def _assigned_at(entry: Entry) -> datetime:
    """When units are assigned: the schedule's start, else when the experiment was started."""
    schedule = entry.experiment.schedule
    moment = schedule.start if schedule else entry.start_time
    if moment is None:
        raise LifecycleError(f"{entry.key} was never started. Run `truelift start {entry.key}`.")
    return moment.astimezone(UTC)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
