"""Arms for given units, and for the whole population inside the engine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from designs.assignment.hashing import bucket, normalize_id
from designs.assignment.steps import Outcome, arm_salt, arm_thresholds, gates
from designs.experiment import EVERY_CHANNEL, Consent, Experiment
from measure.errors import InputError, UnknownName
from measure.results import Result

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.engine.connection import Engine
    from measure.engine.expressions import Column, Table, Value

LOOSE_IDS = 2_000
"""From this many loose ids on, they are hashed in the engine."""

_IDS = "truelift_loose_ids"


@dataclass(frozen=True, slots=True)
class Assignment(Result):
    """What became of one unit; ``arm`` is ``None`` unless the outcome is ``assigned``."""

    unit_id: str
    outcome: Outcome
    arm: str | None


def assign(experiment: Experiment, unit_ids: Sequence[str]) -> tuple[Assignment, ...]:
    """Holdout, slot, ramp and arm of given units, in the order given.

    Whether a unit is eligible and has consented is not known from its id: the caller has seen to
    it, or uses :func:`population_query`. :class:`InputError` when an id is unusable.
    """
    if len(unit_ids) < LOOSE_IDS:
        return tuple(_assign_few(experiment, unit_ids))
    return _assign_many(experiment, unit_ids)


def assignment_query(
    engine: Engine, experiment: Experiment, assigned_at: datetime | None = None
) -> Table:
    """The population's assignments: one row per unit with an arm (unit_id, arm, assigned_at)."""
    table = population_query(engine, experiment, assigned_at)
    assigned = table.filter(table.outcome == Outcome.ASSIGNED.value)
    return assigned.select("unit_id", "arm", "assigned_at")


def population_query(
    engine: Engine, experiment: Experiment, assigned_at: datetime | None = None
) -> Table:
    """What becomes of every customer: (unit_id, outcome, arm, assigned_at).

    Eligibility and consent are judged as they were on record at ``assigned_at`` (aware), which is
    the schedule's start when it is not given.
    """
    from measure.engine.expressions import literal

    at = _assignment_time(experiment, assigned_at)
    units = _with_buckets(_candidates(engine, experiment, at), experiment, engine)
    recorded = [
        (units.eligible == 0, Outcome.NOT_ELIGIBLE),
        (units.consented == 0, Outcome.NO_CONSENT),
    ]
    outcome = _first_of([*recorded, *_refusals(units, experiment)], Outcome.ASSIGNED)
    return _with_arm(units.mutate(outcome=outcome), experiment).select(
        "unit_id", "outcome", "arm", assigned_at=literal(at)
    )


def _assign_few(experiment: Experiment, unit_ids: Sequence[str]) -> Iterator[Assignment]:
    """Hash in Python, one id after the other."""
    passages, salt = gates(experiment), arm_salt(experiment)
    arms, ends = zip(*arm_thresholds(experiment), strict=True)
    for unit_id in unit_ids:
        refused = next((g for g in passages if not g.passes(bucket(g.salt, unit_id))), None)
        if refused is None:
            arm = arms[bisect_right(ends, bucket(salt, unit_id))]
            yield Assignment(unit_id, Outcome.ASSIGNED, arm)
        else:
            yield Assignment(unit_id, refused.otherwise, None)


def _assign_many(experiment: Experiment, unit_ids: Sequence[str]) -> tuple[Assignment, ...]:
    """Hash in the embedded engine; ids travel as Arrow and come back in order."""
    from measure.engine.connection import connect

    with connect("duckdb://") as engine:
        units = _with_buckets(engine.register(_IDS, _numbered(unit_ids)), experiment, engine)
        outcome = _first_of(_refusals(units, experiment), Outcome.ASSIGNED)
        query = _with_arm(units.mutate(outcome=outcome), experiment)
        found = engine.fetch(query.select("position", "outcome", "arm").order_by("position"))
    columns = (found["outcome"].to_pylist(), found["arm"].to_pylist())
    outcomes = {outcome.value: outcome for outcome in Outcome}
    return tuple(
        Assignment(unit_id, outcomes[name], arm)
        for unit_id, name, arm in zip(unit_ids, *columns, strict=True)
    )


def _numbered(unit_ids: Iterable[str]) -> pa.Table:
    import pyarrow as pa

    normal = [normalize_id(unit_id) for unit_id in unit_ids]
    return pa.table({"position": range(len(normal)), "unit_id": pa.array(normal, pa.string())})


