"""The bridge: money counted once, steps that add up exactly, and an oracle that disagrees aloud."""

import random
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from measure.engine import connection
from measure.errors import InputError
from measure.reconcile import CATALOGUE, IncrementalRevenue, Settings, reconcile, statement
from measure.reconcile.bridge import (
    ANYWAY,
    BEYOND,
    CLAIMED,
    DISTINCT,
    INCREMENTAL,
    RECONCILED,
    SHARED,
    TESTED,
    TOTALS,
)
from measure.results import BridgeStep, Estimand, Estimate, Outcome, Status
from tests.measure.reconcile.oracle import account
from tests.measure.reconcile.world import (
    EXPERIMENT,
    INJECTORS,
    START,
    World,
    clean_world,
    consent,
)

STEP_OF = {
    "claimed twice by one platform": ("B2",),
    "no matching order or click": ("A1", "A3"),
    "outside the time allowed": ("C1", "C3"),
    "refunded or cancelled": ("E6",),
    "touched without consent": ("H1",),
}


def run(world, **options):
    with connection.connect() as engine:
        world.register(engine)
        return reconcile(engine, **options)


def by_code(result):
    return {check.code: check for check in result.checks}


def assert_adds_up(bridge: tuple[BridgeStep, ...]) -> None:
    """Every total is the running sum of the lines before it."""
    rows = money = 0
    for step in bridge:
        if step.step == INCREMENTAL:
            assert step.money == money
        elif step.step in TOTALS and step.step != CLAIMED:
            assert (step.rows, step.money) == (rows, money)
        else:
            rows, money = rows + step.rows, money + step.money


