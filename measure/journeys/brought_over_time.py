"""Outcomes over time brought along: a long table with one row per unit and period."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure.engine.connection import connect
from measure.engine.expressions import Table, literal
from measure.engine.files import opened
from measure.engine.panels import Panel, Tracked
from measure.engine.sources import file_table
from measure.engine.strict import read_numbers
from measure.errors import DataError, InputError, UnknownName
from measure.journeys.outcomes_over_time import MOST_PERIODS
from measure.plan import AnalysisPlan, Metric, Source

if TYPE_CHECKING:
    from measure.engine.connection import Engine

_KEYS = ("unit_id", "arm")
_ID = "source.id"
_PERIOD = "source.period"


def brought_over_time(engine: Engine, source: Source, plan: AnalysisPlan, base: Path) -> Panel:
    """A panel from ``source``: columns for unit, arm and period, and one per metric.

    Periods are whole numbers from 1. A unit has a row at least; in a period without a row its
    outcomes are zero. ``source.followed`` names a column with the number of periods for which a
    unit was observed, where not all were observed to the last. A file is read by the embedded
    engine, relative to ``base``. Raises :class:`InputError` and :class:`DataError` with column,
    value and way out.
    """
    if source.id is None:
        raise InputError.rule(_ID, source.id, "must name the column of units", "Periods need it.")
    if source.table is not None:
        return _panel(engine, engine.table(source.table), source, plan, f"table {source.table!r}")
    with opened((base / str(source.path)).resolve()) as file:
        embedded = connect("duckdb://")
        table = embedded.materialize(file_table(embedded, file, _columns(source, plan)))
        return _panel(embedded, table, source, plan, str(source.path))


def summable(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Metrics whose values in several periods can be put together."""
    return tuple(
        metric
        for metric in metrics
        if metric.kind in ("mean", "proportion", "count") and metric.winsorize is None
    )


def _columns(source: Source, plan: AnalysisPlan) -> list[str]:
    keys = [source.id, source.arm, source.period, source.followed]
    metrics = [metric.column for metric in summable(plan.metrics)]
    return list(dict.fromkeys([*(name for name in keys if name), *metrics]))


def _panel(engine: Engine, table: Table, source: Source, plan: AnalysisPlan, where: str) -> Panel:
    for name in _columns(source, plan):
        if name not in table.columns:
            raise UnknownName.of("column", name, table.columns, where)
    rows = engine.materialize(_numbered(engine, table, source, plan, where))
    periods = _last_period(engine, rows, where)
    _refuse_unusable(engine, rows, plan, where)
    grouped = rows.group_by("unit_id").aggregate(
        arm=rows.arm.min(),
        last=rows.followed.min(),
        seen=rows.period.max(),
        rows=rows.count(),
        arms=rows.arm.nunique(),
        follow_ups=rows.followed.nunique(),
        different=rows.period.nunique(),
    )
    reach = {"first": literal(1, type="int64")}
    if not source.followed:
        reach["last"] = literal(float(periods))
    units = engine.materialize(grouped.mutate(**reach))
    _refuse_contradictions(engine, units, source, where)
    whole = units["last"].cast("int64")
    units = units.mutate(last=whole).select("unit_id", "arm", "first", "last")
    numbered = rows.drop("followed").mutate(period=rows.period.cast("int64"))
    events = numbered.inner_join(units.drop("arm"), "unit_id")
    tracked = tuple(
        Tracked(metric.name, f"v{i}", ever=metric.kind == "proportion")
        for i, metric in enumerate(summable(plan.metrics))
    )
    labels = [str(period) for period in range(1, periods + 1)]
    return Panel(engine, units, events, tracked, plan, labels)


def _numbered(
    engine: Engine, table: Table, source: Source, plan: AnalysisPlan, where: str
) -> Table:
    """The needed columns under short names, with texts read as numbers where they must be."""
    metrics = {f"v{i}": m for i, m in enumerate(summable(plan.metrics))}
    named = {"period": str(source.period), "followed": source.followed or str(source.period)}
    named |= {column: metric.column for column, metric in metrics.items()}
    texts = {n: n for n in dict.fromkeys(named.values()) if table[n].type().is_string()}
    parsed = read_numbers(engine, table, texts, None, where)
    chosen: dict[str, Any] = {}
    for column, name in named.items():
        number = parsed[name] if name in texts else table[name].cast("float64")
        zero = column in metrics and metrics[column].null == "zero"
        chosen[column] = number.fill_null(0.0) if zero else number
    ids, arms = table[str(source.id)], table[source.arm]
    return table.select(unit_id=ids.cast("string"), arm=arms.cast("string"), **chosen)


