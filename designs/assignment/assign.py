"""Arms for given units, and for the whole population inside the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import TYPE_CHECKING

from designs.assignment.declared import JOINED_BY
from designs.assignment.hashing import SPACE, Threshold, bucket, normalize_id
from designs.assignment.population import assignment_time, candidates
from designs.assignment.steps import Draw, Outcome, arm_named, cluster_key, draws, gates
from designs.experiment import Experiment
from measure.errors import InputError
from measure.results import Result

if TYPE_CHECKING:
    import pyarrow as pa

    from measure.engine.connection import Engine
    from measure.engine.expressions import Table, Value

LOOSE_IDS = 2_000
"""From this many loose ids on, they are hashed in the engine."""

_IDS = "truelift_loose_ids"


@dataclass(frozen=True, slots=True)
class Assignment(Result):
    """What became of one unit; ``arm`` is ``None`` unless the outcome is ``assigned``."""

    unit_id: str
    outcome: Outcome
    arm: str | None


def assign(
    experiment: Experiment,
    unit_ids: Sequence[str],
    *,
    clusters: Sequence[str | None] | None = None,
    cohorts: Sequence[str | None] | None = None,
) -> tuple[Assignment, ...]:
    """Holdout, slot, ramp and arm of given units, in the order given.

    ``clusters`` (one per unit, ``None`` for a unit on its own) is needed by an experiment with
    ``cluster``, ``cohorts`` (values of the attribute) by one with ``allocation``. Whether a unit is
    eligible and has consented is not known from its id: the caller has seen to it, or uses
    :func:`population_query`. :class:`InputError` when an id is unusable, when what is needed
    is missing, or when the experiment draws its whole population at once (``balance``).
    """
    n = len(unit_ids)
    shared = _one_each("clusters", clusters, n, needed=experiment.cluster is not None)
    values = _one_each("cohorts", cohorts, n, needed=experiment.allocation is not None)
    if n < LOOSE_IDS:
        return tuple(_assign_few(experiment, unit_ids, shared, values))
    return _assign_many(experiment, unit_ids, shared, values)


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
    the schedule's start when it is not given. :class:`InputError` for an experiment that draws its
    whole population at once: :func:`designs.assignment.balance.balanced_population` does.
    """
    from measure.engine.expressions import literal

    at = assignment_time(experiment, assigned_at)
    draws(experiment)
    units = gated_query(engine, experiment, at)
    return _with_arm(units, experiment, engine).select(
        "unit_id", "outcome", "arm", assigned_at=literal(at)
    )


def gated_query(engine: Engine, experiment: Experiment, at: datetime) -> Table:
    """Every customer with the outcome of all steps before the arm; ``assigned`` passed them all."""
    units = candidates(engine, experiment, at)
    recorded = [
        (units.eligible == 0, Outcome.NOT_ELIGIBLE),
        (units.consented == 0, Outcome.NO_CONSENT),
    ]
    return units.mutate(outcome=_first_of([*recorded, *_refusals(units, experiment, engine)]))


def _one_each(
    name: str,
    given: Sequence[str | None] | None,
    n: int,
    *,
    needed: bool,
) -> Iterable[str | None]:
    if not needed:
        return repeat(None, n)
    if given is None or len(given) != n:
        count = "none" if given is None else f"{len(given):,}"
        raise InputError(
            f"{name}: {count} given for {n:,} units; this experiment needs one for each, None "
            "where there is none."
        )
    return given


def _assign_few(
    experiment: Experiment,
    unit_ids: Sequence[str],
    clusters: Iterable[str | None],
    cohorts: Iterable[str | None],
) -> Iterator[Assignment]:
    """Hash in Python, one id after the other."""
    passages, levels = gates(experiment), draws(experiment)
    for unit_id, cluster, cohort in zip(unit_ids, clusters, cohorts, strict=True):
        unit = normalize_id(unit_id)
        shared = cluster_key(experiment, unit, cluster)
        refused = next(
            (g for g in passages if not g.passes(bucket(g.salt, shared if g.by_cluster else unit))),
            None,
        )
        if refused is None:
            drawn = [d.ends(cohort)[d.owner(bucket(d.salt, shared), cohort)].arm for d in levels]
            yield Assignment(unit_id, Outcome.ASSIGNED, arm_named(drawn))
        else:
            yield Assignment(unit_id, refused.otherwise, None)


