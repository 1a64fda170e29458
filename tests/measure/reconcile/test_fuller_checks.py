"""Checks of time, completeness, traffic, delivery and privacy against what was planted by hand."""

import dataclasses
import math
import random
from collections import Counter
from datetime import timedelta
from statistics import mean, variance

import pytest
from scipy.stats import norm

from measure.engine import connection
from measure.reconcile import CATALOGUE, Settings, reconcile, statement
from measure.reconcile.delivery import _least_p
from measure.results import Outcome
from tests.measure.reconcile.fuller import FULLER, SETTINGS, fuller_world, register
from tests.measure.reconcile.test_bridge import assert_adds_up
from tests.measure.reconcile.world import EXPERIMENT, START, clean_world

MINE = [*FULLER, "D1", "G6", "G7"]


def run(world, *, codes=(), without=(), settings=SETTINGS, experiment=EXPERIMENT):
    """The checks of these codes (all of this page by default) on a world."""
    chosen = [check for check in CATALOGUE if check.code in (codes or MINE)]
    with pytest.MonkeyPatch.context() as patch, connection.connect() as engine:
        patch.setattr(statement, "CATALOGUE", chosen)
        register(world, engine, without)
        result = reconcile(engine, settings=settings, experiment=experiment)
    return {check.code: check for check in result.checks}, result


def alone(world, code, **options):
    return run(world, codes=(code,), **options)[0][code]


def test_a_clean_world_is_silent():
    found, result = run(fuller_world())
    loud = {c: check.message for c, check in found.items() if check.outcome is not Outcome.PASSED}
    assert set(loud) == {"D1"}, loud  # six rows an hour are too few to miss any
    assert "to say what is usual" in loud["D1"]
    assert not any(check.rows for check in found.values())
    assert len({step.money for step in result.bridge} - {0}) == 1


@pytest.mark.parametrize("code", FULLER)
def test_planted_defects_are_counted_exactly(code):
    world = fuller_world()
    planted = FULLER[code](world)
    check = alone(world, code)
    assert check.outcome is Outcome.FLAGGED, check.message
    assert (check.rows, check.money) == (planted.rows, planted.money)
    assert check.evidence
    assert check.anchor.startswith(code.lower() + "-")


@pytest.mark.parametrize("code", ["E5", "C11", "E7", "H5", "G4"])
@pytest.mark.parametrize("number", [2, 36])
def test_rates_from_a_thousandth_to_a_twentieth(code, number):
    """0.3 % and 5 % of about 750 claims, 0.1 % and 2.4 % of 1,500 people."""
    world = fuller_world(seed=11)
    planted = FULLER[code](world, number)
    check = alone(world, code)
    assert (check.rows, check.money) == (planted.rows, planted.money)


def test_without_their_tables_and_columns_checks_are_not_applicable():
    """The plain world names no optional column; each message says what is missing."""
    found, _ = run(clean_world_as_it_was(), settings=Settings(), without=("events",))
    reasons = {
        "C2": "names its impression",
        "C4": "whose flight is known",
        "C5": "received_at",
        "C6": "says when it was received",
        "C7": "no table events",
        "C9": "whose time zone is known",
        "C10": "no rows in claim_totals",
        "D1": "to say what is usual",
        "D4": "no rows in claim_totals",
        "E1": "which network or agent",
        "E3": "score of the model",
        "E4": "whether it was viewable",
        "E8": "brand_campaigns names no campaign",
        "G6": "nobody has any order value before the start",
        "H3": "consent_lasts_days",
    }
    for code, reason in reasons.items():
        assert found[code].outcome is Outcome.NOT_APPLICABLE, (code, found[code].message)
        assert reason in found[code].message
    for code in ("E5", "E7", "E9", "G2", "G4", "H2"):
        assert found[code].outcome is Outcome.PASSED
    assert "arm holdout has fewer than 100 units" in found["G7"].message


def clean_world_as_it_was():
    world = clean_world(400)
    world.tables |= {"events": [], "scores": []}
    return world


