"""A whole plan: methods are the analysis's own, numbers hang together, each risk is found."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from designs.planning.assumptions import Assumptions
from designs.planning.cost import Prior
from designs.planning.planner import prior_of
from designs.planning.power import Baseline, detectable
from measure.results import Outcome, Severity
from tests.designs.planning import plans

COST = {"cost": {"per_unit": 0.1, "margin": 0.4, "currency": "EUR"}}


def check(plan, code):
    (found,) = [c for c in plan.checks if c.code == code]
    return found


def test_precision_is_the_formulas():
    found = plans.plan(plans.experiment())
    plain, adjusted = (
        next(p for p in found.precision if p.metric == "revenue" and p.estimator == name)
        for name in ("difference", "cuped")
    )
    variance = plans.history(plans.experiment()).outcomes["revenue"].moments.variance
    assert (plain.n_control, plain.n_arm, plain.method) == (2_000, 18_000, "normal")
    assert plain.mde == pytest.approx(detectable(Baseline(7, variance), 2_000, 18_000))
    # Correlation .5 explains a quarter: the effect shrinks by sqrt(.75), degrees of freedom aside.
    assert adjusted.mde / plain.mde == pytest.approx(0.75**0.5, rel=1e-4)
    assert found.leading()[0] == plain
    curve = [p for p in found.curve if p.estimator == "difference"]
    assert curve[0].power == pytest.approx(0.05)
    assert [p.power for p in curve] == sorted(p.power for p in curve)


def test_documents_are_plain_json():
    document = plans.plan(plans.experiment(**COST)).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["schema_version"] == "1.0"


def test_a_small_skewed_holdout_is_simulated_or_refused():
    of = plans.experiment()
    found = plans.plan(of, plans.history(of, plans.SKEWED, units=8_000))
    first = found.leading()[0]
    assert first.method == "permutation"
    assert first.simulated
    assert first.power_low <= first.power <= first.power_high
    assert "simulated runs" in first.note
    others = [p for p in found.precision if p.method == "permutation" and p != first]
    assert all(p.mde is None and p.power is None for p in others)
    assert check(found, "P3").outcome is Outcome.FLAGGED
    refused = plans.plan(of, plans.history(of, plans.SKEWED, units=900))
    assert refused.leading()[0].method == "refuse"
    assert refused.curse is None
    assert check(refused, "P3").severity is Severity.STOP
    assert check(refused, "P1").outcome is Outcome.NOT_APPLICABLE


def test_simulation_can_be_left_out():
    of = plans.experiment()
    found = plans.plan(of, plans.history(of, plans.SKEWED, units=8_000), runs=0)
    assert found.simulations == ()
    assert found.leading()[0].mde is None


def test_clusters_and_several_arms_cost_precision():
    alone = plans.plan(plans.experiment()).leading()[0].mde
    clustered = plans.plan(plans.experiment(), clusters={"size": 3, "icc": 0.5}).leading()[0].mde
    assert clustered / alone == pytest.approx(2**0.5, rel=2e-3)  # design effect 1 + 2 · .5
    arms = {"control": 0.2, "newsletter": 0.4, "letter": 0.4}
    three = plans.plan(plans.experiment(arms=arms), comparisons="bonferroni")
    assert [p.alpha for p in three.leading()] == [0.025, 0.025]


def test_ratios_are_planned_by_the_delta_method():
    import numpy as np

    from measure.moments import Moments

    of = plans.experiment()
    rng = np.random.default_rng(1)
    pairs = rng.normal((5, 2), 1, (4_000, 2))
    past = plans.history(of, ratios={"per_order": Moments.from_values(("a", "b"), pairs)})
    ratio = {"name": "per_order", "numerator": "revenue", "denominator": "conversion"}
    found = plans.plan(of, past, ratios=(ratio,))
    (planned,) = [p for p in found.precision if p.metric == "per_order"]
    # Var((x − R y) / 2) with R = 2.5 and independent x, y of variance 1: (1 + 6.25) / 4.
    expected = detectable(Baseline(2.5, 7.25 / 4, "ratio"), 2_000, 18_000)
    assert planned.mde == pytest.approx(expected, rel=0.05)


# Every pitfall planted once, and a design without it beside it (coverage row 104).


def test_underpowered():
    assert check(plans.plan(plans.experiment(), lift=0.5), "P1").outcome is Outcome.PASSED
    found = check(plans.plan(plans.experiment(), lift=0.01), "P1")
    assert found.outcome is Outcome.FLAGGED
    assert "units in all would do" in found.message


def test_no_holdout():
    of = plans.experiment(arms={"newsletter": 0.9999, "control": 0.0001})
    found = check(plans.plan(of), "P2")
    assert (found.outcome, found.severity) == (Outcome.FLAGGED, Severity.STOP)
    assert check(plans.plan(plans.experiment()), "P2").severity is Severity.NOTE
    held = plans.experiment(holdout={"share": 0.05})
    assert check(plans.plan(held), "P2").outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("mine", "theirs", "meets"),
    [
        ({}, {}, True),
        ({"channels": ["email"]}, {"channels": ["email"], "campaigns": ["autumn"]}, True),
        ({"channels": ["email"]}, {"channels": ["sms"], "campaigns": ["autumn"]}, False),
        ({"layer": {"name": "a", "slot": [0, 0.5]}}, {"layer": {"name": "a", "slot": [0.5, 1]}},
         False),
        ({"layer": {"name": "a", "slot": [0, 0.6]}}, {"layer": {"name": "a", "slot": [0.5, 1]}},
         True),
        ({"population": {"where": {"country": "DE"}}},
         {"population": {"where": {"country": "FR"}}}, False),
        ({}, {"schedule": {"start": datetime(2027, 1, 1, tzinfo=UTC)}}, False),
    ],
)  # fmt: skip
def test_overlap(mine, theirs, meets):
    other = plans.experiment("other", **theirs)
    found = check(plans.plan(plans.experiment(**mine), others=[other]), "P4")
    assert found.outcome is (Outcome.FLAGGED if meets else Outcome.PASSED)
    assert ("other" in found.message) is meets or not meets


def test_season():
    def season(start, window=28, **more):
        of = plans.experiment(schedule={"start": start}, plan={"window_days": window})
        return check(plans.plan(of, plans.history(of, **more)), "P5")

    spring, autumn = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 11, 10, tzinfo=UTC)
    assert season(spring).outcome is Outcome.PASSED
    assert "not whole weeks" in season(spring, 30).message
    assert "two weeks" in season(spring, 7).message
    # 10 November and 28 days: 20 November to 7 December are 18 of them.
    assert "18 of 28 days" in season(autumn).message
    assert "1.60 of the usual level" in season(spring, same_season=1.6).message


def test_weekdays_come_from_whole_weeks():
    of = plans.experiment()
    weeks = ((10.0, 10, 10, 10, 10, 5, 15), (20.0, 20, 20, 20, 20, 10, 30))
    found = plans.plan(of, plans.history(of, weekdays=weeks)).season
    assert found.weekdays == pytest.approx((1, 1, 1, 1, 1, 0.5, 1.5))
    assert found.weeks == 2
    # Closed form: between days 2 · 7.5² · 2 of all squares, which also hold the weeks' levels.
    assert 0 < found.share_explained < 1


def test_winners_curse():
    assert check(plans.plan(plans.experiment(), lift=0.5), "P6").outcome is Outcome.PASSED
    found = check(plans.plan(plans.experiment(), lift=0.01), "P6")
    assert found.outcome is Outcome.FLAGGED
    assert "times as large" in found.message


def test_many_metrics():
    assert check(plans.plan(plans.experiment()), "P7").outcome is Outcome.PASSED
    many = [{"name": f"m{i}", "unit": "EUR"} for i in range(8)]
    found = check(plans.plan(plans.experiment(metrics=many)), "P7")
    assert (found.outcome, found.severity) == (Outcome.FLAGGED, Severity.NOTE)
    assert "34%" in found.message  # 1 − .95^8


def test_looks_without_a_sequential_plan():
    assert check(plans.plan(plans.experiment()), "P8").outcome is Outcome.PASSED
    found = check(plans.plan(plans.experiment(), looks=5), "P8")
    assert found.outcome is Outcome.FLAGGED
    assert "14.2%" in found.message  # Armitage, McPherson and Rowe (1969), five looks


def test_a_holdout_that_costs_more_than_it_teaches():
    assert check(plans.plan(plans.experiment()), "P9").outcome is Outcome.NOT_APPLICABLE
    unsure = check(plans.plan(plans.experiment(**COST), lift=0.1, lift_sd=1.0, repeats=50), "P9")
    assert unsure.outcome is Outcome.PASSED
    sure = check(plans.plan(plans.experiment(**COST), lift=0.5, lift_sd=0.01), "P9")
    assert sure.outcome is Outcome.FLAGGED


def test_thin_history():
    import numpy as np

    assert check(plans.plan(plans.experiment()), "P10").outcome is Outcome.PASSED
    of = plans.experiment()
    thin = (np.array([0.0, 10.0]), np.array([5_000, 30]))
    found = check(plans.plan(of, plans.history(of, thin), runs=0), "P10")
    assert "30 units differ" in found.message


def test_where_the_expected_lift_comes_from():
    earlier = Prior(0.03, 0.02, "earlier tests on any channel: a")
    assert prior_of(Assumptions(lift=0.1), earlier) == Prior(0.1, 0.1, "given")
    assert prior_of(Assumptions(), earlier) is earlier
    assert "assumed" in prior_of(Assumptions()).source


@pytest.mark.parametrize(
    "wrong", [{"lift_sd": 0.1}, {"lift": -1.0}, {"power": 1.0}, {"looks": 0}, {"unknown": 1}]
)
def test_impossible_assumptions_are_refused(wrong):
    with pytest.raises(ValidationError):
        Assumptions(**wrong)
