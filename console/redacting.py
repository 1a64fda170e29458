"""Rows that name a person, taken out of files; a file without any keeps its bytes."""

from __future__ import annotations

import gzip
import html
import json
import re
import zlib
from pathlib import Path
from typing import Any

from console.files import to_json, write_atomically

_EVIDENCE = re.compile(r"<details\b.*?</details>", re.DOTALL)
"""Where a page shows rows of people: the samples under its checks."""
_PAGE_ROW = re.compile(r"<tr\b.*?</tr>\s*", re.DOTALL)
_PIECE = 1 << 22


def without_rows(path: Path, words: frozenset[str], people: frozenset[str]) -> bool:
    """Take the rows that name one of the words out of a file; whether there were any.

    JSON loses the rows of evidence whose texts are one of the words, a page those that show one, a
    CSV or Parquet list the lines of ``people``. Nothing else is touched: an id may be a number, and
    numbers stand everywhere. Other kinds of files stay as they are.
    """
    if path.suffix == ".json":
        return _json(path, words)
    if path.suffix == ".html":
        return _page(path, words)
    if path.suffix in (".csv", ".parquet"):
        return _list(path, people)
    return False


def names_any(path: Path, words: frozenset[str]) -> bool:
    """Whether a file holds one of the words, standing by itself, anywhere.

    Of a file that cannot be read nobody can say that it does not.
    """
    import pyarrow as pa

    try:
        return _parquet_names(path, words) if path.suffix == ".parquet" else _holds(path, words)
    except (OSError, EOFError, zlib.error, pa.ArrowException):
        return True


def _holds(path: Path, words: frozenset[str]) -> bool:
    """The same of a file that is text, unpacked where it is compressed."""
    pattern = _pattern(words)
    longest = max((len(word.encode()) for word in words), default=0) + 8
    rest = b""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while piece := file.read(_PIECE):
            text = rest + piece
            if pattern.search(text):
                return True
            rest = text[-longest:]
    return False


def _json(path: Path, words: frozenset[str]) -> bool:
    text = path.read_text(encoding="utf-8")
    try:
        document = json.loads(text)
    except ValueError:
        return False
    cleaned = _pruned(document, words)
    if cleaned == document:
        return False
    write_atomically(path, to_json(cleaned))
    return True


def _pruned(value: Any, words: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {
            name: _evidence(inner, words)
            if name == "evidence" and isinstance(inner, list)
            else _pruned(inner, words)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_pruned(inner, words) for inner in value]
    return value


def _evidence(rows: list[Any], words: frozenset[str]) -> list[Any]:
    return [row for row in rows if not _is_theirs(row, words)]


def _is_theirs(value: Any, words: frozenset[str]) -> bool:
    """Whether one of the texts of a record is one of the words."""
    return isinstance(value, dict) and any(
        isinstance(inner, str) and inner in words for inner in value.values()
    )


def _page(path: Path, words: frozenset[str]) -> bool:
    text = path.read_text(encoding="utf-8")
    pattern = _pattern(words)

    def keep(row: re.Match[str]) -> str:
        return "" if pattern.search(row[0].encode()) else row[0]

    cleaned = _EVIDENCE.sub(lambda sample: _PAGE_ROW.sub(keep, sample[0]), text)
    if cleaned == text:
        return False
    write_atomically(path, cleaned)
    return True


def _list(path: Path, people: frozenset[str]) -> bool:
    """A list that this product wrote: its first column is ``unit_id``."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet

    from console.activating import write_rows

    if path.suffix == ".csv":
        with path.open("rb") as file:
            header = file.readline().decode("utf-8", "replace").strip()
        names = [name.strip('"') for name in header.split(",")]
        if names[:1] != ["unit_id"]:
            return False
        texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        rows = pyarrow.csv.read_csv(path, convert_options=texts)
    else:
        rows = pyarrow.parquet.read_table(path)
        if rows.column_names[:1] != ["unit_id"]:
            return False
    theirs = pc.is_in(rows["unit_id"], value_set=pa.array(sorted(people), pa.string()))
    if not pc.any(theirs).as_py():
        return False
    write_rows(path, rows.filter(pc.invert(theirs)))
    return True


def _parquet_names(path: Path, words: frozenset[str]) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet

    values = pa.array(sorted(words), pa.string())
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if not _may_name(name, column.type):
                continue
            if pc.any(pc.is_in(column.cast(pa.string()), value_set=values)).as_py():
                return True
    return False


def _may_name(name: str, kind: Any) -> bool:
    """Whether a column may hold ids: text, however it is stored, and numbers that are called so."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return text or (pa.types.is_integer(kind) and name.casefold().endswith("id"))


def _pattern(words: frozenset[str]) -> re.Pattern[bytes]:
    """Any of these words, standing by itself, in the bytes of a file, also as HTML writes them."""
    written = {form for word in words for form in (word, html.escape(word), json.dumps(word)[1:-1])}
    either = "|".join(
        re.escape(word) for word in sorted(written, key=lambda w: (-len(w), w)) if word
    )
    whole = rf"(?<![0-9A-Za-z_])(?:{either or '(?!)'})(?![0-9A-Za-z_])"
    return re.compile(whole.encode())
