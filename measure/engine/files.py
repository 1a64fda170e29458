"""What a file is before it is read: present, not empty, which columns, which bytes.

Formats: ``.csv``/``.tsv`` (also gzip), ``.parquet``, and JSON lines (``.jsonl``, ``.ndjson``).
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from measure.errors import DataError, InputError, MissingFile

Format = Literal["csv", "parquet", "jsonl"]
_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
MOST_COLUMNS = 5_000
LONGEST_HEADER = 1_000_000
"""Bytes of the first line; a header longer than that is not a header."""


@dataclass(frozen=True)
class SourceFile:
    """A file that can be read: ``path`` holds its plain bytes, ``given`` is what the user named."""

    given: Path
    path: Path
    format: Format

    @cached_property
    def sha256(self) -> str:
        """Content hash of the file as given, 64 hex digits."""
        with self.given.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Range:
    """What a Parquet file's own statistics say of a numeric column; they leave NaN out."""

    rows: int
    missing: int
    low: float
    high: float


@contextmanager
def opened(given: Path) -> Iterator[SourceFile]:
    """Check a file and unpack it if it is compressed; the unpacked copy goes at the end."""
    if not given.is_file():
        raise MissingFile.at(given, "Check the name; paths in a spec are relative to its file.")
    if given.stat().st_size == 0:
        raise DataError(f"{given}: the file is empty; a header line and one row are needed.")
    packed = given.suffix == ".gz"
    plain_name = given.with_suffix("") if packed else given
    kind = _FORMATS.get(plain_name.suffix.casefold())
    if kind is None:
        raise InputError.rule(
            "file name", given.name, "must end in .csv, .csv.gz, .tsv, .parquet or .jsonl"
        )
    if not packed:
        yield _checked(SourceFile(given, given, kind))
        return
    with TemporaryDirectory(prefix="truelift-") as folder:
        plain = Path(folder) / plain_name.name
        _unpack(given, plain)
        yield _checked(SourceFile(given, plain, kind))


def parquet_ranges(path: Path) -> dict[str, Range]:
    """Ranges of the numeric columns of a Parquet file whose every part has statistics."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError):
        return {}  # whoever reads the rows will say what is wrong
    with file:
        metadata, kinds = file.metadata, file.schema_arrow
    parts: dict[str, list[Any]] = {}
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        for column in (group.column(i) for i in range(metadata.num_columns)):
            parts.setdefault(column.path_in_schema, []).append(column.statistics)
    return {
        field.name: _range(metadata.num_rows, parts[field.name])
        for field in kinds
        if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        if all(s and s.has_min_max and s.has_null_count for s in parts.get(field.name, [None]))
    }


def _range(rows: int, parts: list[Any]) -> Range:
    return Range(
        rows,
        sum(part.null_count for part in parts),
        float(min(part.min for part in parts)),
        float(max(part.max for part in parts)),
    )


def _checked(file: SourceFile) -> SourceFile:
    """Refuse bytes that are no UTF-8 text where text is meant, by line."""
    if file.format == "parquet":
        return file
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = 1
    with file.path.open("rb") as stream:
        while block := stream.read(1 << 20):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                lines += block.count(b"\n", 0, max(error.start, 0))
                raise _not_utf8(file, lines) from error
            lines += block.count(b"\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_utf8(file, lines) from error
    return file


def _not_utf8(file: SourceFile, line: int) -> DataError:
    return DataError(
        f"{file.given}, line {line}: not UTF-8 text; save it with the encoding UTF-8. "
        "Nothing was read."
    )


def _unpack(packed: Path, plain: Path) -> None:
    """Unpack wholly before anything is read: only the end of the file holds its checksum."""
    try:
        with gzip.open(packed, "rb") as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{packed}: the compressed file is damaged or cut off ({error}). "
            "Nothing was read; fetch it again."
        ) from error


def csv_header(file: SourceFile) -> tuple[tuple[str, ...], str]:
    """Column names and delimiter of a CSV file, from its first line alone."""
    with file.path.open("rb") as stream:
        first = stream.readline(LONGEST_HEADER)
    if len(first) == LONGEST_HEADER:
        raise DataError(f"{file.given}: the first line is longer than {LONGEST_HEADER:,} bytes.")
    line = first.decode("utf-8-sig").rstrip("\r\n")
    if "\0" in line:
        raise _not_utf8(file, 1)
    if not line.strip():
        raise DataError(f"{file.given}: the first line is blank; it must name the columns.")
    delimiter = max(",;\t|", key=line.count)
    try:
        names = tuple(next(csv.reader([line], delimiter=delimiter, strict=True)))
    except csv.Error as error:
        raise DataError(f"{file.given}: the first line cannot be read ({error}).") from error
    _check_names(file, names)
    return names, delimiter


def _check_names(file: SourceFile, names: tuple[str, ...]) -> None:
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{file.given}: {len(names):,} columns, at most {MOST_COLUMNS:,} are read.")
    blank = [index for index, name in enumerate(names, start=1) if not name.strip()]
    if blank:
        raise DataError(f"{file.given}: column {blank[0]} has no name; name it in the first line.")
    folded = [name.casefold() for name in names]
    twice = [name for name in names if folded.count(name.casefold()) > 1]
    if twice:
        raise DataError(f"{file.given}: column {twice[0]!r} is named twice; rename one of them.")
