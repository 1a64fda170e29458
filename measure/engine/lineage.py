"""Where rows came from: the source file of each row of the embedded warehouse, with its hash.

The manifest names the Parquet file that each loaded file became, so the place of a row says which
file brought it. Tables in a database of one's own have no manifest, and no answer here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure.engine.contracts import CONTRACTS
from measure.engine.embedded import listed, open_embedded, sql, text_literal
from measure.engine.manifest import read_manifest

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """The file that a row was loaded from: its name, and the SHA-256 of its content."""

    source_file: str
    sha256: str


def origins(root: Path, wanted: Mapping[str, Iterable[Key]]) -> dict[tuple[str, Key], Origin]:
    """Origin of each row wanted, by table and row key (values in the order of the contract's key).

    Rows that the warehouse does not hold are left out.
    """
    connection = open_embedded().con
    try:
        found: dict[tuple[str, Key], Origin] = {}
        for table, keys in wanted.items():
            found |= _of_table(connection, root, table, set(keys))
    finally:
        connection.close()
    return found


def _of_table(
    connection: Any, root: Path, table: str, keys: set[Key]
) -> dict[tuple[str, Key], Origin]:
    entries = {
        str(root / e.data_file): Origin(e.source, e.sha256)
        for e in read_manifest(root)
        if e.table == table
    }
    if not entries or not keys:
        return {}
    names = CONTRACTS[table].key
    connection.register("wanted", _as_arrow(names, keys))
    query = sql(
        "SELECT $names, filename FROM read_parquet([$parts], hive_partitioning = false, "
        "union_by_name = true, filename = true) SEMI JOIN wanted USING ($names)",
        names=listed(names),
        parts=", ".join(text_literal(path) for path in entries),
    )
    rows = connection.execute(query).to_arrow_table().to_pylist()
    connection.unregister("wanted")
    return {(table, tuple(row[n] for n in names)): entries[row["filename"]] for row in rows}


def _as_arrow(names: tuple[str, ...], keys: set[Key]) -> Any:
    import pyarrow as pa

    columns = zip(*keys, strict=True)
    return pa.table({name: list(values) for name, values in zip(names, columns, strict=True)})
