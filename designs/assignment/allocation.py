"""Shares of the arms that depend on a cohort: what each cohort was designed to have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from designs.assignment.population import attribute
from designs.experiment import Experiment

if TYPE_CHECKING:
    from measure.engine.connection import Engine

OTHERS = "(others)"
"""Every value that has no shares of its own, a missing one included."""


def designed_shares(
    experiment: Experiment, present: Collection[str | None] | None = None
) -> dict[str, Mapping[str, float]]:
    """Designed shares per stratum: each value listed, and :data:`OTHERS` with the usual ones.

    With ``present``, the values that units have, strata without units are left out.
    """
    if experiment.allocation is None:
        return {OTHERS: experiment.arms}
    own = experiment.allocation.shares
    found: dict[str, Mapping[str, float]] = {
        value: shares for value, shares in own.items() if present is None or value in present
    }
    if present is None or any(value not in own for value in present):
        found[OTHERS] = experiment.arms
    return found


def expected_shares(engine: Engine, experiment: Experiment) -> dict[str, float]:
    """Shares of the arms that all assigned units together should have: designs mixed by cohort."""
    if experiment.allocation is None:
        return dict(experiment.arms)
    assigned, customers = engine.table("assignments"), engine.table("customers")
    mine = assigned.filter(assigned.experiment == experiment.key)
    value = attribute(customers, experiment.allocation.attribute).cast("string")
    known = customers.select(customer_id=customers.customer_id, value=value)
    joined = mine.inner_join(known, mine.unit_id == known.customer_id)
    counts = engine.fetch(joined.group_by("value").aggregate(n=joined.count())).to_pylist()
    total = sum(row["n"] for row in counts)
    if not total:
        return dict(experiment.arms)
    own = experiment.allocation.shares
    mixed = dict.fromkeys(experiment.arms, 0.0)
    for row in counts:
        for arm, share in own.get(row["value"], experiment.arms).items():
            mixed[arm] += share * row["n"] / total
    return mixed
