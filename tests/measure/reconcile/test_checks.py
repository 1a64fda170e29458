"""Each check finds exactly what was planted, and says honestly when it could not look."""

import dataclasses
import json
import re
from datetime import timedelta

import pytest

from measure.engine import connection
from measure.errors import EngineError
from measure.reconcile import CATALOGUE, Settings, reconcile, statement
from measure.results import Outcome
from tests.measure.reconcile.world import EXPERIMENT, INJECTORS, clean_world

CODES = [check.code for check in CATALOGUE if check.code in INJECTORS]
"""Checks that logs, orders, spend, arms and consent are enough for."""


BASIC = tuple(check for check in CATALOGUE if check.code in CODES)


def run(world, *, checks=BASIC, without=(), settings=None, experiment=EXPERIMENT):
    with connection.connect() as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(statement, "CATALOGUE", checks)
        world.register(engine, without)
        return reconcile(engine, settings=settings, experiment=experiment)


def by_code(result):
    return {check.code: check for check in result.checks}


def alone(world, code, **options):
    """The result of one check of the catalogue, run without the others."""
    chosen = [check for check in CATALOGUE if check.code == code]
    return by_code(run(world, checks=chosen, **options))[code]


def test_the_catalogue_is_in_the_documented_order():
    codes = [check.code for check in CATALOGUE]
    assert codes == sorted(set(codes), key=lambda code: (code[0], int(code[1:])))
    from tests.data import ROOT

    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8").split("# Reconciliation")[1]
    listed = re.findall(r"^## ([A-J][0-9]+) ", text, re.MULTILINE)
    assert [check.code for check in CATALOGUE] == listed
    assert listed == sorted(listed, key=lambda code: (code[0], int(code[1:])))


def test_a_clean_world_is_silent():
    result = run(clean_world(), checks=CATALOGUE)
    found = by_code(result)
    assert {code: found[code].outcome for code in CODES} == dict.fromkeys(CODES, Outcome.PASSED)
    quiet = {Outcome.PASSED, Outcome.NOT_APPLICABLE}
    assert not [check.message for check in result.checks if check.outcome not in quiet]
    assert all(found[code].rows == 0 for code in CODES if code != "G5")
    money = {step.step: step.money for step in result.bridge}
    assert len(set(money.values()) - {0}) == 1  # the same sum from claimed to distinct


@pytest.mark.parametrize("code", [code for code in CODES if code != "G5"])
def test_planted_defects_are_counted_exactly(code):
    world = clean_world()
    planted = INJECTORS[code](world)
    check = alone(world, code)
    assert check.outcome is Outcome.FLAGGED
    assert (check.rows, check.money) == (planted.rows, planted.money)
    assert check.evidence
    assert check.anchor.startswith(code.lower() + "-")


def test_a_lopsided_split_is_flagged():
    world = clean_world()
    INJECTORS["G5"](world)
    check = alone(world, "G5")
    assert check.outcome is Outcome.FLAGGED
    assert check.disposition == "hold"
    assert check.p_value < 0.001


@pytest.mark.parametrize("seed", [1, 2])
def test_many_defects_at_once_are_found_in_full_and_nothing_else(seed):
    """Injectors never share a row, so every count of rows and all money stand side by side."""
    world = clean_world(seed=seed)
    codes = ["A1", "A3", "B1", "B2", "C3", "E6", "F4", "G1", "G3", "H1"]
    planted = {code: INJECTORS[code](world) for code in codes}
    found = by_code(run(world))
    assert {c: (found[c].rows, found[c].money) for c in codes} == {
        c: (planted[c].rows, planted[c].money) for c in codes
    }
    others = {c: found[c].outcome for c in CODES if c not in codes}
    assert others == dict.fromkeys(others, Outcome.PASSED)


@pytest.mark.parametrize(
    ("code", "number"), [("A1", 1), ("C3", 8), ("E6", 37), ("B2", 37), ("B1", 37)]
)
def test_rates_from_a_thousandth_to_a_twentieth(code, number):
    """0.1 %, 1 % and 5 % of about 750 claims."""
    world = clean_world(seed=11)
    planted = INJECTORS[code](world, number)
    check = alone(world, code)
    assert (check.rows, check.money) == (planted.rows, planted.money)


