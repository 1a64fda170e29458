"""Values of features for people at points in time: one grouped query per set of rows.

A row counts for a person at a time if it happened strictly before that time and was not received
after it. Everything is computed from ages in whole microseconds and from whole-number sums, so the
order of rows and the number of threads leave no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from measure.currency import minor_digits
from measure.engine.clock_offsets import on_corrected_time
from measure.engine.contracts import CONTRACTS, COUNTED
from measure.engine.expressions import (
    Table,
    Value,
    coalesce,
    desc,
    ifelse,
    least,
    literal,
    null,
    row_number,
    window,
)
from measure.engine.spans import DAY, day_number, in_runs, microseconds
from measure.errors import DataError, MissingFile
from measure.people.feature_scores import with_scores
from measure.people.features import Feature, Features, Rows

if TYPE_CHECKING:
    from measure.engine.connection import Engine

KEY = ("customer_id", "at")
"""What a value belongs to."""

_ENDINGS = ("", "__n", "__age")
"""Sums of one feature stand in columns of its name with these endings."""
_NEVER = 1_000.0
"""Half-lives after which nothing is left, in any float; some engines refuse smaller powers of 2."""
_GRAIN = 2.0**40
"""An action of no age, as a whole number: sums of whole numbers have no order."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Rows that several features share, numbered into sessions where a feature asks for them."""

    of: Rows
    currency: str | None = None
    gap_minutes: float | None = None

    @classmethod
    def of_feature(cls, feature: Feature) -> _Source:
        in_sessions = feature.kind == "session_depth"
        return cls(feature.of, feature.currency, feature.gap_minutes if in_sessions else None)


def feature_values(
    engine: Engine,
    features: Features | Sequence[Feature],
    pairs: Table,
    *,
    consented: Table | None = None,
) -> Table:
    """Each feature for each distinct pair of ``customer_id`` and ``at`` (a point in time).

    Columns: ``customer_id``, ``at``, and one per feature under its name: float64, or text where
    the feature is a word. Without a visible action counts, sums and decayed sums are 0, everything
    else is missing. ``consented`` has columns ``customer_id`` and ``at``; pairs that are not in it
    are left out. Pairs without a time are left out too.
    """
    declared = features if isinstance(features, Features) else Features(features=tuple(features))
    asked = pairs.select(*KEY).filter(pairs.at.notnull()).distinct()
    if consented is not None:
        asked = asked.semi_join(consented.select(*KEY).distinct(), KEY)
    by_source: dict[_Source, list[Feature]] = {}
    for feature in declared.features:
        by_source.setdefault(_Source.of_feature(feature), []).append(feature)
    found = asked
    for source, mine in by_source.items():
        visible = _visible(engine, source, asked)
        sums: dict[str, Value] = {}
        for feature in mine:
            sums |= _sums(feature, visible)
        grouped = visible.group_by(KEY).aggregate(**sums)
        grouped = grouped.rename(seen_id="customer_id", seen_at="at")
        on = [found.customer_id == grouped.seen_id, found.at == grouped.seen_at]
        found = found.left_join(grouped, on).drop("seen_id", "seen_at")
    scored = with_scores(found, [f for f in declared.features if f.kind == "rfm"])
    return scored.select(*KEY, **{f.name: _value(f, scored) for f in declared.features})


