"""The two small tables from the engine: one query, grouped per bucket, cohort, channel and move.

Shares of a conversion are summed as whole numbers (trillionths of a conversion, millionths of a
minor unit), because sums of fractions in a threaded engine differ from run to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from measure.engine.expressions import (
    Table,
    Value,
    coalesce,
    ifelse,
    literal,
    moment,
    row_number,
    window,
)
from measure.errors import DataError
from measure.journeys.rules import JourneyRules
from measure.journeys.sales import minor_units
from measure.journeys.tables import (
    BUCKETS,
    RULES,
    Integers,
    PathTables,
    RuleCredits,
    Transitions,
    group_sums,
)
from measure.journeys.touches import currency_of, ends, ordered_touches, people

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.engine.connection import Engine

SALT = "journey-bucket"
"""One salt per purpose: buckets are independent of every assignment."""

_PER_CONVERSION = 10**12
_PER_MINOR = 10**6
_KEYS = ("bucket", "cohort", "channel", "following", "ends")


def path_tables(
    engine: Engine,
    rules: JourneyRules,
    *,
    cohort_dimension: str | None = None,
    half_life_days: float = 7.0,
    buckets: int = BUCKETS,
    models: Sequence[str] = RULES,
) -> PathTables:
    """Run the query and code its rows; value is net of refunds, in major units.

    ``models`` says which rules are credited; the transitions are always there.
    """
    wanted = tuple(rule for rule in RULES if rule in models)
    currency = currency_of(engine, rules)
    moves = engine.fetch(
        _grouped_moves(engine, rules, wanted, cohort_dimension, half_life_days, buckets)
    )
    if not moves.num_rows:
        raise DataError(
            f"activations has no touch of the kinds {', '.join(rules.kinds)} in the period, so "
            "there is nothing to credit."
        )
    per_major = minor_units(currency)
    codes = _Codes(moves, buckets)
    transitions = _transitions(codes, moves, per_major)
    sold, net = _all_sales(engine, rules)
    at_end = transitions.state_to == len(codes.channels) + 1
    return PathTables(
        codes.channels,
        cohort_dimension,
        codes.cohorts if cohort_dimension is not None else (),
        buckets,
        transitions,
        _credits(codes, moves, wanted, per_major),
        float(sold - transitions.n[at_end].sum()),
        net / per_major - float(transitions.value[at_end].sum()),
        currency,
    )


def _grouped_moves(
    engine: Engine,
    rules: JourneyRules,
    wanted: Sequence[str],
    dimension: str | None,
    half_life_days: float,
    buckets: int,
) -> Table:
    """Counts, credits and value per bucket, cohort, channel, next channel and kind of end."""
    from measure.engine.bucketing import bucket_column

    touches = ordered_touches(engine, rules)
    persons = engine.table("activations")
    persons = persons.select(person=persons.customer_id)
    who = people(engine, dimension, persons)
    who = who.mutate(bucket=bucket_column(who.person, SALT, engine) % buckets)
    weighted = with_shares(touches, wanted, half_life_days)
    rows = weighted.inner_join(who, "person")
    is_last = rows.position == rows.touches - 1
    rows = rows.mutate(
        following=coalesce(rows.following, literal("")),
        ends=ifelse(is_last, ifelse(rows.converted == 1, 1, 2), 0),
    )
    return rows.group_by(_KEYS).aggregate(**_sums(rows, wanted))


def with_shares(touches: Table, wanted: Sequence[str], half_life_days: float) -> Table:
    """Add each touch's share of its conversion under each rule, a fraction of 1."""
    whole = window(group_by=[touches.person, touches.journey, touches.converted])
    one = touches.converted.cast("float64")
    shares = {
        "first": ifelse(touches.position == 0, one, 0.0),
        "last": ifelse(touches.position == touches.touches - 1, one, 0.0),
        "linear": one / touches.touches.cast("float64"),
    }
    if "time_decay" in wanted:
        # A whole number, because its sum is the divisor of every share.
        halvings = touches.age_days * (-1.0 / half_life_days)
        strength = (literal(2.0**40) * literal(2.0) ** halvings).round().cast("int64")
        total = strength.sum().over(whole).cast("float64")
        shares["time_decay"] = one * strength.cast("float64") / total
    if "shapley" in wanted:
        touches = _marked_new(touches)
        total = touches.is_new.sum().over(whole).cast("float64")
        shares["shapley"] = one * touches.is_new.cast("float64") / total
    return touches.mutate(**{f"{rule}_share": shares[rule] for rule in wanted})


