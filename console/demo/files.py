"""The world as files a retailer would have, with the defects that loading must catch.

Parquet for most tables, CSV for orders and spend. Among them: one file delivered twice, rows
delivered twice, rows with the id of another row and a different payload, and rows that no contract
accepts. Each file states what loading it must report.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from console.demo import arrow
from console.demo.people import People, consents, identities
from console.demo.setting import DAY, PLATFORMS
from console.demo.truth import truth_of
from console.demo.world import World
from measure.results import Result

REPEATED_ROWS = 25
CONFLICTS = 3
_LATE_FROM_DAY = 26
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class DataFile(Result):
    """A file to load, in this order, and the report its loading must give.

    ``quarantined`` includes ``conflicts``; ``read`` = accepted + duplicates + quarantined. A file
    with ``already_loaded`` is a byte-for-byte copy of an earlier one: nothing of it is read.
    """

    table: str
    path: Path
    read: int
    accepted: int
    duplicates: int = 0
    quarantined: int = 0
    conflicts: int = 0
    already_loaded: bool = False


def write_people(people: People, folder: Path) -> tuple[DataFile, ...]:
    """Write what is known before assignment: customers, identities, consents."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "customers": people.customers(),
        "identities": identities(people),
        "consents": consents(people),
    }
    return tuple(_parquet(folder, name, name, rows) for name, rows in found.items())


def write_files(world: World, folder: Path, *, with_people: bool = True) -> tuple[DataFile, ...]:
    """Write all tables but ``assignments``, and ``truth.json``, into ``folder``.

    Returns the files in the order in which they are to be loaded. ``with_people=False`` leaves out
    the tables of :func:`write_people`, for a world whose people were loaded before assignment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = world.behaviour()
    files = (
        *(write_people(world.people, folder) if with_people else ()),
        *_activation_files(folder, found["activations"]),
        *_conversion_files(folder, found["conversions"]),
        _parquet(folder, "claims", "claims", found["claims"]),
        _spend_file(folder, found["spend"]),
    )
    _write_truth(world, files, folder / "truth.json")
    return files


def _parquet(folder: Path, table: str, stem: str, rows: pa.Table, repeated: int = 0) -> DataFile:
    path = folder / f"{stem}.parquet"
    pq.write_table(rows, path, compression="zstd")
    return DataFile(table, path, rows.num_rows, rows.num_rows - repeated, repeated)


def _activation_files(folder: Path, rows: pa.Table) -> tuple[DataFile, ...]:
    """One log per platform; one log repeats rows inside, another comes twice."""
    files = []
    for platform in PLATFORMS:
        log = rows.filter(pc.equal(rows["platform"], platform))
        repeated = min(REPEATED_ROWS, log.num_rows) if platform == "circle" else 0
        log = pa.concat_tables([log, log.slice(0, repeated)])
        files.append(_parquet(folder, "activations", f"activations-{platform}", log, repeated))
    last = files[-1]
    again = folder / f"{last.path.stem}-again.parquet"
    shutil.copyfile(last.path, again)
    return *files, DataFile("activations", again, read=0, accepted=0, already_loaded=True)


def _conversion_files(folder: Path, rows: pa.Table) -> tuple[DataFile, ...]:
    """Orders as CSV, and a late delivery: the last days, an overlap, conflicts, unreadable rows."""
    late = pc.greater_equal(rows["ts"], arrow.times(np.array([_LATE_FROM_DAY * DAY]))[0])
    early, after = rows.filter(pc.invert(late)), rows.filter(late)
    repeated = min(REPEATED_ROWS, early.num_rows)
    overlap = early.slice(early.num_rows - repeated)
    conflicts = _changed(early.slice(0, CONFLICTS))
    main, more = folder / "conversions.csv", folder / "conversions-late.csv"
    _write_csv(early, main)
    _write_csv(pa.concat_tables([after, overlap, conflicts]), more)
    with more.open("a", encoding="utf-8") as text:
        text.writelines(",".join(row) + "\n" for row in _UNREADABLE_ORDERS)
    refused = len(_UNREADABLE_ORDERS) + conflicts.num_rows
    return (
        DataFile("conversions", main, early.num_rows, early.num_rows),
        DataFile(
            table="conversions",
            path=more,
            read=after.num_rows + repeated + refused,
            accepted=after.num_rows,
            duplicates=repeated,
            quarantined=refused,
            conflicts=conflicts.num_rows,
        ),
    )


_UNREADABLE_ORDERS = (
    # columns as in the contract; each row breaks one rule
    (
        "v9000001",
        "o8000001",
        "c0000001",
        "2025-10-32T10:00:00Z",
        "4990",
        "0",
        "EUR",
        "paid",
        "",
        "",
    ),
    ("v9000002", "o8000002", "c0000001", "2025-10-12T10:00:00", "4990", "0", "EUR", "paid", "", ""),
    (
        "v9000003",
        "o8000003",
        "c0000001",
        "2025-10-12T10:00:00Z",
        "49.90",
        "0",
        "EUR",
        "paid",
        "",
        "",
    ),
    (
        "v9000004",
        "o8000004",
        "c0000001",
        "2025-10-12T10:00:00Z",
        "1_000",
        "0",
        "EUR",
        "paid",
        "",
        "",
    ),
    ("v9000005", "o8000005", "", "2025-10-12T10:00:00Z", "4990", "0", "EUR", "paid", "", ""),
    (
        "v9000006",
        "o8000006",
        "c0000001",
        "2025-10-12T10:00:00Z",
        "4990",
        "0",
        "EUR",
        "payed",
        "",
        "",
    ),
)
_UNREADABLE_SPEND = (
    ("circle", "paid_social", "prospecting", "31/10/2025", "1200", "EUR"),
    ("circle", "paid_social", "prospecting", "2025-10-05", "twelve", "EUR"),
)


def _changed(rows: pa.Table) -> pa.Table:
    """The same conversions with another value: which is right, nobody can tell."""
    column = rows.schema.get_field_index("value")
    return rows.set_column(column, "value", pc.add(rows["value"], 500))


def _spend_file(folder: Path, rows: pa.Table) -> DataFile:
    path = folder / "spend.csv"
    _write_csv(rows, path)
    with path.open("a", encoding="utf-8") as text:
        text.writelines(",".join(row) + "\n" for row in _UNREADABLE_SPEND)
    refused = len(_UNREADABLE_SPEND)
    return DataFile("spend", path, rows.num_rows + refused, rows.num_rows, quarantined=refused)


def _write_csv(rows: pa.Table, path: Path) -> None:
    """Plain CSV: no quotes, timestamps in ISO 8601 with Z, missing values empty."""
    for position, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            stamps = pc.strftime(rows[field.name].cast(pa.timestamp("ms", tz="UTC")), _STAMP)
            rows = rows.set_column(position, field.name, stamps)
    options = pa.csv.WriteOptions(quoting_style="none")
    pa.csv.write_csv(rows, path, options)


def _write_truth(world: World, files: tuple[DataFile, ...], path: Path) -> None:
    document = truth_of(world).to_dict()
    document["files"] = [{**file.to_dict(), "path": file.path.name} for file in files]
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
