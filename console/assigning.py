"""Assigning the population of a running experiment, and explaining one unit, in a workspace."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.store import save
from measure.errors import InputError, LifecycleError, MissingFile

if TYPE_CHECKING:
    import pyarrow as pa

    from console.workspace import Workspace
    from designs.assignment.assign import Assignment
    from designs.assignment.balance import BalanceReport
    from designs.assignment.explain import Context
    from designs.experiment import Experiment
    from designs.registry import Entry
    from measure.engine.connection import Engine

ARMS_SHOWN = "assigned"
LEFT_OUT = "no_consent"


@dataclass(frozen=True, slots=True)
class Assigned:
    """What came of assigning a population."""

    units: dict[str, int]
    """Units per arm, and per outcome of those without one."""
    balance: BalanceReport | None = None
    """Of a balanced assignment, when it was made just now."""
    consent: Mapping[str, object] = field(default_factory=dict)
    """What the gate of consent did: outcome, purpose, channel, left_out, message."""


def assign_population(workspace: Workspace, entry: Entry) -> dict[str, int]:
    """Assign every customer in the engine and load the arms; return units per outcome."""
    return assign_everybody(workspace, entry).units


def assign_everybody(workspace: Workspace, entry: Entry, at: datetime | None = None) -> Assigned:
    """Assign every customer in the engine and load the arms.

    Assigning again adds newcomers and moves nobody: rows already there are duplicates, and where
    arms depend on attributes, whoever has an arm keeps it. Newcomers, such as those whom a wider
    ramp lets in, are assigned ``at`` (now when it is not given), so that nothing they did before
    counts as an outcome. :class:`InputError` when the design does not go together with those that
    run.
    """
    from console.gates import population_gate

    if entry.started_at is None:
        raise LifecycleError(f"{entry.key} is a {entry.state}. Run `truelift start {entry.key}`.")
    refuse_conflicts(workspace, entry)
    rows, report = _population(workspace, entry, at or datetime.now(UTC))
    if report is not None:
        save(workspace.results(entry.key), "balance", report)
    _load_arms(workspace, entry.key, rows)
    counts = Counter(row or "" for row in rows["arm"].to_pylist())
    held = Counter(rows["outcome"].to_pylist())
    units = {
        **{arm: counts[arm] for arm in entry.experiment.arms},
        **{name: n for name, n in sorted(held.items()) if name != ARMS_SHOWN},
    }
    with workspace.connect() as engine:
        consent = population_gate(engine, entry.experiment, held[LEFT_OUT])
    return Assigned(units, report, consent)


def assign_loose(workspace: Workspace, entry: Entry, ids: Sequence[str]) -> list[Assignment]:
    """Arms for given ids, without those who lack the consent that the design asks for.

    Consent is judged as for the population: when units are assigned, as it was known then. For a
    design that was not started that is the present.
    """
    import pyarrow as pa

    from designs.assignment.assign import assign
    from designs.assignment.hashing import normalize_id
    from designs.assignment.population import consenting
    from designs.assignment.steps import Outcome

    found = list(assign(entry.experiment, ids))
    wanted = entry.experiment.consent
    if wanted is None:
        return found
    units = [normalize_id(one.unit_id) for one in found]
    at = _assigned_at(entry) if entry.started_at else datetime.now(UTC)
    with workspace.connect() as engine:
        granted = consenting(engine, wanted, at)
        asked = engine.hold(pa.table({"unit_id": units}))
        kept = granted.semi_join(asked, granted.customer_id == asked.unit_id)
        consented = set(engine.fetch(kept.select("customer_id"))["customer_id"].to_pylist())
    return [
        one if unit in consented else replace(one, outcome=Outcome.NO_CONSENT, arm=None)
        for one, unit in zip(found, units, strict=True)
    ]


def _load_arms(workspace: Workspace, key: str, rows: pa.Table) -> None:
    """Load the arms of whoever has one; :class:`InputError` when somebody has another already."""
    import pyarrow.parquet as pq

    from measure.engine.loading import Warehouse

    arms = _as_assignments(rows, key)
    if not len(arms):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{key}.parquet"
        pq.write_table(arms, path)
        (loaded,) = Warehouse(workspace.warehouse).load("assignments", [path])
    if loaded.conflicts:
        raise InputError(
            f"{loaded.conflicts:,} units of {key} have another arm already; nobody is moved. "
            f"The arms now computed are in {loaded.quarantine_file}."
        )


def refuse_conflicts(workspace: Workspace, entry: Entry) -> None:
    """Refuse a slot that another running experiment uses, and a holdout described differently."""
    from designs.assignment.holdouts import in_force
    from designs.assignment.layers import overlapping

    running = [e for e in running_experiments(workspace) if e.key != entry.key]
    for experiment in running:
        in_force([experiment, entry.experiment])
    for one, other in overlapping([*running, entry.experiment]):
        if entry.key in (one.key, other.key) and one.layer is not None:
            raise InputError(
                f"{one.key!r} and {other.key!r} both run in layer {one.layer.name!r}, and their "
                "slots overlap. Give one of them a slot that is free."
            )


def running_experiments(workspace: Workspace) -> list[Experiment]:
    """All experiments that run, by key."""
    from designs.registry import Registry
    from designs.registry.lifecycle import State

    with Registry(workspace.registry_url) as registry:
        return [entry.experiment for entry in registry.entries() if entry.state is State.RUNNING]


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
        cluster=_cluster_of(engine, entry, unit, customer),
        arm=_recorded_arm(engine, entry.key, unit),
    )


def read_ids(path: Path) -> list[str]:
    """Read one id per line; blank lines are left out, nothing else is changed."""
    if not path.is_file():
        raise MissingFile.at(path, "Give a text file with one unit id per line.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8."
        ) from error
    # Not splitlines(): an id may hold U+2028 and other characters that it takes for line ends.
    ids = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    if not ids:
        raise InputError(f"{path}: holds no ids. Write one unit id per line.")
    return ids


def _population(
    workspace: Workspace, entry: Entry, now: datetime
) -> tuple[pa.Table, BalanceReport | None]:
    """Everybody's outcome and arm; on record where arms depend on attributes, else computed."""
    from designs.assignment.assign import population_query
    from designs.assignment.small import balanced_population

    experiment, begin = entry.experiment, _assigned_at(entry)
    with workspace.connect() as engine:
        if not engine.has("customers"):
            raise MissingFile.at("table customers", "Load it: truelift load customers FILE…")
        recorded = _recorded(engine, entry.key)
        if experiment.balance is not None and recorded:
            return recorded, None
        if experiment.balance is not None:
            return balanced_population(engine, experiment, begin)
        rows = engine.fetch(population_query(engine, experiment, begin))
    if not recorded:
        return rows, None
    rows = _dated(rows, recorded, max(begin, now.astimezone(UTC)))
    by_attributes = experiment.allocation or experiment.cluster
    return (_keeping(recorded, rows) if by_attributes else rows), None


