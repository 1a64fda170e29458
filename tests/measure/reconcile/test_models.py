"""Checks of models: an attribution and an estimate handed in, held against claims."""

from dataclasses import replace

import pytest

from measure.attribution import attribute_engine
from measure.engine import connection
from measure.reconcile import CATALOGUE, IncrementalRevenue, Settings, reconcile, statement
from measure.results import Attribution, Cohort, Credit, Outcome
from tests.measure.reconcile.world import EXPERIMENT, clean_world

MINE = {"J1", "J2", "J3", "J4", "J5"}
NEW, OLD = Cohort("segment", "new"), Cohort("segment", "old")


def credit(model, channel, conversions, value, *, cohort=None, effect=None) -> Credit:
    return Credit(model, channel, cohort, conversions, value, conversions / 10, effect, None, None)


def attribution(*extra: Credit, **definition) -> Attribution:
    """Ten conversions worth 100.00 under two models that agree but for half a conversion."""
    given = (
        credit("last", "email", 6, 60.0),
        credit("last", "search", 4, 40.0),
        credit("markov", "email", 5.5, 55.0, effect=0.55),
        credit("markov", "search", 4.5, 45.0, effect=0.45),
    )
    stated = {"journeys": 25.0, "refused": {}, **definition}
    return Attribution(stated, 10.0, 100.0, given + extra)


def run(given=None, *, world=None, settings=None, experiment=EXPERIMENT, incremental=None):
    chosen = [check for check in CATALOGUE if check.code in MINE]
    with connection.connect() as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(statement, "CATALOGUE", chosen)
        (world or clean_world(20)).register(engine)
        result = reconcile(
            engine,
            settings=settings,
            experiment=experiment,
            incremental=incremental,
            attribution=given,
        )
    return {check.code: check for check in result.checks}


def test_without_anything_handed_in_they_are_not_applicable():
    found = run()
    assert {code: check.outcome for code, check in found.items()} == dict.fromkeys(
        sorted(MINE), Outcome.NOT_APPLICABLE
    )
    assert all("no attribution was given" in found[code].message for code in MINE - {"J4"})
    assert "no experiment estimate was given" in found["J4"].message


def test_credits_in_another_currency_are_not_compared():
    found = run(attribution(currency="USD"))
    for code in MINE - {"J4"}:
        assert found[code].outcome is Outcome.NOT_APPLICABLE
        assert "the attribution is in USD" in found[code].message


def test_sound_credits_are_silent():
    found = run(attribution())
    for code in MINE - {"J4"}:
        assert (found[code].outcome, found[code].rows) == (Outcome.PASSED, 0), found[code].message


def test_credits_of_a_real_world_are_silent():
    """What the product itself computes adds up, is identified, and is never negative."""
    world = clean_world(400)
    with connection.connect() as engine:
        world.register(engine)
        given = attribute_engine(engine, models=("last", "linear", "markov"), currency="EUR")
    found = run(given)
    assert {found[code].outcome for code in ("J1", "J2", "J5")} == {Outcome.PASSED}


def test_sums_that_are_off_are_found_with_their_value():
    """Half a conversion and 5.00 too many everywhere; a cohort's second model 2.50 too few."""
    given = attribution(
        credit("linear", "email", 10.5, 105.0),
        credit("last", "email", 3, 30.0, cohort=NEW),
        credit("linear", "email", 3, 27.5, cohort=NEW),
        credit("last", "email", 7, 70.0, cohort=OLD),
        credit("linear", "email", 7, 70.0, cohort=OLD),
    )
    check = run(given)["J1"]
    assert (check.outcome, check.rows, check.money) == (Outcome.FLAGGED, 2, 750)
    assert [(row["model"], row["cohort"]) for row in check.evidence] == [
        ("linear", "everybody"),
        ("linear", "segment = new"),
    ]
    assert check.disposition == "hold"


def test_markov_credits_need_journeys_that_failed():
    refused = {"markov (segment = new)": "every journey converted"}
    check = run(attribution(refused=refused))["J2"]
    assert (check.outcome, check.rows, check.money) == (Outcome.FLAGGED, 1, None)
    assert check.evidence[0]["model"] == "markov (segment = new)"
    assert run(attribution(journeys=10.0))["J2"].rows == 1
    rules = replace(attribution(), credits=attribution().credits[:2])
    assert run(rules)["J2"].outcome is Outcome.NOT_APPLICABLE


def test_models_that_disagree_say_how_much_changes_channel():
    """E-mail has 60, 55 and 30 %: a range of 30 points, of 100.00 that is 30.00 and counts once."""
    given = attribution(credit("linear", "email", 3, 30.0), credit("linear", "search", 7, 70.0))
    check = run(given)["J3"]
    assert (check.outcome, check.rows, check.money) == (Outcome.FLAGGED, 2, 3_000)
    assert [row["money_at_risk"] for row in check.evidence] == [3_000, 3_000]
    assert (check.evidence[0]["lowest_model"], check.evidence[0]["highest_model"]) == (
        "linear",
        "last",
    )
    assert run(given, settings=Settings(model_disagreement=0.31))["J3"].outcome is Outcome.PASSED
    alone = replace(given, credits=given.credits[:2])
    assert run(alone)["J3"].outcome is Outcome.NOT_APPLICABLE


def test_claims_are_calibrated_by_the_experiment():
    world = clean_world(200)
    tested = [c for c in world.tables["claims"] if c["campaign"] in EXPERIMENT.campaigns]
    claimed = sum(
        c["value"] for c in tested if EXPERIMENT.start <= c["converted_at"] <= EXPERIMENT.end
    )
    half = IncrementalRevenue(claimed // 2, claimed // 4, claimed * 3 // 4, 0.95, "EUR")
    check = run(attribution(), world=world, incremental=half)["J4"]
    assert (check.outcome, check.rows, check.money) == (Outcome.FLAGGED, 1, claimed - claimed // 2)
    assert check.evidence[0]["factor"] == pytest.approx(0.5, abs=1e-4)
    assert check.evidence[0]["credited_by_markov"] == 10_000
    assert "calibration factor of 0.500 (95 % interval 0.250 to 0.750)" in check.message
    wide = replace(half, money_high=claimed)
    assert run(world=world, incremental=wide)["J4"].outcome is Outcome.PASSED
    nothing = EXPERIMENT.model_copy(update={"campaigns": ("another",)})
    check = run(world=world, incremental=half, experiment=nothing)["J4"]
    assert check.outcome is Outcome.NOT_APPLICABLE
    assert "nothing" in check.message or "claims anything" in check.message


def test_negative_and_clamped_effects_are_found():
    """A Shapley credit of -1 (-10.00), and a removal effect cut off for a channel others credit."""
    given = attribution(
        credit("shapley", "email", -1, -10.0),
        credit("shapley", "search", 11, 110.0),
        credit("last", "display", 1, 10.0),
        credit("markov", "display", 0, 0.0, effect=0.0),
        credit("markov", "radio", 0, 0.0, effect=0.0),
    )
    check = run(given)["J5"]
    assert (check.outcome, check.rows, check.money) == (Outcome.FLAGGED, 2, 1_000)
    assert [(row["channel"], row["what"]) for row in check.evidence] == [
        ("email", "negative"),
        ("display", "clamped at zero"),
    ]
