"""Outcomes per cluster against pandas, and what goes wrong without them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import binom

from measure.engine.connection import connect
from measure.engine.units import unit_table
from measure.errors import DataError
from measure.incrementality import analyze
from measure.journeys.clusters import MIXED, cluster_outcomes
from measure.plan import AnalysisPlan, Metric


def members(n=3_000, seed=3):
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, n // 4, n)
    orders = rng.poisson(0.5, n)
    return pd.DataFrame(
        {
            "unit_id": [f"c{i}" for i in range(n)],
            "arm": np.where(cluster % 3 == 0, "control", "mail"),
            "conversion": (orders > 0).astype(int),
            "orders": orders,
            "revenue": orders * 12.5,
            "net_revenue": orders * 10.0,
            "country": np.where(rng.random(n) < 0.9, "DE", "FR"),
            "prior": np.where(rng.random(n) < 0.1, np.nan, rng.normal(10, 2, n)),
            "cluster": [f"household:{c}" for c in cluster],
        }
    )


def added_up(engine, table):
    outcomes = engine.register(
        "outcomes", pa.Table.from_pandas(table.drop(columns="cluster"), preserve_index=False)
    )
    keys = table[["unit_id", "cluster"]].set_axis(["customer_id", "cluster_key"], axis=1)
    known = engine.register("keys", pa.Table.from_pandas(keys, preserve_index=False))
    return cluster_outcomes(engine, outcomes, known)


def test_members_add_up_to_clusters_as_pandas_does():
    table = members()
    with connect() as engine:
        found = engine.fetch(added_up(engine, table)).to_pandas().set_index("unit_id").sort_index()
    groups = table.groupby("cluster")
    wanted = pd.DataFrame(
        {
            "arm": groups.arm.first(),
            "conversion": groups.conversion.max(),
            "orders": groups.orders.sum(),
            "revenue": groups.revenue.sum(),
            "net_revenue": groups.net_revenue.sum(),
            "country": groups.country.agg(lambda s: s.iloc[0] if s.nunique() == 1 else MIXED),
            "prior": groups.prior.sum(min_count=1),
        }
    )
    pd.testing.assert_frame_equal(
        found[wanted.columns], wanted, check_names=False, check_dtype=False, check_index_type=False
    )
    assert (found.country == MIXED).any()


def test_members_in_different_arms_are_refused():
    table = members()
    table.loc[0, "arm"] = "other"
    with connect() as engine, pytest.raises(DataError, match="1 clusters have members in diff"):
        added_up(engine, table)


def test_without_an_effect_clusters_are_flagged_as_often_as_planned_and_members_too_often():
    # Cluster-randomised A/A with intra-cluster correlation .1: 80 clusters of 25.
    plan = AnalysisPlan(
        arms={"control": 0.5, "mail": 0.5},
        control="control",
        metrics=(Metric(name="revenue", role="primary"),),
    )
    rng, clusters, size, runs = np.random.default_rng(5), 80, 25, 200
    hits, naive = 0, 0
    with connect() as engine:
        for _ in range(runs):
            shared = rng.normal(0, np.sqrt(0.1), clusters).repeat(size)
            revenue = shared + rng.normal(0, np.sqrt(0.9), clusters * size)
            arm = rng.permutation(np.repeat(["control", "mail"], clusters // 2))
            table = pa.table({"arm": arm.repeat(size), "revenue": revenue})
            totals = revenue.reshape(clusters, size).sum(axis=1)
            by_cluster = pa.table({"arm": arm, "revenue": totals})
            for name, data in (("naive", table), ("ours", by_cluster)):
                units = unit_table(engine, engine.register("units", data), "arm", plan)
                (estimate,) = analyze(units, plan, experiment="aa").estimates
                if name == "ours":
                    hits += estimate.p_value < 0.05
                else:
                    naive += estimate.p_value < 0.05
    low, high = binom.ppf([0.0005, 0.9995], runs, 0.05)
    assert low <= hits <= high
    assert naive > high  # design effect 1 + 24 × .1 = 3.4: about 29 % false alarms