def tangled(draw: random.Random, claims: int) -> World:
    """Few orders, clicks, people and hours, so that every rule meets every other."""
    people = [f"p{n}" for n in range(max(claims // 6, 2))]
    hours = lambda most: START + timedelta(minutes=30 * draw.randint(0, 2 * most))  # noqa: E731
    tables: dict[str, list[dict]] = {"activations": [], "conversions": [], "consents": []}
    number_of_clicks = max(claims // 2, 2)
    clicks = [f"k{n}" for n in range(number_of_clicks)]
    for n in range(number_of_clicks):
        tables["activations"].append(
            {
                "activation_id": f"a{n}",
                "platform": "search",
                "channel": draw.choice(["email", "paid_search"]),
                "campaign": "brand",
                "kind": "click",
                "ts": hours(60),
                "customer_id": draw.choice(people),
                "click_id": draw.choice(clicks[: -number_of_clicks // 8 or None]),
                "cost_micros": 10_000,
                "currency": "EUR",
            }
        )
    for n in range(max(claims // 3, 1)):
        value = draw.randint(1, 9_999)
        tables["conversions"].append(
            {
                "conversion_id": f"v{n}",
                "order_id": f"o{draw.randint(0, claims // 3)}",
                "customer_id": draw.choice(people),
                "ts": hours(120),
                "value": value,
                "refunded_value": draw.choice([0, 0, 0, value // 2, value, value + 5]),
                "currency": "EUR",
                "status": draw.choice(["paid", "paid", "paid", "refunded", "cancelled"]),
                "click_id": draw.choice([None, *clicks]),
            }
        )
    for person in people:
        for purpose in ("marketing", "measurement"):
            since = START - timedelta(days=9)
            tables["consents"].append(consent(person, purpose, "all", draw.random() < 0.9, since))
            for _ in range(draw.choice([0, 0, 1, 2])):
                since = hours(100)
                tables["consents"].append(
                    consent(
                        person,
                        purpose,
                        draw.choice(["all", "email"]),
                        draw.random() < 0.5,
                        since,
                        draw.choice([None, since + timedelta(hours=20)]),
                        hours(100),
                    )
                )
    keys = {}
    for row in tables["consents"]:  # the table's key
        names = ("customer_id", "purpose", "channel", "valid_from", "recorded_at")
        keys[tuple(row[name] for name in names)] = row
    tables["consents"] = list(keys.values())
    tables["claims"] = [_claim(draw, n, tables["conversions"], clicks) for n in range(claims)]
    return World(tables, draw)


def _claim(draw: random.Random, number: int, conversions: list[dict], clicks: list[str]) -> dict:
    order = draw.choice(conversions)
    converted = order["ts"] + timedelta(minutes=draw.choice([0, 0, 0, 4, 5, 6]))
    named = draw.choice([order["order_id"]] * 6 + [None, None, "nowhere"])
    click = draw.choice([order["click_id"], order["click_id"], None, draw.choice(clicks)])
    value = draw.choice([order["value"], order["value"], draw.randint(0, 9_999)])
    return {
        "claim_id": f"m{number:04d}",
        "platform": draw.choice(["search", "social", "mailer"]),
        "channel": draw.choice(["email", "paid_search"]),
        "campaign": "brand",
        "order_id": named,
        "click_id": click,
        "kind": draw.choice(["click", "view"]),
        "touched_at": converted - timedelta(hours=draw.choice([-1, 0, 1, 2, 3, 30, 200])),
        "converted_at": converted,
        "value": value,
        "currency": "EUR",
        "window_days": draw.choice([1, 7]),
    }


def assert_matches_oracle(world: World) -> None:
    """By the checks that the oracle knows; a tangle trips others too (clicks of many people)."""
    with pytest.MonkeyPatch.context() as patch:
        known = [check for check in CATALOGUE if check.code in INJECTORS]
        patch.setattr(statement, "CATALOGUE", known)
        result = run(world)
    expected = account(world.tables)
    assert not [c for c in result.checks if c.outcome is Outcome.FAILED]
    steps = {step.step: step for step in result.bridge}
    for name, codes in STEP_OF.items():
        assert steps[name].money == -sum(expected.taken[code] for code in codes), name
        assert steps[name].rows == -sum(expected.gone[code] for code in codes), name
    assert steps[RECONCILED].money == sum(expected.left.values())
    assert steps[RECONCILED].rows == len(expected.left)
    assert steps[SHARED.step].money == -expected.overlap
    assert steps[SHARED.step].rows == -expected.overlap_rows
    assert steps[DISTINCT].money == sum(expected.left.values()) - expected.overlap
    found = by_code(result)
    for code in ("B2", "C3", "E6"):  # checks whose money is claims alone
        if found[code].outcome is Outcome.FLAGGED:
            assert found[code].money == expected.taken[code]
    assert found["B1"].money in (None, expected.overlap)
    assert_adds_up(result.bridge)


@pytest.mark.parametrize("seed", range(3))
def test_a_tangle_of_defects_equals_the_account_by_hand(seed):
    assert_matches_oracle(tangled(random.Random(seed), 400))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), claims=st.integers(1, 12))
def test_small_tangles_equal_the_account_by_hand(seed, claims):
    assert_matches_oracle(tangled(random.Random(seed), claims))


def test_two_defects_on_one_claim_count_once_under_the_first():
    world = clean_world()
    claims = world.pick("claims", "claim_id", 3, lambda c: c["order_id"] and c["click_id"])
    orders = {row["order_id"]: row for row in world.tables["conversions"]}
    first, second, third = claims
    money = {claim["claim_id"]: claim["value"] for claim in claims}
    for claim in (first, second):  # outside the window
        claim["touched_at"] = claim["converted_at"] - timedelta(days=40)
    second["click_id"] = "nowhere"  # and its click unknown
    orders[first["order_id"]]["status"] = "cancelled"  # and its order cancelled
    third["touched_at"] = third["converted_at"] - timedelta(days=40)
    result = run(world)
    found = by_code(result)
    assert (found["A3"].rows, found["A3"].money) == (1, money[second["claim_id"]])
    assert found["C3"].rows == 3
    assert found["C3"].money == money[first["claim_id"]] + money[third["claim_id"]]
    assert (found["E6"].rows, found["E6"].money) == (1, 0)
    assert "counts under other checks" in found["E6"].message
    steps = {step.step: step for step in result.bridge}
    assert steps[CLAIMED].money - steps[RECONCILED].money == sum(money.values())
    assert_adds_up(result.bridge)


def test_a_partly_refunded_order_loses_its_refund_once_and_its_overlap_after():
    """100.01 with 30.00 refunded, claimed whole by three platforms: 70.01 is distinct."""
    world = clean_world()
    claim = world.pick("claims", "claim_id", 1, lambda c: c["order_id"] and c["kind"] == "click")[0]
    order = next(r for r in world.tables["conversions"] if r["order_id"] == claim["order_id"])
    order["value"], order["refunded_value"], claim["value"] = 10_001, 3_000, 10_001
    others = [p for p in ("mailer", "social", "search", "display") if p != claim["platform"]][:2]
    world.tables["claims"] += [
        {**claim, "claim_id": f"{claim['claim_id']}-{p}", "platform": p, "window_days": 7}
        for p in others
    ]
    result = run(world)
    found = by_code(result)
    assert (found["E6"].rows, found["E6"].money) == (3, 9_000)
    assert (found["B1"].rows, found["B1"].money) == (3, 14_002)
    # face value before other checks: 3 × 100.01 less 70.01, shared out without a rest
    shares = [row["money_at_risk"] for row in found["B1"].evidence]
    assert sorted(shares) == [7_667, 7_667, 7_668]
    assert_adds_up(result.bridge)


def test_a_flagged_claim_and_its_conversion_are_one_sum_of_money():
    """Both name an unknown click: two rows, the order's value once."""
    world = clean_world()
    claim = world.pick("claims", "claim_id", 1, lambda c: c["order_id"] and c["click_id"])[0]
    order = next(r for r in world.tables["conversions"] if r["order_id"] == claim["order_id"])
    claim["click_id"] = order["click_id"] = "nowhere"
    check = by_code(run(world))["A3"]
    assert (check.rows, check.money) == (2, claim["value"])


def test_a_touch_flagged_twice_counts_under_contamination():
    world = clean_world()
    INJECTORS["G1"](world)
    touch = next(r for r in world.tables["activations"] if "planted" in r["activation_id"])
    world.tables["consents"] = [
        row for row in world.tables["consents"] if row["customer_id"] != touch["customer_id"]
    ]
    mine = [r for r in world.tables["activations"] if r["customer_id"] == touch["customer_id"]]
    both = [r for r in mine if "planted" in r["activation_id"]]
    result = by_code(run(world, experiment=EXPERIMENT))
    assert result["H1"].rows == len(mine)
    left = sum(r["cost_micros"] for r in mine) - sum(r["cost_micros"] for r in both)
    assert result["H1"].money == left // 10_000
    assert result["G1"].money == 2 * 8  # eight planted touches of two cents


def test_claims_on_touches_without_consent_leave_the_account():
    world = clean_world()
    buyer = world.tables["conversions"][0]["customer_id"]
    world.tables["consents"] = [r for r in world.tables["consents"] if r["customer_id"] != buyer]
    result = run(world)
    steps = {step.step: step for step in result.bridge}
    value = world.tables["claims"][0]["value"]
    assert steps["touched without consent"] == BridgeStep("touched without consent", -1, -value)
    assert "1 claim rests on such touches" in by_code(result)["H1"].message


def test_other_currencies_are_set_aside_by_name_and_never_added():
    world = clean_world()
    dollars = world.pick("claims", "claim_id", 4, lambda c: c["order_id"] is not None)
    for claim in dollars:
        claim["currency"] = "USD"
    crossed = world.pick("claims", "claim_id", 1, lambda c: c["order_id"] is not None)[0]
    order = next(r for r in world.tables["conversions"] if r["order_id"] == crossed["order_id"])
    order["currency"] = "USD"
    result = run(world)
    steps = {step.step: step for step in result.bridge}
    euros = [c["value"] for c in world.tables["claims"] if c["currency"] == "EUR"]
    assert steps[CLAIMED] == BridgeStep(CLAIMED, len(euros) + 4, sum(euros))
    aside = steps["in another currency"]
    assert (aside.rows, aside.money) == (-5, -crossed["value"])
    assert by_code(result)["F4"].rows == 6  # five claims and one conversion
    assert_adds_up(result.bridge)
    assert run(world, settings=Settings(currency="USD")).currency == "USD"


def test_without_an_estimate_the_bridge_ends_at_reconciled_and_says_so():
    result = run(clean_world(300))
    assert result.bridge[-1].step == DISTINCT
    assert any("ends at reconciled" in note for note in result.notes)


def test_the_experiment_closes_the_bridge_with_its_interval():
    incremental = IncrementalRevenue(1_234_56, 1_000_00, 1_500_00, 0.95, "EUR")
    result = run(clean_world(300), incremental=incremental)
    anyway, caused = result.bridge[-2:]
    assert anyway.step == ANYWAY
    assert anyway.money == 1_234_56 - result.bridge[-3].money
    assert caused == BridgeStep(INCREMENTAL, 0, 1_234_56, money_low=1_000_00, money_high=1_500_00)
    assert_adds_up(result.bridge)
    assert any("95 % interval" in note for note in result.notes)


def test_only_what_was_tested_is_held_against_the_experiment():
    world = clean_world(300)
    claims = world.tables["claims"]
    tested = min(claim["campaign"] for claim in claims)
    window = EXPERIMENT.model_copy(update={"campaigns": (tested,)})
    incremental = IncrementalRevenue(1_234_56, 1_000_00, 1_500_00, 0.95, "EUR")
    result = run(world, experiment=window, incremental=incremental)
    steps = {step.step: step for step in result.bridge}
    # A clean world has one claim an order, so what is left is the claims of that campaign.
    left = [claim["value"] for claim in claims if claim["campaign"] == tested]
    assert 0 < len(left) < len(claims)
    assert (steps[TESTED].rows, steps[TESTED].money) == (len(left), sum(left))
    assert steps[BEYOND].money == sum(left) - steps[DISTINCT].money
    assert steps[ANYWAY].money == 1_234_56 - sum(left)
    assert_adds_up(result.bridge)


def test_an_estimate_in_another_currency_is_refused():
    incremental = IncrementalRevenue(1, 0, 2, 0.95, "USD")
    with pytest.raises(InputError, match="must be EUR"):
        run(clean_world(300), incremental=incremental)


def estimate(status=Status.OK, value=0.425) -> Estimate:
    return Estimate(
        "revenue", "treated", "holdout", None, Estimand.ITT, "difference", value, 0.1, 0.229, 0.621,
        0.95, 0.001, None, None, None, 1_000, 9_000, status,
    )  # fmt: skip


def test_an_estimate_per_unit_becomes_a_total():
    """0.425 a unit on 9,000 treated units is 3,825.00; the yen has no minor unit (ISO 4217)."""
    total = IncrementalRevenue.from_estimate(estimate(), "EUR")
    assert (total.money, total.money_low, total.money_high) == (382_500, 206_100, 558_900)
    assert IncrementalRevenue.from_estimate(estimate(), "JPY").money == 3_825
    assert IncrementalRevenue.from_estimate(estimate(), "KWD", units=10).money == 4_250
    with pytest.raises(InputError, match="must be ok"):
        IncrementalRevenue.from_estimate(estimate(Status.INSUFFICIENT, None), "EUR")


def test_no_claims_no_bridge():
    world = clean_world(300)
    with connection.connect() as engine:
        world.register(engine, without=("claims",))
        result = reconcile(engine)
    assert result.bridge == ()
    assert result.notes == ("There is no table claims, so there is no bridge.",)


def test_what_could_not_be_checked_is_marked_in_the_bridge():
    world = clean_world(300)
    with connection.connect() as engine:
        world.register(engine, without=("consents", "conversions"))
        result = reconcile(engine)
    names = {step.step for step in result.bridge}
    assert {"touched without consent (not checked)", "refunded or cancelled (not checked)"} <= names
    assert "outside the time allowed" in names
