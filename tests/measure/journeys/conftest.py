"""A small shop on every engine: its tables, loaded once per engine."""

import pytest

from measure.engine.connection import connect
from tests.measure.journeys.shop import tables
from tests.services import postgres, spark_url

ENGINES = ("duckdb", "postgres", "spark")


def pytest_generate_tests(metafunc):
    if "shop" in metafunc.fixturenames:
        # One worker per server: Spark and PostgreSQL start once in a run.
        parameters = [
            pytest.param(name, marks=[pytest.mark.xdist_group(name)] if name != "duckdb" else [])
            for name in ENGINES
        ]
        metafunc.parametrize("shop", parameters, indirect=True, scope="module")


@pytest.fixture(scope="module")
def shop(request):
    if request.param == "postgres":
        with postgres() as url, connect(url) as opened:
            yield stocked(opened)
        return
    with connect("duckdb://" if request.param == "duckdb" else spark_url()) as opened:
        yield stocked(opened)


def stocked(engine):
    for name, data in tables().items():
        engine.register(name, data)
    return engine
