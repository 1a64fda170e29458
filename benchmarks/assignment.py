"""Assignment of a whole population in the engine, against a bare SHA-256 scan of its ids.

Run: ``python benchmarks/assignment.py [IDS]``. Each contestant runs in a process of its own
on the same Parquet file and prints CPU seconds and peak memory. ``floor`` computes as many digests
as the design takes and counts those below a threshold; ``ours`` is the shipped query of the
population, its outcomes and arms counted. The last lines time single ids in Python.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DESIGNS = {
    "one hash (arm)": "",
    "three hashes (holdout, ramp, arm)": "holdout: {share: 0.1}\nrollout: 0.9",
}
SPEC = """\
key: spring
hypothesis: The newsletter brings orders.
arms: {{mail: 0.9, control: 0.1}}
control: control
metrics: [{{name: revenue, unit: EUR, role: primary}}]
plan: {{window_days: 28}}
schedule: {{start: 2026-03-01}}
{more}
"""


def design(name):
    from designs.specification import parse_specification

    return parse_specification(SPEC.format(more=DESIGNS[name]), "benchmark").experiment


def write(path, ids):
    import duckdb

    duckdb.sql(
        f"COPY (SELECT 'customer-' || i AS customer_id, TIMESTAMPTZ '2026-01-01 00:00:00+00' AS "
        f"first_seen_at FROM range({ids}) t(i)) TO '{path}' (FORMAT parquet)"
    )


def floor(path, name):
    """As many digests per id as the design needs; of those held out or not let in, fewer."""
    import duckdb

    salts = ["arm"] if name.startswith("one") else ["holdout", "rollout", "arm"]
    tests = " + ".join(f"(sha256('{s}' || customer_id) < '8')::INTEGER" for s in salts)
    con = duckdb.connect(config={"threads": 1})
    return con.execute(f"SELECT sum({tests}) FROM read_parquet('{path}')").fetchone()


def ours(path, name):
    from designs.assignment.assign import population_query
    from measure.engine.connection import connect

    with connect() as engine:
        engine.backend.con.execute("SET threads = 1")
        engine.backend.con.execute(f"CREATE VIEW customers AS FROM read_parquet('{path}')")
        query = population_query(engine, design(name))
        counts = query.group_by("outcome", "arm").aggregate(n=query.count())
        return engine.fetch(counts).to_pylist()


def single(times=20_000):
    """Microseconds per id: one bucket, and the whole decision of the three-hash design."""
    from designs.assignment.assign import assign
    from designs.assignment.hashing import bucket

    ids = [f"customer-{i}" for i in range(times)]
    wanted = design("three hashes (holdout, ramp, arm)")
    begun = time.process_time()
    for unit in ids:
        bucket("arm:spring", unit)
    one = time.process_time() - begun
    begun = time.process_time()
    for i in range(0, times, 1_000):
        assign(wanted, ids[i : i + 1_000])
    batch = time.process_time() - begun
    begun = time.process_time()
    for unit in ids[:2_000]:
        assign(wanted, [unit])
    alone = time.process_time() - begun
    return {
        "bucket": one / times * 1e6,
        "decision, 1,000 at a time": batch / times * 1e6,
        "decision, one at a time": alone / 2_000 * 1e6,
    }


def contestant(kind, path, name):
    """Run one contestant here and print what it took; imports are not counted."""
    import designs.assignment.assign
    from measure.engine.connection import connect

    designs.assignment.assign.draws(design(name))
    connect().close()
    run = {"floor": floor, "ours": ours}[kind]
    begun, clock = time.process_time(), time.perf_counter()
    run(path, name)
    took, wall = time.process_time() - begun, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": took, "wall": wall, "peak": peak}))


def main(ids):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "customers.parquet"
        write(path, ids)
        for name in DESIGNS:
            found = {}
            for kind in ("floor", "ours"):
                command = [sys.executable, __file__, kind, str(path), name]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[kind] = json.loads(done.stdout)
                cpu, peak = found[kind]["cpu"], found[kind]["peak"]
                print(f"{name:36}{kind:6}{cpu:8.2f} CPU-s {ids / cpu / 1e6:6.2f} M ids/s "
                      f"{peak:7.0f} MiB")  # fmt: skip
            ratio = found["floor"]["cpu"] / found["ours"]["cpu"]
            print(f"{name:36}speed against floor: {ratio:.2f}")
    for name, micros in single().items():
        print(f"single ids, {name:28}{micros:8.2f} µs")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        contestant(*sys.argv[1:])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
