"""Assignment: the engine and Python agree on everybody, shares hold, ramps only add."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from designs.assignment.assign import LOOSE_IDS, assign, assignment_query, population_query
from designs.assignment.explain import ConsentRecord, Context, explain
from designs.assignment.hashing import SPACE, bucket, share_threshold
from designs.assignment.steps import Outcome, arm_salt, gates
from measure.engine.bucketing import bucket_column
from measure.engine.connection import connect
from measure.errors import InputError, UnknownName
from tests.designs import make_vectors
from tests.designs.specs import experiment
from tests.services import postgres

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
EVERYTHING = """\
population: {where: {country: DE}}
consent: {purpose: marketing, channel: email}
holdout: {name: global, share: 0.2}
layer: {name: email, slot: [0.25, 0.75]}
rollout: 0.6
"""

# One list of consents per customer, cycled; times are days from the start.
# (channel, purpose, granted, valid from, valid to, recorded)
RECORDS = [
    [("email", "marketing", True, -10, None, -10)],
    [("all", "marketing", True, -10, None, -10)],
    [("sms", "marketing", True, -10, None, -10)],
    [("email", "measurement", True, -10, None, -10)],
    [("email", "marketing", False, -10, None, -10)],
    [("email", "marketing", True, -10, -1, -10)],
    [("email", "marketing", True, -10, 0, -10)],
    [("email", "marketing", True, 0, None, 0)],
    [("email", "marketing", True, 1, None, -10)],
    [("email", "marketing", True, -10, None, 1)],
    [("email", "marketing", True, -10, None, -10), ("email", "marketing", False, -5, None, -5)],
    [("email", "marketing", False, -10, None, -10), ("email", "marketing", True, -5, None, -5)],
    [("email", "marketing", True, -10, None, -10), ("email", "marketing", False, -5, None, 2)],
    [("all", "marketing", True, -10, None, -10), ("email", "marketing", False, -10, None, -10)],
    [("email", "marketing", True, -10, None, -10), ("all", "marketing", False, -3, None, -3)],
    [],
]
MAY_BE_WRITTEN_TO = {0, 1, 7, 11, 12}
"""Positions in RECORDS that amount to consent for e-mail at the start."""


def customers(n: int = 3_000):
    ids = [vector["id"] for vector in make_vectors.stored()["vectors"][:n]]
    return pa.table(
        {
            "customer_id": ids,
            "first_seen_at": pa.array(
                [START + DAY * (i % 7 - 5) for i in range(n)], pa.timestamp("us", "UTC")
            ),
            "country": [["DE", "DE", "DE", "FR", None][i % 5] for i in range(n)],
        }
    )


def consents(people):
    rows = []
    for i, customer in enumerate(people["customer_id"].to_pylist()):
        for channel, purpose, granted, since, until, recorded in RECORDS[i % len(RECORDS)]:
            rows.append(
                {
                    "customer_id": customer,
                    "purpose": purpose,
                    "channel": channel,
                    "granted": granted,
                    "valid_from": START + DAY * since,
                    "valid_to": None if until is None else START + DAY * until,
                    "recorded_at": START + DAY * recorded,
                }
            )
    times = {name: pa.timestamp("us", "UTC") for name in ("valid_from", "valid_to", "recorded_at")}
    fields = [(name, times.get(name, pa.string())) for name in rows[0]]
    schema = pa.schema([(n, pa.bool_() if n == "granted" else kind) for n, kind in fields])
    return pa.Table.from_pylist(rows, schema)


@pytest.fixture(scope="module")
def warehouse():
    people = customers()
    with connect("duckdb://") as engine:
        engine.register("customers", people)
        engine.register("consents", consents(people))
        yield engine


def contexts(people):
    for i, row in enumerate(people.to_pylist()):
        records = [
            ConsentRecord(
                purpose=purpose,
                channel=channel,
                granted=granted,
                valid_from=START + DAY * since,
                valid_to=None if until is None else START + DAY * until,
                recorded_at=START + DAY * recorded,
            )
            for channel, purpose, granted, since, until, recorded in RECORDS[i % len(RECORDS)]
        ]
        attributes = {"country": row["country"]}
        yield row["customer_id"], Context(START, row["first_seen_at"], attributes, records)


def by_unit(rows: pa.Table) -> dict[str, tuple[str, str | None]]:
    return {row["unit_id"]: (row["outcome"], row["arm"]) for row in rows.to_pylist()}


STEP_OUTCOMES = {
    "eligible": Outcome.NOT_ELIGIBLE,
    "consent": Outcome.NO_CONSENT,
    "holdout": Outcome.HELD_OUT,
    "layer": Outcome.OTHER_SLOT,
    "rollout": Outcome.NOT_ROLLED_OUT,
}


def test_engine_and_explanation_agree_on_every_unit(warehouse):
    design = experiment(more=EVERYTHING)
    found = by_unit(warehouse.fetch(population_query(warehouse, design)))
    expected = {}
    for unit_id, context in contexts(customers()):
        last = explain(design, unit_id, context)[-1]
        outcome = Outcome.ASSIGNED if last.passed else STEP_OUTCOMES[last.step]
        expected[unit_id] = (outcome.value, last.arm)
    assert found == expected
    assert set(Counter(outcome for outcome, _ in found.values())) == {o.value for o in Outcome}


def test_consent_is_judged_as_it_was_on_record(warehouse):
    design = experiment(more="consent: {purpose: marketing, channel: email}")
    found = by_unit(warehouse.fetch(population_query(warehouse, design)))
    for i, row in enumerate(customers().to_pylist()):
        outcome = found[row["customer_id"]][0]
        if row["first_seen_at"] > START:
            assert outcome == "not_eligible"
        else:
            allowed = i % len(RECORDS) in MAY_BE_WRITTEN_TO
            assert outcome == ("assigned" if allowed else "no_consent"), i


def test_postgresql_assigns_as_the_embedded_engine_does(warehouse):
    design = experiment(more=EVERYTHING)
    people = customers()
    with postgres() as url, connect(url) as server:
        server.register("customers", people)
        server.register("consents", consents(people))
        found = by_unit(server.fetch(population_query(server, design)))
    assert found == by_unit(warehouse.fetch(population_query(warehouse, design)))


def test_assignments_are_the_units_with_an_arm(warehouse):
    design = experiment(more=EVERYTHING)
    population = by_unit(warehouse.fetch(population_query(warehouse, design)))
    rows = warehouse.fetch(assignment_query(warehouse, design))
    assert rows.column_names == ["unit_id", "arm", "assigned_at"]
    assert set(rows["assigned_at"].to_pylist()) == {START}
    assigned = {unit: arm for unit, (_, arm) in population.items() if arm is not None}
    assert dict(zip(*rows.select([0, 1]).to_pydict().values(), strict=True)) == assigned


def test_without_gates_every_present_customer_has_an_arm(warehouse):
    rows = warehouse.fetch(population_query(warehouse, experiment()))
    assert Counter(rows["outcome"].to_pylist()).keys() == {"assigned", "not_eligible"}
    later = START + 10 * DAY
    rows = warehouse.fetch(population_query(warehouse, experiment(), later))
    assert set(rows["outcome"].to_pylist()) == {"assigned"}
    assert set(rows["assigned_at"].to_pylist()) == {later}


def test_population_needs_a_time_and_known_attributes(warehouse):
    with pytest.raises(UnknownName, match="Did you mean 'country'"):
        population_query(warehouse, experiment(more="population: {where: {contry: DE}}"))
    unscheduled = experiment().model_copy(update={"schedule": None})
    with pytest.raises(InputError, match="is needed to assign a population"):
        population_query(warehouse, unscheduled)
    with pytest.raises(InputError, match="must say its time zone"):
        population_query(warehouse, experiment(), datetime(2026, 3, 1))  # noqa: DTZ001


def test_python_and_engine_agree_on_loose_ids():
    design = experiment(more=EVERYTHING)
    vectors = make_vectors.stored()
    ids = [v["id"] for v in vectors["vectors"]] + [p["raw"] for p in vectors["normalised"]]
    assert len(ids) > LOOSE_IDS
    few = [one for i in range(0, len(ids), 1_000) for one in assign(design, ids[i : i + 1_000])]
    assert list(assign(design, ids)) == few
    assert [one.unit_id for one in few] == ids
    assert {one.outcome for one in few} == set(Outcome) - {Outcome.NOT_ELIGIBLE, Outcome.NO_CONSENT}


def test_nobody_to_assign_is_no_error():
    assert assign(experiment(), []) == ()


def test_an_unusable_id_is_named():
    for ids in (["a", ""], [str(i) for i in range(3_000)] + ["x\x00y"]):
        with pytest.raises(InputError, match="unit id"):
            assign(experiment(), ids)


@pytest.fixture(scope="module")
def million():
    """Counts of buckets of 10⁶ ids under several salts, computed in the engine."""
    with connect("duckdb://") as engine:
        ids = pa.table({"unit_id": [f"customer-{i}" for i in range(1_000_000)]})
        table = engine.register("ids", ids)
        salts = ("arm:first", "arm:second", "rollout:first")
        columns = {s: bucket_column(table.unit_id, s, engine) for s in salts}
        rows = engine.fetch(table.select(**columns))
        yield {salt: rows[salt].to_numpy() for salt in salts}


def test_shares_hold_on_a_million_ids(million):
    # Binomial: the share of n units below a threshold p has standard error sqrt(p(1-p)/n).
    for share in (0.001, 0.1, 0.333, 0.5, 0.9):
        for salt, buckets in million.items():
            found = (buckets < share_threshold(share)).mean()
            z = (found - share) / math.sqrt(share * (1 - share) / len(buckets))
            assert abs(z) < 4.5, (salt, share, found)  # two-sided chance 7e-6 each


def test_arms_of_two_experiments_and_the_rollout_are_independent(million):
    # Pearson's chi-square of a 3 × 3 table has 4 degrees of freedom: P(> 26.5) = 2.5e-5.
    first, second, rollout = (b * 3 // SPACE for b in (million[s].astype(object) for s in million))
    for one, other in ((first, second), (first, rollout), (second, rollout)):
        cells = Counter(zip(one.tolist(), other.tolist(), strict=True))
        rows, columns = Counter(one.tolist()), Counter(other.tolist())
        n = len(one)
        chi2 = sum(
            (cells[i, j] - rows[i] * columns[j] / n) ** 2 / (rows[i] * columns[j] / n)
            for i in range(3)
            for j in range(3)
        )
        assert chi2 < 26.5


def test_a_small_rollout_keeps_the_split_of_the_arms():
    # With one hash for both, a 10 % rollout of a 1/3 split would give every unit the first arm.
    design = experiment(more="rollout: 0.1").model_copy(update={"arms": {"a": 0.5, "b": 0.5}})
    found = Counter(one.arm for one in assign(design, [str(i) for i in range(40_000)]))
    n = found["a"] + found["b"]
    assert abs(n - 4_000) < 4.5 * math.sqrt(40_000 * 0.1 * 0.9)
    assert abs(found["a"] - n / 2) < 4.5 * math.sqrt(n / 4)


def test_raising_the_ramp_only_adds_units_and_moves_nobody():
    ids = [str(i) for i in range(20_000)]
    before: dict[str, str] = {}
    for share in (0.01, 0.1, 0.5, 0.99, 1.0):
        design = experiment(more=f"rollout: {share}")
        now = {a.unit_id: a.arm for a in assign(design, ids) if a.arm is not None}
        assert before.items() <= now.items()
        assert len(now) > len(before)
        before = now
    assert len(before) == len(ids)


def test_disjoint_slots_of_a_layer_share_nobody():
    ids = [str(i) for i in range(5_000)]
    slots = ((0, 0.3), (0.3, 0.7), (0.7, 1))
    groups = [
        {
            one.unit_id
            for one in assign(
                experiment(f"test-{i}", more=f"layer: {{name: email, slot: [{low}, {high}]}}"), ids
            )
            if one.arm is not None
        }
        for i, (low, high) in enumerate(slots)
    ]
    assert sum(map(len, groups)) == len(ids)
    assert set.union(*groups) == set(ids)


def test_a_global_holdout_is_the_same_in_every_experiment():
    ids = [str(i) for i in range(5_000)]
    held = [
        {
            one.unit_id
            for one in assign(experiment(key, more="holdout: {share: 0.1}"), ids)
            if not one.arm
        }
        for key in ("first", "second")
    ]
    assert held[0] == held[1]
    assert 350 < len(held[0]) < 650  # 500 expected, 4.5 standard errors are 95


def test_every_hash_of_an_experiment_has_its_own_salt():
    design = experiment(more=EVERYTHING)
    salts = [gate.salt for gate in gates(design)] + [arm_salt(design)]
    assert salts == [
        "holdout:global",
        "layer:email",
        "rollout:spring-newsletter",
        "arm:spring-newsletter",
    ]


def test_an_explanation_shows_the_arithmetic():
    design = experiment(more="rollout: 0.6")
    taken = explain(design, "customer-2")
    assert [decision.step for decision in taken] == ["rollout", "arm"]
    for decision in taken:
        assert decision.bucket == int(decision.digest or "", 16)
        assert decision.bucket == bucket(decision.salt or "", "customer-2")
        assert str(decision.bucket) in decision.sentence
    rollout, arm = taken
    assert (rollout.first, rollout.end) == (0, SPACE * 6 // 10)
    # Arms lie in the order of their names: control has the first tenth.
    assert arm.arm == ("control" if (arm.bucket or 0) < SPACE // 10 else "newsletter")
    assert repr(arm.arm) in arm.sentence


def test_an_explanation_stops_at_the_first_refusal():
    design = experiment(more=EVERYTHING)
    stranger = explain(design, "x", Context(START))
    assert [(d.step, d.passed) for d in stranger] == [("eligible", False)]
    late = explain(design, "x", Context(START, START + DAY))
    assert "after units were assigned (2026-03-01 00:00:00 UTC)" in late[-1].sentence
    french = explain(design, "x", Context(START, START, {"country": "FR"}))
    assert french[-1].sentence == "country is 'FR'; the population needs 'DE'."
    silent = explain(design, "x", Context(START, START, {"country": "DE"}))
    assert silent[-1].step == "consent"
    assert "No consent to marketing by email" in silent[-1].sentence
