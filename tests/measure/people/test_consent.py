"""Consent as the truth table says: records against channels, moments and states of knowledge.

The oracle is written anew from the definition in ``docs/people.md``, over pandas rows and one
question at a time; it shares no code with the expressions.
"""

from datetime import UTC, datetime, timedelta
from itertools import product

import pandas as pd
import pyarrow as pa
import pytest

from designs.assignment.declared import Consent
from designs.assignment.explain import ConsentRecord, Context, explain
from measure.engine.connection import Engine, connect
from measure.people.consent import consenting, eligible, with_consent, without_consent
from tests.designs.specs import experiment
from tests.services import postgres, spark_url

T0 = datetime(2026, 3, 1, tzinfo=UTC)
CHANNELS = ("all", "email", "sms", "search", "display")


def day(number: float) -> datetime:
    return T0 + timedelta(days=number)


RECORDS = {  # what may be on record about somebody, each present or not
    "asked for everything": ("all", True, day(0), None, day(0)),
    "e-mail alone, until day 20": ("email", True, day(5), day(20), day(5)),
    "withdrawn on day 10, known on day 14": ("all", False, day(10), None, day(14)),
    "texts refused as everything is asked for": ("sms", False, day(0), None, day(0)),
}
COMBINATIONS = tuple(product((False, True), repeat=len(RECORDS)))
MOMENTS = (day(-1), day(0), day(6), day(10), day(12), day(20), day(25))
ASKED_AT = (day(6), day(12), day(25))  # of one query each; rows are asked at every moment
KNOWN = (None, day(13))


def person(combination: tuple[bool, ...]) -> str:
    return "p" + "".join("1" if present else "0" for present in combination)


def table(purpose: str = "marketing") -> pa.Table:
    rows = [
        {
            "customer_id": person(combination),
            "purpose": purpose,
            "channel": channel,
            "granted": granted,
            "valid_from": since,
            "valid_to": until,
            "recorded_at": known,
        }
        for combination in COMBINATIONS
        for present, (channel, granted, since, until, known) in zip(
            combination, RECORDS.values(), strict=True
        )
        if present
    ]
    stamp = pa.timestamp("us", "UTC")
    times = dict.fromkeys(("valid_from", "valid_to", "recorded_at"), stamp)
    names = ("customer_id", "purpose", "channel")
    kinds = {**dict.fromkeys(names, pa.string()), "granted": pa.bool_(), **times}
    return pa.Table.from_pylist(rows, pa.schema(list(kinds.items())))


def oracle(
    records: pd.DataFrame, who: str, channel: str, at: datetime, known: datetime | None
) -> bool:
    mine = records[records.customer_id == who]
    mine = mine[mine.channel.isin({channel, "all"}) & (mine.valid_from <= at)]
    mine = mine[mine.valid_to.isna() | (mine.valid_to > at)]
    if known is not None:
        mine = mine[mine.recorded_at <= known]
    if mine.empty:
        return False
    return bool(mine[mine.recorded_at == mine.recorded_at.max()].granted.all())


def asked(engine: Engine, channel: str, at: datetime, known: datetime | None) -> set[str]:
    found = consenting(engine.table("consents"), "marketing", channel, at, known)
    return set(engine.fetch(found)["customer_id"].to_pylist())


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    return table().to_pandas()


@pytest.fixture(scope="module")
def embedded():
    with connect() as engine:
        engine.register("consents", table())
        yield engine


def test_the_table_of_truths(embedded, records):
    wrong, yes = [], 0
    for channel, at, known in product(CHANNELS, ASKED_AT, KNOWN):
        found = asked(embedded, channel, at, known)
        for combination in COMBINATIONS:
            who = person(combination)
            expected = oracle(records, who, channel, at, known)
            yes += expected
            if (who in found) is not expected:
                wrong.append((who, channel, at, known))
    assert not wrong
    asked_in_all = len(COMBINATIONS) * len(CHANNELS) * len(ASKED_AT) * len(KNOWN)
    assert 0.1 < yes / asked_in_all < 0.9  # the table holds both answers


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("postgres", marks=pytest.mark.xdist_group("postgres")),
        pytest.param("spark", marks=pytest.mark.xdist_group("spark")),
    ],
)
def test_engines_agree(name, records):
    if name == "spark":
        with connect(spark_url()) as engine:
            _agrees(engine, records)
    else:
        with postgres() as url, connect(url) as engine:
            _agrees(engine, records)


