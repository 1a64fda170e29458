"""The real file, from its path to the published differences. Source of numbers: MANIFEST.md."""

import numpy as np
import pandas as pd
import pytest

from measure.engine.connection import connect
from measure.engine.units import open_source
from measure.plan import AnalysisPlan, Metric, Source
from tests.data import data_file
from tests.measure.engine import worlds

PLAN = AnalysisPlan(
    arms={"No E-Mail": 0.333, "Womens E-Mail": 0.334, "Mens E-Mail": 0.333},
    control="No E-Mail",
    metrics=(
        Metric(name="spend", unit="USD", role="primary"),
        Metric(name="conversion", kind="proportion"),
        Metric(name="visit", kind="proportion"),
    ),
    covariates=("recency", "history", "mens", "womens", "newbie"),
    cohorts=("history_segment", "channel", "zip_code"),
)


@pytest.fixture(scope="module")
def units():
    path = data_file("hillstrom.csv")
    source = Source(path=path.name, arm="segment")
    with connect() as engine:
        yield open_source(engine, source, PLAN, path.parent)


def test_arms_and_file_are_those_of_the_manifest(units):
    sizes = {"No E-Mail": 21_306, "Womens E-Mail": 21_387, "Mens E-Mail": 21_307}
    assert units.moments().units == sizes
    assert units.data_hash == "0e5893329d8b93cefecc571777672028290ab69865718020c78c7284f291aece"


@pytest.mark.parametrize(
    ("metric", "arm", "difference", "digits"),
    [
        ("visit", "Mens E-Mail", 0.0766, 4),
        ("conversion", "Mens E-Mail", 0.00681, 5),
        ("spend", "Mens E-Mail", 0.770, 3),
        ("visit", "Womens E-Mail", 0.0452, 4),
        ("conversion", "Womens E-Mail", 0.00311, 5),
        ("spend", "Womens E-Mail", 0.424, 3),
    ],
)
def test_published_differences(units, metric, arm, difference, digits):
    cells = units.moments()
    found = cells.get(metric, arm).mean[0] - cells.get(metric, "No E-Mail").mean[0]
    assert round(found, digits) == pytest.approx(difference, abs=1e-12)


def test_every_cell_of_every_cohort_equals_pandas(units):
    table = pd.read_csv(data_file("hillstrom.csv")).rename(columns={"segment": "arm"})
    cells = units.moments()
    compared = 0
    for (metric, cohort, arm), moments in worlds.expected_cells(table, PLAN):
        worlds.assert_same(cells.get(metric, arm, cohort), moments)
        compared += 1
    assert compared == 3 * 3 * (1 + 7 + 3 + 3)


def test_value_counts_carry_the_whole_distribution(units):
    counted = units.value_counts("spend")
    values = np.concatenate([found.values for found in counted.values()])
    weights = np.concatenate([found.counts for found in counted.values()])
    assert weights.sum() == 64_000
    assert values @ weights / 64_000 == pytest.approx(1.05091, abs=5e-6)
