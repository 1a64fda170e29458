"""Planted outages are dated to the hour, and a clean world is silent.

The world is Poisson: six weeks of two platforms and of orders with known hourly rates. What is
planted is exact, so the expected hours come from the planting itself.
"""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from measure.engine.connection import connect
from measure.health import survey
from measure.health.dating import changed_between, silent_runs, usual_of
from measure.results import Outcome
from tests.console.documents import assert_documented
from tests.services import postgres, spark_url

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
HOURS = 6 * 168
RATES = {"pigeon": 50, "pebble": 45}
OUTAGE = range(700, 706)
DRIFT = 733
DROP = range(790, 850)
LATE = range(760, 800)


def moments(hours, seconds):
    whole = np.asarray(hours, dtype=np.int64) * 3_600 + np.asarray(seconds, dtype=np.int64)
    start = int(START.timestamp())
    return pa.array((whole + start) * 1_000_000, pa.timestamp("us", "UTC"))


def world(planted=(), seed=3):
    """Tables of Arrow; ``planted`` names what goes wrong."""
    rng = np.random.default_rng(seed)
    hour, platform = [], []
    for name, rate in RATES.items():
        counts = rng.poisson(rate * (1 + 0.5 * np.sin(np.arange(HOURS) * np.pi / 12)))
        if "silence" in planted and name == "pigeon":
            counts[list(OUTAGE)] = 0
        hour += np.repeat(np.arange(HOURS), counts).tolist()
        platform += [name] * int(counts.sum())
    hour, n = np.array(hour), len(hour)
    second = rng.integers(0, 3_600, n)
    empty = (hour >= DRIFT) & (rng.random(n) < 0.5) if "missing" in planted else np.zeros(n, bool)
    delay = rng.integers(60, 3_600, n)
    if "late" in planted:
        delay = np.where(np.isin(hour, list(LATE)), 3 * 86_400, delay)
    clicks = [f"c{i}" for i in range(n)]
    log = pa.table(
        {
            "activation_id": [f"t{i}" for i in range(n)],
            "platform": platform,
            "channel": ["social"] * n,
            "campaign": ["spring"] * n,
            "kind": ["click"] * n,
            "ts": moments(hour, second),
            "received_at": moments(hour, second + delay),
            "customer_id": [f"p{i % 5_000}" for i in range(n)],
            "click_id": clicks,
            "creative": pa.array(["red"] * n, mask=empty),
        }
    )
    sold = np.repeat(np.arange(HOURS), rng.poisson(8, HOURS))
    m = len(sold)
    matched = rng.random(m) < 0.7
    if "match" in planted:
        matched &= ~(np.isin(sold, list(DROP)) & (rng.random(m) < 0.85))
    at = moments(sold, rng.integers(0, 3_600, m))
    orders = pa.table(
        {
            "conversion_id": [f"v{i}" for i in range(m)],
            "order_id": [f"o{i}" for i in range(m)],
            "customer_id": [f"p{i % 5_000}" for i in range(m)],
            "ts": at,
            "value": [1_000] * m,
            "refunded_value": [0] * m,
            "currency": ["EUR"] * m,
            "status": ["paid"] * m,
            "click_id": [clicks[i] if ok else f"x{i}" for i, ok in enumerate(matched)],
        }
    )
    days = [START.date() + timedelta(days=d) for d in range(HOURS // 24)]
    spend = pa.table(
        {
            "platform": [name for name in RATES for _ in days],
            "channel": ["social"] * 2 * len(days),
            "campaign": ["spring"] * 2 * len(days),
            "date": pa.array(days * 2, pa.date32()),
            "amount": [5_000] * 2 * len(days),
            "currency": ["EUR"] * 2 * len(days),
        }
    )
    return {"activations": log, "conversions": orders, "spend": spend}


def surveyed(planted=(), engine=None, tables=None, **options):
    tables = tables or world(planted)
    if engine is not None:
        for name, table in tables.items():
            engine.register(name, table)
        return survey(engine, **options)
    with connect() as opened:
        return surveyed(planted, opened, tables, **options)


def at(hour):
    return (START + timedelta(hours=hour)).isoformat().replace("+00:00", "Z")


def outcomes(health):
    return {check.code: check.outcome for check in health.checks}


def test_a_clean_world_is_silent():
    health = surveyed()
    assert health.incidents == ()
    assert not any(source.behind for source in health.sources)
    assert set(outcomes(health).values()) == {Outcome.PASSED}
    by_source = {}
    for volume in health.volumes:
        by_source[volume.source] = by_source.get(volume.source, 0) + volume.rows
    assert by_source == {source.source: source.rows for source in health.sources}


def test_all_that_is_planted_at_once_is_found_and_dated_to_the_hour():
    tables = world(("silence", "missing", "late", "match"))
    health = surveyed(tables=tables)
    found = {(i.kind, i.source, i.what): (i.start, i.end, i.hours) for i in health.incidents}
    lasting = HOURS - DRIFT
    late = (at(LATE.start), at(LATE.stop), len(LATE))
    assert found == {
        ("silence", "activations / pigeon / social", "rows"): (
            at(OUTAGE.start), at(OUTAGE.stop), len(OUTAGE),
        ),
        ("missing", "activations / pigeon / click", "creative"): (at(DRIFT), None, lasting),
        ("missing", "activations / pebble / click", "creative"): (at(DRIFT), None, lasting),
        ("late", "activations / pigeon / click", "received_at"): late,
        ("late", "activations / pebble / click", "received_at"): late,
        ("match", "conversions", "click"): (at(DROP.start), at(DROP.stop), len(DROP)),
    }  # fmt: skip
    assert next(i for i in health.incidents if i.kind == "silence").paid is True
    said = outcomes(health)
    assert {said[f"H-{code}"] for code in ("GAP", "MISSING", "LATE", "MATCH")} == {Outcome.FLAGGED}
    assert_documented("health", health.to_dict())
    # The catalogue's own checks see the same: six paid hours, days of drift, days of the drop.
    gaps = next(check for check in health.checks if check.code == "D1")
    assert gaps.rows == len(OUTAGE)
    assert {said["D3"], said["A7"]} == {Outcome.FLAGGED}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("postgres", marks=pytest.mark.xdist_group("postgres")),
        pytest.param("spark", marks=pytest.mark.xdist_group("spark")),
    ],
)
def test_every_engine_says_the_same(name):
    tables = {table: rows.slice(0, 4_000) for table, rows in world(("missing",)).items()}
    expected = surveyed(tables=tables)
    place = postgres() if name == "postgres" else nullcontext(spark_url())
    with place as url, connect(url) as engine:
        assert surveyed(tables=tables, engine=engine) == expected


