"""R7 and trap 2: no digits are lost far from zero; trap 5: the order of rows changes no bit."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from measure.engine.connection import connect
from measure.engine.units import open_source, unit_table
from measure.plan import AnalysisPlan, Metric, Source
from tests.measure.engine import worlds

ONE_METRIC = AnalysisPlan(
    arms={"all": 0.5, "nobody": 0.5},
    control="all",
    metrics=(Metric(name="y"),),
    cohorts=("treatment",),
)
DATA_SETS = ("SiRstv", "AtmWtAg", *(f"SmLs0{number}" for number in range(1, 10)))


def nist(name):
    """Read a NIST StRD one-way ANOVA file, as SciPy ships it: data and certified squares."""
    import scipy.stats

    folder = Path(scipy.stats.__file__).parent / "tests" / "data" / "nist_anova"
    lines = (folder / f"{name}.dat").read_text(encoding="ascii").splitlines()
    certified = {
        kind: float(line.split()[3])
        for line in lines
        for kind in ("Between", "Within")
        if line.startswith(kind)
    }
    data = [line.split() for line in lines[60:] if line.strip()]
    frame = pd.DataFrame(data, columns=["treatment", "written"])
    return frame.assign(arm="all", y=frame.written.astype(float)), certified


def exact_squares(written):
    """Σ(y − ȳ)² of decimals as they are written, in rational arithmetic."""
    numbers = [Fraction(value) for value in written]
    mean = sum(numbers) / len(numbers)
    return float(sum((number - mean) ** 2 for number in numbers))


@pytest.mark.parametrize("name", DATA_SETS)
def test_nist_analysis_of_variance(name):
    # Tenths beside 1e12 are stored to 1e-4 only, where two-pass algorithms on floats keep three
    # digits. Summed on the grid of their decimals they keep all.
    frame, certified = nist(name)
    with connect() as engine:
        table = engine.register("nist", worlds.arrow(frame))
        cells = unit_table(engine, table, "arm", ONE_METRIC).moments()
    within = 0.0
    for cohort in cells.cohorts("treatment"):
        found = cells.get("y", "all", cohort).comoment[0, 0]
        chosen = frame.written[frame.treatment == cohort.value]
        assert found == pytest.approx(exact_squares(chosen), rel=1e-9)
        within += found
    total = cells.get("y", "all").comoment[0, 0]
    for found, kind in ((within, "Within"), (total - within, "Between")):
        error = abs(found - certified[kind]) / certified[kind]
        digits = -math.log10(max(error, 1e-16))
        assert digits >= 9


def bits(cells):
    return {
        key: (m.n, m.mean.tobytes(), m.comoment.tobytes(), m.third.tobytes())
        for key, m in cells.cells.items()
    }


MONEY = worlds.PLAN.model_copy(
    update={
        "metrics": tuple(m for m in worlds.PLAN.metrics if m.name in ("spend", "bought", "orders")),
        "covariates": ("before", "newbie"),
    }
)


def moments_of(engine, table, plan, path, threads=None):
    if threads:
        engine.backend.con.execute(f"SET threads = {threads}")
    engine.register("units", worlds.arrow(table))
    return open_source(engine, worlds.SOURCE, plan, path).moments()


def test_the_order_of_rows_changes_no_bit_of_counts_and_money(tmp_path):
    table = worlds.frame(30_000)
    found = []
    for seed in (0, 1, 2):
        with connect() as engine:
            shuffled = table.sample(frac=1.0, random_state=seed)
            found.append(bits(moments_of(engine, shuffled, MONEY, tmp_path, threads=1 + seed % 2)))
    assert found[0] == found[1] == found[2]


def test_threads_change_no_bit_of_measurements(tmp_path):
    # 23 bit patterns in 30 runs is what sums of floats on several threads give otherwise.
    table = worlds.frame(400_000)
    found = set()
    for threads in (1, 2, 2, 2):
        with connect() as engine:
            cells = bits(moments_of(engine, table, worlds.PLAN, tmp_path, threads))
            found.add(str(sorted(cells.items(), key=str)))
    assert len(found) == 1


def test_every_engine_returns_the_same_bits_for_counts_and_money(engine, tmp_path):
    table = worlds.frame(500)
    with connect() as embedded:
        wanted = bits(moments_of(embedded, table, MONEY, tmp_path))
    assert bits(moments_of(engine, table, MONEY, tmp_path)) == wanted


def test_one_scan_per_dimension_gives_the_same_bits_as_the_joint_scan(tmp_path, monkeypatch):
    from measure.engine import moments_query

    table = worlds.frame(2_000)
    with connect() as engine:
        joint = bits(moments_of(engine, table, MONEY, tmp_path))
    monkeypatch.setattr(moments_query, "MOST_JOINT_CELLS", 1)
    with connect() as engine:
        assert bits(moments_of(engine, table, MONEY, tmp_path)) == joint


def test_a_constant_has_exactly_no_variance(tmp_path):
    # Closed form: 0.1234567 everywhere in arm A, something else in arm B.
    rng = np.random.default_rng(3)
    values = np.where(np.arange(5_000) < 2_500, 0.1234567, rng.normal(50, 9, 5_000))
    frame = pd.DataFrame({"y": values, "arm": np.repeat(["A", "B"], 2_500)})
    plan = AnalysisPlan(arms={"A": 0.5, "B": 0.5}, control="A", metrics=(Metric(name="y"),))
    with connect() as engine:
        engine.register("units", worlds.arrow(frame))
        cells = open_source(engine, Source(table="units", arm="arm"), plan, tmp_path).moments()
    assert cells.get("y", "A").comoment.tolist() == [[0.0]]
    assert cells.get("y", "B").variance == pytest.approx(values[2_500:].var(ddof=1), rel=1e-12)


def test_edge_tables_are_cells_like_any_other(tmp_path):
    # R16: one unit; all zero; everything missing; a metric that is missing in one arm only.
    plan = AnalysisPlan(
        arms={"A": 0.5, "B": 0.5},
        control="A",
        metrics=(Metric(name="zero"), Metric(name="none"), Metric(name="half")),
    )
    table = pa.table(
        {
            "arm": ["A", "B"],
            "zero": [0.0, 0.0],
            "none": pa.array([None, None], pa.float64()),
            "half": pa.array([None, 3.0], pa.float64()),
        }
    )
    with connect() as engine:
        engine.register("units", table)
        units = open_source(engine, Source(table="units", arm="arm"), plan, tmp_path)
        cells = units.moments()
        assert units.profile()["none"].mean is None
        assert units.value_counts("half")["A"].values.tolist() == []
    assert [cells.get("zero", arm).n for arm in "AB"] == [1, 1]
    assert [cells.get("none", arm).n for arm in "AB"] == [0, 0]
    assert [cells.get("half", arm).n for arm in "AB"] == [0, 1]
    assert cells.get("half", "B").mean.tolist() == [3.0]
    assert cells.missing["none", "A"] == 1


def test_a_hundred_thousand_cohorts(tmp_path):
    # R18 in small: the number of cells is no obstacle, and they add up to the total.
    n = 200_000
    table = pa.table(
        {
            "arm": np.repeat(["A", "B"], n // 2),
            "y": np.arange(n, dtype=float) % 7,
            "who": [f"k{i % 100_000}" for i in range(n)],
        }
    )
    plan = AnalysisPlan(
        arms={"A": 0.5, "B": 0.5}, control="A", metrics=(Metric(name="y"),), cohorts=("who",)
    )
    with connect() as engine:
        engine.register("units", table)
        cells = open_source(engine, Source(table="units", arm="arm"), plan, tmp_path).moments()
    assert len(cells.cohorts("who")) == 100_000
    assert sum(m.n for (_, c, a), m in cells.cells.items() if c and a == "A") == n // 2
