"""Exactly-once loading into the embedded warehouse.

The same file, even renamed, is loaded once (content hash); the same row is kept once (row key); the
same key with another payload is a conflict, counted and set aside. What the contract refuses goes
to quarantine with its reason. ``read == accepted + duplicates + quarantined``, always. Of one key
the row that was loaded first stays; whatever the order of files, the table and the quarantine
together hold every payload.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure.engine.clear_text import refuse_clear_text
from measure.engine.contracts import CONTRACTS, Contract
from measure.engine.embedded import (
    ROW,
    identifier,
    listed,
    open_database,
    read_csv,
    read_json,
    read_parquet,
    read_parts,
    sql,
    text_literal,
    unreadable,
)
from measure.engine.files import SourceFile, check_names, csv_header, opened, parquet_names
from measure.engine.local_time import MACROS, Reading, Zones, zones_for
from measure.engine.manifest import (
    Entry,
    only_writer,
    publish,
    read_manifest,
    table_files,
    write_manifest,
)
from measure.engine.reading import reasons, value
from measure.engine.scanning import exact_csv_rows
from measure.engine.tombstones import REASON, blank_erased
from measure.errors import DataError, EngineError, UnknownName

_CONFLICT = "same key as an earlier row, with other values"
_WITHOUT_REFUSED = "ANTI JOIN refused USING ($row)"
_ALL = "SELECT $columns FROM good"
_KEPT = "SELECT $columns FROM good ANTI JOIN settled USING ($row) ORDER BY $row"
_REFUSED = """
SELECT p.reason, $source AS source_file, p.$row AS source_row, raw.*
FROM (FROM refused UNION ALL SELECT $row, $conflict FROM settled WHERE NOT same) p
JOIN raw ON p.$row = raw.rowid + 1 ORDER BY p.$row
"""
"""Refused rows as they were written, with reason, file and row number."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of one file; ``conflicts`` are among the ``quarantined``.

    A file that had been loaded before reads nothing and counts nothing.
    """

    file: str
    table: str
    read: int
    accepted: int
    duplicates: int
    quarantined: int
    conflicts: int
    already_loaded: bool
    quarantine_file: Path | None


class Warehouse:
    """A folder of immutable Parquet files and the manifest that names them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tables(self) -> tuple[str, ...]:
        """Names of the loaded tables, sorted."""
        return tuple(sorted(table_files(self.root)))

    def files(self, table: str) -> tuple[Path, ...]:
        """Parquet files of a table, in loading order; empty when it was never loaded."""
        return tuple(table_files(self.root).get(table, ()))

    def load(
        self, table: str, files: Sequence[Path], reading: Reading | None = None
    ) -> tuple[LoadReport, ...]:
        """Load files into a canonical table, each one whole or not at all.

        ``reading`` says what the files leave open about their times. Raises :class:`UnknownName`
        for a table or column that does not exist and :class:`DataError` for a file that cannot be
        read; files before it stay loaded. :class:`EngineError` when the disk does not take it.
        """
        if table not in CONTRACTS:
            raise UnknownName.of("table", table, CONTRACTS)
        with only_writer(self.root), open_database() as database:
            loads = (
                self._load(database, CONTRACTS[table], Path(file), reading or Reading())
                for file in files
            )
            try:
                return tuple(loads)
            except OSError as error:
                raise _unwritable(self.root, error) from error

    def _load(self, database: Any, contract: Contract, path: Path, reading: Reading) -> LoadReport:
        entries = read_manifest(self.root)
        parts = [self.root / e.data_file for e in entries if e.table == contract.table]
        platforms = [self.root / e.data_file for e in entries if e.table == "platforms"]
        # Tables of a load are temporary: they belong to its session and go with it.
        with opened(path) as file, database.cursor() as session:
            known = read_parts(platforms) if platforms else None
            zones = zones_for(session, contract, reading, known)
            for entry in entries:
                if (entry.table, entry.sha256) == (contract.table, file.sha256) and (
                    entry.reading == zones.stated or entry.quarantined == entry.conflicts
                ):
                    return _known(entry, path)
            entry = _Load(self.root, session, contract, file, parts, zones).run()
        write_manifest(self.root, (*entries, entry))
        return _report(entry, self.root, path)


def _unwritable(root: Path, error: Exception) -> EngineError:
    cause = getattr(error, "strerror", None) or " ".join(str(error).split("\n")[0].split())
    return EngineError(
        f"{getattr(error, 'filename', None) or root}: {cause}. "
        "The file was not loaded; repair that and load it again."
    )


def _known(entry: Entry, path: Path) -> LoadReport:
    return LoadReport(
        path.name,
        entry.table,
        read=0,
        accepted=0,
        duplicates=0,
        quarantined=0,
        conflicts=0,
        already_loaded=True,
        quarantine_file=None,
    )