@pytest.mark.parametrize(
    ("table", "codes"),
    [
        ("claims", {"A1", "A3", "B1", "B2", "C1", "C3", "E6", "F4"}),
        ("conversions", {"A1", "B1", "B8", "E6"}),
        ("activations", {"A3", "F1", "G1", "H1"}),
        ("spend", {"F1"}),
        ("assignments", {"G1", "G3", "G5"}),
        ("identities", {"G3"}),
        ("consents", {"H1"}),
    ],
)
def test_a_missing_table_makes_its_checks_not_applicable(table, codes):
    found = by_code(run(clean_world(300), without=(table,)))
    silent = {c for c in CODES if found[c].outcome is Outcome.NOT_APPLICABLE}
    assert silent == codes
    assert all(table in found[code].message for code in codes)
    assert all(found[code].rows is None and found[code].money is None for code in codes)
    assert not [c for c, check in found.items() if check.outcome is Outcome.FAILED]


def test_what_was_left_out_is_said():
    found = by_code(run(clean_world(300), without=("activations", "conversions")))
    assert "Checked without conversions and activations" in found["C1"].message


def test_without_an_experiment_its_checks_are_not_applicable():
    found = by_code(run(clean_world(300), experiment=None))
    for code in ("G1", "G3", "G5"):
        assert found[code].outcome is Outcome.NOT_APPLICABLE
        assert "no experiment" in found[code].message


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        ({"campaigns": ()}, "G1", "names no campaigns"),
        ({"key": "another"}, "G3", "nobody is assigned"),
        ({"key": "another"}, "G5", "nobody is assigned"),
    ],
)
def test_an_experiment_that_says_too_little(change, code, reason):
    check = alone(clean_world(300), code, experiment=EXPERIMENT.model_copy(update=change))
    assert check.outcome is Outcome.NOT_APPLICABLE
    assert reason in check.message


def test_empty_inputs_are_never_passed():
    world = clean_world(300)
    for claim in world.tables["claims"] + world.tables["conversions"]:
        claim["click_id"] = None
    for touch in world.tables["activations"]:
        touch["cost_micros"] = None
    for code, reason in [("A3", "click id"), ("F1", "no cost")]:
        check = alone(world, code)
        assert check.outcome is Outcome.NOT_APPLICABLE
        assert reason in check.message
    world.tables["claims"] = []
    check = alone(world, "A1")
    assert check.outcome is Outcome.NOT_APPLICABLE
    assert "no rows in claims" in check.message


def test_a_missing_column_is_named():
    world = clean_world(300)
    with connection.connect() as engine:
        world.register(engine)
        engine.register("consents", world.arrow("consents").drop_columns(["recorded_at"]))
        engine.register("claims", world.arrow("claims").drop_columns(["click_id"]))
        found = by_code(reconcile(engine, experiment=EXPERIMENT))
    assert found["H1"].outcome is Outcome.NOT_APPLICABLE
    assert "consents has no column recorded_at" in found["H1"].message
    assert found["A3"].outcome is Outcome.NOT_APPLICABLE
    assert found["C3"].outcome is Outcome.PASSED


def test_what_breaks_is_failed_and_the_others_run():
    """Text in a money column: the engine cannot add it up."""
    world = clean_world(300)
    INJECTORS["C3"](world)
    with connection.connect() as engine:
        world.register(engine)
        spend = world.arrow("spend")
        words = spend.set_column(
            spend.column_names.index("amount"), "amount", [["much"] * spend.num_rows]
        )
        engine.register("spend", words)
        result = reconcile(engine, experiment=EXPERIMENT)
    found = by_code(result)
    assert found["F1"].outcome is Outcome.FAILED
    assert found["F1"].message.startswith("Could not run: ")
    assert found["F1"].money is None
    assert found["C3"].outcome is Outcome.FLAGGED
    assert any("F1" in note for note in result.notes)


def test_an_engine_error_is_failed():
    def refuse(_):
        raise EngineError("the engine was restarted.")

    broken = [
        dataclasses.replace(check, find=refuse) if check.code == "H1" else check
        for check in CATALOGUE
    ]
    result = run(clean_world(300), checks=broken)
    check = by_code(result)["H1"]
    assert check.outcome is Outcome.FAILED
    assert "the engine was restarted" in check.message
    assert "touched without consent (not checked)" in {step.step for step in result.bridge}