@pytest.mark.parametrize(
    ("table", "codes"),
    [
        ("claims", {"C10", "C11", "C12", "D4", "E4", "E5", "E7"}),
        ("conversions", {"C6", "E4", "E5", "E8", "G6"}),
        (
            "activations",
            {"C2", "C7", "C9", "D1", "E1", "E2", "E3", "E4", "E8", "E9", "G2", "G4", "G7", "H2"}
            | {"H3"},
        ),
        ("assignments", {"G2", "G4", "G6", "G7"}),
        ("identities", {"H4", "H5"}),
        ("scores", {"E3"}),
    ],
)
def test_a_missing_table_is_named(table, codes):
    found, _ = run(fuller_world(300), without=(table,))
    assert not [c for c, check in found.items() if check.outcome is Outcome.FAILED]
    for code in codes:
        assert found[code].outcome is Outcome.NOT_APPLICABLE
        assert f"no table {table}" in found[code].message


def test_without_an_experiment_delivery_is_not_looked_at():
    found, _ = run(fuller_world(300), experiment=None)
    for code in ("G2", "G4", "G6", "G7"):
        assert found[code].outcome is Outcome.NOT_APPLICABLE
        assert "no experiment" in found[code].message
    silent = EXPERIMENT.model_copy(update={"campaigns": ()})
    found, _ = run(fuller_world(300), experiment=silent)
    for code in ("G2", "G4", "G7"):
        assert found[code].outcome is Outcome.NOT_APPLICABLE
        assert "names no campaigns" in found[code].message


def test_notes_and_held_claims_stay_in_the_bridge_and_dropped_ones_leave():
    world = fuller_world()
    planted = {c: FULLER[c](world) for c in ("E5", "E4", "C11", "E7", "C5")}
    found, result = run(world)
    for code, defect in planted.items():
        assert (found[code].rows, found[code].money) == (defect.rows, defect.money)
    assert_adds_up(result.bridge)
    steps = {step.step: step for step in result.bridge}
    assert steps["test and staff orders"].money == -planted["E5"].money
    assert steps["test and staff orders"].rows == -planted["E5"].rows
    assert steps["invalid or unseen traffic"].money == -planted["E4"].money
    lost = planted["E4"].money + planted["E5"].money
    claimed = sum(claim["value"] for claim in world.tables["claims"])
    assert steps["platform-claimed revenue"].money == claimed
    assert steps["reconciled claimed revenue"].money == claimed - lost


def test_claims_on_invalid_clicks_leave_with_them():
    world = fuller_world()
    claims = world.pick("claims", "claim_id", 5, lambda c: c["click_id"] is not None)
    clicks = {claim["click_id"] for claim in claims}
    for touch in world.tables["activations"]:
        if touch.get("click_id") in clicks:
            touch["agent"] = "declared_bot"
    found, result = run(world)
    worth = sum(claim["value"] for claim in claims)
    assert found["E1"].rows == 5
    assert f"5 claims rest on them ({worth / 100:,.2f} EUR)" in found["E1"].message
    line = next(s for s in result.bridge if s.step == "invalid or unseen traffic")
    assert (line.rows, line.money) == (-5, -worth)


def test_suspicion_alone_takes_nothing_away():
    world = fuller_world()
    buyer = world.tables["claims"][0]
    for row in world.tables["scores"]:
        row["score"] = 0.99
    found, result = run(world)
    assert "claims rest on them" in found["E3"].message
    assert len({step.money for step in result.bridge} - {0}) == 1
    assert buyer["value"] > 0


def test_evidence_never_shows_the_identifier():
    world = fuller_world()
    FULLER["H4"](world)
    check = alone(world, "H4")
    assert check.severity == "stop"
    assert "example.com" not in str(dataclasses.asdict(check))


def test_clocks_of_one_platform_are_named():
    world = fuller_world()
    FULLER["C7"](world)
    assert "search (-117 s)" in alone(world, "C7").message


def test_the_share_still_to_come():
    """Lags are 10 minutes to 6 days, evenly: of touches 3 hours old nearly all is to come."""
    world = fuller_world()
    FULLER["C12"](world)
    check = alone(world, "C12")
    mature = [
        (claim["converted_at"] - claim["touched_at"]).days
        for claim in world.tables["claims"]
        if claim["touched_at"] < START + timedelta(days=12) and claim["kind"] == "click"
    ]
    arrived = Counter(mature)[0] / len(mature)  # source: counted from the rows, to the day
    stated = 1 - int(check.message.split("about ")[1].split(" %")[0]) / 100
    assert stated == pytest.approx(arrived, abs=0.05)


