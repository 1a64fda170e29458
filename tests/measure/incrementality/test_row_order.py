"""Rows in another order are the same experiment: every learner gives the same bits.

Folds, halves and deals go by position, so what must not depend on the source's order is the order
in which the engine hands rows over: sorted by id, or by all values, then shuffled by the seed.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from measure.engine.connection import connect
from measure.engine.units import unit_table
from measure.incrementality import analyze
from measure.incrementality.observational import refute
from measure.incrementality.rows import fetch_rows
from measure.plan import AnalysisPlan, Metric

ARMS = {"no": 0.5, "yes": 0.5}


def world(n, seed=2):
    """Confounded by a and by c, which many units share; whole numbers make many ties."""
    rng = np.random.default_rng(seed)
    a, c = rng.normal(size=n).round(1), (rng.random(n) < 0.4).astype(float)
    treated = rng.random(n) < 1 / (1 + np.exp(-(0.5 * a + 0.5 * c)))
    coin = (rng.random(n) < 0.5).astype(float)
    y = (treated + a + 0.8 * c + rng.normal(size=n)).round()
    return pd.DataFrame(
        {
            "id": [f"u{i:04}" for i in rng.permutation(n)],
            "arm": np.where(treated, "yes", "no"),
            "a": a,
            "c": c,
            "coin": coin,
            "y": y,
            "segment": rng.choice(["new", "old"], n),
        }
    )


def planned(**options):
    return AnalysisPlan(
        arms=ARMS, control="no", metrics=(Metric(name="y"),), covariates=("a", "c"), **options
    )


def analysed(frame, id_column, **options):
    plan = planned(**options)
    with connect() as engine:
        table = engine.hold(pa.Table.from_pandas(frame, preserve_index=False))
        units = unit_table(engine, table, "arm", plan, id_column=id_column)
        return analyze(units, plan, experiment="x")


OBSERVED = {
    "cohorts": ("segment",),
    "observational": {"estimators": ("regression", "double_ml")},
}
LEARNED = {
    "cohorts": ("segment",),
    "estimators": ("difference", "double_ml", "double_ml_lightgbm", "doubly_robust"),
    "discovery": "honest_tree",
}


@pytest.mark.parametrize(
    ("options", "id_column", "n"),
    [(OBSERVED, None, 300), (LEARNED, "id", 840)],
    ids=["observational, without ids", "randomised, with ids"],
)
def test_rows_in_another_order_give_the_same_numbers(options, id_column, n, monkeypatch):
    # One draw of each refuter: more of them see the same rows in the same order.
    for draws in ("PLACEBOS", "COMMON_CAUSES", "SUBSETS"):
        monkeypatch.setattr(refute, draws, 1)
    monkeypatch.setattr(refute, "STRENGTHS", (1,))
    frame = world(n)
    if "observational" not in options:  # half and half, so that the sample ratio holds
        frame["arm"] = np.repeat(["no", "yes"], n // 2)
    shuffled = frame.sample(frac=1, random_state=7).reset_index(drop=True)
    one, other = (analysed(f, id_column, **options) for f in (frame, shuffled))
    assert any(e.value is not None for e in one.estimates)
    assert one.estimates == other.estimates
    assert one.checks == other.checks
    assert one.discovery == other.discovery
    assert bool(one.discovery) == ("discovery" in options)


@pytest.mark.parametrize("id_column", ["id", None])
def test_every_learner_sees_the_same_rows_in_the_same_order(id_column):
    # Whatever runs on rows runs on these, so the two tests above stand for all of them.
    frame = world(400)
    shuffled = frame.sample(frac=1, random_state=7).reset_index(drop=True)
    seen = []
    for rows in (frame, shuffled):
        with connect() as engine:
            table = engine.hold(pa.Table.from_pandas(rows, preserve_index=False))
            plan = planned(cohorts=("segment",))
            found = fetch_rows(unit_table(engine, table, "arm", plan, id_column=id_column), plan)
        codes, labels = found.dimensions["segment"]
        seen.append((found.arm, found.outcomes["y"], found.covariates, codes, np.array(labels)))
    for one, other in zip(*seen, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(seen[0][1], frame["y"])


def test_order_would_matter_if_the_engine_handed_rows_over_as_they_come():
    # What the rule is for: the same learner on the same rows in another order gives other bits.
    from measure.incrementality.observational.learners import double_ml
    from measure.incrementality.observational.sample import Sample

    frame = world(400)

    def effect(rows):
        treated = (rows["arm"] == "yes").to_numpy(dtype=float)
        held = {name: rows[[name]].to_numpy() for name in ("a", "c")}
        sample = Sample(rows["y"].to_numpy(), treated, held, np.empty((400, 0)), {}, 1, deals=1)
        return double_ml(sample).everybody[0]

    assert effect(frame) == effect(frame)
    assert effect(frame) != effect(frame.sample(frac=1, random_state=7))
