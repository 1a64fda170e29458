"""A real PostgreSQL and a real Spark assign, balance and list exactly whom DuckDB does.

DuckDB is held against Python, one unit at a time, in ``test_assign``, ``test_assign_designs`` and
``test_assign_holdouts``; here the other engines are held against DuckDB, on 3,000 published ids.
"""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from designs.assignment.activation import audience_query, suppression_query
from designs.assignment.assign import population_query
from designs.assignment.small import balanced_population
from designs.specification import parse_specification
from measure.engine.connection import connect
from tests.designs import make_vectors
from tests.designs.specs import experiment
from tests.services import postgres, spark_url

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
N = 3_000

GATES = """\
channels: [email]
population: {where: {country: DE}}
consent: {purpose: marketing, channel: email}
holdouts:
  - {name: universal, share: 0.1}
  - {name: quiet-mail, share: 0.2, channels: [email]}
  - {name: quarterly, share: 0.1, rotation: {days: 90, since: 2026-01-01}}
layer: {name: mail, slot: [0.2, 0.9]}
rollout: 0.7
"""
FACTORIAL = """\
key: creative
hypothesis: A short subject and a voucher add up.
factors: {subject: {short: 0.5, long: 0.5}, offer: {none: 0.4, voucher: 0.6}}
control: long + none
metrics: [{name: revenue, unit: EUR, role: primary}]
plan: {window_days: 28}
schedule: {start: 2026-03-01}
"""
DESIGNS = {
    "gates": GATES,
    "cluster of identifiers": "cluster: {kind: household}\nrollout: 0.6\nholdout: {share: 0.1}",
    "cluster of an attribute": "cluster: {attribute: account}",
    "shares by cohort": (
        "allocation: {attribute: country, shares: {DE: {newsletter: 0.5, control: 0.5}}}"
    ),
}
BALANCE = """\
holdout: {share: 0.3}
consent: {purpose: marketing, channel: email}
balance: {attributes: [size, spent], strata: [country], draws: 20}
"""


def tables():
    """Customers with hard ids, their consents in every form, and identities."""
    ids = [vector["id"] for vector in make_vectors.stored()["vectors"][:N]]
    stamp = pa.timestamp("us", "UTC")
    customers = pa.table(
        {
            "customer_id": ids,
            "first_seen_at": pa.array([START + DAY * (i % 7 - 5) for i in range(N)], stamp),
            "country": [("DE", "DE", "FR", None)[i % 4] for i in range(N)],
            "account": [f"k\u00f6ln-{i // 5}" if i % 10 else "" for i in range(N)],
            "size": [None if i % 13 == 0 else str(i % 17) for i in range(N)],
            "spent": pa.array([float(i * i % 101) / 7 for i in range(N)]),
        }
    )
    kept = [i for i in range(N) if i % 6]
    consents = pa.table(
        {
            "customer_id": [ids[i] for i in kept],
            "purpose": [("marketing", "marketing", "measurement")[i % 3] for i in kept],
            "channel": [("all", "email", "email", "sms")[i % 4] for i in kept],
            "granted": [i % 5 > 0 for i in kept],
            "valid_from": pa.array([START - DAY * (i % 9 - 1) for i in kept], stamp),
            "valid_to": pa.array([START + DAY if i % 8 else None for i in kept], stamp),
            "recorded_at": pa.array([START - DAY * (i % 3) for i in kept], stamp),
        }
    )
    members = [i for i in range(N) if i % 7]
    identities = pa.table(
        {
            "customer_id": [ids[i] for i in members],
            "kind": ["household"] * len(members),
            "identifier": [f"h{i // 3}" for i in members],
            "seen_at": pa.array([START + DAY * (i % 11 == 0) for i in members], stamp),
        }
    )
    return {"customers": customers, "consents": consents, "identities": identities}


def filled(engine):
    for name, rows in tables().items():
        engine.register(name, rows)
    return engine


@pytest.fixture(scope="module")
def duckdb():
    with connect("duckdb://") as engine:
        yield filled(engine)


@pytest.fixture(scope="module", params=["postgres", "spark"])
def server(request):
    if request.param == "spark":
        with connect(spark_url()) as engine:
            yield filled(engine)
        return
    with postgres() as url, connect(url) as engine:
        yield filled(engine)


def population(engine, design):
    rows = engine.fetch(population_query(engine, design)).to_pylist()
    return {row["unit_id"]: (row["outcome"], row["arm"], row["assigned_at"]) for row in rows}


@pytest.mark.parametrize("more", DESIGNS.values(), ids=DESIGNS)
def test_every_design_gives_everybody_the_same_arm(server, duckdb, more):
    design = experiment(more=more + ("\ncohorts: [country]" if "cohorts" in more else ""))
    found = population(server, design)
    assert len(found) == N
    assert found == population(duckdb, design)
    assert len({outcome for outcome, _, _ in found.values()}) > 1


def test_factorial_arms_are_the_same(server, duckdb):
    design = parse_specification(FACTORIAL, "test.yaml").experiment
    found = population(server, design)
    assert found == population(duckdb, design)
    assert {arm for _, arm, _ in found.values()} == {*design.arms, None}


def test_a_balanced_population_is_drawn_the_same(server, duckdb):
    design = experiment(more=BALANCE)
    rows, report = balanced_population(server, design)
    expected, told = balanced_population(duckdb, design)
    assert report == told
    assert rows.equals(expected)
    assert min(report.units.values()) > 30
    assert report.attributes[0].missing > 0


def test_lists_for_the_platforms_hold_the_same_people(server, duckdb):
    spring = experiment("spring", GATES)
    ads = experiment("ads", "channels: [display]\nholdouts: [{name: quiet-tv, share: 0.1}]")
    found = []
    for engine in (server, duckdb):
        assigned = []
        for design in (spring, ads):
            rows = engine.fetch(population_query(engine, design))
            rows = rows.filter(pa.compute.equal(rows["outcome"], "assigned"))
            key = pa.array([design.key] * len(rows), pa.string())
            assigned.append(rows.drop_columns(["outcome"]).append_column("experiment", key))
        engine.register("assignments", pa.concat_tables(assigned))
        both = [spring, ads]
        lists = {
            "email": suppression_query(engine, both, "email", START),
            "display": suppression_query(engine, both, "display", START),
            "reached": audience_query(engine, spring, both, "email", START + DAY / 2),
        }
        found.append(
            {n: engine.fetch(query).sort_by("unit_id").to_pylist() for n, query in lists.items()}
        )
    assert found[0] == found[1]
    assert min(len(rows) for rows in found[0].values()) > 100
    reached = {row["unit_id"] for row in found[0]["reached"]}
    assert not reached & {row["unit_id"] for row in found[0]["email"]}
