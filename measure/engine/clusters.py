"""From rows below the unit of randomisation to one row per cluster.

Inference belongs to the unit that was randomised: the household, account or store. Its rows are
added up: a metric becomes a sum with the number of rows beside it (a ratio keeps its own
denominator), so that the ratio of the two sums over clusters is the mean over rows, and the delta
method over clusters gives its error (Deng, Knoblich and Lu 2018, KDD). Metrics follow their
policies row by row, before they are added. A covariate is the mean over the cluster's rows.

Arms, cohorts and strata must be one and the same in all rows of a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from measure.engine.expressions import Column, Table
from measure.engine.labels import label_of
from measure.engine.policies import Policies
from measure.engine.profile import Scale, nearest, number
from measure.engine.roles import CLUSTER, Roles
from measure.errors import DataError

if TYPE_CHECKING:
    from measure.engine.connection import Engine


def clustered(policies: Policies) -> Table:
    """One row per cluster under the names of :meth:`Roles.in_clusters`, computed once."""
    roles, table = policies.roles, policies.measured
    keys = [CLUSTER, "a", *roles.dimensions.values(), *roles.strata.values()]
    sums = _metric_sums(roles, table, policies.measured_scales)
    for column in roles.covariates:
        known = table[column].count()
        sums[column] = _total(table[column], policies.measured_scales[column]) / known
    with policies.engine.in_order():
        joined = policies.engine.materialize(table.group_by(keys).aggregate(**sums))
    return joined.rename(id=CLUSTER)


def _metric_sums(roles: Roles, table: Table, scales: Mapping[str, Scale]) -> dict[str, Column]:
    """Sum, denominator and exposure per metric; all missing where no row has the metric."""
    sums: dict[str, Column] = {}
    for column, metric in roles.metrics.items():
        value, size = table[column], f"d{column[1:]}"
        here = value.notnull()
        some = value.count() > 0
        sums[column] = _total(value, scales[column])
        below = value.count().cast("float64")
        if metric.kind == "ratio":
            denominator = roles.denominators[column]
            below = _total(here.ifelse(table[denominator], None), scales[denominator])
        sums[size] = some.ifelse(below, None)
        if column in roles.exposures:
            reached = here.ifelse(table[roles.exposures[column]], None).sum()
            sums[f"e{column[1:]}"] = some.ifelse(reached, None)
        counted = table[roles.raw[column]].count()
        sums[f"raw_{column}"] = (counted == table.count()).ifelse(number(1.0), None)
    return sums


def _total(column: Column, scale: Scale) -> Column:
    """Sum whose bits do not depend on the order of rows where values lie on a grid."""
    if scale.scale > 1:
        grid = number(float(scale.scale))
        return nearest(column * grid).sum() / grid
    return column.sum()


def refuse_split_clusters(
    engine: Engine, table: Table, roles: Roles, named: Mapping[str, str], where: str
) -> None:
    """Refuse rows without a cluster, and clusters that lie in two arms, cohorts or strata.

    ``named`` gives the source's names of the columns ``k`` and ``a``.
    """
    nameless = table.filter(table[CLUSTER].isnull() | (table[CLUSTER] == ""))
    rows = int(engine.fetch(nameless.aggregate(rows=nameless.count())).to_pylist()[0]["rows"])
    if rows:
        raise DataError(
            f"{where}: cluster column {named[CLUSTER]!r} is empty in {rows:,} rows. "
            "Every row belongs to the unit that was randomised."
        )
    labels = {"a": ("arm", named["a"])}
    labels |= {column: ("cohort", name) for name, column in roles.dimensions.items()}
    labels |= {column: ("stratum", name) for name, column in roles.strata.items()}
    for column, (what, name) in labels.items():
        distinct = table.select(CLUSTER, column).distinct()
        counted = distinct.group_by(CLUSTER).aggregate(values=distinct.count())
        split = counted.filter(counted["values"] > 1)
        first = engine.fetch(split.order_by(split[CLUSTER]).limit(1)).to_pylist()
        if not first:
            continue
        cluster = first[0][CLUSTER]
        inside = engine.fetch(distinct.filter(distinct[CLUSTER] == cluster))
        found = sorted(label_of(value) for value in inside[column].to_pylist())
        many = int(engine.fetch(split.aggregate(n=split.count())).to_pylist()[0]["n"])
        others = f" ({many:,} such clusters)" if many > 1 else ""
        raise DataError(
            f"{where}: {named[CLUSTER]} {cluster!r} has rows of {what} {found[0]!r} and "
            f"{found[1]!r} in column {name!r}{others}; a cluster has one {what}. {_way_out(what)}"
        )


def _way_out(what: str) -> str:
    if what == "arm":
        return "Leave out clusters that were given two arms, or name the unit that had one."
    return f"Name a {what} that belongs to the whole cluster."