def _assign_many(
    experiment: Experiment,
    unit_ids: Sequence[str],
    clusters: Iterable[str | None],
    cohorts: Iterable[str | None],
) -> tuple[Assignment, ...]:
    """Hash in the embedded engine; ids travel as Arrow and come back in order."""
    from measure.engine.connection import connect

    loose = _numbered(experiment, unit_ids, clusters, cohorts)
    with connect("duckdb://") as engine:
        units = engine.register(_IDS, loose)
        gated = units.mutate(outcome=_first_of(_refusals(units, experiment, engine)))
        query = _with_arm(gated, experiment, engine)
        found = engine.fetch(query.select("position", "outcome", "arm").order_by("position"))
    columns = (found["outcome"].to_pylist(), found["arm"].to_pylist())
    outcomes = {outcome.value: outcome for outcome in Outcome}
    return tuple(
        Assignment(unit_id, outcomes[name], arm)
        for unit_id, name, arm in zip(unit_ids, *columns, strict=True)
    )


def _numbered(
    experiment: Experiment,
    unit_ids: Sequence[str],
    clusters: Iterable[str | None],
    cohorts: Iterable[str | None],
) -> pa.Table:
    import pyarrow as pa

    normal = [normalize_id(unit_id) for unit_id in unit_ids]
    hashed = [
        normalize_id(cluster_key(experiment, unit, cluster))
        for unit, cluster in zip(normal, clusters, strict=True)
    ]
    return pa.table(
        {
            "position": range(len(normal)),
            "unit_id": pa.array(normal, pa.string()),
            "hashed_id": pa.array(hashed, pa.string()),
            "cohort": pa.array(list(cohorts), pa.string()),
        }
    )


def _refusals(units: Table, experiment: Experiment, engine: Engine) -> list[tuple[Value, Outcome]]:
    """The condition under which each gate refuses, with the outcome it leads to."""
    from measure.engine.bucketing import bucket_below

    refused: list[tuple[Value, Outcome]] = []
    for gate in gates(experiment):
        hashed = units.hashed_id if gate.by_cluster else units.unit_id
        if gate.first > 0:
            refused.append((bucket_below(hashed, gate.salt, gate.first, engine), gate.otherwise))
        if gate.end < SPACE:
            refused.append((~bucket_below(hashed, gate.salt, gate.end, engine), gate.otherwise))
    return refused


def _first_of(branches: Iterable[tuple[Value, Outcome]]) -> Value:
    """The outcome of the first condition that is true, else ``assigned``."""
    from measure.engine.expressions import cases, literal

    worded = [(condition, outcome.value) for condition, outcome in branches]
    last = Outcome.ASSIGNED.value
    return cases(*worded, else_=last) if worded else literal(last)


def _with_arm(units: Table, experiment: Experiment, engine: Engine) -> Table:
    """Add the arm of units whose outcome is ``assigned``; the others have none."""
    from measure.engine.expressions import ifelse, literal, null

    arm, *levels = [_drawn(units, draw, engine) for draw in draws(experiment)]
    for level in levels:
        arm = arm + literal(JOINED_BY) + level
    assigned = units.outcome == Outcome.ASSIGNED.value
    return units.mutate(arm=ifelse(assigned, arm, null("string")))


def _drawn(units: Table, draw: Draw, engine: Engine) -> Value:
    """The arm or level that owns each unit's bucket, by cohort where shares depend on it."""
    from measure.engine.expressions import cases

    usual = _owner(units, draw, draw.usual, engine)
    special = [
        (units.cohort == value, _owner(units, draw, ends, engine))
        for value, ends in draw.by_cohort.items()
    ]
    return cases(*special, else_=usual) if special else usual


def _owner(units: Table, draw: Draw, ends: Sequence[Threshold], engine: Engine) -> Value:
    from measure.engine.bucketing import bucket_below
    from measure.engine.expressions import cases

    *others, last = ends
    below = [(bucket_below(units.hashed_id, draw.salt, end, engine), arm) for arm, end in others]
    return cases(*below, else_=last.arm)
