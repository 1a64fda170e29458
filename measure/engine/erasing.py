"""Taking rows out of the tables, whole or not at all: a new manifest, or one transaction.

In the embedded warehouse files are never changed. Those that hold rows of the person are written
again without them, and the manifest that names the new ones replaces the old in one rename;
then the old files go. Whatever is killed before that rename has changed nothing that is read, and
:func:`sweep` removes what was left lying about after it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure.engine.contracts import CONTRACTS
from measure.engine.embedded import (
    identifier,
    open_database,
    read_parquet,
    read_parts,
    sql,
    text_literal,
)
from measure.engine.erased import ERASURES
from measure.engine.manifest import (
    Entry,
    only_writer,
    publish,
    read_erased,
    read_manifest,
    write_manifest,
)
from measure.engine.tombstones import KINDS, add_tombstones

if TYPE_CHECKING:
    from measure.engine.connection import Engine


@dataclass(frozen=True, slots=True)
class Marks:
    """By what the rows of a person are known."""

    ids: Mapping[str, frozenset[str]]
    """Kind of id (``person``, ``order``, ``click``) to ids that are theirs alone."""
    words: frozenset[str]
    """Everything that names them or a row of theirs; a refused row that holds one goes."""

    def columns(self, names: Sequence[str]) -> dict[str, frozenset[str]]:
        """Columns of a table by which its rows may be theirs."""
        person = [name for name in names if KINDS.get(name) == "person"]
        chosen = person or [name for name in names if name in KINDS]
        found = {name: self.ids.get(KINDS[name], frozenset()) for name in chosen}
        return {name: ids for name, ids in found.items() if ids}


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken out: rows per table, refused rows, units per open experiment and arm."""

    rows: Mapping[str, int] = field(default_factory=dict)
    quarantined: int = 0
    units: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def erase_from_warehouse(
    root: Path, marks: Marks, *, counted: Sequence[str], key_file: Path, until: datetime
) -> Removed:
    """Take a person out of the embedded warehouse; ``counted`` are experiments still open.

    Doing it again changes nothing, so that what was cut off can be done again.
    """
    with only_writer(root), open_database() as database:
        entries = read_manifest(root)
        rows: dict[str, int] = defaultdict(int)
        units = _units(database, root, entries, marks, counted)
        kept = []
        for entry in entries:
            changed, gone = _rewritten(database, root, entry, marks)
            kept.append(changed)
            for table, number in gone.items():
                rows[table] += number
        stones = [(kind, value) for kind, values in marks.ids.items() for value in values]
        add_tombstones(root, key_file, stones, until)
        write_manifest(root, tuple(kept), _added(read_erased(root), units))
        sweep(root)
    quarantined = rows.pop("quarantine", 0)
    return Removed(dict(rows), quarantined, units)


def sweep(root: Path) -> None:
    """Remove data files that the manifest does not name, from where a warehouse keeps its own."""
    entries = read_manifest(root)
    named = {e.data_file for e in entries} | {e.quarantine_file for e in entries}
    ours = [folder / table for folder in (root, root / "quarantine") for table in CONTRACTS]
    left = [path for folder in ours for path in folder.glob("*.*")]
    for path in left:
        if path.suffix == ".new" or (
            path.suffix == ".parquet" and path.relative_to(root).as_posix() not in named
        ):
            path.unlink(missing_ok=True)


def erase_from_postgres(engine: Engine, marks: Marks, counted: Sequence[str]) -> Removed:
    """Take a person out of the tables of a database, in one transaction."""
    from psycopg import sql as query

    rows: dict[str, int] = {}
    connection = engine.backend.con
    tables = {n: engine.table(n).columns for n in engine.tables() if n != ERASURES}
    units = _assigned(engine, marks, counted) if "assignments" in tables else {}
    with connection.transaction(), connection.cursor() as cursor:
        for table, names in tables.items():
            for column, ids in marks.columns(names).items():
                delete = query.SQL("DELETE FROM {} WHERE {} = ANY(%s)")
                named = delete.format(query.Identifier(table), query.Identifier(column))
                cursor.execute(named, [sorted(ids)])
                rows[table] = rows.get(table, 0) + cursor.rowcount
        _count_in_postgres(cursor, query.Identifier(ERASURES), units)
    connection.commit()
    return Removed({table: n for table, n in rows.items() if n}, 0, units)


def _count_in_postgres(cursor: Any, table: Any, units: Mapping[str, Mapping[str, int]]) -> None:
    from psycopg import sql as query

    if not units:
        return
    make = (
        "CREATE TABLE IF NOT EXISTS {} "
        "(experiment text, arm text, units bigint, UNIQUE (experiment, arm))"
    )
    add = (
        "INSERT INTO {0} VALUES (%s, %s, %s) ON CONFLICT (experiment, arm) "
        "DO UPDATE SET units = {0}.units + EXCLUDED.units"
    )
    cursor.execute(query.SQL(make).format(table))
    for experiment, arms in units.items():
        for arm, number in arms.items():
            cursor.execute(query.SQL(add).format(table), [experiment, arm, number])


