"""Outcomes by period on every engine against bookkeeping unit by unit and period by period."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from measure.engine.panels import Step
from measure.errors import DataError, InputError
from measure.journeys.brought_over_time import brought_over_time
from measure.journeys.outcomes import unit_outcomes
from measure.journeys.outcomes_over_time import outcomes_over_time, record_ends
from measure.moments import Moments
from measure.plan import AnalysisPlan, Metric, Source
from tests.measure.journeys import shop as world
from tests.measure.journeys.test_outcomes import embedded

METRICS = (
    Metric(name="bought", kind="proportion", column="conversion"),
    Metric(name="orders", kind="count"),
    Metric(name="revenue"),
    Metric(name="net", column="net_revenue"),
)
UNTIL = world.START + timedelta(days=70, hours=9)


def plan(window=21, **changes):
    base = {"arms": {"mail": 0.75, "holdout": 0.25}, "control": "holdout", "metrics": METRICS}
    return AnalysisPlan(**(base | changes), window_days=window)


def values_of(period_of, first_of, last_of, periods):
    """Outcome (arm, first, last, periods × metrics) of every unit, by walking all orders."""
    for row in world.assignments():
        if row["experiment"] != "spring":
            continue
        at = row["assigned_at"]
        first, last = first_of(at), last_of(at)
        found = np.zeros((periods, 4))
        for order in world.counted_orders():
            if order["customer_id"] != row["unit_id"] or order["ts"] < at:
                continue
            period = period_of(at, order["ts"])
            if first <= period <= min(last, periods):
                net = order["value"] - order["refunded_value"]
                found[period - 1] += (0, 1, order["value"] / 100, net / 100)
                found[period - 1, 0] = 1
        yield row["arm"], first, last, found


def by_days(days, periods):
    def period_of(at, ts):
        return (ts - at) // timedelta(days=days) + 1

    return list(
        values_of(
            period_of,
            lambda _: 1,
            lambda at: max(0, (UNTIL - at) // timedelta(days=days)),
            periods,
        )
    )


def by_months():
    """January is the first month that began with somebody assigned (2026-01-01 00:00)."""

    def months(at):
        return at.year * 12 + at.month - (2026 * 12 + 1)

    def first_of(at):
        begins = at == at.replace(day=1, hour=0)
        return months(at) + (1 if begins else 2)

    return list(values_of(lambda _, ts: months(ts) + 1, first_of, lambda _: 2, 2))


def expected(units, arm, step, column, periods):
    """Values of the units that a step covers, computed from the dense matrix."""
    begin, end = (step.period, step.period) if step.period else (1, periods)
    chosen = [
        v[:, column] for a, first, last, v in units if a == arm and first <= begin <= end <= last
    ]
    if step.series == "period":
        return [v[step.period - 1] for v in chosen]
    if step.series == "cumulative":
        upto = [v[: step.period] for v in chosen]
        return [v.max() if column == 0 else v.sum() for v in upto]
    if step.series == "trend":
        time = np.arange(periods)
        return [np.polyfit(time, v, 1)[0] for v in chosen]
    half = periods // 2
    return [v[periods - half :].mean() - v[:half].mean() for v in chosen]


def steps(periods):
    for period in range(1, periods + 1):
        yield Step("period", period)
        yield Step("cumulative", period)
    yield from (Step("trend"), Step("late"))


CASES = [
    ("day", 3, lambda: by_days(1, 3), 3),
    ("week", 24, lambda: by_days(7, 3), 3),
    ("month", 21, by_months, 2),
]


@pytest.mark.parametrize(("by", "window", "walk", "periods"), CASES, ids=["day", "week", "month"])
def test_every_step_equals_the_bookkeeping(shop, by, window, walk, periods):
    panel = outcomes_over_time(shop, "spring", plan(window), by, until=UNTIL)
    units = walk()
    assert len(panel.labels) == periods
    assert panel.units == Counter(unit[0] for unit in units)
    happened = 0
    for step in steps(periods):
        for arm in ("mail", "holdout"):
            for column, metric in enumerate(METRICS):
                values = expected(units, arm, step, column, periods)
                happened += np.count_nonzero(values)
                assert panel.covered(arm, step) == len(values)
                found, oracle = (
                    panel.moments(metric.name, arm, step),
                    Moments.from_values((metric.name,), values),
                )
                assert found.n == oracle.n
                assert found.mean == pytest.approx(oracle.mean, rel=1e-9, abs=1e-12)
                assert found.comoment == pytest.approx(oracle.comoment, rel=1e-9, abs=1e-9)
                assert found.third == pytest.approx(oracle.third, rel=1e-9, abs=1e-6)
    assert happened > 90
    step = Step("cumulative", periods)
    counted = panel.value_counts("orders", step)["mail"]
    oracle = Counter(expected(units, "mail", step, 1, periods))
    assert dict(zip(counted.values, counted.counts, strict=True)) == oracle


def test_the_last_cumulative_outcome_is_that_of_the_window():
    with embedded() as engine:
        far = world.START + timedelta(days=200)
        panel = outcomes_over_time(engine, "spring", plan(21), "week", until=far)
        rows = engine.fetch(unit_outcomes(engine, "spring", 21)).to_pylist()
        for metric in METRICS:
            values = [row[metric.column] for row in rows if row["arm"] == "mail"]
            found = panel.moments(metric.name, "mail", Step("cumulative", 3))
            oracle = Moments.from_values((metric.name,), values)
            assert (found.n, found.mean[0]) == (oracle.n, pytest.approx(oracle.mean[0], abs=1e-9))
            assert found.variance == pytest.approx(oracle.variance, rel=1e-9)


def test_a_period_ends_to_the_microsecond():
    begin = world.START + timedelta(microseconds=600_000)
    orders = [
        {**world.conversions()[0], "conversion_id": f"k{i}", "order_id": f"o{i}"}
        | {"customer_id": "u001", "ts": begin + after, "status": "paid", "value": 100}
        for i, after in enumerate(
            (timedelta(), timedelta(days=1, microseconds=-1), timedelta(days=1))
        )
    ]
    one = [{**world.assignments()[1], "assigned_at": begin}]
    ends = begin + timedelta(days=2)
    with embedded(conversions=world.table(orders), assignments=world.table(one)) as engine:
        panel = outcomes_over_time(engine, "spring", plan(5), "day", until=ends)
        counts = [panel.moments("orders", "mail", Step("period", p)).mean[0] for p in (1, 2)]
        assert counts == [2, 1]
        assert panel.covered("mail", Step("period", 2)) == 1
        assert panel.covered("mail", Step("period", 3)) == 0
        earlier = ends - timedelta(microseconds=1)
        panel = outcomes_over_time(engine, "spring", plan(5), "day", until=earlier)
        assert panel.covered("mail", Step("period", 2)) == 0


def test_nothing_happened_is_all_zeros():
    none = world.table([{**world.conversions()[0], "customer_id": "nobody"}])
    with embedded(conversions=none) as engine:
        panel = outcomes_over_time(engine, "spring", plan(2), "day", until=UNTIL)
        found = panel.moments("revenue", "mail", Step("trend"))
        assert (found.n, found.mean[0], found.variance) == (130, 0, 0)
        counted = panel.value_counts("revenue", Step("period", 1))["holdout"]
        assert (counted.values.tolist(), counted.counts.tolist()) == ([0.0], [50])


def test_clear_refusals():
    with embedded() as engine:
        with pytest.raises(InputError, match="longer than the window of 3 days"):
            outcomes_over_time(engine, "spring", plan(3), "week", until=UNTIL)
        with pytest.raises(InputError, match="makes 900 periods"):
            outcomes_over_time(engine, "spring", plan(900), "day", until=UNTIL)
        soon = datetime(2026, 1, 20, tzinfo=UTC)
        with pytest.raises(DataError, match="before a calendar month"):
            outcomes_over_time(engine, "spring", plan(), "month", until=soon)
        last = max(row["ts"] for row in world.conversions())
        assert record_ends(engine) - last <= timedelta(days=1)
        assert record_ends(engine).hour == 0
    none = world.tables()["conversions"].slice(0, 0)
    with embedded(conversions=none) as engine, pytest.raises(DataError, match="there is no row"):
        record_ends(engine)


def test_a_long_table_is_the_same_on_every_engine(shop):
    draw = np.random.default_rng(20260103)
    values = np.where(draw.random((60, 3)) < 0.5, 0, draw.integers(1, 50, (60, 3)) / 4)
    followed = draw.integers(1, 4, 60)
    rows = [
        {"who": f"0{u}", "arm": ("mail", "holdout")[u % 2], "week": w + 1, "spend": values[u, w]}
        | {"weeks": int(followed[u])}
        for u in range(60)
        for w in range(followed[u])
        if w == 0 or values[u, w]
    ]
    names = ("who", "arm", "week", "spend", "weeks")
    shop.register("long", pa.table({name: [row[name] for row in rows] for name in names}))
    source = Source(table="long", arm="arm", id="who", period="week", followed="weeks")
    chosen = plan(metrics=(Metric(name="spend"),))
    panel = brought_over_time(shop, source, chosen, None)
    units = [
        (("mail", "holdout")[u % 2], 1, int(followed[u]), np.tile(values[u][:, None], 2))
        for u in range(60)
    ]
    for step in steps(3):
        for arm in ("mail", "holdout"):
            oracle = Moments.from_values(("spend",), expected(units, arm, step, 1, 3))
            found = panel.moments("spend", arm, step)
            assert found.n == oracle.n
            assert found.mean == pytest.approx(oracle.mean, abs=1e-12)
            assert found.comoment == pytest.approx(oracle.comoment, abs=1e-9)