def test_evidence_names_the_raw_rows_in_a_fixed_order():
    world = clean_world()
    INJECTORS["B2"](world)
    INJECTORS["G1"](world)
    INJECTORS["E6"](world)
    first, second = run(world), run(world)
    assert first == second
    found = by_code(first)
    claims = {row["claim_id"]: row for row in world.tables["claims"]}
    for row in found["B2"].evidence:
        again, kept = claims[row["entity_id"]], claims[row["kept_claim_id"]]
        assert again["platform"] == kept["platform"]
        assert row["money_at_risk"] == again["value"]
    touches = {row["activation_id"]: row for row in world.tables["activations"]}
    for row in found["G1"].evidence:
        assert touches[row["raw_id"]]["customer_id"] == row["entity_id"]
        assert row["micros_at_risk"] == touches[row["raw_id"]]["cost_micros"]
    assert sum(row["money_at_risk"] for row in found["E6"].evidence) == found["E6"].money
    assert json.loads(json.dumps(first.to_dict()))["checks"]


def test_evidence_is_bounded_and_the_count_is_not():
    world = clean_world()
    planted = INJECTORS["H1"](world)
    check = alone(world, "H1", settings=Settings(evidence_rows=7))
    assert len(check.evidence) == 7
    assert check.rows == planted.rows


def test_thresholds_are_part_of_the_result():
    result = run(clean_world(300), settings=Settings(view_window_days=3))
    assert result.settings["view_window_days"] == 3
    assert result.settings["clock_tolerance_seconds"] == 300
    assert result.settings["currency"] == "EUR"


def test_a_shorter_window_of_ones_own_binds():
    """The window is the shorter of the platform's and the settings'."""
    world = clean_world()
    check = alone(world, "C3", settings=Settings(click_window_days=2))
    late = [
        claim
        for claim in world.tables["claims"]
        if (claim["converted_at"] - claim["touched_at"]).total_seconds()
        > 86_400 * min(2 if claim["kind"] == "click" else 7, claim["window_days"])
    ]
    assert late
    assert check.rows == len(late)
    assert check.money == sum(claim["value"] for claim in late)


def test_clocks_may_differ_by_the_tolerance_and_no_more():
    for seconds, outcome in [(300, Outcome.PASSED), (301, Outcome.FLAGGED)]:
        world = clean_world(300)
        claim = world.pick("claims", "claim_id", 1, lambda c: c["order_id"] is not None)[0]
        claim["touched_at"] = claim["converted_at"] + timedelta(seconds=seconds)
        assert alone(world, "C1").outcome is outcome


def test_a_conversion_before_its_own_click_is_found_without_any_claim():
    world = clean_world(300)
    claimed = {claim["order_id"] for claim in world.tables["claims"]}
    clicks = {row["click_id"]: row for row in world.tables["activations"] if row["click_id"]}
    order = next(
        row for row in world.tables["conversions"] if row["click_id"] and row["order_id"] in claimed
    )
    gone = order["order_id"]
    world.tables["claims"] = [c for c in world.tables["claims"] if c["order_id"] != gone]
    order["ts"] = clicks[order["click_id"]]["ts"] - timedelta(seconds=301)
    check = alone(world, "C1")
    assert (check.rows, check.money) == (1, order["value"])
    assert check.evidence[0]["activation_id"] == clicks[order["click_id"]]["activation_id"]


def test_small_differences_of_spend_are_rounding():
    """Two per cent and one cent are the defaults; the larger of the two amounts is the base."""
    world = clean_world(300)
    row = max(world.tables["spend"], key=lambda r: r["amount"])
    logged = row["amount"]
    row["amount"] = logged + logged // 50
    assert alone(world, "F1").outcome is Outcome.PASSED
    row["amount"] = logged + logged // 40
    assert alone(world, "F1").money == logged // 40


def test_every_check_has_its_section_in_the_documentation():
    from tests.data import ROOT

    headings = [
        line[3:].strip().lower().replace(" ", "-")
        for line in (ROOT / "docs" / "checks.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    ]
    assert {check.anchor for check in CATALOGUE} <= set(headings)


def test_the_default_thresholds_are_the_documented_ones():
    from tests.data import ROOT

    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    for name, value in Settings().model_dump(mode="json").items():
        shown = ", ".join(value) if isinstance(value, list) else "none" if value is None else value
        assert f"| `{name}` | {shown} |" in text
