"""Sessions against a walk event by event."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from measure.engine.connection import connect
from measure.errors import MissingFile
from measure.journeys.rules import SessionRules
from measure.journeys.sessions import session_actions, sessions
from tests.measure.journeys import shop as world

MOMENT = pa.timestamp("us", tz="UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICRO = timedelta(microseconds=1)
NEW_YORK = "America/New_York"
RULES = {
    "thirty minutes": SessionRules(),
    "everything": SessionRules(gap_minutes=360, midnight=True, time_zone=NEW_YORK, campaign=True),
    "own ids": SessionRules(own_ids=True, kinds=()),
}


@cache
def events():
    """Visits of the people of the shop over the day on which New York's clocks went forward."""
    draw = np.random.default_rng(8)
    begin = datetime(2026, 3, 7, tzinfo=UTC)
    rows = []
    for i in range(700):
        # whole quarter hours, some moved by a microsecond: pauses of exactly 30 minutes, and nearly
        ts = begin + timedelta(minutes=15 * int(draw.integers(0, 300)))
        rows.append(
            {
                "event_id": f"e{(i * 389) % 1009:04d}",
                "customer_id": f"u{int(draw.integers(0, 40)):03d}",
                "name": ("view", "cart")[int(draw.integers(0, 2))],
                "ts": ts + int(draw.integers(-1, 2)) * MICRO,
                "channel": (None, "email", "тв")[int(draw.integers(0, 3))],
                "campaign": (None, "spring")[int(draw.integers(0, 2))],
                "device": (None, "", "mobile", "desktop")[int(draw.integers(0, 4))],
                "session_id": (None, "", "s1", "s2")[int(draw.integers(0, 4))],
                "value": (None, "1.1", "0.000001", "-2")[int(draw.integers(0, 4))],
            }
        )
    return rows


@pytest.fixture(scope="module")
def visited(shop):
    shop.register("events", as_table(events()))
    return shop


def as_table(rows):
    plain = [{name: value for name, value in row.items() if name != "value"} for row in rows]
    value = pa.array([None if r["value"] is None else float(r["value"]) for r in rows])
    return world.table(plain).append_column("value", value)


def walked(rules):
    """Sessions by a walk over each person's actions in order."""
    people = defaultdict(list)
    for row in events():
        own = (row["session_id"] or "") if rules.own_ids else ""
        people[row["customer_id"]].append((row["ts"], "event", row["event_id"], own, row))
    for row in world.activations():
        if row["kind"] in rules.kinds:
            plain = {"device": None, "value": None} | row
            actions = people[row["customer_id"]]
            actions.append((row["ts"], "activation", row["activation_id"], "", plain))
    for person, actions in people.items():
        groups = defaultdict(list)
        for action in sorted(actions, key=lambda a: a[:3]):
            ts, own, row = action[0], action[3], action[4]
            mine = groups[own]
            if not mine or (not own and cuts(rules, mine[-1][-1], ts, row)):
                mine.append([])
            mine[-1].append(action)
        for own, found in groups.items():
            yield from named(person, own, found)


def cuts(rules, before, ts, row):
    zone = ZoneInfo(rules.time_zone)
    days = [when.astimezone(zone).date() for when in (before[0], ts)]
    campaigns = [given.get("campaign") or "" for given in (before[4], row)]
    return (
        ts - before[0] > timedelta(minutes=rules.gap_minutes)
        or (rules.midnight and days[0] != days[1])
        or (rules.campaign and campaigns[0] != campaigns[1])
    )


def named(person, own, found):
    begun = defaultdict(int)
    for actions in found:
        start, rows = actions[0][0], [action[4] for action in actions]
        name = own or f"{person}@{(start - EPOCH) // MICRO}"
        if not own and begun[start]:
            name += f".{begun[start]}"
        begun[start] += 1
        devices = [row["device"] for row in rows if row["device"]]
        yield {
            "customer_id": person,
            "session_id": name,
            "start": start,
            "end": actions[-1][0],
            "seconds": (actions[-1][0] - start) / timedelta(seconds=1),
            "depth": len(rows),
            "first_channel": rows[0]["channel"] or None,
            "last_channel": rows[-1]["channel"] or None,
            "device": devices[-1] if devices else None,
            "value": round(sum(float(row["value"] or 0) for row in rows), 6) + 0.0,
        }


def fetched(engine, rules):
    rows = engine.fetch(sessions(engine, rules)).to_pylist()
    for row in rows:
        for name in ("start", "end"):
            row[name] = row[name].replace(tzinfo=UTC)
    return {(row["customer_id"], row["session_id"]): row for row in rows}


@pytest.mark.parametrize("name", RULES)
def test_sessions_equal_the_walk(visited, name):
    found = fetched(visited, RULES[name])
    expected = {(row["customer_id"], row["session_id"]): row for row in walked(RULES[name])}
    assert found == expected
    assert max(row["depth"] for row in expected.values()) > 3
    # every action is in one session
    activations = [row for row in world.activations() if row["kind"] in RULES[name].kinds]
    assert sum(row["depth"] for row in found.values()) == len(events()) + len(activations)


