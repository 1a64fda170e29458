"""Defects at 0.1, 1 and 5 % of a clean world: counted exactly, side by side, and what they do.

The injectors never share a row, so each count and each sum stands as if its defect were alone.
Checks that rest on a statistic are run over hundreds of clean draws, and their alarms held against
the rate they state.
"""

import math
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import binom

from measure.engine import connection
from measure.incrementality import analyze
from measure.incrementality.checks import sample_ratio_check
from measure.plan import AnalysisPlan, Metric
from measure.reconcile import CATALOGUE, Settings, reconcile, statement
from measure.reconcile.delivery import _least_p
from measure.results import Attribution, Cohort, Credit, Outcome
from tests.measure.incrementality.frames import FrameUnits
from tests.measure.reconcile import careful, fuller
from tests.measure.reconcile.world import EXPERIMENT, INJECTORS, START, clean_world

RATES = (0.001, 0.01, 0.05)
BASIC = {
    "A1": "claims",
    "A3": "claims",
    "B1": "claims",
    "B2": "claims",
    "C3": "claims",
    "E6": "claims",
    "F4": "claims",
    "G1": "control",
    "G3": "control",
    "H1": "customers",
}
"""Defects of a plain world, and the rows of which the rate is a share."""
CAREFUL = {
    "A2": "claims",
    "A8": "activations",
    "B3": "claims",
    "B5": "activations",
    "B7": "activations",
    "F6": "claims",
}
FULLER = {
    "E3": "customers",
    "G4": "customers",
    "H3": "customers",
    "H8": "customers",
    "C2": "activations",
    "C6": "conversions",
    "C11": "claims",
    "E1": "activations",
    "E5": "claims",
    "H5": "customers",
}
"""People first: their touches are then left alone by the defects of single touches."""
FURTHER = {"D5": "claim_totals", "G8": "control", "H6": "customers"}


def planted_number(world, rows: str, rate: float) -> int:
    if rows == "control":
        return max(1, round(rate * sum(r["arm"] == "holdout" for r in world.tables["assignments"])))
    return max(1, round(rate * len(world.tables[rows])))


def reconciled(world, codes, register, **options):
    chosen = [check for check in CATALOGUE if check.code in codes]
    with connection.connect() as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(statement, "CATALOGUE", chosen)
        register(world, engine)
        result = reconcile(engine, **options)
    return {check.code: check for check in result.checks}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    ("build", "defects", "injectors", "register", "settings"),
    [
        (clean_world, BASIC, INJECTORS, lambda w, e: w.register(e), None),
        (careful.careful_world, CAREFUL, careful.INJECTORS, lambda w, e: w.register(e), None),
        (fuller.fuller_world, FULLER, fuller.FULLER, fuller.register, fuller.SETTINGS),
        (fuller.fuller_world, FURTHER, fuller.FULLER, fuller.register, fuller.SETTINGS),
    ],
    ids=["plain", "careful", "fuller", "further"],
)
def test_each_defect_is_counted_exactly_at_every_rate(
    rate, build, defects, injectors, register, settings
):
    world = build(seed=round(rate * 10_000))
    numbers = {code: planted_number(world, rows, rate) for code, rows in defects.items()}
    planted = {}
    for code, number in numbers.items():
        planted[code] = injectors[code](world, number)
        world.used |= {
            touch["activation_id"]
            for touch in world.tables["activations"]
            if touch["customer_id"] in world.used
        }
    found = reconciled(world, defects, register, settings=settings, experiment=EXPERIMENT)
    assert {c: (found[c].rows, found[c].money) for c in defects} == {
        c: (planted[c].rows, planted[c].money) for c in defects
    }


@pytest.mark.parametrize("code", ["C8", "D2", "G9"])
def test_defects_of_a_whole_log_leave_the_others_alone(code):
    """A zone, a release and a list each raise the check that is theirs and no other of them."""
    world = fuller.fuller_world(800)
    planted = fuller.FULLER[code](world)
    others = {"C8", "D2", "D5", "G8", "G9", "H6", "H8"}
    found = reconciled(
        world, others, fuller.register, settings=fuller.SETTINGS, experiment=EXPERIMENT
    )
    assert (found[code].rows, found[code].money) == (planted.rows, planted.money)
    loud = {c for c, check in found.items() if check.outcome is not Outcome.PASSED}
    assert loud == {code}
    if code == "C8":
        assert found[code].evidence[0]["minutes_behind"] == -120
        assert "display / display (−2 h)" in found[code].message


