"""From a source to the columns that an analysis reads: names and types checked, ids unique."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from measure.engine.embedded import ROW, listed, read_csv, read_parquet, sql, unreadable
from measure.engine.files import SourceFile, csv_header
from measure.engine.profile import number
from measure.engine.strict import read_numbers
from measure.errors import DataError, InputError, UnknownName
from measure.plan import AnalysisPlan, Source

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Column, Table

_NUMBERED = """
CREATE TABLE source AS SELECT row_number() OVER () AS $row, $columns FROM $relation
"""


def needed(source: Source, plan: AnalysisPlan) -> list[str]:
    """Columns that a plan reads from its source."""
    columns = [source.arm, *([source.id] if source.id else []), *_plan_columns(plan)]
    return list(dict.fromkeys(columns))


def _plan_columns(plan: AnalysisPlan) -> list[str]:
    return [*(metric.column for metric in plan.metrics), *plan.covariates, *plan.cohorts]


def file_table(embedded: Engine, file: SourceFile, needed: Sequence[str]) -> Table:
    """The needed columns of a file with a row number; texts of a CSV stay texts."""
    import duckdb

    connection = embedded.backend.con
    if file.format == "jsonl":
        raise InputError.rule("source.path", file.given.name, "must be a CSV or Parquet file")
    try:
        if file.format == "csv":
            names, delimiter = csv_header(file)
            _all_known(needed, names, str(file.given))
            relation = read_csv(file.path, names, delimiter)
            query = sql(_NUMBERED, row=ROW, columns=listed(needed), relation=relation)
        else:
            query = sql("CREATE VIEW source AS FROM $relation", relation=read_parquet(file.path))
        connection.execute(query)
    except duckdb.Error as error:
        raise unreadable(file.given, error) from error
    return embedded.table("source")


def known_columns(
    table: Table, arm: str, unit_id: str | None, plan: AnalysisPlan, where: str
) -> None:
    """Refuse a plan that names columns which are not there."""
    _all_known([arm, *([unit_id] if unit_id else []), *_plan_columns(plan)], table.columns, where)


def _all_known(needed: Sequence[str], names: Sequence[str], where: str) -> None:
    for name in needed:
        if name not in names:
            raise UnknownName.of("column", name, (n for n in names if n != ROW), where)


def canonical(
    engine: Engine, table: Table, arm: str, unit_id: str | None, plan: AnalysisPlan, where: str
) -> Table:
    """The table under the names ``a``, ``id``, ``m0``…, ``raw_m0``…, ``x0``…, ``c0``….

    Numbers are 64-bit floats; a text column counts as one when every value is a plain number.
    """
    numeric = dict.fromkeys([*(m.column for m in plan.metrics), *plan.covariates])
    texts = {name: name for name in numeric if table[name].type().is_string()}
    row = ROW if ROW in table.columns else None
    parsed = read_numbers(engine, table, texts, row, where)
    numbers = {name: _number(table[name], name, where) for name in numeric if name not in texts}
    numbers |= parsed
    chosen = {"a": table[arm]}
    if unit_id is not None:
        chosen["id"] = table[unit_id].cast("string")
    chosen |= {f"m{i}": numbers[metric.column] for i, metric in enumerate(plan.metrics)}
    zeroed = {f"raw_m{i}": metric for i, metric in enumerate(plan.metrics) if metric.null == "zero"}
    chosen |= {column: numbers[metric.column] for column, metric in zeroed.items()}
    chosen |= {f"x{i}": numbers[name] for i, name in enumerate(plan.covariates)}
    chosen |= {f"c{i}": table[name] for i, name in enumerate(plan.cohorts)}
    canonical = table.select(**chosen)
    return engine.materialize(canonical) if texts or engine.is_derived(table) else canonical


def _number(column: Column, name: str, where: str) -> Column:
    kind = column.type()
    if kind.is_boolean():
        return column.ifelse(number(1.0), number(0.0))
    if not kind.is_numeric():
        raise DataError(
            f"{where}: column {name!r} is of type {kind}, must be a number. "
            "Name a numeric column, or convert it first."
        )
    return column if kind.is_float64() else column.cast("float64")


def refuse_repeated_ids(engine: Engine, table: Table, unit_id: str, where: str) -> None:
    """Two rows for one unit would count its outcomes twice."""
    ids = table.select(id=table[unit_id].cast("string"))
    counted = ids.group_by("id").aggregate(times=ids.count())
    repeated = counted.filter((counted.times > 1) | counted.id.isnull() | (counted.id == ""))
    first = engine.fetch(repeated.order_by(repeated.id).limit(1)).to_pylist()
    if not first:
        return
    times = int(first[0]["times"])
    if not first[0]["id"]:
        raise DataError(f"{where}: id column {unit_id!r} is empty in {times:,} rows.")
    how_many = int(engine.fetch(repeated.aggregate(ids=repeated.count())).to_pylist()[0]["ids"])
    raise DataError(
        f"{where}: unit {first[0]['id']!r} has {times:,} rows and {how_many:,} ids repeat; "
        "one row per unit is needed. Add up or drop the repeats first."
    )