def _assigned(engine: Engine, marks: Marks, counted: Sequence[str]) -> dict[str, dict[str, int]]:
    table = engine.table("assignments")
    people = sorted(marks.ids.get("person", ()))
    mine = table.filter(table.unit_id.isin(people), table.experiment.isin([*counted, ""]))
    found: dict[str, dict[str, int]] = {}
    for row in engine.fetch(mine.select("experiment", "arm")).to_pylist():
        arms = found.setdefault(row["experiment"], {})
        arms[row["arm"]] = arms.get(row["arm"], 0) + 1
    return found


def _units(
    database: Any, root: Path, entries: Sequence[Entry], marks: Marks, counted: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Units of open experiments that go, by arm."""
    parts = [root / e.data_file for e in entries if e.table == "assignments"]
    people = marks.ids.get("person", frozenset())
    if not parts or not people:
        return {}
    rows = database.execute(
        sql(
            "SELECT experiment, arm, count(*) FROM $parts WHERE unit_id IN ($people) GROUP BY ALL",
            parts=read_parts(parts),
            people=_listed(people),
        )
    ).fetchall()
    found: dict[str, dict[str, int]] = {}
    for experiment, arm, number in rows:
        if experiment in counted:
            found.setdefault(experiment, {})[arm] = int(number)
    return found


def _added(
    known: Mapping[str, Mapping[str, int]], new: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    total = {experiment: dict(arms) for experiment, arms in known.items()}
    for experiment, arms in new.items():
        mine = total.setdefault(experiment, {})
        for arm, number in arms.items():
            mine[arm] = mine.get(arm, 0) + number
    return total


def _rewritten(
    database: Any, root: Path, entry: Entry, marks: Marks
) -> tuple[Entry, dict[str, int]]:
    """The entry with files that hold nothing of the person, and how many rows were taken out."""
    gone: dict[str, int] = {}
    names = _names(database, root / entry.data_file)
    theirs = " OR ".join(
        f"{identifier(column)} IN ({_listed(ids)})" for column, ids in marks.columns(names).items()
    )
    if theirs:
        number, entry = _without(database, root, entry, "data_file", theirs)
        gone[entry.table] = number
    if entry.quarantine_file is not None and marks.words:
        columns = _names(database, root / entry.quarantine_file)
        theirs = _refused_theirs(columns, marks)
        number, entry = _without(database, root, entry, "quarantine_file", theirs)
        gone["quarantine"] = number
    return entry, {table: number for table, number in gone.items() if number}


def _refused_theirs(columns: Sequence[str], marks: Marks) -> str:
    """SQL that is true for refused rows that name the person, in whatever column.

    A word without a letter is looked for in columns of ids only; elsewhere it is a number, as any
    row may hold it.
    """
    lettered = frozenset(word for word in marks.words if any(map(str.isalpha, word)))
    pattern = text_literal(words_pattern(lettered))
    tests = ["false"]
    for column in columns:
        text = f"nfc_normalize(CAST({identifier(column)} AS VARCHAR))"
        if lettered:
            tests.append(f"regexp_matches({text}, {pattern})")
        if column in KINDS:
            ids = marks.ids.get(KINDS[column], frozenset())
        else:
            ids = marks.words if column.endswith(("_id", "identifier")) else frozenset()
        if ids:
            tests.append(f"trim({text}) IN ({_listed(ids)})")
    return " OR ".join(tests)


def words_pattern(words: frozenset[str]) -> str:
    """A regular expression (RE2 and Python) for any of these words, standing by itself."""
    either = "|".join(re.escape(word) for word in sorted(words, key=lambda w: (-len(w), w)))
    return rf"(^|[^0-9A-Za-z_])({either})([^0-9A-Za-z_]|$)"


def _without(database: Any, root: Path, entry: Entry, which: str, theirs: str) -> tuple[int, Entry]:
    """Write a file again without some rows; under another name, because files never change."""
    name = str(getattr(entry, which))
    relation = read_parquet(root / name)
    count = sql("SELECT count(*) FROM $rel WHERE $theirs", rel=relation, theirs=theirs)
    number = int(database.execute(count).fetchone()[0])
    if not number:
        return 0, entry
    fresh = _next_name(name)
    temporary = (root / fresh).with_suffix(".new")
    database.execute(
        sql(
            "COPY (SELECT * FROM $rel WHERE ($theirs) IS NOT TRUE) TO $file "
            "(FORMAT parquet, COMPRESSION zstd)",
            rel=relation,
            theirs=theirs,
            file=text_literal(str(temporary)),
        )
    )
    publish(temporary, root / fresh)
    if which == "data_file":
        return number, replace(entry, data_file=fresh)
    return number, replace(entry, quarantine_file=fresh)


def _next_name(name: str) -> str:
    """``t/abc.parquet`` → ``t/abc-1.parquet`` → ``t/abc-2.parquet``."""
    stem = name.removesuffix(".parquet")
    base, _, number = stem.rpartition("-") if re.search(r"-\d+$", stem) else (stem, "", "0")
    return f"{base}-{int(number) + 1}.parquet"


def _names(database: Any, path: Path) -> list[str]:
    described = sql("DESCRIBE SELECT * FROM $rel", rel=read_parquet(path))
    return [row[0] for row in database.execute(described).fetchall()]


def _listed(ids: frozenset[str]) -> str:
    return ", ".join(text_literal(one) for one in sorted(ids)) or "NULL"
