"""Sessions: a person's events and own activations, cut where nothing happened for a while.

Actions at the same instant are ordered by source and id. All times are whole microseconds, so that
every engine cuts at the same places, and the order of rows leaves no trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from measure.engine.expressions import (
    Table,
    Value,
    coalesce,
    ifelse,
    literal,
    null,
    row_number,
    union,
    window,
)
from measure.engine.spans import (
    SECOND,
    day_number,
    in_runs,
    microseconds,
    wall_clock,
    zone_offsets,
)
from measure.errors import MissingFile
from measure.journeys.rules import SessionRules
from measure.journeys.sales import table_of

if TYPE_CHECKING:
    from measure.engine.connection import Engine

_PER_UNIT = 10**6
"""Values of events are summed as whole millionths: such sums have no order."""


def session_actions(engine: Engine, rules: SessionRules | None = None) -> Table:
    """One row per action, in the session it belongs to.

    Columns: ``customer_id``, ``session_id``, ``ts``, ``place`` (from 0 in the session), ``elapsed``
    (microseconds since the session began), ``source`` (``activation`` or ``event``), ``id``,
    ``kind`` (of the activation, or the event's name), ``channel``, ``campaign``, ``device``,
    ``value`` (float64; missing where none). A session's id is the customer and the microsecond of
    its begin (since 1970), or the events' own; a second session that begins at the same instant
    gets ``.1``.
    """
    rules = rules or SessionRules()
    actions = _actions(engine, rules)
    splits = ["campaign_cut"] if rules.campaign else []
    if rules.midnight:
        actions = _with_local_day(engine, actions, rules.time_zone)
        splits.append("local_day")
    order = ("moment", "source", "id")
    gap = round(rules.gap_minutes * 60 * SECOND)
    actions = in_runs(actions, ("customer_id", "own"), order, gap, splits)
    if rules.own_ids:
        actions = actions.mutate(run=ifelse(actions.own == "", actions.run, 0))
    return _named(actions)


def sessions(engine: Engine, rules: SessionRules | None = None) -> Table:
    """One row per session; (``customer_id``, ``session_id``) is its key.

    Columns: ``customer_id``, ``session_id``, ``start``, ``end`` (times of the first and the last
    action), ``seconds`` between them (float64), ``depth`` (actions), ``first_channel``,
    ``last_channel`` and ``device`` (of the first action, the last, and the last that says one),
    ``value`` (sum over events, exact to a millionth; 0 without).
    """
    actions = session_actions(engine, rules)
    key = ["customer_id", "session_id"]
    whole = window(group_by=key)
    says = ifelse(actions.device.isnull(), null("int64"), actions.place)
    actions = actions.mutate(size=actions.count().over(whole), device_place=says.max().over(whole))
    at_end = actions.place == actions.size - 1

    def only(column: Value, where: Value) -> Value:
        return ifelse(where, column, null("string")).max()

    millionths = (coalesce(actions.value, literal(0.0)) * float(_PER_UNIT)).round().cast("int64")
    grouped = actions.group_by(key).aggregate(
        start=actions.ts.min(),
        end=actions.ts.max(),
        seconds=actions.elapsed.max().cast("float64") / float(SECOND),
        depth=actions.count().cast("int64"),
        first_channel=only(actions.channel, actions.place == 0),
        last_channel=only(actions.channel, at_end),
        device=only(actions.device, actions.place == actions.device_place),
        value=millionths.sum().cast("int64"),
    )
    return grouped.mutate(value=grouped.value.cast("float64") / float(_PER_UNIT))


def _named(actions: Table) -> Table:
    """Give every session its id, and every action its place in it."""
    session = ["customer_id", "own", "run"]
    whole = window(group_by=session)
    actions = actions.mutate(begun=actions.moment.min().over(whole))
    # Runs of one customer with the same begin are numbered by their run.
    alike = window(group_by=["customer_id", "own", "begun"])
    actions = actions.mutate(repeat=actions.run - actions.run.min().over(alike))
    by_time = actions.customer_id + "@" + actions.begun.cast("string")
    again = ifelse(actions.repeat > 0, literal(".") + actions.repeat.cast("string"), literal(""))
    in_order = window(group_by=session, order_by=["moment", "source", "id"])
    return actions.select(
        "customer_id",
        "ts",
        "source",
        "id",
        "kind",
        "channel",
        "campaign",
        "device",
        "value",
        session_id=ifelse(actions.own != "", actions.own, by_time + again),
        place=row_number().over(in_order).cast("int64"),
        elapsed=actions.moment - actions.begun,
    )


def _actions(engine: Engine, rules: SessionRules) -> Table:
    """Events and activations under the same names; at least one of the tables is needed."""
    parts = []
    if engine.has("events"):
        parts.append(_events(engine, rules))
    if engine.has("activations") and rules.kinds:
        log = table_of(engine, "activations")
        log = log.filter(log.kind.isin(rules.kinds), log.customer_id != "")
        parts.append(
            log.select(
                customer_id=log.customer_id,
                ts=log.ts,
                moment=microseconds(log.ts, engine),
                source=literal("activation"),
                id=log.activation_id,
                kind=log.kind,
                channel=log.channel,
                campaign=log.campaign if "campaign" in log.columns else null("string"),
                device=null("string"),
                value=null("float64"),
                own=literal(""),
            )
        )
    if not parts:
        raise MissingFile.at("table events", "Load it with `truelift load events FILE…`.")
    actions = parts[0] if len(parts) == 1 else union(*parts)
    return actions.mutate(campaign_cut=coalesce(actions.campaign, literal("")))


def _events(engine: Engine, rules: SessionRules) -> Table:
    log = engine.table("events")
    log = log.filter(log.customer_id != "")

    def text(name: str) -> Value:
        return log[name].cast("string").nullif("") if name in log.columns else null("string")

    value = log.value.cast("float64") if "value" in log.columns else null("float64")
    return log.select(
        customer_id=log.customer_id,
        ts=log.ts,
        moment=microseconds(log.ts, engine),
        source=literal("event"),
        id=log.event_id,
        kind=log.name,
        channel=text("channel"),
        campaign=text("campaign"),
        device=text("device"),
        value=value,
        own=coalesce(text("session_id"), literal("")) if rules.own_ids else literal(""),
    )


def _with_local_day(engine: Engine, actions: Table, time_zone: str) -> Table:
    """Add the day that the wall clock showed, counted from 1970."""
    ends = engine.fetch(actions.aggregate(first=actions.ts.min(), last=actions.ts.max()))
    first, last = ends["first"][0].as_py(), ends["last"][0].as_py()
    offsets = [(0, 0)] if first is None else zone_offsets(time_zone, first, last)
    return actions.mutate(local_day=day_number(wall_clock(actions.moment, offsets)))
