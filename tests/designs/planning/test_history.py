"""History from a unit table and from a warehouse, against plain pandas and hand counts."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from designs.planning.assumptions import Assumptions
from designs.planning.history import source_history
from designs.planning.warehouse import warehouse_history
from designs.specification import load_experiment
from measure.engine.connection import connect
from measure.errors import DataError, InputError
from tests.data import data_file
from tests.designs import specs
from tests.designs.planning import plans

START = datetime(2026, 3, 1, tzinfo=UTC)
NONE = Assumptions()


def test_source_history_is_the_control_arm():
    # Source: pandas and numpy on the same file; R² by least squares on the control arm.
    frame = pd.read_csv(data_file("hillstrom.csv"))
    control = frame[frame.segment == "No E-Mail"]
    experiment = load_experiment(specs.HILLSTROM)
    ratio = {"name": "per_visit", "numerator": "spend", "denominator": "visit"}
    with connect() as engine:
        found = source_history(
            engine, experiment, specs.HILLSTROM.parent, Assumptions(ratios=(ratio,))
        )
    spend = found.outcomes["spend"]
    assert found.units == len(frame)
    assert spend.moments.n == len(control)
    assert float(spend.moments.mean[0]) == pytest.approx(control.spend.mean(), rel=1e-12)
    assert spend.moments.variance == pytest.approx(control.spend.var(), rel=1e-12)
    x = control[["recency", "history", "mens", "womens", "newbie"]].to_numpy(float)
    design = np.column_stack([np.ones(len(x)), x])
    rest = control.spend - design @ np.linalg.lstsq(design, control.spend, rcond=None)[0]
    assert spend.r_squared == pytest.approx(1 - rest.var() / control.spend.var(), abs=1e-9)
    # Source: the delta method over units, by numpy: the variance of (x − R y)/ȳ.
    ratio = control.spend.sum() / control.visit.sum()
    linear = (control.spend - ratio * control.visit) / control.visit.mean()
    moments = found.outcomes["per_visit"].moments
    assert float(moments.mean[0]) == pytest.approx(ratio, rel=1e-12)
    assert moments.variance == pytest.approx(linear.var(), rel=1e-9)
    assert moments.skewness == pytest.approx(linear.skew(), rel=1e-3)
    assert "population is fixed" in found.notes[0]


def shop(days=60, people=400, seed=2):
    """A warehouse in memory: everybody known for long; orders on some days before the start."""
    rng = np.random.default_rng(seed)
    ids = [f"c{i:03d}" for i in range(people)]
    first = [START - timedelta(days=400 if i < 300 else (people - i) // 4) for i in range(people)]
    prior = rng.poisson(2, people)
    customers = pa.table(
        {
            "customer_id": ids,
            "first_seen_at": pa.array(first, pa.timestamp("us", tz="UTC")),
            "country": ["DE"] * people,
            "prior_orders": [str(n) for n in prior],
        }
    )
    n = days * 20
    who = rng.integers(0, 300, n)
    back = np.repeat(np.arange(1, days + 1), 20)
    when = [START - timedelta(days=int(d)) + timedelta(hours=int(h))
            for d, h in zip(back, rng.integers(0, 24, n), strict=True)]  # fmt: skip
    orders = pa.table(
        {
            "conversion_id": [f"k{i}" for i in range(n)],
            "order_id": [f"o{i}" for i in range(n)],
            "customer_id": [ids[i] for i in who],
            "ts": pa.array(when, pa.timestamp("us", tz="UTC")),
            "value": pa.array(rng.integers(500, 9_000, n)),
            "refunded_value": pa.array(np.zeros(n, dtype=np.int64)),
            "currency": ["EUR"] * n,
            "status": ["paid"] * n,
        }
    )
    return customers, orders


@pytest.fixture(scope="module")
def tables():
    return shop()


@pytest.fixture
def engine(tables):
    with connect("duckdb://") as found:
        found.register("customers", tables[0])
        found.register("conversions", tables[1])
        yield found


def windowed(tables, days):
    """Revenue per unit present `days` before the start, by pandas."""
    customers, orders = (table.to_pandas() for table in tables)
    begin = pd.Timestamp(START) - pd.Timedelta(days=days)
    present = customers[customers.first_seen_at <= begin].customer_id
    inside = orders[(orders.ts >= begin) & (orders.ts < pd.Timestamp(START))]
    revenue = inside.groupby("customer_id").value.sum() / 100
    return present, revenue.reindex(present).fillna(0.0)


def test_warehouse_history_is_the_last_whole_window(engine, tables):
    experiment = plans.experiment()
    found = warehouse_history(engine, experiment, NONE)
    present, revenue = windowed(tables, 28)
    moments = found.outcomes["revenue"].moments
    assert (found.first_day, found.last_day) == (date(2026, 2, 1), date(2026, 2, 28))
    assert moments.n == len(present)
    assert float(moments.mean[0]) == pytest.approx(revenue.mean(), rel=1e-12)
    assert moments.variance == pytest.approx(revenue.var(), rel=1e-12)
    assert found.units == 400  # everybody is known at the start, newcomers too
    shares = found.outcomes["conversion"].moments
    assert float(shares.mean[0]) == pytest.approx((revenue > 0).mean())


def test_duration_counts_distinct_units(engine, tables):
    found = warehouse_history(engine, plans.experiment(), NONE)
    assert [span.days for span in found.spans] == [7, 14, 21, 28, 42, 56]
    for span in found.spans:
        present, revenue = windowed(tables, span.days)
        moments = span.outcome.moments
        assert moments.n == len(present)
        assert float(moments.mean[0]) == pytest.approx(revenue.mean())
        assert span.active == (revenue > 0).sum()
        assert span.newcomers == 400 - len(present)
    active = [span.active for span in found.spans]
    assert active == sorted(active)
    assert active[3] < 4 * active[0]  # not linear: the same units come again


def test_weeks_begin_on_monday(engine):
    found = warehouse_history(engine, plans.experiment(), NONE)
    assert len(found.weekdays) == 8
    assert all(sum(week) == 140 for week in found.weekdays)


def test_holdouts_and_eligibility_count(engine):
    held = plans.experiment(holdout={"share": 0.25})
    nobody = plans.experiment(population={"where": {"country": "FR"}})
    assert 0.65 * 400 < warehouse_history(engine, held, NONE).units < 0.85 * 400
    with pytest.raises(InputError):
        warehouse_history(engine, nobody, NONE)


def test_history_may_end_earlier(engine):
    earlier = Assumptions(history_until=date(2026, 2, 15))
    found = warehouse_history(engine, plans.experiment(), earlier)
    assert found.last_day == date(2026, 2, 14)


def test_too_little_history_is_refused_with_its_dates(engine):
    long = plans.experiment(plan={"window_days": 90})
    with pytest.raises(DataError, match=r"90 days of conversions before 2026-03-01.*2025-12-31"):
        warehouse_history(engine, long, NONE)


def test_unknown_ratio_parts_are_named(engine):
    ratio = {"name": "r", "numerator": "revenu", "denominator": "conversion"}
    with pytest.raises(InputError, match="Did you mean 'revenue'"):
        warehouse_history(engine, plans.experiment(), Assumptions(ratios=(ratio,)))


def test_assignments_of_other_tests_are_left_alone(engine):
    # Planning reads assignments that it makes up; the engine's own table is neither read nor made.
    warehouse_history(engine, plans.experiment(), NONE)
    assert not engine.has("assignments")