def steady_log(missing=()):
    """Three weeks of one platform: forty rows an hour, a euro and twenty an hour of spend."""
    world = clean_world(10)
    world.tables |= {"events": [], "scores": []}
    world.tables["activations"], world.tables["spend"] = [], []
    for hour in range(21 * 24):
        ts = START + timedelta(hours=hour)
        for n in range(missing.get(hour, 40) if missing else 40):
            world.tables["activations"].append(
                {
                    "activation_id": f"a{hour:03d}-{n:02d}",
                    "platform": "social",
                    "channel": "paid_social",
                    "campaign": "spring-social",
                    "kind": "impression",
                    "ts": ts + timedelta(seconds=80 * n),
                    "customer_id": f"c{n:05d}",
                }
            )
        if hour % 24 == 0:
            world.tables["spend"].append(
                {
                    "platform": "social",
                    "channel": "paid_social",
                    "campaign": "spring-social",
                    "date": ts.date(),
                    "amount": 2_880,
                    "currency": "EUR",
                }
            )
    return world


def test_hours_that_were_paid_for_and_are_missing():
    """Empty, and one below a fifth; a fifth itself is no gap."""
    assert alone(steady_log(), "D1").outcome is Outcome.PASSED
    check = alone(steady_log({100: 0, 200: 7, 300: 8}), "D1")
    assert (check.rows, check.money) == (2, 2 * 2_880 // 24)
    assert [row["hour"] for row in check.evidence] == [100 % 24, 200 % 24]
    unpaid = steady_log({100: 0})
    unpaid.tables["spend"] = [r for r in unpaid.tables["spend"] if r["date"].day != 5]
    assert alone(unpaid, "D1").outcome is Outcome.NOT_APPLICABLE or not alone(unpaid, "D1").rows


@pytest.mark.parametrize("code", ["G6", "G7"])
def test_arms_that_differ_in_something_else(code):
    """p against SciPy's Welch test on the rows, in its normal limit."""
    world = fuller_world()
    arm = {row["unit_id"]: row["arm"] for row in world.tables["assignments"]}
    for order in world.tables["conversions"]:
        if order["ts"] < START and arm[order["customer_id"]] == "holdout":
            order["value"] += 700
    for number, unit in enumerate(u for u, a in arm.items() if a == "holdout"):
        if number % 3 == 0:
            touch = dict(world.tables["activations"][0]) | {"kind": "send", "campaign": "banner"}
            touch |= {"activation_id": f"more-{number}", "customer_id": unit}
            world.tables["activations"].append(touch)
    check = alone(world, code)
    assert check.outcome is Outcome.FLAGGED
    assert check.disposition == "hold"
    control, treated = samples(world, code, arm)
    z = (mean(treated) - mean(control)) / math.sqrt(
        variance(treated) / len(treated) + variance(control) / len(control)
    )
    assert check.p_value == pytest.approx(2 * norm.sf(abs(z)), rel=1e-4)
    shown = {row["arm"]: row["per_unit"] for row in check.evidence}
    scale = 100 if code == "G6" else 1
    assert shown["holdout"] == pytest.approx(mean(control) / scale)


def samples(world, code, arm):
    """The number per unit, by arm, straight from the rows."""
    numbers = dict.fromkeys(arm, 0)
    if code == "G6":
        for order in world.tables["conversions"]:
            if START - (EXPERIMENT.end - EXPERIMENT.start) <= order["ts"] < START:
                numbers[order["customer_id"]] += order["value"]
    else:
        for touch in world.tables["activations"]:
            other = touch["campaign"] not in EXPERIMENT.campaigns
            if other and touch["kind"] in {"impression", "send"}:
                numbers[touch["customer_id"]] += 1
    arms = ("holdout", "treated")
    return [[n for unit, n in numbers.items() if arm[unit] == name] for name in arms]


def test_false_alarms_of_the_arms_stay_at_the_stated_rate():
    """A/A worlds: p below 0.05 in about one of twenty; at the default of 0.001 in none of 40."""
    draw, low = random.Random(3), 0
    for _ in range(40):
        arms = {}
        for name, units in (("holdout", 150), ("treated", 600)):
            spent = [draw.choice((0, 0, draw.randint(500, 9_000))) for _ in range(units)]
            arms[name] = (units, float(sum(spent)), float(sum(x * x for x in spent)))
        p = _least_p(arms, "holdout")
        assert p > Settings().compared_p
        low += p < 0.05
    assert low <= 6  # P(more than 6 of 40 at 5 %) = 0.3 %, binomial
