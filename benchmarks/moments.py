"""Moments of 3 metrics with 3 covariates over 50 cohorts + total, against one plain GROUP BY.

Run: ``python benchmarks/moments.py [ROWS]``. Prints CPU seconds, peak memory and ratios of
floor and ours on the same seeded Parquet file, each in a process of its own. The floors aggregate
raw sums, which lose digits: they are a speed to reach, not a method. ``floor`` computes the same
number of aggregates as ours, ``thin floor`` only the five per metric that one covariate needs.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

METRICS, COVARIATES = ("y0", "y1", "y2"), ("x0", "x1", "x2")
SEED = 20080320


def write(path, rows, *, money):
    """Write seeded data in blocks: continuous values, or amounts with two decimals."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(SEED)
    names = pa.array([f"cohort {i:02d}" for i in range(50)])
    writer = None
    for start in range(0, rows, 500_000):
        n = min(500_000, rows - start)
        x = rng.normal(20.0, 5.0, (3, n))
        y = 0.5 * x + rng.normal(10.0, 4.0, (3, n))
        if money:
            x, y = x.round(2), y.round(2)
        columns = {
            "arm": pa.array(["control", "mail"]).take(pa.array(rng.integers(0, 2, n))),
            "cohort": names.take(pa.array(rng.integers(0, 50, n))),
            **dict(zip(METRICS, y, strict=True)),
            **dict(zip(COVARIATES, x, strict=True)),
        }
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=122_880)
    writer.close()


def floor(path, *, thin):
    """One GROUP BY of raw sums."""
    import duckdb

    columns = [*METRICS, *COVARIATES]
    if thin:
        sums = [
            f"sum({e})"
            for y, x in zip(METRICS, COVARIATES, strict=True)
            for e in (y, x, f"{y} * {y}", f"{x} * {x}", f"{y} * {x}")
        ]
    else:
        pairs = [(a, a) for a in columns]
        pairs += [(a, b) for i, a in enumerate(columns) for b in columns[i + 1 :] if b[0] == "x"]
        sums = [f"sum({c})" for c in columns] + [f"sum({a} * {b})" for a, b in pairs]
        sums += [f"sum({c} * {c} * {c})" for c in columns]
    query = (
        f"SELECT arm, cohort, count(*), {', '.join(sums)} FROM read_parquet('{path}') GROUP BY ALL"
    )
    return len(duckdb.sql(query).fetchall())


def ours(path):
    """The shipped path: open the source with its checks, then all moments."""
    from measure.engine.connection import connect
    from measure.engine.units import open_source
    from measure.plan import AnalysisPlan, Metric, Source

    plan = AnalysisPlan(
        arms={"control": 0.5, "mail": 0.5},
        control="control",
        metrics=tuple(Metric(name=name) for name in METRICS),
        covariates=COVARIATES,
        cohorts=("cohort",),
    )
    path = Path(path)
    units = open_source(connect(), Source(path=path.name, arm="arm"), plan, path.parent)
    return len(units.moments().cells)


def peer(path):
    """The tea-tasting package: three CUPED metrics for everybody, no cohorts, whole analysis."""
    import ibis
    import tea_tasting

    metrics = {
        y: tea_tasting.Mean(y, covariate=x) for y, x in zip(METRICS, COVARIATES, strict=True)
    }
    table = ibis.duckdb.connect().read_parquet(path)
    table = table.mutate(variant=(table.arm == "mail").ifelse(1, 0))
    return len(tea_tasting.Experiment(metrics).analyze(table))


WORK = {
    "thin floor": lambda path: floor(path, thin=True),
    "floor": lambda path: floor(path, thin=False),
    "peer, total": peer,
    "ours": ours,
}


def measured(name, path):
    """Run one piece of work in a process of its own, after its imports."""
    done = subprocess.run(
        [sys.executable, __file__, "--work", name, str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def peak_mib():
    """Peak memory of this process; getrusage would count what its parent had before it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def work(name, path):
    """Do the work once and print what it cost."""
    import duckdb  # noqa: F401 - imported before the clock starts

    if name == "peer, total":
        import ibis  # noqa: F401
        import tea_tasting  # noqa: F401
    if name == "ours":
        import pyarrow.parquet  # noqa: F401

        import measure.engine.units

        measure.engine.units.connect().close()
    wall, cpu = time.perf_counter(), time.process_time()
    WORK[name](path)
    print(
        json.dumps(
            {
                "cpu": time.process_time() - cpu,
                "wall": time.perf_counter() - wall,
                "mib": peak_mib(),
            }
        )
    )


def main():
    rows = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("measurements", "money"):
            path = Path(folder) / f"{kind}.parquet"
            write(path, rows, money=kind == "money")
            results = {name: measured(name, path) for name in WORK}
            base = results["floor"]
            print(f"{rows:,} rows of {kind}: 3 metrics, 3 covariates, 50 cohorts + total, 2 arms")
            for name, r in results.items():
                print(
                    f"  {name:<11} {r['cpu']:6.2f} CPU-s  {r['wall']:6.2f} s  {r['mib']:6.0f} MiB"
                    f"  {r['cpu'] / base['cpu']:5.2f} x CPU  {r['mib'] / base['mib']:5.2f} x memory"
                )
            path.unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3])
    else:
        main()
