"""The embedded engine, DuckDB: opening it, quoting for it, and reading files as plain text columns.

This is the one place with query text of its own: reading files is not part of any portable
expression language. Names go in quoted as identifiers, values as quoted literals.
"""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from measure.errors import DataError

ROW = "__row__"
"""Column with the number of a row in its file, counted from 1 without the header."""

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    # Extensions would be downloaded at run time; everything used here is built in.
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    # A Python variable must never be readable as a table by its name.
    "python_enable_replacements": "false",
}


def open_database() -> Any:
    """A DuckDB connection to memory, in UTC, without extensions from elsewhere."""
    import duckdb

    connection = duckdb.connect(":memory:", config=_SETTINGS)
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    spill = _private_folder() / uuid.uuid4().hex
    connection.execute(f"SET temp_directory = {text_literal(str(spill))}")
    return connection


@cache
def _private_folder() -> Path:
    """Where what memory cannot hold is kept: for the owner's eyes only, and gone with the process.

    Each database spills into a folder of its own: two that share one overwrite each other's files.
    """
    folder = Path(tempfile.mkdtemp(prefix="truelift-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def open_embedded() -> Any:
    """An Ibis backend over :func:`open_database`."""
    import ibis

    return ibis.duckdb.from_connection(open_database())


@contextmanager
def quietly() -> Iterator[None]:
    """Ibis 12 calls methods that DuckDB 1.5 has renamed; the two are pinned together."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"fetch_\w+\(\) is deprecated", DeprecationWarning)
        yield


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    """A text as a quoted SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def sql(template: str, **parts: str) -> str:
    """Fill the ``$names`` of a query with parts that are already quoted or are queries."""
    return Template(template).substitute(parts)


def listed(names: Iterable[str]) -> str:
    """Column names as a quoted list."""
    return ", ".join(identifier(name) for name in names)


def read_csv(path: Path, columns: Iterable[str], delimiter: str) -> str:
    """Relation over a CSV file: every column text, an empty field missing, nothing guessed."""
    struct = ", ".join(f"{text_literal(name)}: 'VARCHAR'" for name in columns)
    return (
        f"read_csv({text_literal(str(path))}, auto_detect = false, header = true, "
        f"columns = {{{struct}}}, delim = {text_literal(delimiter)}, quote = '\"', escape = '\"', "
        "nullstr = '', strict_mode = true)"
    )


def read_parquet(path: Path) -> str:
    """Relation over one Parquet file."""
    return f"read_parquet({text_literal(str(path))}, hive_partitioning = false)"


def read_parts(paths: Iterable[Path]) -> str:
    """Relation over the Parquet files of one table; attributes that a file lacks are missing."""
    parts = ", ".join(text_literal(str(path)) for path in paths)
    return f"read_parquet([{parts}], hive_partitioning = false, union_by_name = true)"


def read_json(connection: Any, path: Path, *, array: bool) -> tuple[tuple[str, ...], str]:
    """Names and relation of a file of JSON objects, one per line or all in one array.

    Values become their text, lists and objects within them too.
    """
    shape = "array" if array else "newline_delimited"
    objects = (
        f"read_json_objects({text_literal(str(path))}, format = '{shape}', "
        "ignore_errors = false, compression = 'uncompressed')"
    )
    kinds = connection.execute(
        sql("SELECT DISTINCT json_type(json) FROM $objects", objects=objects)
    ).fetchall()
    if kinds and kinds != [("OBJECT",)]:
        place = "an element of the array" if array else "a line"
        way = "an array of objects" if array else "one object per line"
        raise DataError(f"{path.name}: {place} is not a JSON object; write {way}.")
    names = _json_names(connection, path, objects)
    fields = ", ".join(
        f"nullif(json ->> {text_literal(_pointer(name))}, '') AS {identifier(name)}"
        for name in names
    )
    return names, sql("(SELECT $fields FROM $objects)", fields=fields, objects=objects)


def _json_names(connection: Any, path: Path, objects: str) -> tuple[str, ...]:
    """Names of all fields, sorted; an object that has one of them twice is refused."""
    keys = sql("SELECT json_keys(json) AS names FROM $objects", objects=objects)
    twice = sql(
        "SELECT count(*) FROM ($keys) WHERE len(names) <> len(list_distinct(names))", keys=keys
    )
    (repeated,) = connection.execute(twice).fetchone()
    if repeated:
        raise DataError(
            f"{path.name}: {repeated:,} objects name a field twice, so one value would be lost. "
            "Nothing was read; export it anew."
        )
    each = sql("SELECT DISTINCT unnest(names) AS name FROM ($keys)", keys=keys)
    found = connection.execute(sql("SELECT name FROM ($each) ORDER BY name", each=each)).fetchall()
    return tuple(row[0] for row in found)


def _pointer(name: str) -> str:
    """The JSON pointer of a top-level field."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def unreadable(path: Path, error: Exception) -> DataError:
    """One clear line from the many that DuckDB writes about a broken file."""
    text = str(error)
    line = re.search(r"CSV Error on Line: (\d+)|at byte \d+ in line (\d+)", text)
    number = re.search(r"at byte \d+ in record/value (\d+)", text)
    place = f"{path}"
    if line:
        place += f", line {line.group(1) or line.group(2)}"
    elif number:
        place += f", object {number.group(1)}"
    return DataError(f"{place}: {_cause(text)}. Nothing was read; repair the file or export anew.")


def _cause(text: str) -> str:
    counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text)
    if counts:
        return f"{counts.group(2)} fields where the header has {counts.group(1)}"
    malformed = re.search(r"Malformed JSON .*?(?:line|record/value) \d+: ([^.\n]*)", text)
    if malformed:
        return f"not JSON ({malformed.group(1).strip()})"
    for sign, cause in _CAUSES:
        if sign in text:
            return cause
    # The file that is read may be an unpacked copy; its name says nothing to anybody.
    text = re.sub(r"(in |from )?file \"[^\"]*\"", "", text.split("\n", maxsplit=1)[0])
    return " ".join(text.split())[:300].rstrip(".: ")


_CAUSES = (
    ("unterminated quote", "a quoted field does not end as it should"),
    ("unicode", "not UTF-8 text; save it with the encoding UTF-8"),
    ("state machine reached an invalid state", "quotes or line ends are mixed up"),
    ("Maximum line size", "a line is longer than 2 MB"),
    ("No magic bytes", "not a Parquet file, or cut off"),
    ("too small to be a Parquet file", "not a Parquet file, or cut off"),
    ("Expected top-level JSON array", "not a JSON array; name a file of JSON lines .jsonl"),
    ("maximum_object_size", "an object is longer than 16 MB"),
    ("Snappy", "a compressed part is damaged"),
    ("TProtocolException", "its description of itself is damaged"),
)
