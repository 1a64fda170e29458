"""Size and likeness of clusters in history: what inference at the level of clusters will cost."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from designs.planning.baseline import Clusters
from measure.errors import InputError

if TYPE_CHECKING:
    from designs.experiment import Experiment
    from measure.engine.connection import Engine
    from measure.engine.expressions import Table


def intraclass(sizes: ArrayLike, sums: ArrayLike, squares: ArrayLike) -> Clusters:
    """Clusters from their sizes, sums and sums of squares (each of shape (k,)).

    The intraclass correlation is the analysis-of-variance estimate for unequal sizes (Donner 1986,
    International Statistical Review 54(1)), held between 0 and 1. Take the sums around the overall
    mean. :class:`InputError` below two clusters.
    """
    n, first, second = (np.asarray(x, dtype=float) for x in (sizes, sums, squares))
    k, total = len(n), float(n.sum())
    if k < 2:
        raise InputError.rule("clusters", k, "must be at least 2")
    size, cv = total / k, float(n.std() / n.mean())
    if total <= k:
        return Clusters(1.0, 0.0)
    between = float((first**2 / n).sum() - first.sum() ** 2 / total) / (k - 1)
    within = max(float(second.sum() - (first**2 / n).sum()), 0.0) / (total - k)
    typical = (total - float((n**2).sum()) / total) / (k - 1)
    scale = between + (typical - 1) * within
    icc = (between - within) / scale if scale > 0 else 0.0
    return Clusters(size, min(max(icc, 0.0), 1.0), cv)


def clusters_in(
    engine: Engine, experiment: Experiment, units: Table, column: str, at: datetime
) -> Clusters | None:
    """Clusters of a table of units with ``unit_id`` and an outcome; ``None`` without clusters."""
    from designs.assignment.population import cluster_keys

    if experiment.cluster is None:
        return None
    keys = cluster_keys(engine, experiment.cluster, at)
    value = units[column].cast("float64")
    mean = engine.fetch(units.aggregate(mean=value.mean()))["mean"][0].as_py() or 0.0
    centred = units.select("unit_id", deviation=value - mean)
    joined = centred.inner_join(keys, centred.unit_id == keys.customer_id)
    grouped = joined.group_by("cluster_key").aggregate(
        size=joined.count(),
        first=joined.deviation.sum(),
        second=(joined.deviation * joined.deviation).sum(),
    )
    found = engine.fetch(grouped.order_by("cluster_key"))
    return intraclass(*(found[name].to_numpy() for name in ("size", "first", "second")))
