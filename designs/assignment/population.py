"""Who can be assigned, as the tables say it: who is present, has consented, shares a cluster.

Everything is judged as it was on record at one moment, so that asking again gives the same answer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from designs.assignment.declared import Cluster, Consent
from designs.experiment import Experiment
from measure.errors import InputError, MissingFile, UnknownName

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Column, Table


def candidates(engine: Engine, experiment: Experiment, at: datetime) -> Table:
    """Every customer: (unit_id, eligible, consented, hashed_id, cohort).

    ``eligible`` and ``consented`` are 0 or 1; ``hashed_id`` is what ramp and arm hash; ``cohort``
    is the attribute that shares depend on (text, missing when there is none).
    """
    from measure.engine.expressions import coalesce, ifelse, literal, null

    customers = engine.table(experiment.population.table)
    present = ifelse(customers.first_seen_at <= moment(at, customers.first_seen_at), 1, 0)
    for name, value in experiment.population.where.items():
        matches = attribute(customers, name).cast("string") == value
        present = present * coalesce(ifelse(matches, 1, 0), 0)
    allocation = experiment.allocation
    cohort = attribute(customers, allocation.attribute) if allocation else null("string")
    units = customers.select(
        unit_id=customers.customer_id,
        eligible=coalesce(present, 0),
        cohort=cohort.cast("string"),
    )
    if experiment.consent is None:
        units = units.mutate(consented=literal(1))
    else:
        granted = consenting(engine, experiment.consent, at)
        joined = units.left_join(granted, units.unit_id == granted.customer_id)
        units = joined.select(*units.columns, consented=coalesce(joined.granted, 0))
    if experiment.cluster is None:
        return units.mutate(hashed_id=units.unit_id)
    keys = cluster_keys(engine, experiment.cluster, at)
    return units.inner_join(keys, units.unit_id == keys.customer_id).select(
        *units.columns, hashed_id=keys.cluster_key
    )


def consenting(engine: Engine, consent: Consent, at: datetime) -> Table:
    """Customers who consented, with ``granted`` = 1, as it was on record at a time."""
    from measure.people import consent as recorded

    if not engine.has("consents"):
        raise MissingFile.at("table consents", "Load it: truelift load consents FILE…")
    return recorded.consenting(engine.table("consents"), consent.purpose, consent.channel, at, at)


def cluster_keys(engine: Engine, cluster: Cluster, at: datetime) -> Table:
    """Every customer and its cluster: (customer_id, cluster_key), as it was known at a time.

    Of several identifiers the smallest counts; a customer without any is a cluster of one. The
    keys are those of :func:`designs.assignment.steps.cluster_key`.
    """
    from measure.engine.expressions import coalesce, literal

    customers = engine.table("customers")
    if cluster.attribute is not None:
        value = attribute(customers, cluster.attribute).cast("string").nullif("")
        found = customers.select("customer_id", cluster=value)
    else:
        if not engine.has("identities"):
            raise MissingFile.at("table identities", "Load it: truelift load identities FILE…")
        table = engine.table("identities")
        known = table.filter(table.kind == cluster.kind, table.seen_at <= moment(at, table.seen_at))
        first = known.group_by(member=known.customer_id).aggregate(cluster=known.identifier.min())
        people = customers.select("customer_id")
        found = people.left_join(first, people.customer_id == first.member)
    shared = literal(f"{cluster.name}:") + found.cluster
    return found.select(
        "customer_id", cluster_key=coalesce(shared, literal("customer:") + found.customer_id)
    )


def attribute(customers: Table, name: str) -> Column:
    """A column of the customers; :class:`UnknownName` with the nearest one when there is none."""
    if name not in customers.columns:
        raise UnknownName.of("attribute", name, customers.columns, "customers")
    return customers[name]


def assignment_time(experiment: Experiment, assigned_at: datetime | None) -> datetime:
    """When units are assigned, in UTC: as given, else the schedule's start."""
    at = assigned_at or (experiment.schedule.start if experiment.schedule else None)
    if at is None:
        raise InputError.rule(
            "schedule.start", None, "is needed to assign a population", "Add schedule: {start: …}."
        )
    if at.tzinfo is None:
        raise InputError.rule("assigned_at", at.isoformat(), "must say its time zone")
    return at.astimezone(UTC)


def recorded_time(engine: Engine, key: str) -> datetime:
    """When the first units of an experiment were assigned: whose records decide on everybody."""
    table = engine.table("assignments")
    mine = table.filter(table.experiment == key)
    at: datetime | None = engine.fetch(mine.aggregate(at=mine.assigned_at.min()))["at"][0].as_py()
    if at is None:
        raise InputError(f"{key}: nobody is assigned. Run `truelift assign {key}` first.")
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def moment(at: datetime, like: Column) -> Any:
    """A time in UTC as a literal of a column's kind, with a time zone or without."""
    from measure.engine.expressions import literal

    return literal(at if like.type().timezone else at.replace(tzinfo=None))
