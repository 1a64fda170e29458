"""Micro-conversions: when each happened, for metrics of an experiment and as ends of journeys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from measure.engine.expressions import (
    Table,
    coalesce,
    ifelse,
    interval,
    literal,
    row_number,
    union,
    window,
)
from measure.engine.spans import SECOND
from measure.errors import InputError
from measure.journeys.rules import MicroConversion, SessionRules
from measure.journeys.sales import table_of
from measure.journeys.sessions import session_actions

if TYPE_CHECKING:
    from measure.engine.connection import Engine


def micro_conversions(
    engine: Engine, declared: Sequence[MicroConversion], rules: SessionRules | None = None
) -> Table:
    """Each time one happened: ``name``, ``customer_id``, ``ts``, ``id`` (of the event or action).

    An event counts every time; a session counts once, at the action that made it deep or long
    enough, so that nothing later decides whether it had happened.
    """
    in_sessions = [micro for micro in declared if micro.event is None]
    actions = session_actions(engine, rules) if in_sessions else None
    parts = []
    for micro in declared:
        if micro.event is not None or actions is None:
            found = _events(engine, str(micro.event))
        else:
            found = _first_reached(actions, micro)
        parts.append(found.select("customer_id", "ts", "id", name=literal(micro.name)))
    return parts[0] if len(parts) == 1 else union(*parts)


def micro_outcomes(
    engine: Engine,
    assigned: Table,
    window_days: int,
    declared: Sequence[MicroConversion],
    rules: SessionRules | None = None,
) -> Table:
    """Which of them each assigned unit reached within its window, and how often.

    ``assigned`` has ``unit_id`` and ``assigned_at``; the window is half-open and begins there. One
    row per unit: ``unit_id`` and per micro-conversion a column of its name (0/1) and one with
    ``_count``. A session that began before the assignment counts if it got deep or long enough
    after it.
    """
    happened = micro_conversions(engine, declared, rules)
    begin = assigned.assigned_at
    ts = happened.ts.cast(begin.type())
    joined = assigned.left_join(
        happened,
        [
            assigned.unit_id == happened.customer_id,
            ts >= begin,
            ts < begin + interval(days=window_days),
        ],
    )
    counts = {
        f"{micro.name}_count": ifelse(coalesce(joined.name, literal("")) == micro.name, 1, 0)
        .sum()
        .cast("int64")
        for micro in declared
    }
    found = joined.group_by("unit_id").aggregate(**counts)
    ever = {
        micro.name: ifelse(found[f"{micro.name}_count"] > 0, 1, 0).cast("int64")
        for micro in declared
    }
    return found.mutate(**ever)


def of_column(column: str) -> tuple[MicroConversion, bool] | None:
    """What a metric's column asks for, and whether it asks how often; ``None`` for other columns.

    ``event:NAME``, ``session_depth:5`` and ``session_seconds:60`` are 0 or 1 per unit; with
    ``:count`` at the end they are numbers. :class:`InputError` says what is wrong with one.
    """
    form, colon, given = column.partition(":")
    if form not in _FORMS or not colon:
        return None
    counted = given.endswith(":count")
    value = given.removesuffix(":count")
    try:
        return MicroConversion.model_validate({"name": form, _FORMS[form]: value}), counted
    except ValidationError as error:
        rule = f"must be {form}: and then {_MEANT[form]}"
        raise InputError.rule("column", column, rule) from error


_FORMS = {"event": "event", "session_depth": "depth", "session_seconds": "seconds"}
_MEANT = {
    "event": "the name of an event",
    "session_depth": "a whole number of actions, at least 2",
    "session_seconds": "a number of seconds above 0",
}


def column_outcomes(
    engine: Engine,
    assigned: Table,
    window_days: int,
    columns: Sequence[str],
    rules: SessionRules | None = None,
) -> Table | None:
    """One row per unit with the columns that :func:`of_column` knows; ``None`` without any."""
    asked = {column: found for column in columns if (found := of_column(column)) is not None}
    if not asked:
        return None
    named = {
        column: (micro.model_copy(update={"name": f"step_{i}"}), counted)
        for i, (column, (micro, counted)) in enumerate(asked.items())
    }
    declared = [micro for micro, _ in named.values()]
    found = micro_outcomes(engine, assigned, window_days, declared, rules)
    return found.select(
        "unit_id",
        **{
            column: found[f"{micro.name}_count" if counted else micro.name]
            for column, (micro, counted) in named.items()
        },
    )


def _events(engine: Engine, name: str) -> Table:
    events = table_of(engine, "events")
    events = events.filter(events.name == name, events.customer_id != "")
    return events.select("customer_id", "ts", id=events.event_id)


def _first_reached(actions: Table, micro: MicroConversion) -> Table:
    """The action of each session with which it got deep or long enough."""
    if micro.depth is not None:
        return actions.filter(actions.place == micro.depth - 1)
    late = actions.filter(actions.elapsed >= round((micro.seconds or 0) * SECOND))
    first = window(group_by=["customer_id", "session_id"], order_by=["place"])
    late = late.mutate(order=row_number().over(first))
    return late.filter(late.order == 0)
