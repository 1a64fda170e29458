"""Attribution: floor (ordered codes, one bincount pass, one inverse) against the shipped paths.

    python benchmarks/attribution.py [JOURNEYS]

Prints CPU seconds, their ratio to the floor, and peak memory per step; each runs in a process of
its own. The floor gives Markov credits of everybody without intervals. ``tables``: from integer-
coded paths to credits of all models with 1,000-replicate intervals; ``file``: the same from a CSV;
``engine``: the default models from event logs in DuckDB, per cohort.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402 (reads the number of threads when it is imported)

CHANNELS = tuple(f"channel {i:02d}" for i in range(12))
STEPS = ("floor", "tables", "file", "engine")


def journeys(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Channel codes, start of each journey, whether it converted (about one in five)."""
    draw = np.random.default_rng(12)
    lengths = draw.geometric(0.25, n)
    start = np.append(0, np.cumsum(lengths))
    share = 1 / np.arange(1, len(CHANNELS) + 1)
    codes = draw.choice(len(CHANNELS), start[-1], p=share / share.sum())
    return codes, start, (draw.random(n) < 0.2).astype(np.int64)


def floor(codes: np.ndarray, start: np.ndarray, converted: np.ndarray) -> None:
    """Transitions by one pass over the touches, one inverse, no intervals."""
    states = len(CHANNELS) + 3
    following = np.append(codes[1:] + 1, 0)
    following[start[1:] - 1] = states - 1 - converted
    moves = np.bincount((codes + 1) * states + following, minlength=states * states)
    moves = moves.reshape(states, states).astype(float)
    moves[0, 1:-2] = np.bincount(codes[start[:-1]], minlength=len(CHANNELS))
    inner = moves[:-2] / moves[:-2].sum(axis=1, keepdims=True)
    fundamental = np.linalg.inv(np.eye(states - 2) - inner[:, :-2])
    absorbed = fundamental @ inner[:, -2]
    fundamental[0, 1:] * absorbed[1:] / (np.diag(fundamental)[1:] * absorbed[0])


def tables(codes: np.ndarray, start: np.ndarray, converted: np.ndarray) -> None:
    from measure.attribution import MODELS, attribute_tables
    from measure.attribution.definition import Definition
    from measure.attribution.pathfile import Paths
    from measure.attribution.tables import tables_from_paths

    nobody = np.zeros(len(converted), dtype=np.int64)
    paths = Paths(
        CHANNELS, ("",), codes, start, nobody, converted, 1 - converted, 20.0 * converted, 0, 0
    )
    attribute_tables(tables_from_paths(paths), Definition(models=MODELS))


def write_paths(file: Path, codes: np.ndarray, start: np.ndarray, converted: np.ndarray) -> None:
    names = np.array(CHANNELS)[codes]
    with file.open("w") as out:
        out.write("path,converted\n")
        for i, flag in enumerate(converted):
            out.write(f"{' > '.join(names[start[i] : start[i + 1]])},{flag}\n")


def write_logs(folder: Path, codes: np.ndarray, start: np.ndarray, converted: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def ids(numbers: np.ndarray) -> pa.Array:
        return pc.cast(pa.array(numbers), pa.string())

    def instants(minutes: np.ndarray) -> pa.Array:
        begin = np.datetime64("2026-01-01", "us")
        return pa.array(begin + minutes.astype("timedelta64[m]"))

    person = np.repeat(np.arange(len(converted)), np.diff(start))
    touches, buyers = len(codes), np.flatnonzero(converted)
    activations = {
        "activation_id": ids(np.arange(touches)),
        "channel": pa.array(CHANNELS).take(pa.array(codes)),
        "kind": pa.array(["click"] * touches),
        "ts": instants(np.arange(touches) - start[person]),
        "customer_id": ids(person),
    }
    conversions = {
        "conversion_id": ids(buyers),
        "order_id": ids(buyers),
        "customer_id": ids(buyers),
        "ts": instants(np.full(len(buyers), 10_000)),
        "value": np.full(len(buyers), 2000),
        "refunded_value": np.zeros(len(buyers), dtype=np.int64),
        "currency": ["EUR"] * len(buyers),
        "status": ["paid"] * len(buyers),
    }
    segments = np.array(["new", "loyal", "lapsed"])[np.arange(len(converted)) % 3]
    customers = {
        "customer_id": ids(np.arange(len(converted))),
        "first_seen_at": instants(np.zeros(len(converted))),
        "segment": segments,
    }
    for name, columns in (
        ("activations", activations),
        ("conversions", conversions),
        ("customers", customers),
    ):
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


def from_file(folder: Path) -> None:
    from measure.attribution import MODELS, attribute_paths

    attribute_paths(folder / "paths.csv", MODELS)


def from_engine(folder: Path) -> None:
    from measure.attribution import attribute_engine
    from measure.engine.connection import connect

    with connect("duckdb://") as engine:
        for name in ("activations", "conversions", "customers"):
            engine.backend.read_parquet(str(folder / f"{name}.parquet"), table_name=name)
        attribute_engine(engine, cohort_dimension="segment")


def one(step: str, n: int, folder: Path) -> None:
    """Run one step in this process and print what it cost."""
    import pyarrow.csv  # noqa: F401 (imports are not what is measured)

    import measure.attribution  # noqa: F401

    made = journeys(n) if step in ("floor", "tables") else None
    before, wall = time.process_time(), time.perf_counter()
    if made is not None:
        (floor if step == "floor" else tables)(*made)
    else:
        (from_file if step == "file" else from_engine)(folder)
    cost = {"cpu": time.process_time() - before, "wall": time.perf_counter() - wall}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps(cost | {"peak_gb": peak}))


def main(n: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = journeys(n)
        write_paths(folder / "paths.csv", *made)
        write_logs(folder, *made)
        print(f"{n:,} journeys, {len(made[0]):,} touches, {len(CHANNELS)} channels")
        print(f"{'step':<8} {'CPU s':>7} {'wall s':>7} {'ratio':>7} {'peak GB':>8}")
        base = 0.0
        for step in STEPS:
            command = [sys.executable, __file__, "--one", step, str(n), name]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            base = base or found["cpu"]
            print(
                f"{step:<8} {found['cpu']:>7.2f} {found['wall']:>7.2f} "
                f"{found['cpu'] / base:>7.1f} {found['peak_gb']:>8.2f}"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