def _report(entry: Entry, root: Path, path: Path) -> LoadReport:
    refused = root / entry.quarantine_file if entry.quarantine_file else None
    return LoadReport(
        path.name,
        entry.table,
        entry.read,
        entry.accepted,
        entry.duplicates,
        entry.quarantined,
        entry.conflicts,
        already_loaded=False,
        quarantine_file=refused,
    )


class _Load:
    """One file on its way into one table; all row work happens inside the embedded engine."""

    def __init__(
        self,
        root: Path,
        session: Any,
        contract: Contract,
        file: SourceFile,
        parts: Sequence[Path],
        zones: Zones,
    ) -> None:
        self.root, self.contract, self.file, self.parts = root, contract, file, parts
        self.session, self.zones = session, zones
        self.key = ", ".join(identifier(name) for name in contract.key)
        self.extra: tuple[str, ...] = ()

    def run(self) -> Entry:
        """Parse, sort out, write, and describe what was done."""
        import duckdb

        try:
            for macro in MACROS if self.zones.is_stated else ():
                self.session.execute(macro)
            self._read()
            self._compare()
            return self._write()
        except duckdb.Error as error:
            raise unreadable(self.file.given, error) from error

    def _run(self, template: str, **parts: str) -> Any:
        return self.session.execute(sql(template, row=ROW, key=listed(self.contract.key), **parts))

    def _count(self, template: str) -> int:
        return int(self._run(template).fetchone()[0])

    @property
    def _columns(self) -> tuple[str, ...]:
        return (*self.contract.names, *self.extra)

    def _read(self) -> None:
        """``raw``: every row as text. ``parsed``: typed. ``refused``: rows with a reason."""
        names, relation = _relation(self.session, self.file)
        self.extra = self._checked(names)
        texts = ", ".join(
            f"nullif(CAST({identifier(n)} AS VARCHAR), '') AS {identifier(n)}" for n in names
        )
        self._run(
            "CREATE TEMP TABLE raw AS SELECT $texts FROM $relation",
            texts=texts,
            relation=relation,
        )
        typed = [
            f"{value(c, self.zones, present=c.name in names)} AS {identifier(c.name)}"
            for c in self.contract.columns
        ]
        typed += [f"nfc_normalize({identifier(n)}) AS {identifier(n)}" for n in self.extra]
        self._check_count(self._count("SELECT count(*) FROM raw"))
        erased = blank_erased(self.session, self.root, names)
        refuse_clear_text(self.session, names, str(self.file.given))
        # Parsing twice is cheaper than keeping every value twice; row ids are in file order.
        self._run(
            "CREATE TEMP VIEW parsed AS SELECT rowid + 1 AS $row, $typed FROM raw",
            typed=", ".join(typed),
        )
        self._run(
            "CREATE TEMP TABLE refused AS SELECT * FROM "
            "(SELECT rowid + 1 AS $row, $reason AS reason FROM raw) WHERE reason IS NOT NULL",
            reason=_with_erased(reasons(self.contract, names, self.extra, self.zones), erased),
        )
        some = self._count("SELECT count(*) FROM refused")
        self._run(f"CREATE TEMP VIEW good AS FROM parsed {_WITHOUT_REFUSED if some else ''}")

    def _check_count(self, read: int) -> None:
        """Hold the parser's rows against those that were counted apart from it."""
        if not read:
            raise DataError(f"{self.file.given}: there are no rows below the header.")
        counted = self.file.rows
        if counted not in (None, read) and self.file.format == "csv":
            counted = exact_csv_rows(self.file.path, csv_header(self.file)[1])
        if counted not in (None, read):
            raise DataError(
                f"{self.file.given}: {counted:,} rows, of which {read:,} can be read; quotes or "
                "line ends are mixed up. Nothing was read; export it anew."
            )

    def _checked(self, names: Sequence[str]) -> tuple[str, ...]:
        """Columns beyond the contract; refuses those it does not keep, and missing ones."""
        where = f"{self.file.given} ({self.contract.table})"
        known = self.contract.names
        extra = tuple(name for name in names if name not in known)
        if extra and not self.contract.keeps_extra:
            raise UnknownName.of("column", extra[0], known, f"table {self.contract.table!r}")
        for column in self.contract.columns:
            if column.required and column.name not in names:
                raise UnknownName.of("column", column.name, names, where)
        reserved = [name for name in extra if name.startswith("__") or name.casefold() == "rowid"]
        if reserved:
            raise DataError(f"{where}: the column name {reserved[0]!r} is reserved; rename it.")
        return extra

    def _compare(self) -> None:
        """``settled``: rows that are not the first of their key, as duplicate or conflict.

        The row a key is compared with is the one loaded before, else the first in this file.
        """
        columns = self._columns
        self._run(
            "CREATE TEMP TABLE reference AS SELECT 0 AS $row, $columns FROM good LIMIT 0",
            columns=listed(columns),
        )
        old_extra = self._add_stored() if self.parts else ()
        self._run(
            "CREATE TEMP TABLE repeated AS SELECT $key, min($row) AS first FROM good "
            "GROUP BY $key HAVING count(*) > 1"
        )
        self._run(
            "INSERT INTO reference BY NAME SELECT g.$row, $columns FROM good g "
            "JOIN (FROM repeated ANTI JOIN reference USING ($key)) r ON g.$row = r.first",
            columns=", ".join(f"g.{identifier(name)}" for name in columns),
        )
        pairs = [(f"g.{identifier(name)}", f"r.{identifier(name)}") for name in columns]
        pairs += [("CAST(NULL AS VARCHAR)", f"r.{identifier(name)}") for name in old_extra]
        self._run(
            "CREATE TEMP TABLE settled AS SELECT g.$row, ($same) AS same FROM good g "
            "JOIN reference r ON $matches WHERE g.$row <> r.$row",
            same=" AND ".join(f"{new} IS NOT DISTINCT FROM {old}" for new, old in pairs),
            matches=" AND ".join(
                f"g.{identifier(name)} = r.{identifier(name)}" for name in self.contract.key
            ),
        )

    def _add_stored(self) -> tuple[str, ...]:
        """Put stored rows with the same keys into ``reference``; names of older attributes."""
        stored = read_parts(self.parts)
        described = self._run("DESCRIBE SELECT * FROM $stored", stored=stored).fetchall()
        names = tuple(row[0] for row in described)
        older = tuple(name for name in names if name not in self._columns)
        for name in older:
            self._run("ALTER TABLE reference ADD COLUMN $name VARCHAR", name=identifier(name))
        self._run(
            "INSERT INTO reference BY NAME SELECT 0 AS $row, $names FROM $stored "
            "SEMI JOIN good USING ($key)",
            names=listed(names),
            stored=stored,
        )
        return older

    def _write(self) -> Entry:
        read = self._count("SELECT count(*) FROM raw")
        refused = self._count("SELECT count(*) FROM refused")
        conflicts = self._count("SELECT count(*) FROM settled WHERE NOT same")
        duplicates = self._count("SELECT count(*) FROM settled WHERE same")
        stem = f"{self.contract.table}/{self._stem}.parquet"
        quarantine_file = f"quarantine/{stem}" if refused + conflicts else None
        # The order of the file stays by itself as long as nothing is taken out.
        kept = _KEPT if refused + conflicts + duplicates else _ALL
        self._store(kept, stem, columns=listed(self._columns))
        if quarantine_file is not None:
            source = text_literal(self.file.given.name)
            conflict = text_literal(_CONFLICT)
            self._store(_REFUSED, quarantine_file, source=source, conflict=conflict)
        return Entry(
            self.contract.table,
            self.file.given.name,
            self.file.sha256,
            read=read,
            accepted=read - refused - conflicts - duplicates,
            duplicates=duplicates,
            quarantined=refused + conflicts,
            conflicts=conflicts,
            data_file=stem,
            quarantine_file=quarantine_file,
            reading=self.zones.stated,
        )

    @property
    def _stem(self) -> str:
        """Name of the files written; the same content read otherwise has another."""
        content, stated = self.file.sha256, self.zones.stated
        if stated:
            content = hashlib.sha256(f"{content} {stated}".encode()).hexdigest()
        return content[:20]

    def _store(self, query: str, name: str, **parts: str) -> None:
        import duckdb

        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_suffix(".new")
        try:
            self._run(
                f"COPY ({query}) TO $file (FORMAT parquet, COMPRESSION zstd)",
                file=text_literal(str(temporary)),
                **parts,
            )
        except duckdb.IOException as error:
            raise _unwritable(self.root, error) from error
        publish(temporary, final)


def _with_erased(reason: str, erased: str | None) -> str:
    """Rows of erased people are refused first, whatever else is wrong with them."""
    if erased is None:
        return reason
    return f"CASE WHEN {erased} THEN {text_literal(REASON)} ELSE {reason} END"


def _relation(connection: Any, file: SourceFile) -> tuple[tuple[str, ...], str]:
    """Column names and the relation that reads a file."""
    if file.format == "csv":
        names, delimiter = csv_header(file)
        return names, read_csv(file.path, names, delimiter)
    if file.format == "parquet":
        return parquet_names(file), read_parquet(file.path)
    names, relation = read_json(connection, file.path, array=file.format == "json")
    check_names(file, names)
    return names, relation