def _dated(rows: pa.Table, recorded: pa.Table, now: datetime) -> pa.Table:
    """The rows with the time on record, and ``now`` for units that have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = rows.schema.field("assigned_at").type
    known = recorded.select(["unit_id", "assigned_at"]).rename_columns(["unit_id", "known"])
    joined = rows.drop_columns(["assigned_at"]).join(known, "unit_id")
    times = pc.coalesce(
        joined["known"].cast(kind), pa.scalar(now, pa.timestamp("us", "UTC")).cast(kind)
    )
    return (
        joined.drop_columns(["known"]).append_column("assigned_at", times).select(rows.column_names)
    )


def _recorded(engine: Engine, key: str) -> pa.Table | None:
    """Units that have an arm, as a population is told; ``None`` when nobody has."""
    from measure.engine.expressions import literal

    if not engine.has("assignments"):
        return None
    table = engine.table("assignments")
    mine = table.filter(table.experiment == key)
    found = engine.fetch(
        mine.select("unit_id", "arm", "assigned_at", outcome=literal(ARMS_SHOWN)).order_by(
            "unit_id"
        )
    ).select(["unit_id", "outcome", "arm", "assigned_at"])
    return found if len(found) else None


def _keeping(recorded: pa.Table, rows: pa.Table) -> pa.Table:
    """The recorded units as they are, and of the others what was computed now."""
    import pyarrow as pa
    import pyarrow.compute as pc

    new = rows.filter(pc.invert(pc.is_in(rows["unit_id"], recorded["unit_id"].combine_chunks())))
    return pa.concat_tables([recorded.cast(new.schema), new])


def _as_assignments(rows: pa.Table, key: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    assigned = rows.filter(pc.equal(rows["outcome"], ARMS_SHOWN))
    experiment = pa.array([key] * len(assigned), pa.string())
    return assigned.select(["unit_id", "arm", "assigned_at"]).append_column(
        "experiment", experiment
    )


def _cluster_of(engine: Engine, entry: Entry, unit: str, customer: dict[str, Any]) -> str | None:
    """The identifier that a unit shares with others, as it was known when units were assigned."""
    cluster = entry.experiment.cluster
    if cluster is None:
        return None
    if cluster.attribute is not None:
        value = customer.get(cluster.attribute)
        return None if value in (None, "") else str(value)
    found = _rows(engine, "identities", unit) if engine.has("identities") else []
    at = _assigned_at(entry)
    known = [r for r in found if r["kind"] == cluster.kind and _aware(r["seen_at"]) <= at]
    return min((row["identifier"] for row in known), default=None)


def _recorded_arm(engine: Engine, key: str, unit: str) -> str | None:
    if not engine.has("assignments"):
        return None
    table = engine.table("assignments")
    mine = table.filter(table.experiment == key, table.unit_id == unit)
    return next(iter(engine.fetch(mine)["arm"].to_pylist()), None)


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