def _marked_new(touches: Table) -> Table:
    """Mark the first touch of each channel of a journey."""
    key = [touches.person, touches.journey, touches.converted, touches.channel]
    in_channel = window(group_by=key, order_by=[touches.position])
    return touches.mutate(is_new=ifelse(row_number().over(in_channel) == 0, 1, 0))


def _sums(rows: Table, wanted: Sequence[str]) -> Mapping[str, Value]:
    """All sums of one group, as whole numbers."""

    def whole(value: Value) -> Value:
        return value.round().cast("int64").sum().cast("int64")

    ends = ifelse(rows.ends == 1, rows.net, 0)
    sums = {
        "n": rows.count(),
        "starts": ifelse(rows.position == 0, 1, 0).sum().cast("int64"),
        "value": ends.sum().cast("int64"),
    }
    for rule in wanted:
        share = rows[f"{rule}_share"]
        sums[f"{rule}_conversions"] = whole(share * float(_PER_CONVERSION))
        sums[f"{rule}_value"] = whole(share * rows.net.cast("float64") * float(_PER_MINOR))
    return sums


def _all_sales(engine: Engine, rules: JourneyRules) -> tuple[int, int]:
    """Counted conversions in the period and their net value in minor units, touched or not."""
    sold = ends(engine, rules)
    if rules.start is not None:
        sold = sold.filter(sold.ts >= moment(rules.start, sold.ts))
    if rules.end is not None:
        sold = sold.filter(sold.ts < moment(rules.end, sold.ts))
    row = engine.fetch(sold.aggregate(n=sold.count(), net=sold.net.sum().cast("int64"))).to_pylist()
    return int(row[0]["n"]), int(row[0]["net"] or 0)


class _Codes:
    """Integer codes of the group keys; channels and cohorts count in sorted order."""

    def __init__(self, moves: pa.Table, buckets: int) -> None:
        self.buckets = buckets
        self.channels = _names(moves, "channel")
        self.cohorts = _names(moves, "cohort")
        self.bucket = _column(moves, "bucket").astype(np.int64)
        self.cohort = _coded(moves, "cohort", self.cohorts)
        self.channel = _coded(moves, "channel", self.channels)
        ends = _column(moves, "ends").astype(np.int64)
        moving = ends == 0
        self.target = ends + len(self.channels)
        self.target[moving] = _coded(moves.filter(moving), "following", self.channels) + 1


def _transitions(codes: _Codes, moves: pa.Table, per_major: int) -> Transitions:
    """Moves between channels together with the moves out of the start."""
    starts = _column(moves, "starts")
    begun = np.flatnonzero(starts > 0)
    states = len(codes.channels) + 3
    group = codes.cohort * codes.buckets + codes.bucket
    inner = (group * states + codes.channel + 1) * states + codes.target
    outer = group[begun] * states * states + codes.channel[begun] + 1
    key, (n, value) = group_sums(
        np.concatenate([inner, outer]),
        len(codes.cohorts) * codes.buckets * states * states,
        np.concatenate([_column(moves, "n"), starts[begun]]),
        np.concatenate([_column(moves, "value"), np.zeros(len(begun))]),
    )
    group, move = np.divmod(key, states * states)
    cohort, bucket = np.divmod(group, codes.buckets)
    return Transitions(bucket, cohort, move // states, move % states, n, value / per_major)


def _credits(codes: _Codes, moves: pa.Table, wanted: Sequence[str], per_major: int) -> RuleCredits:
    """Credits per bucket, cohort and channel, from whole-number sums."""
    channels = len(codes.channels)
    key = (codes.cohort * codes.buckets + codes.bucket) * channels + codes.channel
    names = [f"{rule}_{what}" for what in ("conversions", "value") for rule in wanted]
    columns = [_column(moves, name) for name in names]
    size = len(codes.cohorts) * codes.buckets * channels
    present, sums = group_sums(key, size, *columns)
    found = dict(zip(names, sums, strict=True))
    cohort, bucket = np.divmod(present // channels, codes.buckets)
    per_value = float(_PER_MINOR * per_major)
    return RuleCredits(
        bucket,
        cohort,
        present % channels,
        {rule: found[f"{rule}_conversions"] / _PER_CONVERSION for rule in wanted},
        {rule: found[f"{rule}_value"] / per_value for rule in wanted},
    )


def _names(moves: pa.Table, column: str) -> tuple[str, ...]:
    return tuple(sorted(moves[column].unique().to_pylist()))


def _coded(moves: pa.Table, column: str, names: tuple[str, ...]) -> Integers:
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pc.index_in(moves[column], value_set=pa.array(names))
    return np.asarray(codes, dtype=np.int64)


def _column(moves: pa.Table, name: str) -> Any:
    return np.asarray(moves[name])
