"""Outcomes of clusters: one row per household or account, when that is what was randomised.

Members of a cluster share an arm and influence each other, so they are no independent units. Adding
them up to one row per cluster makes every estimator right again, at the price that its numbers are
per cluster: revenue of a household, not of a customer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from measure.errors import DataError
from measure.journeys.micro_conversions import of_column
from measure.journeys.outcomes import EXPOSED, OUTCOMES

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Table, Value

MIXED = "(mixed)"
"""Value of an attribute on which the members of a cluster do not agree."""


def cluster_outcomes(engine: Engine, outcomes: Table, keys: Table) -> Table:
    """One row per cluster from one row per member.

    ``outcomes`` is what :func:`measure.journeys.outcomes.unit_outcomes` returns, ``keys`` has
    (customer_id, cluster_key). A cluster converts, or reaches a step, when a member does and is
    exposed when one is; orders, money and numeric attributes are summed over its assigned members;
    a text attribute is kept where they agree.
    :class:`DataError` when members of one cluster have different arms.
    """
    joined = outcomes.inner_join(keys, outcomes.unit_id == keys.customer_id)
    members = joined.select(*outcomes.columns, cluster_key=joined.cluster_key)
    found: dict[str, Value] = {
        "arm": members.arm.min(),
        "other_arm": members.arm.max(),
        "conversion": members.conversion.max(),
        "orders": members.orders.sum().cast("int64"),
        "revenue": members.revenue.sum(),
        "net_revenue": members.net_revenue.sum(),
    }
    if EXPOSED in outcomes.columns:
        found[EXPOSED] = members[EXPOSED].max()
    for name in outcomes.columns:
        if name not in OUTCOMES and name not in found:
            step = of_column(name)
            ever = step is not None and not step[1]
            found[name] = members[name].max() if ever else _together(members[name])
    clusters = members.group_by("cluster_key").aggregate(**found)
    _refuse_split(engine, clusters)
    return clusters.rename(unit_id="cluster_key").drop("other_arm")


def _together(column: Any) -> Value:
    """A member attribute as one of the cluster."""
    from measure.engine.expressions import ifelse, literal

    if column.type().is_numeric():
        return column.sum()
    if not column.type().is_string():
        return column.min()
    return ifelse(column.min() == column.max(), column.min(), literal(MIXED))


def _refuse_split(engine: Engine, clusters: Table) -> None:
    split = clusters.filter(clusters.arm != clusters.other_arm)
    found = engine.fetch(split.aggregate(n=split.count(), example=split.cluster_key.min()))
    row = found.to_pylist()[0]
    if row["n"]:
        raise DataError(
            f"{row['n']:,} clusters have members in different arms, {row['example']!r} for one. "
            "Identities or attributes that bind them were changed after units were assigned; "
            "restore them as they were."
        )
