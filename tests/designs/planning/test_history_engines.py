"""A real PostgreSQL and a real Spark read the history that DuckDB reads.

DuckDB is held against pandas in ``test_history``.
"""

import pytest

from designs.planning.assumptions import Assumptions
from designs.planning.warehouse import warehouse_history
from measure.engine.connection import connect
from tests.designs.planning import plans
from tests.designs.planning.test_history import shop
from tests.services import postgres, spark_url

RATIO = {"name": "per_order", "numerator": "revenue", "denominator": "orders"}
METRICS = [
    {"name": "revenue", "unit": "EUR", "role": "primary"},
    {"name": "orders", "kind": "count"},
    {"name": "basket", "kind": "ratio", "column": "revenue", "denominator": "orders"},
]
HOUSEHOLDS = {"cluster": {"attribute": "household"}, "unit": "household"}


def filled(engine):
    customers, orders = shop(days=30)
    names = [f"h{i // 4}" for i in range(len(customers))]
    engine.register("customers", customers.append_column("household", [names]))
    engine.register("conversions", orders)
    return engine


@pytest.fixture(scope="module")
def server(request):
    if request.param == "spark":
        with connect(spark_url()) as engine:
            yield filled(engine)
        return
    with postgres() as url, connect(url) as engine:
        yield filled(engine)


def read(engine, **more):
    of = plans.experiment(metrics=METRICS, **more)
    return warehouse_history(engine, of, Assumptions(ratios=(RATIO,)))


CASES = {
    "postgres-customers": ("postgres", {}),
    "postgres-households": ("postgres", HOUSEHOLDS),
    "spark-customers": ("spark", {}),  # households: the same queries over more rows, a minute long
}


@pytest.mark.parametrize(("server", "more"), CASES.values(), ids=CASES, indirect=["server"])
def test_every_engine_reads_the_same_history(server, more):
    with connect("duckdb://") as engine:
        expected = read(filled(engine), **more)
    found = read(server, **more)
    assert (found.units, found.first_day, found.daily) == (
        expected.units, expected.first_day, expected.daily,
    )  # fmt: skip
    assert found.clusters == expected.clusters
    assert set(found.outcomes) == {"revenue", "orders", "basket", "per_order"}
    for name, one in expected.outcomes.items():
        other = found.outcomes[name]
        assert other.moments.n == one.moments.n
        assert other.moments.mean == pytest.approx(one.moments.mean, rel=1e-12)
        assert other.moments.variance == pytest.approx(one.moments.variance, rel=1e-9)
        assert other.r_squared == pytest.approx(one.r_squared, abs=1e-9)
        assert (other.values.counts == one.values.counts).all()
    assert [(s.days, s.active, s.newcomers) for s in found.spans] == [
        (s.days, s.active, s.newcomers) for s in expected.spans
    ]
    # A ratio that is declared and one that is assumed are the same ratio.
    declared, assumed = (found.outcomes[name].moments for name in ("basket", "per_order"))
    assert declared.variance == assumed.variance
