"""A check that had nothing to look at is not applicable, though its tables are full."""

from datetime import timedelta

import pyarrow as pa
import pytest

from measure.engine.connection import connect
from measure.reconcile import Settings
from measure.reconcile.check import run
from measure.reconcile.identities import credited_over_links
from measure.reconcile.integrity import CROSS_ARM_PERSON
from measure.reconcile.sources import Sources
from measure.reconcile.spillover import GEO_SPILLOVER, LIST_DRIFT
from measure.reconcile.timing import CONVERSION_BEFORE_TOUCH
from measure.results import Outcome
from tests.measure.reconcile.world import EXPERIMENT, START

ASSIGNED = [
    {"experiment": EXPERIMENT.key, "unit_id": who, "arm": arm, "assigned_at": START}
    for who, arm in (("a", "treated"), ("b", "holdout"))
]
ORDER = {
    "conversion_id": "s1", "order_id": "o1", "customer_id": "b", "ts": START + timedelta(hours=2),
    "value": 100, "refunded_value": 0, "currency": "EUR", "status": "paid", "click_id": None,
    "geo": "b",
}  # fmt: skip
TOUCH = {
    "activation_id": "t1", "platform": "mailer", "channel": "email", "campaign": "spring-email",
    "kind": "click", "ts": START + timedelta(hours=1), "customer_id": "a", "click_id": "k1",
}  # fmt: skip


@pytest.fixture
def engine():
    with connect() as opened:
        yield opened


def put(engine, **tables):
    for name, rows in tables.items():
        found = pa.Table.from_pylist(rows)
        kinds = [f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in found.schema]
        engine.register(name, found.cast(pa.schema(kinds)))


def asked(engine, check, **settings):
    return run(check, Sources(engine, Settings(currency="EUR", **settings), EXPERIMENT)).result


def known(who, identifier):
    return {"customer_id": who, "kind": "login", "identifier": identifier, "seen_at": START}


def test_strangers_identities_say_nothing_of_two_arms(engine):
    put(engine, assignments=ASSIGNED, identities=[known("stranger", "x")])
    check = asked(engine, CROSS_ARM_PERSON)
    assert check.outcome is Outcome.NOT_APPLICABLE
    assert "of nobody assigned" in check.message
    put(engine, identities=[known("a", "x"), known("b", "y")])
    assert "2 identified units examined" in asked(engine, CROSS_ARM_PERSON).message
    put(engine, identities=[known("a", "x"), known("b", "x")])
    assert asked(engine, CROSS_ARM_PERSON).message.startswith("2 of 2 identified units")


def test_conversions_without_a_click_id_cannot_have_followed_a_click(engine):
    put(engine, assignments=ASSIGNED, activations=[TOUCH], conversions=[ORDER])
    assert asked(engine, GEO_SPILLOVER).outcome is Outcome.NOT_APPLICABLE
    put(engine, conversions=[{**ORDER, "click_id": "k1"}])
    assert asked(engine, GEO_SPILLOVER).rows == 1


def test_a_list_alone_is_held_against_nothing(engine):
    one = {
        "list_id": "l1", "experiment": EXPERIMENT.key, "platform": "mailer", "kind": "audience",
        "arm": "treated", "uploaded_at": START, "sha256": "x", "members": 100, "matched": 60,
    }  # fmt: skip
    put(engine, assignments=ASSIGNED, list_uploads=[one])
    assert asked(engine, LIST_DRIFT).outcome is Outcome.NOT_APPLICABLE
    put(engine, list_uploads=[one, {**one, "list_id": "l2", "arm": "holdout"}])
    check = asked(engine, LIST_DRIFT)
    assert (check.outcome, "2 lists examined" in check.message) == (Outcome.PASSED, True)


def test_conversions_before_their_click_are_counted_among_conversions_with_one(engine):
    early = {**ORDER, "click_id": "k1", "ts": START}
    other = {**ORDER, "conversion_id": "s2", "order_id": "o2", "click_id": "k9"}
    claim = {
        "claim_id": "c1", "platform": "mailer", "channel": "email", "campaign": "spring-email",
        "order_id": "o2", "click_id": "k9", "kind": "click", "touched_at": START,
        "converted_at": START, "value": 100, "currency": "EUR", "window_days": 7,
    }  # fmt: skip
    put(engine, activations=[TOUCH], conversions=[early, other])
    engine.register("claims", pa.Table.from_pylist([claim]).slice(0, 0))
    check = asked(engine, CONVERSION_BEFORE_TOUCH)
    assert check.message.startswith("1 of 1 conversion (100.0 %)")
    assert (check.outcome, check.rows, check.money) == (Outcome.FLAGGED, 1, None)


def test_an_order_recorded_twice_is_credited_over_a_link_once(engine):
    link = {
        "customer_id": "a", "other_customer_id": "b", "probability": 0.75, "model": "m",
        "linked_at": START,
    }  # fmt: skip
    twice = [ORDER, {**ORDER, "conversion_id": "s2"}]
    put(engine, activations=[TOUCH], conversions=twice, links=[link], identities=[known("a", "x")])
    sources = Sources(engine, Settings(currency="EUR"), None)
    (row,) = engine.fetch(credited_over_links(sources)).to_pylist()
    # value × (1 − p) = 100 × 0.25
    assert (row["conversion_id"], row["money"], row["doubtful"]) == ("s1", 100, 25)
