"""A whole plan: methods are the analysis's own, numbers hang together, each risk is found."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from designs.planning.assumptions import Assumptions
from designs.planning.baseline import Baseline
from designs.planning.cost import Prior
from designs.planning.planner import prior_of
from designs.planning.power import detectable
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
    # More buyers: the treated arm varies more, as its squares grow with its mean.
    baseline = Baseline(7, variance, acts="buyers", acting=0.4)
    assert plain.mde == pytest.approx(detectable(baseline, 2_000, 18_000))
    # Correlation .5 explains a quarter: the effect shrinks by sqrt(.75), and a little more because
    # a smaller lift makes the treated arm vary less.
    assert adjusted.mde / plain.mde == pytest.approx(0.75**0.5, rel=1e-3)
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


def test_looks_of_a_sequential_plan():
    anytime = plans.experiment(plan={"window_days": 28, "sequential": True})
    found = check(plans.plan(anytime, looks=5), "P8")
    assert (found.outcome, found.message[:19]) == (Outcome.PASSED, "Any number of looks")
    looks = {"method": "obrien_fleming", "planned_units": 30_000, "looks": [0.5, 1.0]}
    found = check(
        plans.plan(plans.experiment(plan={"window_days": 28, "sequential": looks}), looks=5), "P8"
    )
    assert found.outcome is Outcome.FLAGGED
    assert found.message.startswith("2 looks at 50, 100 % of the planned units")
    assert "5 looks are wanted" in found.message
    assert "planned_units is 30,000, but 20,000 units can be assigned" in found.message
    assert "only the last look comes due" in found.message
    last = {"method": "obrien_fleming", "planned_units": 20_000, "looks": [1.0]}
    assert check(
        plans.plan(plans.experiment(plan={"window_days": 28, "sequential": last})), "P8"
    ).outcome is (Outcome.PASSED)


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


def test_units_needed_are_enough_for_the_formula():
    # Six times as many buyers are found with few units; with so few the analysis would not use the
    # normal approximation, so more are needed than the formula says.
    of = plans.experiment(arms={"newsletter": 0.5, "control": 0.5})
    found = plans.plan(of, plans.history(of, plans.SKEWED, units=400_000), lift=5.0).leading()[0]
    assert found.method == "normal"
    again = plans.plan(of, plans.history(of, plans.SKEWED, units=found.units_needed), lift=5.0)
    assert again.leading()[0].method == "normal"
    assert again.leading()[0].power >= 0.8
    fewer = plans.history(of, plans.SKEWED, units=int(found.units_needed * 0.95))
    assert plans.plan(of, fewer, lift=5.0, runs=0).leading()[0].method != "normal"


def test_durations_are_judged_like_the_test():
    # The planned window's row is the plan's own number: its level and its clusters.
    from designs.planning.history import Span

    of = plans.experiment(arms={"control": 0.4, "newsletter": 0.3, "letter": 0.3})
    past = plans.history(of)
    spans = (Span(28, past.outcomes["revenue"], 5_000, 0),)
    past = plans.history(of, spans=spans)
    for assumed in ({}, {"comparisons": "bonferroni"}, {"clusters": {"size": 3, "icc": 0.5}}):
        found = plans.plan(of, past, **assumed)
        assert found.duration[0].mde_relative == pytest.approx(found.leading()[0].mde_relative)
    small = plans.experiment()
    skewed = plans.history(small, plans.SKEWED, units=8_000)
    spans = (Span(28, skewed.outcomes["revenue"], 5_000, 0),)
    found = plans.plan(small, plans.history(small, plans.SKEWED, units=8_000, spans=spans), runs=0)
    assert found.duration[0].method == "permutation"


def test_an_adjusted_share_keeps_its_own_variance():
    # Covariates that explain nothing change nothing: p(1 − p) of the treated arm in both.
    from dataclasses import replace

    of = plans.experiment()
    past = plans.history(of)
    conversion = past.outcomes["conversion"]
    useless = replace(conversion, moments=plans.outcome(conversion.metric,
        (conversion.values.values, conversion.values.counts), 0.0).moments)  # fmt: skip
    past = plans.history(of)
    past = replace(past, outcomes={**past.outcomes, "conversion": useless})
    plain, adjusted = (p for p in plans.plan(of, past).precision if p.metric == "conversion")
    assert adjusted.mde == pytest.approx(plain.mde, rel=1e-9)


def test_other_metrics_are_simulated_when_asked():
    of = plans.experiment()
    past = plans.history(of, plans.SKEWED, units=8_000)
    found = plans.plan(of, past, simulate="all", runs=10)
    simulated = {(p.metric, p.estimator) for p in found.precision if p.simulated}
    dealt = {p.metric for p in found.precision if p.method == "permutation"}
    assert simulated == {(name, "difference") for name in dealt}
    assert {s.metric for s in found.simulations} == dealt
    left = next(p for p in found.precision if p.method == "permutation" and not p.simulated)
    assert "only the plain difference is simulated" in left.note


def test_money_knows_the_interval_of_a_permutation_test():
    of = plans.experiment(**COST, decision={"scale_if": "P(roi > 1) >= 0.8"})
    past = plans.history(of, plans.SKEWED, units=8_000)
    simulated = plans.plan(of, past, lift=0.1, lift_sd=0.2).money[0]
    formula = plans.plan(of, past, lift=0.1, lift_sd=0.2, runs=0).money[0]
    assert 0 < simulated.information < formula.information
    assert "wider than the formula's" in formula.note
    assert simulated.note == ""


def test_ratios_need_no_rows_to_be_judged():
    from dataclasses import replace

    from measure.plan import Metric

    rate = {"name": "rate", "kind": "ratio", "column": "a", "denominator": "b", "role": "primary"}
    of = plans.experiment(metrics=[rate], plan={"window_days": 28})
    read = replace(plans.outcome(Metric(**rate), plans.SKEWED), linearised=True)
    past = replace(plans.history(of, units=8_000), outcomes={"rate": read})
    first = plans.plan(of, past).leading()[0]
    assert first.method == "permutation"
    assert "a ratio is not simulated" in first.note
    assert first.units_needed > 8_000
