"""Units at each time are the same on every engine as in pandas; impossible times are refused."""

import numpy as np
import pandas as pd
import pytest

from measure.engine.connection import connect
from measure.engine.units import open_source
from measure.errors import DataError, UnknownName
from measure.incrementality import analyze
from measure.plan import AnalysisPlan, Metric, Source
from measure.results import Cohort
from tests.measure.engine import worlds
from tests.measure.incrementality.frames import FrameUnits

KEPT = Metric(name="kept", kind="retention", column="days", event="left", horizon=30.0)
PLAN = AnalysisPlan(
    arms={"control": 0.2, "mail": 0.3, "späte Mail": 0.5},
    control="control",
    metrics=(
        KEPT,
        Metric(name="until", kind="duration", column="days", event="left", horizon=12.5),
        Metric(name="median", kind="quantile", column="before", quantile=0.5),
        Metric(name="high", kind="quantile", column="minutes", quantile=0.9),
        Metric(name="high orders", kind="quantile", column="orders", quantile=0.95, null="zero"),
    ),
    cohorts=("channel", "tier"),
    estimators=("difference",),
)


def frame(rows=1_500):
    rng = np.random.default_rng(21)
    table = worlds.frame(rows)
    table["days"] = rng.exponential(25.0, rows).round(1)
    table["left"] = rng.integers(0, 2, rows).astype(float)
    table.loc[rng.random(rows) < 0.05, "days"] = np.nan
    table.loc[rng.random(rows) < 0.05, "left"] = np.nan
    return table


def by_pandas(table):
    """The frame with missing cohorts named, as a unit table of pandas alone."""
    done = table.assign(orders=table.orders.fillna(0.0))
    for name in PLAN.cohorts:
        done[name] = table[name].map(lambda v: "(missing)" if pd.isna(v) else str(v))
    return FrameUnits(done, "arm", PLAN)


@pytest.fixture(scope="module")
def table():
    return frame()


@pytest.fixture(scope="module")
def units(engine, table, tmp_path_factory):
    engine.register("timed", worlds.arrow(table))
    source = Source(table="timed", arm="arm", id="unit")
    return open_source(engine, source, PLAN, tmp_path_factory.mktemp("base"))


COHORTS = [None, Cohort("channel", "(missing)"), Cohort("tier", "2"), Cohort("tier", "none such")]


@pytest.mark.parametrize("cohort", COHORTS, ids=str)
@pytest.mark.parametrize("metric", ["kept", "until"])
def test_counts_are_those_of_pandas(units, table, metric, cohort):
    wanted = by_pandas(table).event_counts(metric, cohort)
    found = units.event_counts(metric, cohort)
    assert list(found) == list(PLAN.arms)
    for arm, counted in found.items():
        for name in ("times", "events", "censored", "beyond"):
            np.testing.assert_array_equal(getattr(counted, name), getattr(wanted[arm], name))


def test_an_analysis_is_that_of_pandas(units, table):
    ours = analyze(units, PLAN, experiment="timed")
    theirs = analyze(by_pandas(table), PLAN, experiment="timed")
    assert ours.estimates == theirs.estimates
    assert {e.status.value for e in ours.estimates if e.cohort is None} == {"ok"}


def opened(table, plan=PLAN, **source):
    engine = connect("duckdb://")
    engine.register("timed", worlds.arrow(table))
    return open_source(engine, Source(table="timed", arm="arm", **source), plan, worlds)


def test_a_metric_without_an_event_has_no_event_counts(table):
    with pytest.raises(UnknownName, match="metric with an event 'median' not found"):
        opened(table).event_counts("median")


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("days", -0.5, "column 'days' holds -0.5; a time cannot be negative"),
        ("days", np.inf, "column 'kept' holds inf"),
        ("left", 2.0, "event column 'left' of metric 'kept' holds 2; only 0 and 1 are allowed"),
    ],
)
def test_impossible_times_and_events_are_refused(table, column, value, rule):
    known = table[table.days.notna() & table.left.notna()]
    bad = known.copy()
    bad.loc[bad.index[3], column] = value
    with pytest.raises(DataError, match=rule):
        opened(bad)


@pytest.mark.parametrize("kind", ["quantile", "retention", "duration"])
def test_rows_of_clusters_are_refused(table, kind):
    chosen = next(metric for metric in PLAN.metrics if metric.kind == kind)
    plan = PLAN.model_copy(update={"metrics": (chosen,), "cohorts": ()})
    with pytest.raises(DataError, match=f"of kind {kind} cannot be analysed over the rows"):
        opened(table.assign(home=table.unit), plan, cluster="home")


def test_a_file_of_parquet_and_a_csv_say_the_same(table, tmp_path):
    engine = connect("duckdb://")
    table.to_parquet(tmp_path / "timed.parquet")
    table.to_csv(tmp_path / "timed.csv", index=False)
    wanted = analyze(by_pandas(table), PLAN, experiment="timed").estimates
    for name in ("timed.parquet", "timed.csv"):
        units = open_source(engine, Source(path=name, arm="arm"), PLAN, tmp_path)
        assert analyze(units, PLAN, experiment="timed").estimates == wanted