@pytest.mark.parametrize(
    ("tables", "codes"),
    [
        (("events",), {"C8"}),
        (("releases",), {"D2"}),
        (("claim_totals",), {"D5"}),
        (("assignments",), {"G8"}),
        (("list_uploads",), {"G9"}),
        (("hash_variants",), {"H6"}),
        (("activations",), {"C8", "D2", "G8", "H8"}),
    ],
)
def test_what_is_missing_is_named(tables, codes):
    found = reconciled(
        fuller.fuller_world(100),
        codes,
        lambda world, engine: fuller.register(world, engine, tables),
        experiment=EXPERIMENT,
    )
    for code in codes:
        assert found[code].outcome is Outcome.NOT_APPLICABLE
        assert f"no table {tables[0]}" in found[code].message


def test_columns_that_say_nothing_make_a_check_not_applicable():
    """Nobody says geo, suppression, age or sensitivity; H7 has no attribution to look at."""
    world = fuller.fuller_world(100)
    for name, column in (
        ("conversions", "geo"),
        ("claim_totals", "suppressed"),
        ("customers", "minor"),
        ("campaigns", "sensitive"),
        ("events", "channel"),
    ):
        for row in world.tables[name]:
            row[column] = None
    reasons = {
        "C8": "no event names the channel",
        "D5": "(suppressed)",
        "G8": "control geo",
        "H7": "no attribution",
        "H8": "(minor)",
    }
    found = reconciled(world, reasons, fuller.register, experiment=EXPERIMENT)
    for code, reason in reasons.items():
        assert found[code].outcome is Outcome.NOT_APPLICABLE
        assert reason in found[code].message


def credited(cells):
    return Attribution(
        credits=tuple(
            Credit("last", channel, Cohort("region", name), number, number, share, None, None, None)
            for name, total in cells.items()
            for channel, share in (("email", 0.25), ("search", 0.75))
            for number in (total * share,)
        ),
        total_conversions=sum(cells.values()),
        total_value=float(sum(cells.values())),
        definition={},
    )


@pytest.mark.parametrize(
    ("cells", "rows"),
    [
        ({"north": 50, "south": 90, "west": 60}, []),
        ({"north": 49, "south": 90, "west": 60}, ["north", "west"]),
        ({"north": 49, "south": 12, "west": 60}, ["south", "north"]),
        ({"north": 49, "south": 0, "west": 60}, ["north", "west"]),
    ],
)
def test_cells_too_small_to_publish(cells, rows):
    """One small cell is given away by the total less the others: its neighbour goes with it."""
    found = reconciled(
        clean_world(20), {"H7"}, lambda w, e: w.register(e), attribution=credited(cells)
    )["H7"]
    assert [row["cohort"] for row in found.evidence] == rows
    assert found.outcome is (Outcome.FLAGGED if rows else Outcome.PASSED)


# Clean draws of checks that rest on a statistic


def clean_platforms(platforms: int, draw: np.random.Generator):
    """Platforms that differ by nothing but chance: 29 days of about 50 clicks, each landing."""
    first = date(2025, 3, 1)
    per_day = draw.poisson(50, (platforms, 29))
    who = np.repeat(np.arange(platforms), per_day.sum(axis=1))
    day = np.concatenate([np.repeat(np.arange(29), row) for row in per_day])
    hour = draw.normal(15, 4, len(who)).clip(0, 23.9)  # people sleep
    ts = np.datetime64(first, "us") + (day * 86_400e6 + hour * 3_600e6).astype("timedelta64[us]")
    landed = ts + draw.exponential(8e6, len(who)).astype("timedelta64[us]")
    names = pa.array([f"platform {n:03d}" for n in range(platforms)]).take(pa.array(who))
    ids = pa.array([f"c{n}" for n in range(len(who))])
    lost = draw.random(len(who)) < 0.3
    utc = pa.timestamp("us", tz="UTC")
    activations = {
        "activation_id": ids,
        "platform": names,
        "channel": names,
        "campaign": names,
        "kind": pa.array(["click"] * len(who)),
        "ts": pa.array(ts).cast(utc),
        "customer_id": ids,
        "click_id": pa.array(ids.to_pylist(), mask=lost),
    }
    events = {
        "event_id": ids,
        "customer_id": ids,
        "name": pa.array(["landing"] * len(who)),
        "ts": pa.array(landed).cast(utc),
        "channel": names,
        "click_id": activations["click_id"],
    }
    money = draw.normal(100_00, 500, (platforms, 29)).round().astype(int)
    spend = pd.DataFrame(
        {
            "platform": [f"platform {n:03d}" for n in range(platforms) for _ in range(29)],
            "date": [first + timedelta(days=d) for _ in range(platforms) for d in range(29)],
            "amount": money.ravel(),
            "currency": "EUR",
        }
    )
    spend["channel"] = spend["campaign"] = spend["platform"]
    release = {"release": ["tag"], "released_on": [first + timedelta(days=14)]}
    return {
        "activations": pa.table(activations),
        "events": pa.table(events),
        "spend": pa.Table.from_pandas(spend),
        "releases": pa.table(release),
    }


