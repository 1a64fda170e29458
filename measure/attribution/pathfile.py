"""Reading a file of channel paths. Nothing is guessed: a count that is not a count is an error.

Two layouts are understood: one row per distinct path (``path``, ``total_conversions`` and, if
present, ``total_conversion_value`` and ``total_null``), or one row per journey (``path``,
``converted`` 0/1 and, if present, ``value``).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from measure.errors import DataError, InputError, MissingFile, UnknownName
from measure.journeys.tables import Integers, Numbers

if TYPE_CHECKING:
    import pyarrow as pa

_COUNT = r"^\s*[0-9]{1,15}(\.0*)?\s*$"
_FLAG = r"^\s*[01]\s*$"
_MONEY = r"^\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?\s*$"


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Distinct paths, sorted by text, with what became of their journeys.

    ``start`` has one entry more than there are paths: path ``i`` takes the touches
    ``channel[start[i]:start[i + 1]]``. ``channel`` counts from 0 in the order of ``channels``.
    """

    channels: tuple[str, ...]
    cohorts: tuple[str, ...]
    channel: Integers
    start: Integers
    cohort: Integers
    converted: Integers
    unconverted: Integers
    value: Numbers
    untouched_conversions: float
    untouched_value: float


def read_paths(path: Path, separator: str = " > ", cohort_column: str | None = None) -> Paths:
    """Read a path file; every defect is an :class:`InputError` naming file, row and rule."""
    if not separator:
        raise InputError.rule("separator", separator, "must not be empty")
    header = _header(path)
    if "converted" in header and "total_conversions" not in header:
        needed, optional = ["path", "converted"], ["value"]
    else:
        needed, optional = ["path", "total_conversions"], ["total_conversion_value", "total_null"]
    if cohort_column is not None:
        needed.append(cohort_column)
    for column in needed:
        if column not in header:
            raise UnknownName.of("column", column, header, str(path))
    table = _read(path, [*needed, *(column for column in optional if column in header)])
    return _code(_grouped(table, path, cohort_column), path, separator)


def _header(path: Path) -> list[str]:
    if not path.is_file():
        raise MissingFile.at(path, "Give the path of a CSV file with one path per row.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines), [])
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text. Save it as CSV in UTF-8.") from error
    if not header:
        raise DataError(f"{path}: is empty. A header and at least one path are needed.")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: column {repeated[0]!r} stands there twice. Rename one of them.")
    return header


def _read(path: Path, columns: list[str]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    try:
        table = arrow_csv.read_csv(
            path,
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            read_options=arrow_csv.ReadOptions(block_size=1 << 24),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=columns,
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    if not table.num_rows:
        raise DataError(f"{path}: has a header and no rows. At least one path is needed.")
    return table.combine_chunks()


def _numbers(table: pa.Table, column: str, pattern: str, rule: str, path: Path) -> Any:
    """A text column as float64, or an error that names the first row breaking the rule."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column not in table.column_names:
        return pa.array(np.zeros(table.num_rows))
    fits = pc.match_substring_regex(table[column], pattern).to_numpy(zero_copy_only=False)
    if not fits.all():
        row = int(np.argmin(fits))
        given = table[column][row].as_py()
        raise DataError(f"{path}, data row {row + 1}: {column} == {given!r}, {rule}.")
    return pc.cast(pc.utf8_trim_whitespace(table[column]), pa.float64())


def _grouped(table: pa.Table, path: Path, cohort_column: str | None) -> pa.Table:
    """One row per distinct path and cohort with counts ``yes``, ``no`` and ``value``, sorted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "converted" in table.column_names and "total_conversions" not in table.column_names:
        yes = _numbers(table, "converted", _FLAG, "must be 0 or 1", path)
        no = pc.subtract(1.0, yes)
        value = _numbers(table, "value", _MONEY, "must be a number", path)
    else:
        whole = "must be a whole number >= 0"
        yes = _numbers(table, "total_conversions", _COUNT, whole, path)
        no = _numbers(table, "total_null", _COUNT, whole, path)
        value = _numbers(table, "total_conversion_value", _MONEY, "must be a number", path)
    _refuse_unearned(np.asarray(yes), np.asarray(value), path)
    cohort = table[cohort_column] if cohort_column else pa.array([""] * table.num_rows)
    plain = pa.table(
        {"path": table["path"], "cohort": cohort, "yes": yes, "no": no, "value": value}
    )
    keys = ["path", "cohort"]
    # Added by one thread in the order of value: the order of rows leaves no trace in any digit.
    sums = (
        plain.sort_by("value")
        .group_by(keys, use_threads=False)
        .aggregate([("yes", "sum"), ("no", "sum"), ("value", "sum")])
    )
    return sums.sort_by([(key, "ascending") for key in keys])


def _refuse_unearned(converted: Numbers, value: Numbers, path: Path) -> None:
    """Value on a row without conversion would silently be lost."""
    wrong = (converted == 0) & (value != 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{path}, data row {row + 1}: value == {value[row]:g} without a conversion, must be 0."
        )


def _code(grouped: pa.Table, path: Path, separator: str) -> Paths:
    """Integer-code channels and cohorts, in sorted order."""
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(grouped["path"])
    touched = np.asarray(pc.not_equal(text, ""))
    columns = {name: np.asarray(grouped[f"{name}_sum"]) for name in ("yes", "no", "value")}
    steps = pc.split_pattern(text.filter(touched), separator).combine_chunks()
    names = pc.utf8_trim_whitespace(steps.values)
    if pc.any(pc.equal(names, "")).as_py():
        empty = pc.index(pc.equal(names, ""), value=True).as_py()
        row = int(np.searchsorted(np.asarray(steps.offsets), empty, side="right")) - 1
        shown = text.filter(touched)[row].as_py()
        raise DataError(f"{path}: path {shown!r} has a step without a name. Name every step.")
    channels, channel = _sorted_codes(names)
    cohorts, cohort = _sorted_codes(grouped["cohort"].filter(touched).combine_chunks())
    if not channels:
        raise DataError(f"{path}: no path has a touch, so there is nothing to credit.")
    return Paths(
        channels,
        cohorts,
        channel,
        np.asarray(steps.offsets, dtype=np.int64),
        cohort,
        columns["yes"][touched].astype(np.int64),
        columns["no"][touched].astype(np.int64),
        columns["value"][touched],
        float(columns["yes"][~touched].sum()),
        float(columns["value"][~touched].sum()),
    )


def _sorted_codes(values: Any) -> tuple[tuple[str, ...], Integers]:
    """Distinct texts in sorted order, and the position of each value among them."""
    encoded = values.dictionary_encode()
    if hasattr(encoded, "combine_chunks"):
        encoded = encoded.combine_chunks()
    names = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return tuple(names[i] for i in order), rank[np.asarray(encoded.indices, dtype=np.int64)]
