"""Double machine learning by cohort: ours in the engine and through EconML, against their floors.

Run: ``python benchmarks/double_ml.py [ROWS] [--million]``: 30 covariates, 50 cohorts, one metric, a
seeded Parquet file. Prints CPU seconds, peak memory and ratios, each in a process of its own.

``floor``        one Gram matrix of [1, X, y] per fold, cohort and arm: DuckDB hashes the ids and
                 hands over Arrow, BLAS multiplies. No estimate, no centring, no checks.
``engine``       the shipped Gram matrices and both estimators on them, everybody and cohorts
``econml bare``  the file read into arrays, then LinearDML with the same LightGBM nuisances and
                 folds, one effect per cohort and one for everybody
``econml ours``  the shipped path from the same table: rows as Arrow, then the same two answers
``analysis``     all of ``analyze`` with ``double_ml``: checks, moments, differences and estimates
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COVARIATES, COHORTS, FOLDS, SEED = 30, 50, 5, 20080320
X = [f"x{i}" for i in range(COVARIATES)]


def write(path, rows):
    """Write a randomised world in blocks: half of the outcome's variance is linear in X."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(SEED)
    slope = rng.normal(0, 1, COVARIATES) / COVARIATES**0.5
    names = pa.array([f"cohort {i:02d}" for i in range(COHORTS)])
    writer = None
    for start in range(0, rows, 200_000):
        n = min(200_000, rows - start)
        x = rng.normal(0, 1, (n, COVARIATES))
        arm, cohort = rng.integers(0, 2, n), rng.integers(0, COHORTS, n)
        y = x @ slope + 0.2 * arm * (1 + cohort / COHORTS) + rng.normal(0, 1, n)
        columns = {"id": pa.array([f"unit {i}" for i in range(start, start + n)])}
        columns |= {"arm": pa.array(["control", "mail"]).take(pa.array(arm))}
        columns |= {"cohort": names.take(pa.array(cohort)), "y": pa.array(y)}
        columns |= {name: pa.array(np.ascontiguousarray(x[:, i])) for i, name in enumerate(X)}
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=122_880)
    writer.close()


def plan(*estimators):
    from measure.plan import AnalysisPlan, Metric

    return AnalysisPlan(
        arms={"control": 0.5, "mail": 0.5}, control="control", metrics=(Metric(name="y"),),
        covariates=tuple(X), cohorts=("cohort",), estimators=estimators, seed=SEED,
    )  # fmt: skip


def opened(path, a_plan):
    from measure.engine.connection import connect
    from measure.engine.units import open_source
    from measure.plan import Source

    source = Source(path=Path(path).name, arm="arm", id="id")
    return open_source(connect(), source, a_plan, Path(path).parent)


def prepare_floor(path):
    import duckdb

    return duckdb.connect(), path


def floor(prepared):
    """Groups of one pass, as quickly as Arrow and BLAS will do it."""
    import numpy as np

    connection, path = prepared
    fold = f"('0x' || substr(sha256('folds' || chr(31) || id), 1, 15))::BIGINT % {FOLDS}"
    query = f"SELECT {fold} AS fold, arm, cohort, y, {', '.join(X)} FROM read_parquet('{path}')"
    total = {}
    for batch in connection.execute(query).to_arrow_reader(250_000):
        code = batch["fold"].to_numpy().astype(np.int64)
        labels = []
        for name in ("arm", "cohort"):
            encoded = batch[name].dictionary_encode()
            labels.append(encoded.dictionary.to_pylist())
            code = code * len(labels[-1]) + encoded.indices.to_numpy()
        order = np.argsort(code, kind="stable")
        z = np.ones((COVARIATES + 2, len(code)))
        for row, name in enumerate(("y", *X), start=1):
            z[row] = batch[name].to_numpy()[order]
        ends = np.flatnonzero(np.diff(code[order], append=-1)) + 1
        for start, end in zip(np.append(0, ends[:-1]), ends, strict=True):
            rest, cohort = divmod(int(code[order[start]]), len(labels[1]))
            fold_, arm = divmod(rest, len(labels[0]))
            key = (fold_, labels[0][arm], labels[1][cohort])
            total[key] = total.get(key, 0.0) + z[:, start:end] @ z[:, start:end].T
    return len(total)


def prepare_engine(path):
    units = opened(path, plan("double_ml"))
    units.profile()  # the look at every column that opening and checks need anyway
    return units