def _last_period(engine: Engine, rows: Table, where: str) -> int:
    """The largest period; refuses what is not a whole number from 1."""
    period = rows.period
    wrong = period.isnull() | (period < 1) | (period != period.floor())
    found = engine.fetch(
        rows.aggregate(
            n=rows.count(), wrong=wrong.ifelse(1, 0).sum(), low=period.min(), last=period.max()
        )
    ).to_pylist()[0]
    if not found["n"]:
        raise DataError(f"{where}: there is no row.")
    if found["wrong"]:
        raise DataError(
            f"{where}: {int(found['wrong']):,} rows have a period that is not a whole number from "
            f"1; the smallest is {found['low']!r}. Number periods 1, 2, 3 … from the assignment."
        )
    if found["last"] > MOST_PERIODS:
        raise InputError.rule(_PERIOD, int(found["last"]), f"must be at most {MOST_PERIODS}")
    return int(found["last"])


def _refuse_unusable(engine: Engine, rows: Table, plan: AnalysisPlan, where: str) -> None:
    """Arms that are not the plan's, values that are missing, shares that are neither 0 nor 1."""
    stray = rows.filter(rows.arm.isnull() | ~rows.arm.isin(list(plan.arms)))
    arms = engine.fetch(stray.select("arm").distinct().order_by("arm").limit(1))["arm"]
    if len(arms):
        raise DataError(
            f"{where}: arm {arms[0].as_py()!r} is not one of the plan's ({', '.join(plan.arms)}). "
            "Correct it, or add it to arms."
        )
    for i, metric in enumerate(summable(plan.metrics)):
        value = rows[f"v{i}"]
        shares = (value != 0) & (value != 1) & (metric.kind == "proportion")
        counted = rows.aggregate(
            missing=value.isnull().ifelse(1, 0).sum(), shares=shares.ifelse(1, 0).sum()
        )
        found = engine.fetch(counted).to_pylist()[0]
        if found["missing"]:
            raise DataError(
                f"{where}: column {metric.column!r} is empty in {int(found['missing']):,} rows. "
                "Write null: zero for nothing happened, or leave out rows beyond the follow-up "
                "and name source.followed."
            )
        if found["shares"]:
            raise DataError(
                f"{where}: column {metric.column!r} is a proportion and must hold 0 or 1 in each "
                f"period; {int(found['shares']):,} rows do not. Use kind: mean or count."
            )


def _refuse_contradictions(engine: Engine, units: Table, source: Source, where: str) -> None:
    """Units in two arms, twice in a period, or seen after the end of their follow-up."""
    faults = {
        "without an id": units.unit_id.isnull() | (units.unit_id == ""),
        "in two arms": units.arms > 1,
        "with two rows for one period": units.rows > units.different,
    }
    if source.followed:
        last = units["last"]
        faults["with several values of source.followed"] = units.follow_ups > 1
        faults["whose source.followed is no whole number from 0"] = (
            last.isnull() | (last < 0) | (last != last.floor())
        )
        faults["with a row after the end of their follow-up"] = units.seen > last
    counts = {f"fault_{i}": wrong.ifelse(1, 0).sum() for i, wrong in enumerate(faults.values())}
    found = engine.fetch(units.aggregate(**counts)).to_pylist()[0]
    for i, (fault, wrong) in enumerate(faults.items()):
        if found[f"fault_{i}"]:
            bad = units.filter(wrong)
            first = engine.fetch(bad.aggregate(unit=bad.unit_id.min()))["unit"][0].as_py()
            raise DataError(
                f"{where}: there are units {fault} ({int(found[f'fault_{i}']):,} of them, "
                f"{first!r} for one). Bring one row per unit and period."
            )
