"""From a source to the columns that an analysis reads: names and types checked, ids unique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from measure.engine.embedded import ROW, listed, read_csv, read_parquet, sql, unreadable
from measure.engine.files import SourceFile, csv_header
from measure.engine.profile import number
from measure.engine.roles import CLUSTER, Roles
from measure.engine.strict import read_numbers
from measure.errors import DataError, InputError, UnknownName
from measure.plan import AnalysisPlan

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Column, Table

_NUMBERED = """
CREATE TABLE source AS SELECT row_number() OVER () AS $row, $columns FROM $relation
"""


@dataclass(frozen=True, slots=True)
class Keys:
    """Columns that say who a row is and what was done to them."""

    arm: str
    id: str | None = None
    cluster: str | None = None

    @property
    def columns(self) -> list[str]:
        """Those that are given."""
        return [name for name in (self.arm, self.id, self.cluster) if name]


def needed(keys: Keys, plan: AnalysisPlan) -> list[str]:
    """Columns that a plan reads from its source."""
    metrics = [column for metric in plan.metrics for column in metric.columns]
    exposure = [plan.exposure] if plan.exposure else []
    columns = [*keys.columns, *metrics, *plan.covariates, *exposure, *plan.cohorts, *plan.strata]
    return list(dict.fromkeys(columns))


def file_table(embedded: Engine, file: SourceFile, needed: Sequence[str]) -> Table:
    """The needed columns of a file with a row number; texts of a CSV stay texts."""
    import duckdb

    connection = embedded.backend.con
    if file.format in ("jsonl", "json"):
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


def known_columns(table: Table, keys: Keys, plan: AnalysisPlan, where: str) -> None:
    """Refuse a plan that names columns which are not there."""
    _all_known(needed(keys, plan), table.columns, where)


def _all_known(needed: Sequence[str], names: Sequence[str], where: str) -> None:
    for name in needed:
        if name not in names:
            raise UnknownName.of("column", name, (n for n in names if n != ROW), where)


def canonical(engine: Engine, table: Table, keys: Keys, roles: Roles, where: str) -> Table:
    """The table under the names of :class:`Roles`, with ``k`` for the cluster if there is one.

    Numbers are 64-bit floats; a text column counts as one when every value is a plain number.
    A ratio has both of its numbers or neither, unless a missing one counts as zero; so have a time
    and its event.
    """
    texts = {n: n for n in dict.fromkeys(roles.sources.values()) if table[n].type().is_string()}
    row = ROW if ROW in table.columns else None
    parsed = read_numbers(engine, table, texts, row, where)
    numbers = {
        name: parsed[name] if name in texts else _number(table[name], name, where)
        for name in dict.fromkeys(roles.sources.values())
    }
    chosen = {"a": table[keys.arm]}
    if keys.id is not None:
        chosen["id"] = table[keys.id].cast("string")
    if keys.cluster is not None:
        chosen[CLUSTER] = table[keys.cluster].cast("string")
    chosen |= {column: numbers[name] for column, name in roles.sources.items()}
    chosen |= _raw(roles, chosen)
    groups = {column: name for name, column in roles.dimensions.items()}
    groups |= {column: name for name, column in roles.strata.items()}
    labels = {column: table[name] for column, name in groups.items()}
    if keys.cluster is not None:
        labels = {column: _without_empty_texts(label) for column, label in labels.items()}
    chosen |= labels
    canonical = table.select(**chosen)
    return engine.materialize(canonical) if texts or engine.is_derived(table) else canonical


def _raw(roles: Roles, numbers: dict[str, Column]) -> dict[str, Column]:
    """Metrics as they came, where a policy changes them; and pairs with both numbers or none."""
    found: dict[str, Column] = {}
    for column, metric in roles.metrics.items():
        below = roles.denominators.get(column)
        both = numbers[column]
        if below is not None:
            both = numbers[below].notnull().ifelse(both, None)
            if metric.null == "drop":
                found[below] = numbers[column].notnull().ifelse(numbers[below], None)
        event = roles.events.get(column)
        if event is not None:
            both = numbers[event].notnull().ifelse(both, None)
            found[event] = numbers[column].notnull().ifelse(numbers[event], None)
        found[roles.raw[column]] = both
    return found


def _without_empty_texts(column: Column) -> Column:
    """A cohort or stratum on which the rows of a cluster must agree: empty is missing."""
    return column.nullif("") if column.type().is_string() else column


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