def _agrees(engine, records):
    at = day(12)
    engine.register("consents", table())
    engine.register("log", rows_at(at))
    found = asked(engine, "email", at, day(13))
    people = map(person, COMBINATIONS)
    assert found == {p for p in people if oracle(records, p, "email", at, day(13))}
    kept = with_consent(
        engine.table("log"), engine.table("consents"), ("marketing",), key="row", known_then=True
    )
    assert set(engine.fetch(kept)["row"].to_pylist()) == {
        f"{person(c)}/{channel}"
        for c in COMBINATIONS
        for channel in CHANNELS
        if oracle(records, person(c), channel, at, at)
    }


def rows_at(*moments: datetime) -> pa.Table:
    one = len(moments) == 1
    rows = [
        {
            "row": f"{person(c)}/{channel}" + ("" if one else f"/{number}"),
            "customer_id": person(c),
            "channel": channel,
            "ts": at,
        }
        for c in COMBINATIONS
        for channel in CHANNELS
        for number, at in enumerate(moments)
    ]
    kinds = {"row": pa.string(), "customer_id": pa.string(), "channel": pa.string()}
    schema = pa.schema([*kinds.items(), ("ts", pa.timestamp("us", "UTC"))])
    return pa.Table.from_pylist(rows, schema)


@pytest.mark.parametrize("known_then", [False, True])
@pytest.mark.parametrize("known", [None, day(13)])
def test_rows_are_judged_at_their_own_time(embedded, records, known_then, known):
    log = embedded.register("log", rows_at(*MOMENTS))
    bare = without_consent(
        log,
        embedded.table("consents"),
        ("marketing",),
        key="row",
        known_at=known,
        known_then=known_then,
    )
    found = {(r["customer_id"], r["channel"], r["ts"]) for r in embedded.fetch(bare).to_pylist()}
    expected = set()
    for combination, channel, at in product(COMBINATIONS, CHANNELS, MOMENTS):
        last = min(t for t in (known, at if known_then else None, day(99)) if t is not None)
        if not oracle(records, person(combination), channel, at, last):
            expected.add((person(combination), channel, at))
    assert found == expected


def test_a_row_needs_consent_to_every_purpose(embedded):
    both = pa.concat_tables([table(), table("measurement").slice(0, 0)])
    embedded.register("one_purpose", both)
    log = embedded.register("log", rows_at(day(6)))
    kept = with_consent(log, embedded.table("one_purpose"), ("marketing", "measurement"), key="row")
    assert embedded.fetch(kept).num_rows == 0


def test_a_withdrawal_ends_at_its_moment_and_a_late_one_leaves_history_as_it_was(embedded):
    who = person((True, False, True, False))  # granted on day 0; withdrawn 10, recorded 14
    hour = timedelta(hours=1)
    log = embedded.register("log", rows_at(day(10) - hour, day(10) + hour))
    consents = embedded.table("consents")

    def left(known: datetime | None) -> list[datetime]:
        kept = with_consent(log, consents, ("marketing",), key="row", known_at=known)
        rows = embedded.fetch(kept.filter(kept.customer_id == who, kept.channel == "email"))
        return sorted(rows["ts"].to_pylist())

    assert left(None) == [day(10) - hour]
    assert left(day(14)) == [day(10) - hour]
    assert left(day(13)) == [day(10) - hour, day(10) + hour]  # as it was known then
    assert who in asked(embedded, "email", day(12), day(13))
    assert who not in asked(embedded, "email", day(12), day(14))


def test_everybody_gets_an_answer(embedded):
    people = embedded.register("people", pa.table({"customer_id": ["p1000", "unheard of"]}))
    found = eligible(people, embedded.table("consents"), "marketing", "email", day(6))
    rows = embedded.fetch(found).to_pylist()
    assert {r["customer_id"]: r["eligible"] for r in rows} == {"p1000": 1, "unheard of": 0}


def test_the_explanation_of_one_unit_follows_the_same_rule(records):
    for channel, at in product(CHANNELS, MOMENTS):
        design = experiment().model_copy(
            update={"consent": Consent(purpose="marketing", channel=channel)}
        )
        for combination in COMBINATIONS:
            told = [
                ConsentRecord("marketing", c, granted, since, until, known)
                for present, (c, granted, since, until, known) in zip(
                    combination, RECORDS.values(), strict=True
                )
                if present
            ]
            context = Context(assigned_at=at, first_seen_at=day(-9), consents=told)
            steps = explain(design, person(combination), context)
            (step,) = [s for s in steps if s.step == "consent"]
            assert step.passed is oracle(records, person(combination), channel, at, at)
