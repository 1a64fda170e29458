"""C7: a planted offset is estimated, put on record, and gone from C1 to C3 and C7 afterwards."""

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from measure.engine.clock_offsets import TABLE, offsets_in_force, on_corrected_time
from measure.engine.connection import connect
from measure.reconcile import CATALOGUE, Settings, reconcile, statement
from measure.reconcile.skew import clock_notes, estimate_clocks, signed
from measure.results import Status

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def clicks_and_landings(skews, clicks=200, seed=1):
    """Clicks of each platform, its clock off by some seconds; landings 1 to 9 s after, by ours."""
    chance = random.Random(seed)
    log, events, orders, claims = [], [], [], []
    for platform, seconds in skews.items():
        for i in range(clicks):
            at, key = T0 + timedelta(minutes=20 * i), f"{platform}{i}"
            written = at + timedelta(seconds=seconds)
            log.append({"activation_id": f"a-{key}", "platform": platform, "channel": "Search",
                        "campaign": "x", "kind": "click", "ts": written, "customer_id": f"u{i}",
                        "click_id": key})  # fmt: skip
            events.append({"event_id": f"e-{key}", "customer_id": f"u{i}", "name": "landing",
                           "ts": at + timedelta(seconds=chance.randint(1, 9)),
                           "click_id": key})  # fmt: skip
            bought = timedelta(seconds=60)
            orders.append({"conversion_id": f"v-{key}", "order_id": f"o-{key}",
                           "customer_id": f"u{i}", "ts": at + bought, "value": 1000,
                           "refunded_value": 0, "currency": "EUR", "status": "paid",
                           "click_id": key})  # fmt: skip
            claims.append({"claim_id": f"q-{key}", "platform": platform, "channel": "Search",
                           "campaign": "x", "order_id": f"o-{key}", "click_id": key,
                           "kind": "click", "touched_at": written, "converted_at": written + bought,
                           "value": 1000, "currency": "EUR", "window_days": 7})  # fmt: skip
    return {"activations": log, "events": events, "conversions": orders, "claims": claims}


def put(engine, world):
    for name, rows in world.items():
        engine.register(name, pa.Table.from_pylist(rows))


def record(engine, *offsets):
    rows = [
        {"platform": platform, "offset_seconds": seconds, "evidence": "planted",
         "recorded_by": "ana", "recorded_at": T0 + timedelta(days=day)}
        for day, (platform, seconds) in enumerate(offsets)
    ]  # fmt: skip
    engine.register(TABLE, pa.Table.from_pylist(rows))


def outcomes(engine):
    result = reconcile(engine, settings=Settings(currency="EUR"))
    return {check.code: check for check in result.checks}, result.notes


@pytest.mark.parametrize("skew", [420, -420, 600, -600])
def test_a_planted_skew_is_found_within_the_fastest_landings(skew):
    # Planted: the clock shows ``skew`` too much; landings follow their click after 1 to 9 s, so
    # the median of landing minus click is 5 − skew, and an offset of −skew puts it right.
    with connect() as engine:
        put(engine, clicks_and_landings({"alpha": skew, "beta": 0}))
        alpha, beta = estimate_clocks(engine)
    assert abs(alpha.median_seconds - (5 - skew)) <= 1
    assert alpha.ci_low <= 5 - skew <= alpha.ci_high
    assert -skew <= alpha.offset_seconds <= -skew + 2
    assert (beta.offset_seconds, beta.status) == (0, Status.OK)


def test_after_the_correction_no_conversion_comes_before_its_touch(monkeypatch):
    chosen = [check for check in CATALOGUE if check.code in ("C1", "C3", "C7")]
    monkeypatch.setattr(statement, "CATALOGUE", chosen)
    with connect() as engine:
        put(engine, clicks_and_landings({"alpha": 420, "beta": 0}))
        before, _ = outcomes(engine)
        # Closed form: 420 s too much, bought after 60 s: 360 s early, more than 300 s tolerated.
        assert (before["C1"].outcome, before["C1"].rows) == ("flagged", 400)
        assert "200 of 400 conversions (50.0 %)" in before["C1"].message
        assert before["C7"].outcome == "flagged"
        offset = estimate_clocks(engine)[0].offset_seconds
        record(engine, ("alpha", offset))
        after, notes = outcomes(engine)
        assert [after[code].outcome for code in ("C1", "C3", "C7")] == ["passed"] * 3
        assert after["C1"].rows == 0
        (note,) = [note for note in notes if "alpha" in note]
        assert signed(offset) in note
        assert "ana" in note
        # What was loaded stays; estimating again finds nothing more to correct.
        raw = engine.fetch(engine.table("activations").order_by("activation_id")).to_pylist()
        assert raw[0]["ts"] == T0 + timedelta(seconds=420)
        assert estimate_clocks(engine)[0].offset_seconds == offset


def test_the_last_record_stands_and_an_offset_of_nothing_takes_it_back():
    with connect() as engine:
        put(engine, clicks_and_landings({"alpha": 0}, clicks=3))
        record(engine, ("alpha", -420), ("alpha", -10))
        assert [offset.seconds for offset in offsets_in_force(engine)] == [-10]
        corrected = engine.fetch(on_corrected_time(engine, "activations").order_by("ts"))
        assert corrected["ts"][0].as_py() == T0 - timedelta(seconds=10)
        record(engine, ("alpha", -420), ("alpha", 0))
        assert offsets_in_force(engine) == ()
        assert clock_notes(engine) == ()


def test_a_clock_that_cannot_be_judged_says_so():
    with connect() as engine:
        assert estimate_clocks(engine) == ()
        put(engine, clicks_and_landings({"few": 420}, clicks=10))
        (few,) = estimate_clocks(engine)
        assert (few.status, few.offset_seconds) == (Status.INSUFFICIENT, None)
    with connect() as engine:
        world = clicks_and_landings({"drifting": 0})
        for i, row in enumerate(world["activations"]):
            row["ts"] += timedelta(seconds=6 * i)
        put(engine, world)
        (drifting,) = estimate_clocks(engine)
        assert (drifting.status, drifting.offset_seconds) == (Status.INVALID, None)
        assert "drifts" in drifting.note


def test_the_interval_of_the_median_covers_it():
    # Coverage by simulation: 300 worlds of 60 landings, true median 5 s (1 to 9 s, uniform).
    # Binomial band at 95 %: the interval is conservative on whole seconds, so at least 93 %.
    from measure.reconcile.skew import _estimate

    chance, covered = random.Random(8), 0
    for _ in range(300):
        lags = [chance.randint(1, 9) for _ in range(60)]
        counted = sorted((lag, lags.count(lag)) for lag in set(lags))
        estimate = _estimate("p", counted, 0, Settings())
        covered += estimate.ci_low <= 5 <= estimate.ci_high
    assert covered >= 0.93 * 300