def _visible(engine: Engine, source: _Source, asked: Table) -> Table:
    """Rows that each pair may see, with their age in microseconds and place from the newest.

    Columns beside the key: ``age``, ``id``, ``newest`` (0 for the last row; the greater id is later
    at the same instant), ``device``, ``value``, ``moment`` and ``now`` (microseconds since 1970),
    and ``run`` (sessions, from 0 for the first) where asked for.
    """
    rows = _rows(engine, source)
    asked = asked.mutate(now=microseconds(asked.at, engine))
    joined = asked.inner_join(
        rows,
        [
            asked.customer_id == rows.person,
            rows.moment < asked.now,
            coalesce(rows.received <= asked.now, literal(True)),  # noqa: FBT003 (no keyword)
        ],
    )
    seen = joined.mutate(age=joined.now - joined.moment)
    if source.of.table == "conversions":
        copies = window(group_by=[*KEY, "order_id"], order_by=[desc("age"), "id"])
        seen = seen.mutate(copy=row_number().over(copies))
        seen = seen.filter(seen.copy == 0)
    backwards = window(group_by=list(KEY), order_by=["age", desc("id")])
    seen = seen.mutate(newest=row_number().over(backwards))
    if source.of.table == "events":
        known = ifelse(seen.device.isnull(), 1, 0)
        with_device = window(group_by=list(KEY), order_by=[known, seen.age, desc("id")])
        seen = seen.mutate(newest_device=row_number().over(with_device))
    if source.gap_minutes is None:
        return seen
    seen = in_runs(seen, KEY, ("moment", "id"), round(source.gap_minutes * 60_000_000))
    whole = window(group_by=list(KEY))
    in_run = window(group_by=[*KEY, "run"])
    return seen.mutate(runs=seen.run.max().over(whole) + 1, depth=seen.count().over(in_run))


def _rows(engine: Engine, source: _Source) -> Table:
    """The rows of a source under the same names, whatever their table."""
    name = source.of.table
    if not engine.has(name):
        raise MissingFile.at(f"table {name}", f"Load it with `truelift load {name} FILE…`.")
    table = on_corrected_time(engine, name)
    kept = {
        "person": table.customer_id,
        "id": table[CONTRACTS[name].key[0]],
        "moment": microseconds(table.ts, engine),
        "received": _received(engine, name, table),
    }
    if name == "conversions":
        wanted = [table.status.isin(COUNTED)]
        if source.currency is not None:
            wanted.append(table.currency == source.currency)
        kept |= {"order_id": table.order_id, "value": table.value.cast("int64")}
        return table.filter(wanted).select(**kept)
    wanted = [table.customer_id != ""]
    if source.of.names:
        wanted.append(table["name" if name == "events" else "kind"].isin(source.of.names))
    if source.of.channels:
        wanted.append(table.channel.isin(source.of.channels))
    if name == "events":
        has = "device" in table.columns
        kept["device"] = table.device.nullif("") if has else null("string")
    return table.filter(wanted).select(**kept)


def _received(engine: Engine, name: str, table: Table) -> Value:
    """When a row was received, in microseconds; missing where nobody wrote it down."""
    if "received_at" not in table.columns:
        return null("int64")
    if not table.received_at.type().is_timestamp():
        kind = table.received_at.type()
        raise DataError(f"table {name}: received_at is {kind}, must be a time. Load it again.")
    return microseconds(table.received_at, engine)


def _sums(feature: Feature, rows: Table) -> dict[str, Value]:
    """What a feature needs of the rows of one pair, in one group; its own name comes first."""
    inside = rows.age > 0
    if feature.window_days is not None:
        inside = rows.age <= round(feature.window_days * DAY)
    parts = _SUMS[feature.kind](feature, rows, inside)
    return {feature.name + ending: part for ending, part in zip(_ENDINGS, parts, strict=False)}


def _count(condition: Value) -> Value:
    return ifelse(condition, 1, 0).sum().cast("int64")


def _recency(_: Feature, rows: Table, __: Value) -> tuple[Value, ...]:
    return (rows.age.min(),)


def _frequency(_: Feature, __: Table, inside: Value) -> tuple[Value, ...]:
    return (_count(inside),)


def _gap(feature: Feature, rows: Table, inside: Value) -> tuple[Value, ...]:
    last = rows.age.min(where=inside)
    if feature.statistic == "last":
        return (rows.age.max(where=inside & (rows.newest == 1)) - last,)
    return rows.age.max(where=inside) - last, _count(inside) - 1


