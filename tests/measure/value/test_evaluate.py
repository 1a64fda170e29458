"""Money of an estimate and the verdict of its rule; expected numbers are worked out in comments."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from designs.decision_rule import parse_rule
from measure.errors import InputError, UnknownName
from measure.results import Cohort, Estimand, Estimate, Status
from measure.value import Cost, Value, Verdict, decide, value_cohorts, value_of

SCALE, STOP = parse_rule("P(roi > 1) >= 0.8"), parse_rule("P(roi > 1) <= 0.2")
SE = 0.13
REACH = 1.959963984540054 * SE  # scipy.stats.norm.ppf(0.975)


def estimate(value: float | None = 0.7, **changes: object) -> Estimate:
    fields = {
        "metric": "net_revenue",
        "arm": "winback",
        "control": "holdout",
        "cohort": None,
        "estimand": Estimand.ITT,
        "estimator": "difference",
        "value": value,
        "se": SE,
        "ci_low": None if value is None else value - REACH,
        "ci_high": None if value is None else value + REACH,
        "ci_level": 0.95,
        "p_value": None,
        "relative": None,
        "relative_ci_low": None,
        "relative_ci_high": None,
        "n_control": 20_000,
        "n_arm": 180_000,
        "status": Status.OK,
    }
    return Estimate(**{**fields, **changes})


COST = Cost("EUR", spend=2_340_000, margin=0.3)


def test_money_by_hand() -> None:
    # 0.70 € × 180,000 = 126,000 €; × 0.3 = 37,800 €; cost 23,400 €:
    # iROAS 126,000 / 23,400 = 5.384615…, roi 37,800 / 23,400 = 1.615384…, profit 14,400 €.
    value = value_of(estimate(), COST, scale_if=SCALE, stop_if=STOP)
    assert (value.revenue, value.gross_profit, value.cost) == (12_600_000, 3_780_000, 2_340_000)
    assert value.profit == 1_440_000
    assert value.iroas == pytest.approx(70 / 13, rel=1e-15)
    assert value.roi == pytest.approx(21 / 13, rel=1e-15)
    # Bounds: (0.70 ∓ 1.959964 × 0.13) € × 180,000.
    assert value.revenue_low == round((0.7 - REACH) * 18_000_000)
    assert value.revenue_high == round((0.7 + REACH) * 18_000_000)
    assert value.status is Status.OK
    assert value.notes == ()


def test_probabilities_by_scipy() -> None:
    # roi > 1 exactly when the effect exceeds 23,400 / (180,000 × 0.3) = 0.43333 € per customer.
    value = value_of(estimate(), COST, scale_if=SCALE, stop_if=STOP)
    expected = stats.norm.sf(23_400 / 54_000, 0.7, SE)
    assert value.probability_profitable == pytest.approx(expected, rel=1e-12)
    assert value.scale_probability == pytest.approx(expected, rel=1e-12)
    # sd of roi = se × 180,000 × 0.3 / 23,400 = 0.3.
    assert value.roi_sd == pytest.approx(0.3, rel=1e-12)
    assert value.verdict is Verdict.SCALE
    assert value.reason == "P(roi > 1) is 0.98; the rule asks for at least 0.8."


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        # The effect per customer (€) at which each quantity meets its bound, by hand.
        ("P(roi > 1.5) >= 0.5", 1.5 * 23_400 / 54_000),
        ("P(iroas > 4) >= 0.5", 4 * 23_400 / 180_000),
        ("P(profit > 10000) >= 0.5", 33_400 / 54_000),
        ("P(revenue > 100000) >= 0.5", 100_000 / 180_000),
    ],
)
def test_each_quantity_of_a_rule(rule: str, threshold: float) -> None:
    value = value_of(estimate(), COST, scale_if=parse_rule(rule))
    assert value.scale_probability == pytest.approx(stats.norm.sf(threshold, 0.7, SE), rel=1e-10)


def test_a_rule_about_lift_needs_no_money() -> None:
    rule = parse_rule("P(lift > 0.1) >= 0.9")
    lifted = estimate(relative=0.2, relative_ci_low=0.1, relative_ci_high=0.3)
    value = value_of(lifted, Cost("EUR"), scale_if=rule)
    assert value.scale_probability == pytest.approx(0.975, abs=1e-12)  # 0.1 is the lower bound
    assert value.verdict is Verdict.SCALE


@pytest.mark.parametrize(
    ("effect", "verdict"), [(0.7, "scale"), (0.43, "hold"), (0.1, "stop"), (-0.5, "stop")]
)
def test_verdicts(effect: float, verdict: str) -> None:
    # Break-even lies at 0.4333 €; ± 0.8416 se (0.109 €) around it P(roi > 1) is 0.8 and 0.2.
    assert value_of(estimate(effect), COST, scale_if=SCALE, stop_if=STOP).verdict == verdict


@given(effect=st.floats(-2, 3), cents=st.integers(1, 10_000_000))
def test_interval_of_roi_and_probability_agree(effect: float, cents: int) -> None:
    # Source: an equal-tailed 95 % interval lies above 1 exactly when P(roi > 1) > 97.5 %.
    value = value_of(estimate(effect), Cost("EUR", spend=cents, margin=0.3))
    assert value.roi_low is not None
    assert value.probability_profitable is not None
    if abs(value.roi_low - 1) > 1 / cents:  # beyond the rounding to cents
        assert (value.roi_low > 1) == (value.probability_profitable > 0.975)


@given(effect=st.floats(-50, 50), units=st.integers(0, 10**9), cents=st.integers(1, 10**12))
def test_identities_of_the_account(effect: float, units: int, cents: int) -> None:
    value = value_of(estimate(effect), Cost("EUR", spend=cents, margin=0.35), units=units)
    assert value.revenue is not None
    assert value.gross_profit is not None
    assert value.iroas is not None
    assert value.roi is not None
    assert value.profit == value.gross_profit - cents
    assert value.iroas * cents == pytest.approx(value.revenue, rel=1e-12)
    assert value.roi * cents == pytest.approx(value.gross_profit, rel=1e-12)
    assert abs(value.gross_profit - 0.35 * value.revenue) <= 0.5 + 1e-9 * abs(value.revenue)


def test_totals_are_exact() -> None:
    # 0.1 + 0.2 is not 0.3 in binary; 0.3 € × 3 units is 90 cents all the same.
    assert value_of(estimate(0.3), Cost("EUR"), units=3).revenue == 90
    # 123,456,789.01 € × 1,000,003 units: every cent of it (by integer arithmetic).
    value = value_of(estimate(123_456_789.01), Cost("EUR"), units=1_000_003)
    assert value.revenue == 12_345_678_901 * 1_000_003


def test_money_a_hundredfold() -> None:
    # Metamorphic: in units a hundred times smaller all money grows, all ratios stay.
    one = value_of(estimate(), COST)
    other = value_of(
        estimate(70.0, ci_low=(0.7 - REACH) * 100, ci_high=(0.7 + REACH) * 100),
        Cost("EUR", spend=234_000_000, margin=0.3),
    )
    assert other.revenue == 100 * one.revenue
    assert other.roi == pytest.approx(one.roi, rel=1e-12)
    assert other.probability_profitable == pytest.approx(one.probability_profitable, rel=1e-10)


def test_cost_is_the_sum_of_its_known_parts() -> None:
    # 1,000 cents + 0.05 € × 7 (35 cents) + 2.50 €.
    assert Cost("EUR", spend=1_000, per_unit=0.05, fixed=2.5).total(7) == 1_285
    # 0.05 € × 7 units alone; a yen has no minor unit (ISO 4217).
    assert Cost("EUR", per_unit=0.05).total(7) == 35
    assert Cost("JPY", per_unit=12.0).total(7) == 84
    assert Cost("EUR", spend=0).total(7) == 0
    assert Cost("EUR", margin=0.5).total(7) is None


def test_an_unknown_cost_is_never_zero() -> None:
    value = value_of(estimate(), Cost("EUR", margin=0.3), scale_if=SCALE, stop_if=STOP)
    assert (value.cost, value.roi, value.profit, value.probability_profitable) == (None,) * 4
    assert value.revenue == 12_600_000
    assert value.gross_profit == 3_780_000
    assert value.verdict is Verdict.HOLD
    assert value.reason == "The rule speaks of roi, which is not known."
    assert value.notes == ("The cost is not known, so there is no return and no profit.",)


def test_an_unknown_margin_leaves_revenue_over_cost() -> None:
    value = value_of(estimate(), Cost("EUR", spend=2_340_000), scale_if=SCALE)
    assert value.iroas == pytest.approx(70 / 13)
    assert (value.roi, value.gross_profit, value.profit, value.roi_sd) == (None,) * 4
    assert value.verdict is Verdict.HOLD
    assert value.notes == ("The margin is not known, so there is no profit and no roi.",)


def test_a_cost_of_zero_has_no_return() -> None:
    value = value_of(estimate(), Cost("EUR", spend=0, margin=0.3), scale_if=SCALE)
    assert (value.cost, value.roi, value.iroas) == (0, None, None)
    assert value.profit == 3_780_000
    # P(profit > 0) = P(effect > 0).
    assert value.probability_profitable == pytest.approx(stats.norm.sf(0, 0.7, SE), rel=1e-12)
    assert value.verdict is Verdict.HOLD
    assert "no meaning" in value.notes[0]


@pytest.mark.parametrize(
    "status", [Status.INSUFFICIENT, Status.DEGENERATE, Status.INVALID, Status.NOT_CONVERGED]
)
def test_what_was_not_measured_is_held(status: Status) -> None:
    value = value_of(estimate(status=status), COST, scale_if=SCALE, stop_if=STOP)
    assert value.verdict is Verdict.HOLD
    assert value.reason == f"Not measurable: the estimate of net_revenue is {status.value}."
    assert (value.revenue, value.roi, value.profit, value.probability_profitable) == (None,) * 4
    assert value.cost == 2_340_000
    assert value.status is status


def test_ok_without_an_interval_is_invalid() -> None:
    value = value_of(estimate(ci_low=-math.inf), COST, scale_if=SCALE)
    assert (value.status, value.verdict) == (Status.INVALID, Verdict.HOLD)
    assert value.revenue is None


def test_nobody_treated() -> None:
    value = value_of(estimate(), COST, units=0, scale_if=SCALE, stop_if=STOP)
    assert (value.revenue, value.roi, value.verdict) == (0, 0.0, Verdict.HOLD)
    assert value.scale_probability is None


def test_a_lopsided_interval_keeps_its_shape() -> None:
    # Source: the lower bound 0.5 € is the 2.5 % quantile, so P(effect > 0.5 €) is 97.5 %.
    skewed = estimate(0.7, ci_low=0.5, ci_high=1.6)
    value = value_of(skewed, Cost("EUR", spend=500 * 18, margin=1.0), units=180)
    assert value.roi_low == pytest.approx(1.0)
    assert value.probability_profitable == pytest.approx(0.975, abs=1e-12)


def test_rules_that_contradict_hold() -> None:
    both = decide(parse_rule("P(roi > 1) >= 0.3"), parse_rule("P(roi > 1) <= 0.6"), 0.5, 0.5)
    assert both[0] is Verdict.HOLD
    assert "contradict" in both[1]
    assert decide(None, None, None, None) == (Verdict.HOLD, "No rule was registered.")


@pytest.mark.parametrize(
    ("chance", "shown", "verdict"),
    [(0.7999, "0.7999", "hold"), (0.8, "0.80", "scale"), (1.0, "1.00", "scale")],
)
def test_a_reason_never_contradicts_its_verdict(chance: float, shown: str, verdict: str) -> None:
    # 0.7999 must not read "0.80; the rule asks for at least 0.8".
    found, reason = decide(SCALE, None, chance, None)
    assert found == verdict
    assert f"is {shown};" in reason


def test_near_certainty_is_not_shown_as_certainty() -> None:
    assert "above 0.9999" in decide(SCALE, None, 1 - 1e-12, None)[1]
    assert "below 0.0001" in decide(SCALE, STOP, 1e-12, 1e-12)[1]


@pytest.mark.parametrize(
    "terms",
    [{"spend": -1}, {"per_unit": math.nan}, {"fixed": -0.5}, {"margin": 0.0}, {"margin": 1.2}],
)
def test_impossible_costs_are_refused(terms: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"cost\."):
        Cost("EUR", **terms)


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(InputError, match="units == -1"):
        value_of(estimate(), COST, units=-1)
    strange = dataclasses.replace(SCALE, quantity="roas")
    with pytest.raises(UnknownName, match="iroas"):
        value_of(estimate(), COST, scale_if=strange)


NAMES = ("new", "active", "lapsed")


def cohort_estimates() -> list[Estimate]:
    effects = dict(zip(NAMES, (0.05, 0.45, 1.4), strict=True))
    return [
        estimate(effect, cohort=Cohort("segment", name), n_arm=60_000)
        for name, effect in effects.items()
    ]


def test_cohorts_have_verdicts_of_their_own() -> None:
    # Each cohort bears a third of 23,400 €: break-even at 0.4333 € again.
    values = value_cohorts(cohort_estimates(), COST, scale_if=SCALE, stop_if=STOP)
    assert [v.cohort.value for v in values] == list(NAMES)
    assert [v.value.verdict.value for v in values] == ["stop", "hold", "scale"]
    assert sum(v.value.cost or 0 for v in values) == 2_340_000


@given(
    spend=st.integers(0, 10**10),
    sizes=st.lists(st.integers(0, 10**6), min_size=1, max_size=8),
)
def test_spend_is_divided_to_the_last_cent(spend: int, sizes: list[int]) -> None:
    units = {Cohort("segment", str(i)): n for i, n in enumerate(sizes)}
    parts = [part.spend or 0 for part in Cost("EUR", spend=spend).shares(units).values()]
    assert sum(parts) == (spend if sum(sizes) else 0)
    for part, n in zip(parts, sizes, strict=True):
        assert abs(part - spend * n / max(sum(sizes), 1)) <= 1 + 1e-6 * spend / 10**6


def test_two_estimates_of_one_cohort_are_refused() -> None:
    twice = [cohort_estimates()[0], cohort_estimates()[0]]
    with pytest.raises(InputError, match="one of each"):
        value_cohorts(twice, COST)


def test_results_are_plain_json() -> None:
    values = value_cohorts(cohort_estimates(), COST, scale_if=SCALE)
    document = json.loads(json.dumps(values[0].to_dict(), allow_nan=False))
    assert set(document["value"]) == {field.name for field in dataclasses.fields(Value)}
    assert document["value"]["verdict"] == "hold"
