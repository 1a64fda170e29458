"""What was loaded is the same table on every engine, and clocks are corrected alike."""

import random
import tempfile
from datetime import UTC
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from measure.engine.clock_offsets import on_corrected_time
from measure.engine.loading import Warehouse
from measure.reconcile.skew import estimate_clocks
from tests.measure.engine.test_loading_properties import NAMES, ROWS, everything, load, table_digest
from tests.measure.reconcile.test_skew import clicks_and_landings, put, record


@pytest.fixture
def tables(engine):
    """Register tables for one test; the engine is shared with others."""
    yield engine
    for name in ("loaded_exposures", "activations", "events", "clock_offsets"):
        if engine.name == "pyspark":
            engine.backend.drop_view(name, force=True)
        else:
            engine.backend.drop_table(name, force=True)


def test_five_interleavings_are_the_same_table_everywhere(tables):
    expected = [dict(zip(NAMES, row.split(","), strict=True)) for row in ROWS]
    for seed in range(1 if tables.name == "pyspark" else 5):  # Spark takes a second for each query
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "warehouse"
            load(root, everything(random.Random(seed)))
            loaded = pq.ParquetDataset([str(p) for p in Warehouse(root).files("exposures")]).read()
        tables.register("loaded_exposures", loaded)
        rows = tables.fetch(tables.table("loaded_exposures")).to_pylist()
        moments = [row | {"ts": f"{row['ts']:%Y-%m-%dT%H:%M:%SZ}"} for row in rows]
        assert table_digest(moments) == table_digest(expected)


def test_clocks_are_judged_and_corrected_alike(tables):
    # Planted: 420 s too much, landings 1 to 9 s after their click; the fastest follow at once.
    world = clicks_and_landings({"alpha": 420, "beta": 0}, clicks=60)
    put(tables, {name: world[name] for name in ("activations", "events")})
    record(tables, ("alpha", -20), ("beta", 0))
    alpha, beta = estimate_clocks(tables)
    assert (alpha.in_force_seconds, beta.in_force_seconds) == (-20, 0)
    assert -420 <= alpha.offset_seconds <= -418
    rows = tables.fetch(on_corrected_time(tables, "activations")).to_pylist()
    written = {row["activation_id"]: row["ts"] for row in world["activations"]}
    apart = {
        (row["platform"], (written[row["activation_id"]] - row["ts"].replace(tzinfo=UTC)).seconds)
        for row in rows
    }
    assert apart == {("alpha", 20), ("beta", 0)}