def _decay(feature: Feature, rows: Table, _: Value) -> tuple[Value, ...]:
    halvings = rows.age.cast("float64") / (float(feature.half_life_days or 1) * DAY)
    strength = literal(2.0) ** (literal(0.0) - least(halvings, literal(_NEVER)))
    return ((strength * _GRAIN).round().cast("int64").sum().cast("int64"),)


def _change(_: Feature, rows: Table, inside: Value) -> tuple[Value, ...]:
    return _count(inside), rows.count(), rows.age.max()


def _lifetime(feature: Feature, rows: Table, _: Value) -> tuple[Value, ...]:
    """Number, first, last and now, in days where days count, else in microseconds."""
    moment, now, number = rows.moment, rows.now, rows.count()
    if feature.per_day:
        moment, now = day_number(moment), day_number(now)
        number = moment.nunique()
    sums = {
        "frequency": number - 1,
        "recency": moment.max() - moment.min(),
        "age": now.max() - moment.min(),
    }
    return (sums[str(feature.statistic)].cast("int64"),)


def _money(_: Feature, rows: Table, inside: Value) -> tuple[Value, ...]:
    return rows.value.sum(where=inside).cast("int64"), _count(inside)


def _session_depth(feature: Feature, rows: Table, _: Value) -> tuple[Value, ...]:
    if feature.statistic == "last":
        return (_count(rows.run == rows.runs - 1),)
    if feature.statistic == "most":
        return (rows.depth.max().cast("int64"),)
    return rows.count(), rows.runs.max().cast("int64")


def _device(feature: Feature, rows: Table, inside: Value) -> tuple[Value, ...]:
    if feature.statistic == "last":
        last = (rows.newest_device == 0) & inside
        return (ifelse(last, rows.device, null("string")).max(),)
    return _count(inside & (rows.device == feature.device)), _count(inside & rows.device.notnull())


def _rfm(_: Feature, rows: Table, inside: Value) -> tuple[Value, ...]:
    money = rows.value.sum(where=inside).cast("int64")
    return money, _count(inside), rows.age.min(where=inside)


_SUMS: Mapping[str, Callable[[Feature, Table, Value], tuple[Value, ...]]] = {
    "recency": _recency,
    "frequency": _frequency,
    "gap": _gap,
    "decay": _decay,
    "change": _change,
    "lifetime": _lifetime,
    "money": _money,
    "session_depth": _session_depth,
    "device": _device,
    "rfm": _rfm,
}
"""Per kind: its number, the number of parts it is divided by, and an age."""

_ZERO = ("frequency", "decay")
"""Kinds of which somebody without an action has none, rather than an unknown number."""


def _value(feature: Feature, found: Table) -> Value:
    """The feature itself, from the sums of its pair."""
    column = found[feature.name]
    if feature.is_text:
        return column
    number = column.cast("float64")
    if feature.kind == "change":
        return _doublings(feature, found)
    if feature.kind == "decay":
        number = number / _GRAIN
    elif feature.kind == "money":
        number = number / float(10 ** minor_digits(str(feature.currency)))
    elif feature.unit == "days" and not feature.per_day:
        number = number / float(DAY)
    if feature.kind in _ZERO or (feature.kind, feature.statistic) == ("money", "sum"):
        return coalesce(number, literal(0.0))
    if feature.kind in ("gap", "money", "session_depth", "device"):
        return number / _parts(feature, found)
    return number


def _parts(feature: Feature, found: Table) -> Value:
    name = f"{feature.name}__n"
    if name not in found.columns:
        return literal(1.0)
    return found[name].nullif(0).cast("float64")


def _doublings(feature: Feature, found: Table) -> Value:
    """Log2 of the ratio of rates; a person's own past must reach beyond the window."""
    days = float(feature.window_days or 0)
    recent = found[feature.name].cast("float64")
    before = found[f"{feature.name}__n"].cast("float64") - recent
    past = found[f"{feature.name}__age"].cast("float64") / float(DAY) - days
    past = ifelse(past > 0, past, null("float64"))
    return (((recent + 0.5) / days) / ((before + 0.5) / past)).ln() / log(2)
