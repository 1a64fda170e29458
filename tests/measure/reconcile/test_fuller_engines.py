"""The checks of fuller worlds give the same answer, to the cent, on every engine."""

import pytest

from measure.engine.connection import connect
from measure.reconcile import CATALOGUE, Settings, reconcile, statement
from measure.results import Outcome
from tests.measure.reconcile.fuller import FULLER, SETTINGS, fuller_world, register
from tests.measure.reconcile.test_fuller_checks import MINE, steady_log
from tests.measure.reconcile.world import EXPERIMENT
from tests.services import postgres, spark_url

PLANTED = ("C2", "C5", "C6", "C7", "C9", "C10", "C11", "E1", "E2", "E4", "E5", "E9", "G2", "G4")
PLANTED += ("C8", "D2", "D5", "G8", "G9", "H2", "H4", "H6", "H8")
ON_SPARK = ("C6", "C8", "D2", "E9", "G9")
"""A query takes Spark a second or more; these check every word the others use."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("postgres", marks=pytest.mark.xdist_group("postgres")),
        pytest.param("spark", marks=pytest.mark.xdist_group("spark")),
    ],
)
def engine(request):
    if request.param == "spark":
        with connect(spark_url()) as opened:
            yield opened
    else:
        with postgres() as url, connect(url) as opened:
            yield opened


def on_duckdb(world, **options):
    with connect() as engine:
        register(world, engine)
        return reconcile(engine, **options)


def choose(monkeypatch, codes):
    chosen = [check for check in CATALOGUE if check.code in codes]
    monkeypatch.setattr(statement, "CATALOGUE", chosen)


def test_planted_defects_are_found_alike(engine, monkeypatch):
    world = fuller_world(1_100, seed=5)
    for code in PLANTED:
        FULLER[code](world)
    choose(monkeypatch, ON_SPARK if engine.name == "pyspark" else MINE)
    register(world, engine)
    result = reconcile(engine, settings=SETTINGS, experiment=EXPERIMENT)
    assert not [c.message for c in result.checks if c.outcome is Outcome.FAILED]
    assert sum(c.outcome is Outcome.FLAGGED for c in result.checks) >= 4
    assert result == on_duckdb(world, settings=SETTINGS, experiment=EXPERIMENT)


def test_gaps_are_found_alike(engine, monkeypatch):
    world = steady_log({100: 0, 200: 7, 300: 8})
    choose(monkeypatch, ("D1",))
    register(world, engine)
    (check,) = reconcile(engine, settings=Settings()).checks
    assert (check.rows, check.outcome) == (2, Outcome.FLAGGED)
    assert (check,) == on_duckdb(world, settings=Settings()).checks