def test_the_rules_differ_where_they_should():
    thirty, everything, own = ({r["session_id"] for r in walked(rule)} for rule in RULES.values())
    assert thirty - everything
    assert everything - thirty
    assert any("." in name for name in everything), "two sessions that begin at one instant"
    assert {"s1", "s2"} <= own
    assert any("@" in name for name in own)


def embedded(rows):
    engine = connect()
    engine.register("events", rows)
    return engine


def test_shuffled_rows_give_an_identical_table():
    data = as_table(events())
    draw = np.random.default_rng(1)
    with embedded(data) as plain, embedded(data.take(draw.permutation(data.num_rows))) as other:
        for rules in RULES.values():
            first, second = (
                e.fetch(session_actions(e, rules).order_by("id")) for e in (plain, other)
            )
            assert first.equals(second)


def visits(*times, person="p"):
    return pa.table(
        {
            "event_id": pa.array([f"e{i}" for i in range(len(times))], pa.string()),
            "customer_id": pa.array([person] * len(times), pa.string()),
            "name": pa.array(["view"] * len(times), pa.string()),
            "ts": pa.array(times, MOMENT),
        }
    )


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        # local midnight in UTC, from the IANA time zone database: before and after clocks change
        (NEW_YORK, "2026-03-08T05:00"),
        (NEW_YORK, "2026-03-09T04:00"),
        (NEW_YORK, "2026-11-01T04:00"),
        (NEW_YORK, "2026-11-02T05:00"),
        ("Asia/Kolkata", "2026-03-08T18:30"),
        ("Asia/Kathmandu", "2026-03-08T18:15"),
        ("Australia/Lord_Howe", "2026-04-04T13:00"),
        ("Australia/Lord_Howe", "2026-04-05T13:30"),
        ("UTC", "2026-03-09T00:00"),
    ],
)
def test_midnight_is_that_of_the_zone_to_the_microsecond(zone, midnight):
    cut = datetime.fromisoformat(midnight).replace(tzinfo=UTC)
    far = [datetime(1990, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC)]
    around = [cut - 2 * MICRO, cut - MICRO, cut, cut + MICRO]
    rules = SessionRules(midnight=True, time_zone=zone)
    with embedded(visits(far[0], *around, far[1])) as engine:
        found = fetched(engine, rules)
    depths = sorted((row["start"], row["depth"]) for row in found.values())
    assert depths == [(far[0], 1), (cut - 2 * MICRO, 2), (cut, 2), (far[1], 1)]


def test_a_pause_of_exactly_the_gap_does_not_cut():
    begin, gap = datetime(2026, 1, 1, tzinfo=UTC), timedelta(minutes=30)
    with embedded(visits(begin, begin + gap, begin + 2 * gap + MICRO)) as engine:
        assert sorted(row["depth"] for row in fetched(engine, SessionRules()).values()) == [1, 2]


def test_an_empty_log_has_no_sessions_and_no_log_is_an_error():
    with embedded(visits()) as engine:
        for rules in RULES.values():
            assert not fetched(engine, rules)
    with connect() as engine, pytest.raises(MissingFile, match="truelift load events"):
        sessions(engine)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gap_minutes": 0}, "greater than 0"),
        ({"time_zone": "Mars/Olympus"}, "no time zone"),
        ({"kinds": ["clik"]}, "click"),
        ({"gap": 5}, "Extra inputs"),
    ],
)
def test_rules_that_cannot_be(given, said):
    with pytest.raises(ValidationError, match=said):
        SessionRules(**given)


def test_a_platforms_clock_is_corrected_before_sessions_are_cut():
    begin = datetime(2026, 3, 7, tzinfo=UTC)
    event = {"event_id": "e1", "customer_id": "u", "name": "view", "ts": begin}
    click = {
        "activation_id": "a1", "platform": "alpha", "channel": "email", "campaign": "spring",
        "kind": "click", "customer_id": "u", "ts": begin + timedelta(minutes=59),
    }  # fmt: skip
    hour = {
        "platform": "alpha", "offset_seconds": -3_600, "evidence": "planted",
        "recorded_by": "ana", "recorded_at": begin,
    }  # fmt: skip
    with connect() as engine:
        engine.register("events", pa.Table.from_pylist([event]))
        engine.register("activations", pa.Table.from_pylist([click]))
        assert engine.fetch(sessions(engine)).num_rows == 2
        engine.register("clock_offsets", pa.Table.from_pylist([hour]))
        (one,) = engine.fetch(sessions(engine)).to_pylist()
        assert (one["start"].replace(tzinfo=UTC), one["seconds"]) == (
            begin - timedelta(minutes=1),
            60.0,
        )
        assert (one["first_channel"], one["depth"]) == ("email", 2)
