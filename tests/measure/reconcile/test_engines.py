"""The whole catalogue gives the same answer, to the cent, on every engine."""

import random

import pytest

from measure.engine.connection import connect
from measure.reconcile import CATALOGUE, reconcile, statement
from measure.results import Outcome
from tests.measure.reconcile import careful
from tests.measure.reconcile.test_bridge import assert_adds_up, tangled
from tests.measure.reconcile.world import EXPERIMENT, INJECTORS, START, clean_world
from tests.services import postgres, spark_url

PLANTED = ("A1", "A3", "B1", "B2", "C3", "E6", "F4", "G1", "G3", "H1")
ON_SPARK = ("B1", "E6", "F1", "H1")
"""A query takes Spark a second or more; these check every word the others use."""

CAREFUL_ON_SPARK = ("A4", "A7", "B6", "F2")


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
        world.register(engine)
        return reconcile(engine, **options)


def test_planted_defects_are_found_alike(engine, monkeypatch):
    world = clean_world(600, seed=5)
    planted = {code: INJECTORS[code](world) for code in PLANTED}
    codes = ON_SPARK if engine.name == "pyspark" else [check.code for check in CATALOGUE]
    chosen = [check for check in CATALOGUE if check.code in codes]
    monkeypatch.setattr(statement, "CATALOGUE", chosen)
    world.register(engine)
    result = reconcile(engine, experiment=EXPERIMENT)
    found = {check.code: check for check in result.checks}
    assert not [c.message for c in result.checks if c.outcome is Outcome.FAILED]
    both = [code for code in PLANTED if code in codes]
    assert {c: (found[c].rows, found[c].money) for c in both} == {
        c: (planted[c].rows, planted[c].money) for c in both
    }
    assert result == on_duckdb(world, experiment=EXPERIMENT)


@pytest.mark.parametrize(
    "engine",
    [pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))],
    indirect=True,  # on Spark a second reconciliation takes a minute and shows nothing new
)
def test_a_tangle_gives_the_same_bridge(engine):
    world = tangled(random.Random(99), 200)
    world.register(engine)
    result = reconcile(engine)
    assert_adds_up(result.bridge)
    assert result.bridge == on_duckdb(world).bridge


def test_checks_of_further_tables_are_found_alike(engine, monkeypatch):
    world = careful.careful_world(450, seed=5)
    planted = {code: inject(world) for code, inject in careful.INJECTORS.items()}
    dollars = world.pick("claims", "claim_id", 3, lambda c: c["order_id"] and c["click_id"])
    for order in world.tables["conversions"]:
        if order["order_id"] in {claim["order_id"] for claim in dollars}:
            order["currency"] = "USD"
    day = {"date": START.date(), "from_currency": "USD", "to_currency": "EUR", "rate": 0.8}
    world.tables["rates"] = [day]
    codes = CAREFUL_ON_SPARK if engine.name == "pyspark" else (*planted, "A7", "F4")
    chosen = [check for check in CATALOGUE if check.code in codes]
    monkeypatch.setattr(statement, "CATALOGUE", chosen)
    world.register(engine)
    result = reconcile(engine)
    assert not [c.message for c in result.checks if c.outcome is Outcome.FAILED]
    assert {check.code for check in result.checks} == set(codes)
    assert result == on_duckdb(world)