def test_a_source_that_others_left_behind_is_named_and_its_silence_is_still_open():
    tables = world()
    log = tables["activations"].to_pandas()
    gone = (log.platform == "pebble") & (log.ts >= START + timedelta(hours=HOURS - 12))
    tables["activations"] = pa.Table.from_pandas(log[~gone], preserve_index=False)
    health = surveyed(tables=tables)
    assert [s.source for s in health.sources if s.behind] == ["activations / pebble / social"]
    (incident,) = health.incidents
    assert (incident.start, incident.end, incident.hours) == (at(HOURS - 12), None, 12)
    # Nobody expects rows of a platform that is no longer paid for.
    spend = tables["spend"].to_pandas()
    until = (START + timedelta(hours=HOURS - 36)).date()
    keep = (spend.platform != "pebble") | (spend.date < until)
    tables["spend"] = pa.Table.from_pandas(spend[keep], preserve_index=False)
    unpaid = surveyed(tables=tables, at=START + timedelta(hours=HOURS + 48))
    assert [i.paid for i in unpaid.incidents if "pebble" in i.source] == [False]


def test_nothing_loaded_and_too_little_loaded_are_never_passed():
    with connect() as engine:
        assert {c.outcome for c in survey(engine).checks} == {Outcome.NOT_APPLICABLE}
    few = {name: table.slice(0, 20) for name, table in world().items()}
    said = outcomes(surveyed(tables=few))
    assert said["H-GAP"] is Outcome.NOT_APPLICABLE
    assert said["H-MISSING"] is Outcome.NOT_APPLICABLE


def test_usual_is_the_lower_middle_of_the_same_hour_of_the_week():
    counts = np.concatenate([np.full(168, n) for n in (9, 1, 5)]).astype(np.int64)
    assert usual_of(counts, 168).tolist() == [5] * 3 * 168
    assert usual_of(counts[: 2 * 168], 168).tolist() == [-1] * 2 * 168


def test_quiet_sources_need_a_longer_silence():
    counts = np.full(4 * 168, 6, dtype=np.int64)
    counts[300:304] = 0
    assert silent_runs(counts, 0.2, 30) == []  # 24 usual rows
    counts[304] = 0
    (run,) = silent_runs(counts, 0.2, 30)
    assert (run.first, run.end, run.rows, run.usual) == (300, 305, 0, 30)


@pytest.mark.parametrize(("first", "end"), [(10, 20), (0, 7), (31, 48)])
def test_a_change_without_noise_is_found_where_it_is(first, end):
    rows = [40] * 48
    hits = [32 if first <= hour < end else 8 for hour in range(48)]
    assert changed_between(rows, hits) == (first, end)
    rest = [n - k for n, k in zip(rows, hits, strict=True)]
    assert changed_between(rows, rest, rises=False) == (first, end)