@pytest.mark.parametrize("platforms", [200, pytest.param(1_000, marks=pytest.mark.validation)])
def test_logs_that_differ_by_chance_raise_no_alarm(platforms):
    """Two hundred clean platforms or more: C7, C8 and D2; D3 over their days and columns."""
    tables = clean_platforms(platforms, np.random.default_rng(20))
    settings = Settings(currency="EUR", missing_least_rows=20)
    codes = {"C7", "C8", "D2", "D3"}

    def register(_, engine):
        for name, table in tables.items():
            engine.register(name, table)

    found = reconciled(None, codes, register, settings=settings)
    assert {code: check.outcome for code, check in found.items()} == dict.fromkeys(
        codes, Outcome.PASSED
    ), [check.message for check in found.values()]
    assert f"{platforms:,} platform channels examined" in found["C8"].message
    assert f"{platforms:,} releases examined" in found["D2"].message


def test_hours_and_match_rates_that_differ_by_chance_raise_no_alarm():
    """D1: 200 platforms, an hour a day over three weeks. A7: 400 days of 40 conversions.

    A7 states 3 in 100,000 per day and key; over 372 judged days none is expected.
    """
    draw, first = np.random.default_rng(21), np.datetime64("2025-03-03T12", "us")
    per_day = draw.poisson(45, (200, 21))
    who = np.repeat(np.arange(200), per_day.sum(axis=1))
    day = np.concatenate([np.repeat(np.arange(21), row) for row in per_day])
    utc = pa.timestamp("us", tz="UTC")
    ts = first + (day * 86_400 + draw.integers(0, 3_600, len(day))).astype("timedelta64[s]")
    clicks = 400 * 40
    known = draw.random(clicks) < 0.8
    log = pa.table(
        {
            "activation_id": [f"a{n}" for n in range(len(who))],
            "platform": [f"platform {n:03d}" for n in who],
            "ts": pa.array(ts.astype("datetime64[us]")).cast(utc),
            "click_id": [f"k{n}" if n < clicks and known[n] else None for n in range(len(who))],
        }
    )
    days = pd.DataFrame(
        [
            (f"platform {n:03d}", date(2025, 3, 3) + timedelta(days=d), 100, "EUR")
            for n in range(200)
            for d in range(21)
        ],
        columns=["platform", "date", "amount", "currency"],
    )
    orders = pa.table(
        {
            "conversion_id": [f"v{n}" for n in range(clicks)],
            "customer_id": [f"c{n}" for n in range(clicks)],
            "ts": pa.array(
                np.datetime64("2024-01-01T12", "us")
                + (np.arange(clicks) // 40 * 86_400).astype("timedelta64[s]")
            ).cast(utc),
            "click_id": [f"k{n}" for n in range(clicks)],
            "value": [100] * clicks,
            "currency": ["EUR"] * clicks,
        }
    )

    def register(_, engine):
        engine.register("activations", log)
        engine.register("spend", pa.Table.from_pandas(days))
        engine.register("conversions", orders)

    found = reconciled(None, {"A7", "D1"}, register, settings=Settings(currency="EUR"))
    assert [found[c].outcome for c in ("A7", "D1")] == [Outcome.PASSED] * 2, found["A7"].message
    assert "platform hours examined" in found["D1"].message


def within(alarms: int, draws: int, rate: float) -> bool:
    """At most what chance allows one test in ten thousand."""
    return alarms <= binom.isf(1e-4, draws, rate)


def test_sizes_of_arms_that_differ_by_chance():
    """G5 over 600 draws of 2,000 units: p < .05 in about 30, p < .001 in about none."""
    draw, p = np.random.default_rng(22), []
    for _ in range(600):
        treated = int(draw.binomial(2_000, 0.9))
        check = sample_ratio_check(
            {"holdout": 2_000 - treated, "treated": treated}, EXPERIMENT.arms, every_look=False
        )
        p.append(check.p_value)
    assert within(sum(x < 0.05 for x in p), 600, 0.05)
    assert sum(x < 0.05 for x in p) >= binom.ppf(1e-4, 600, 0.05)
    assert within(sum(x < 0.001 for x in p), 600, 0.001)


def test_arms_that_differ_by_chance():
    """G6 and G7 over 1,000 draws of skewed amounts: p < .05 in about 50, p < .001 in about one."""
    draw, p = np.random.default_rng(23), []
    for _ in range(1_000):
        arms = {}
        for name, units in (("holdout", 300), ("treated", 1_200)):
            spent = draw.exponential(2_000, units) * (draw.random(units) < 0.4)
            arms[name] = (units, float(spent.sum()), float((spent**2).sum()))
        p.append(_least_p(arms, "holdout"))
    assert within(sum(x < 0.05 for x in p), 1_000, 0.06)
    assert sum(x < 0.05 for x in p) >= binom.ppf(1e-4, 1_000, 0.05)
    assert within(sum(x < 0.001 for x in p), 1_000, 0.003)  # skewed amounts, small arm


# What a defect of delivery does to the lift

EFFECT = 5.0


def effect_of_assignment(world, reached: set[str]) -> float:
    """``analyze`` on the world's arms, where being reached brings exactly :data:`EFFECT`."""
    units = [(row["unit_id"], row["arm"]) for row in world.tables["assignments"]]
    frame = pd.DataFrame(units, columns=["unit", "arm"])
    base = pd.Series(np.arange(len(units)) // 10 % 10, dtype=float)  # alike in both arms
    frame["spend"] = base + EFFECT * frame["unit"].isin(reached)
    plan = AnalysisPlan(
        arms=EXPERIMENT.arms, control=EXPERIMENT.control, metrics=(Metric(name="spend"),)
    )
    analysis = analyze(FrameUnits(frame, "arm", plan), plan, experiment="lift")
    return analysis.find("spend", "treated", "difference").value


def reached_by(world) -> set[str]:
    return {
        touch["customer_id"]
        for touch in world.tables["activations"]
        if touch["campaign"] in EXPERIMENT.campaigns and START <= touch["ts"] <= EXPERIMENT.end
    }


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("code", ["G1", "G2", "G3"])
def test_the_lift_moves_by_the_flagged_share_and_no_more(code, rate):
    """Effect of assignment = effect × (share of treated reached − share of control reached).

    Bloom (1984), one and the same effect on everybody. The shares are those that the check counts,
    so its rows bound what the defect can do to the lift.
    """
    injectors = {**INJECTORS, "G2": fuller.FULLER["G2"]}
    world = clean_world(800, seed=17)
    arms = [row["arm"] for row in world.tables["assignments"]]
    units = {"G1": "holdout", "G2": "treated", "G3": "holdout"}[code]
    size = arms.count(units)
    clean = effect_of_assignment(world, reached_by(world))
    planted = injectors[code](world, max(1, round(rate * size)))
    reached = reached_by(world)
    if code == "G3":  # the person in both arms is reached as the treated one
        logins: dict[str, list[str]] = {}
        for row in world.tables["identities"]:
            if row["kind"] == "login":
                logins.setdefault(row["identifier"], []).append(row["customer_id"])
        reached |= {unit for pair in logins.values() if reached & set(pair) for unit in pair}
    check = reconciled(world, {code}, lambda w, e: w.register(e), experiment=EXPERIMENT)[code]
    assert check.rows == planted.rows
    share = (check.rows / 2 if code == "G3" else check.rows) / size
    moved = effect_of_assignment(world, reached)
    assert moved == pytest.approx(clean - share * EFFECT, abs=1e-9)
    assert clean == pytest.approx(EFFECT, abs=0.2)
    assert math.copysign(1, moved) == math.copysign(1, clean)