def _with_buckets(units: Table, experiment: Experiment, engine: Engine) -> Table:
    """Add one bucket column per purpose that the experiment uses."""
    from measure.engine.bucketing import bucket_column

    salts = {gate.purpose.value: gate.salt for gate in gates(experiment)}
    salts["arm"] = arm_salt(experiment)
    buckets = {
        f"bucket_{purpose}": bucket_column(units.unit_id, salt, engine)
        for purpose, salt in salts.items()
    }
    return units.mutate(**buckets)


def _refusals(units: Table, experiment: Experiment) -> list[tuple[Value, Outcome]]:
    """The condition under which each gate refuses, with the outcome it leads to."""
    refused = []
    for gate in gates(experiment):
        column = units[f"bucket_{gate.purpose.value}"]
        refused.append(((column < gate.first) | (column >= gate.end), gate.otherwise))
    return refused


def _first_of(branches: Iterable[tuple[Value, Outcome]], otherwise: Outcome) -> Value:
    """The outcome of the first condition that is true."""
    from measure.engine.expressions import cases, literal

    worded = [(condition, outcome.value) for condition, outcome in branches]
    return cases(*worded, else_=otherwise.value) if worded else literal(otherwise.value)


def _with_arm(units: Table, experiment: Experiment) -> Table:
    """Add the arm of units whose outcome is ``assigned``; the others have none."""
    from measure.engine.expressions import cases, ifelse, null

    *others, last = arm_thresholds(experiment)
    arm = cases(*((units.bucket_arm < end, name) for name, end in others), else_=last.arm)
    assigned = units.outcome == Outcome.ASSIGNED.value
    return units.mutate(arm=ifelse(assigned, arm, null("string")))


def _candidates(engine: Engine, experiment: Experiment, at: datetime) -> Table:
    """Every customer with ``eligible`` and ``consented`` as 0 or 1."""
    from measure.engine.expressions import coalesce, ifelse, literal

    customers = engine.table(experiment.population.table)
    present = ifelse(customers.first_seen_at <= _moment(at, customers.first_seen_at), 1, 0)
    for name, value in experiment.population.where.items():
        if name not in customers.columns:
            raise UnknownName.of("attribute", name, customers.columns, "customers")
        present = present * coalesce(ifelse(customers[name].cast("string") == value, 1, 0), 0)
    units = customers.select(unit_id=customers.customer_id, eligible=coalesce(present, 0))
    if experiment.consent is None:
        return units.mutate(consented=literal(1))
    granted = _consents(engine, experiment.consent, at)
    joined = units.left_join(granted, units.unit_id == granted.customer_id)
    return joined.select("unit_id", "eligible", consented=coalesce(joined.granted, 0))


def _consents(engine: Engine, consent: Consent, at: datetime) -> Table:
    """Customers who consented, with ``granted`` = 1.

    The records whose validity covers the time, for the channel and for every channel, compete on
    equal terms: the one recorded last decides, and of a tie the refusal.
    """
    from measure.engine.expressions import ifelse, literal, null

    table = engine.table("consents")
    known = table.filter(
        table.purpose == consent.purpose,
        table.channel.isin(sorted({consent.channel, EVERY_CHANNEL})),
        table.recorded_at <= _moment(at, table.recorded_at),
        table.valid_from <= _moment(at, table.valid_from),
        table.valid_to.isnull() | (table.valid_to > _moment(at, table.valid_to)),
    )
    nothing = null().cast(known.recorded_at.type())
    last = known.group_by("customer_id").aggregate(
        yes=ifelse(known.granted, known.recorded_at, nothing).max(),
        no=ifelse(known.granted, nothing, known.recorded_at).max(),
    )
    granted = last.filter(last.yes.notnull(), last.no.isnull() | (last.yes > last.no))
    return granted.select("customer_id", granted=literal(1))


def _assignment_time(experiment: Experiment, assigned_at: datetime | None) -> datetime:
    at = assigned_at or (experiment.schedule.start if experiment.schedule else None)
    if at is None:
        raise InputError.rule(
            "schedule.start", None, "is needed to assign a population", "Add schedule: {start: …}."
        )
    if at.tzinfo is None:
        raise InputError.rule("assigned_at", at.isoformat(), "must say its time zone")
    return at.astimezone(UTC)


def _moment(at: datetime, like: Column) -> Any:
    """A time in UTC as a literal of a column's kind, with a time zone or without."""
    from measure.engine.expressions import literal

    return literal(at if like.type().timezone else at.replace(tzinfo=None))