def prepare_analysis(path):
    return opened(path, plan("double_ml"))


def engine(units):
    from measure.incrementality.orthogonal import exact

    grams = units.grams(["cohort"], exact.FOLDS)
    whole, cells = (grams[name][0].of("y", ("control", "mail")) for name in (None, "cohort"))
    for estimator in (exact.augmented_weighting, exact.partialling_out):
        estimator(whole, whole), estimator(whole, cells)
    return cells.n.size


def arrays(path):
    """The file as arrays that EconML takes."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    codes = table["cohort"].combine_chunks().dictionary_encode().indices.to_numpy()
    treated = np.array([arm == "mail" for arm in table["arm"].to_pylist()], dtype=np.int64)
    covariates = np.column_stack([table[name].to_numpy() for name in X])
    features = np.column_stack([np.zeros(len(codes)), codes]).astype(float)
    return table["y"].to_numpy(), treated, features, covariates


def bare(path):
    from econml.dml import LinearDML
    from lightgbm import LGBMRegressor
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import StratifiedKFold

    from measure.incrementality.borders import econml_border
    from measure.incrementality.orthogonal.learners import Dummies, Ones

    y, treated, features, covariates = arrays(path)
    import numpy as np

    with econml_border():
        model = LinearDML(
            model_y=LGBMRegressor(
                n_estimators=50, num_leaves=15, min_child_samples=100, n_jobs=1,
                deterministic=True, force_row_wise=True, random_state=SEED, verbose=-1,
            ),
            model_t=DummyClassifier(strategy="prior"), discrete_treatment=True, featurizer=Ones(),
            fit_cate_intercept=False, cv=StratifiedKFold(3, shuffle=True, random_state=SEED),
            random_state=SEED,
        )  # fmt: skip
        model.fit(y, treated, X=features, W=covariates, cache_values=True)
        model.coef__inference()
        model.featurizer = Dummies(0, np.arange(COHORTS))
        model.refit_final()
        return len(model.coef__inference().point_estimate)


def ours_econml(units):
    import numpy as np

    from measure.incrementality.orthogonal import models
    from measure.incrementality.orthogonal.learners import cross_fit
    from measure.incrementality.rows import fetch_rows

    rows = fetch_rows(units, units.plan)
    codes = {"cohort": np.arange(COHORTS, dtype=np.int64)}
    return cross_fit(rows, "y", [0, 1], codes, SEED, models.linear).se["cohort"].size


def analysis(units):
    from measure.incrementality import analyze

    return len(analyze(units, units.plan, experiment="benchmark").estimates)


WORK = {
    "floor": (prepare_floor, floor, "floor"),
    "engine": (prepare_engine, engine, "floor"),
    "analysis": (prepare_analysis, analysis, "floor"),
    "econml bare": (str, bare, "econml bare"),
    "econml ours": (prepare_engine, ours_econml, "econml bare"),
}


def measured(name, path):
    """Run one piece of work in a process of its own."""
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
    """Do the work once, after its imports and preparation, and print what it cost."""
    import numpy as np

    if name.startswith("econml"):
        import econml.dml  # noqa: F401
        import lightgbm  # noqa: F401
    if name != "floor":
        import measure.incrementality  # noqa: F401
        from measure.engine.connection import connect

        connect().close()
    prepare, run, _ = WORK[name]
    prepared = prepare(path)
    np.linalg.solve(np.eye(2), np.ones(2))
    wall, cpu = time.perf_counter(), time.process_time()
    run(prepared)
    cost = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print(json.dumps(cost | {"mib": peak_mib()}))


def main():
    rows = 1_000_000 if "--million" in sys.argv else 200_000
    numbers = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    rows = int(float(numbers[0])) if numbers else rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "units.parquet"
        write(path, rows)
        print(f"{rows:,} rows, {COVARIATES} covariates, {COHORTS} cohorts, 2 arms, {FOLDS} folds")
        results = {name: measured(name, path) for name in WORK}
        for name, (_, _, base) in WORK.items():
            r, b = results[name], results[base]
            print(
                f"  {name:<12} {r['cpu']:6.2f} CPU-s  {r['wall']:6.2f} s  {r['mib']:6.0f} MiB"
                f"  {r['cpu'] / b['cpu']:5.2f} x CPU  {r['mib'] / b['mib']:5.2f} x memory of {base}"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3])
    else:
        main()
