"""What a file is before it is read: present, not empty, which columns, which bytes.

Formats: ``.csv``/``.tsv``, ``.parquet``, JSON lines (``.jsonl``, ``.ndjson``) and a JSON array of
objects (``.json``); each also with gzip (``.gz``). Sizes are bounded before anything is parsed.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from measure.engine.scanning import DEEPEST, LONGEST_LINE, CsvScan, JsonScan
from measure.errors import DataError, InputError, MissingFile

Format = Literal["csv", "parquet", "jsonl", "json"]
_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
}
MOST_COLUMNS = 5_000
LONGEST_NAME = 256
"""Characters of a column's name."""
MOST_GROWTH = 200
"""Times a compressed file may grow; logs grow 5 to 50 times, a bomb about 1,000 times."""
ALWAYS_UNPACKED = 1 << 26
"""Bytes that a compressed file may grow to whatever its ratio: 64 MB hurt nobody."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """A file that can be read: ``path`` holds its plain bytes, ``given`` is what the user named.

    ``rows`` is how many a text file holds without its header, counted apart from the parser.
    """

    given: Path
    path: Path
    format: Format
    rows: int | None = None

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
            "file name", given.name, "must end in .csv, .tsv, .parquet, .jsonl or .json (or .gz)"
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
    """Refuse bytes that are no UTF-8 text where text is meant, endless lines and bottomless JSON.

    Returns the file with its number of rows.
    """
    if file.format == "parquet":
        return file
    decoder = codecs.getincrementaldecoder("utf-8")()
    scan = CsvScan() if file.format == "csv" else JsonScan(1 if file.format == "jsonl" else 2)
    lines, block = 1, b" "
    with file.path.open("rb") as stream:
        while block:
            block = stream.read(_BLOCK)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                lines += block.count(b"\n", 0, max(error.start, 0))
                raise _not_utf8(file, lines) from error
            lines += block.count(b"\n")
            scan.take(block)
            _check_bounds(file, scan)
    return replace(file, rows=scan.rows - (file.format == "csv"))


def _check_bounds(file: SourceFile, scan: CsvScan | JsonScan) -> None:
    if isinstance(scan, CsvScan):
        if scan.longest > LONGEST_LINE:
            rule = f"a line is longer than {LONGEST_LINE:,} bytes"
            raise DataError(f"{file.given}: {rule}. Nothing was read; repair it or export anew.")
    elif scan.deepest > DEEPEST:
        rule = f"JSON nested more than {DEEPEST} levels deep"
        raise DataError(f"{file.given}: {rule}. Nothing was read; export it anew, flat.")


def _not_utf8(file: SourceFile, line: int) -> DataError:
    return DataError(
        f"{file.given}, line {line}: not UTF-8 text; save it with the encoding UTF-8. "
        "Nothing was read."
    )


def _unpack(packed: Path, plain: Path) -> None:
    """Unpack wholly before anything is read: only the end of the file holds its checksum."""
    most = max(ALWAYS_UNPACKED, MOST_GROWTH * packed.stat().st_size)
    try:
        with gzip.open(packed, "rb") as source, plain.open("wb") as target:
            while block := source.read(_BLOCK):
                target.write(block)
                if target.tell() > most:
                    raise DataError(
                        f"{packed}: grows to more than {MOST_GROWTH} times its size when unpacked. "
                        "Nothing was read; unpack it yourself if it is what it should be."
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{packed}: the compressed file is damaged or cut off ({error}). "
            "Nothing was read; fetch it again."
        ) from error


def csv_header(file: SourceFile) -> tuple[tuple[str, ...], str]:
    """Column names and delimiter of a CSV file, from its first line alone."""
    with file.path.open("rb") as stream:
        first = stream.readline(LONGEST_LINE + 2)
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
    check_names(file, names)
    return names, delimiter


def parquet_names(file: SourceFile) -> tuple[str, ...]:
    """Column names of a Parquet file, as it has them; a reader would rename a repeated one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = tuple(pq.read_schema(file.path).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file.given}: not a Parquet file, or cut off. Nothing was read; export it anew."
        ) from error
    check_names(file, names)
    return names


def check_names(file: SourceFile, names: Sequence[str]) -> None:
    """Refuse too many columns, one without a name, and one named twice (in any case)."""
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{file.given}: {len(names):,} columns, at most {MOST_COLUMNS:,} are read.")
    blank = [index for index, name in enumerate(names, start=1) if not name.strip()]
    if blank:
        raise DataError(f"{file.given}: column {blank[0]} has no name; name it in the first line.")
    long = next((i for i, name in enumerate(names, start=1) if len(name) > LONGEST_NAME), None)
    if long is not None:
        raise DataError(
            f"{file.given}: the name of column {long} has {len(names[long - 1]):,} characters, at "
            f"most {LONGEST_NAME} are read."
        )
    times = Counter(name.casefold() for name in names)
    twice = [name for name in names if times[name.casefold()] > 1]
    if twice:
        raise DataError(f"{file.given}: column {twice[0]!r} is named twice; rename one of them.")
