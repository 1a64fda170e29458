"""Digits: correct decimal digits (LRE) on the reference data of NIST.

The eleven one-way analyses of variance of the Statistical Reference Datasets, which SciPy ships;
the certified values are in the files. The arms' moments are computed by the data engine, merged,
and compared. Slopes of CUPED are compared with the certified regressions Norris and Longley.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from measure.engine.connection import connect
from measure.engine.units import unit_table
from measure.incrementality import cuped
from measure.moments import Moments, total
from measure.plan import AnalysisPlan, Metric

pytestmark = pytest.mark.reference

FOLDER = Path(scipy.stats.__file__).parent / "tests" / "data" / "nist_anova"
FILES = sorted(FOLDER.glob("*.dat"))


def read(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Groups, values and the certified F of one file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    certified = next(line for line in lines if line.startswith("Between"))
    rows = [line.split() for line in lines[60:] if len(line.split()) == 2]
    groups = np.array([int(row[0]) for row in rows])
    return groups, np.array([float(row[1]) for row in rows]), float(certified.split()[-1])


def digits(found: float, certified: float) -> float:
    """Log relative error: correct decimal digits, at most fifteen."""
    if found == certified:
        return 15.0
    return min(15.0, -math.log10(abs(found - certified) / abs(certified)))


def f_by_moments(groups: np.ndarray, values: np.ndarray) -> float:
    """F of a one-way analysis of variance from the engine's moments of each group."""
    import pyarrow as pa

    names = [f"g{group:02d}" for group in sorted(set(groups.tolist()))]
    plan = AnalysisPlan(
        arms=dict.fromkeys(names, 1 / len(names)),
        control=names[0],
        metrics=(Metric(name="y"),),
    )
    engine = connect("duckdb://")
    table = pa.table({"arm": [f"g{group:02d}" for group in groups], "y": values})
    engine.register("results", table)
    moments = unit_table(engine, engine.table("results"), "arm", plan).moments()
    parts = [moments.get("y", name) for name in names]
    within = sum(float(part.comoment[0, 0]) for part in parts)
    between = sum(part.n * float(part.mean[0] - total(parts).mean[0]) ** 2 for part in parts)
    units = sum(part.n for part in parts)
    return (between / (len(names) - 1)) / (within / (units - len(names)))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_f_has_as_many_digits_as_scipy_less_two(path, record_property):
    # Source: certified F of NIST StRD; the bar is what scipy.stats.f_oneway reaches, minus two.
    assert len(FILES) == 11
    groups, values, certified = read(path)
    ours = digits(f_by_moments(groups, values), certified)
    scipys = digits(
        float(scipy.stats.f_oneway(*(values[groups == g] for g in np.unique(groups))).statistic),
        certified,
    )
    record_property("file", path.stem)
    record_property("Truelift", f"{ours:.1f}")
    record_property("SciPy", f"{scipys:.1f}")
    assert ours >= scipys - 2


def slopes(outcome: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Slopes of CUPED; every other unit is in the arm, since both arms share their slopes."""
    columns = ("y", *(f"x{place}" for place in range(covariates.shape[1])))
    rows = np.column_stack([outcome, covariates])
    control, arm = (Moments.from_values(columns, rows[start::2]) for start in (0, 1))
    return cuped.fit(control, arm).theta


def regression(name: str) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Outcome, covariates and certified slopes of a reference regression."""
    if name == "Longley":
        from statsmodels.datasets import longley

        data = longley.load_pandas()
        certified = [
            15.0618722713733,
            -0.358191792925910e-01,
            -2.02022980381683,
            -1.03322686717359,
            -0.511041056535807e-01,
            1829.15146461355,
        ]
        return data.endog.to_numpy(), data.exog.to_numpy(), certified
    lines = (FOLDER.parent / "nist_linregress" / "Norris.dat").read_text().splitlines()
    rows = np.array([[float(word) for word in line.split()] for line in lines[60:96]])
    return rows[:, 0], rows[:, 1:], [1.00211681802045]


@pytest.mark.parametrize(("name", "least"), [("Norris", 12), ("Longley", 8)])
def test_slopes_of_cuped_have_their_certified_digits(name, least, record_property):
    # Source: certified slopes of NIST StRD, Norris and Longley (the latter is nearly collinear).
    outcome, covariates, certified = regression(name)
    found = slopes(outcome, covariates)
    fewest = min(digits(a, b) for a, b in zip(found, certified, strict=True))
    record_property("file", name)
    record_property("Truelift", f"{fewest:.1f}")
    assert fewest >= least
