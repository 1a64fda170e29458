"""The world obeys its contracts, and its tables say what its books say.

Expected defects are counted again here from the tables alone, with pandas and the definitions of
the check catalogue; the generator's own books are the other side of each comparison.
"""

import functools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from console.demo import CONTROL, SHARES, TREATMENT, World, build_people, build_world, simulate
from console.demo.setting import CURRENCY, END, MARGIN, PROGRAMME, SEGMENTS, START
from console.demo.truth import truth_of
from measure.engine.contracts import CONTRACTS, Kind
from measure.errors import InputError, UnknownName

SIZES = [(5_000, 1), (5_000, 2), (20_000, 3)]
TABLES = [
    "customers", "identities", "consents", "activations",
    "conversions", "claims", "spend", "assignments",
]  # fmt: skip


@functools.cache
def world_of(customers: int, seed: int) -> World:
    return build_world(customers, seed)


@functools.cache
def frames_of(customers: int, seed: int) -> dict[str, pd.DataFrame]:
    tables = world_of(customers, seed).tables()
    return {name: table.to_pandas() for name, table in tables.items()}


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}-seed{size[1]}")
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param


@pytest.fixture
def world(size: tuple[int, int]) -> World:
    return world_of(*size)


@pytest.fixture
def frames(size: tuple[int, int]) -> dict[str, pd.DataFrame]:
    return frames_of(*size)


ARROW_TYPES = {
    Kind.TEXT: pa.types.is_string,
    Kind.INTEGER: pa.types.is_integer,
    Kind.MONEY: pa.types.is_integer,
    Kind.MICROS: pa.types.is_integer,
    Kind.BOOLEAN: pa.types.is_boolean,
    Kind.TIMESTAMP: pa.types.is_timestamp,
    Kind.DATE: pa.types.is_date,
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_follow_their_contracts(name: str) -> None:
    table, contract = world_of(5_000, 1).tables()[name], CONTRACTS[name]
    columns = {column.name: column for column in contract.columns}
    assert contract.keeps_extra or set(table.column_names) <= set(columns)
    for column in columns.values():
        if column.name not in table.column_names:
            assert not column.required
            continue
        assert ARROW_TYPES[column.kind](table.schema.field(column.name).type), column.name
        if column.required:
            assert table[column.name].null_count == 0, column.name
        if column.allowed:
            assert set(table[column.name].unique().to_pylist()) <= set(column.allowed)
    keys = table.select(list(contract.key)).to_pandas()
    assert not keys.duplicated().any()


def test_the_same_seed_gives_the_same_world() -> None:
    again = build_world(5_000, 1).tables()
    for name, table in world_of(5_000, 1).tables().items():
        assert table.equals(again[name]), name
    assert truth_of(build_world(5_000, 1)) == truth_of(world_of(5_000, 1))
    assert truth_of(build_world(5_000, 2)) != truth_of(world_of(5_000, 1))


def test_there_are_four_channels_and_more_on_as_many_platforms(
    frames: dict[str, pd.DataFrame],
) -> None:
    touches = frames["activations"]
    assert touches.channel.nunique() >= 5
    assert touches.platform.nunique() >= 5
    programme = touches[touches.campaign.str.startswith("winback")]
    assert set(programme.channel) == {"email", "paid_social", "sms"}


def outcomes(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Purchases per customer: paid or refunded, each order once, within 28 days."""
    orders = frames["conversions"]
    ends = pd.Timestamp(START) + pd.Timedelta(days=28)
    counted = orders[orders.status.isin(["paid", "refunded"]) & (orders.ts < ends)]
    counted = counted[counted.ts >= pd.Timestamp(START)]
    counted = counted.sort_values(["ts", "conversion_id"]).drop_duplicates("order_id")
    counted = counted.assign(net=counted.value - counted.refunded_value)
    sums = counted.groupby("customer_id").agg(value=("value", "sum"), net=("net", "sum"))
    return sums.reindex(frames["customers"].customer_id)


def test_tables_hold_the_outcome_of_the_arm_that_was_assigned(
    world: World, frames: dict[str, pd.DataFrame]
) -> None:
    found = outcomes(frames)
    for arm, potential in ((True, world.if_treated), (False, world.if_control)):
        here = world.treated == arm
        assert np.array_equal(found.value.notna().to_numpy()[here], potential.conversion[here])
        assert np.array_equal(found.value.fillna(0).to_numpy()[here], potential.revenue[here])
        assert np.array_equal(found.net.fillna(0).to_numpy()[here], potential.net_revenue[here])


def test_true_effects_are_averages_of_both_potential_outcomes(world: World) -> None:
    truth, one, zero = truth_of(world), world.if_treated, world.if_control
    difference = one.conversion.astype(int) - zero.conversion.astype(int)
    assert truth.quantity("effect.conversion").truth == pytest.approx(difference.mean())
    money = (one.net_revenue - zero.net_revenue) / 100
    assert truth.quantity("effect.net_revenue").truth == pytest.approx(money.mean())
    total = money[world.treated].sum()
    assert truth.quantity("total.net_revenue").truth == pytest.approx(total)
    for code, segment in enumerate(SEGMENTS):
        inside = difference[world.people.segment == code].mean()
        quantity = truth.quantity(f"effect.conversion[segment={segment.name}]")
        assert quantity.truth == pytest.approx(inside)
        assert quantity.cohort is not None
        assert quantity.cohort.value == segment.name


def test_the_programme_only_adds_orders_and_moves_nobody_who_is_loyal(world: World) -> None:
    assert not (world.if_control.conversion & ~world.if_treated.conversion).any()
    assert truth_of(world).quantity("effect.conversion[segment=loyal]").truth == 0


def test_return_follows_from_revenue_and_the_spend_table(
    world: World, frames: dict[str, pd.DataFrame]
) -> None:
    truth, spend = truth_of(world), frames["spend"]
    cost = spend[spend.campaign.str.startswith("winback")].amount.sum() / 100
    total = truth.quantity("total.net_revenue").truth
    assert truth.quantity("cost").truth == pytest.approx(cost)
    assert truth.quantity("iroas").truth == pytest.approx(total / cost)
    assert truth.quantity("roi").truth == pytest.approx(MARGIN * total / cost)


def check_a1(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    claims = frames["claims"]
    lost = claims[~claims.order_id.isin(frames["conversions"].order_id)]
    return len(lost), int(lost.value.sum())


def check_a3(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    known = frames["activations"].click_id.dropna()
    parts = [t[t.click_id.notna() & ~t.click_id.isin(known)] for t in (
        frames["claims"], frames["conversions"]
    )]  # fmt: skip
    return sum(map(len, parts)), int(sum(part.value.sum() for part in parts))


def check_b1(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    """Claims on orders of several platforms; the money is claimed less the order's own value."""
    orders = frames["conversions"].drop_duplicates("order_id").set_index("order_id").value
    claims = frames["claims"][frames["claims"].order_id.isin(orders.index)]
    per_order = claims.groupby("order_id").agg(
        n=("claim_id", "size"), platforms=("platform", "nunique"), value=("value", "sum")
    )
    shared = per_order[per_order.platforms > 1]
    return int(shared.n.sum()), int((shared.value - orders[shared.index]).sum())


def check_b2(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    claims = frames["claims"]
    again = claims[claims.duplicated(["platform", "order_id"])]
    return len(again), int(again.value.sum())


def check_b8(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    orders = frames["conversions"]
    again = orders[orders.duplicated("order_id")]
    return len(again), int(again.value.sum())


def check_c1(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    claims = frames["claims"]
    early = claims[claims.converted_at < claims.touched_at - pd.Timedelta(minutes=5)]
    return len(early), int(early.value.sum())


def check_c3(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    claims = frames["claims"]
    age = claims.converted_at - claims.touched_at
    late = claims[age > pd.to_timedelta(claims.window_days, unit="D")]
    return len(late), int(late.value.sum())


def check_e6(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    orders = frames["conversions"].drop_duplicates("order_id").set_index("order_id")
    gone = orders[orders.status.isin(["refunded", "cancelled"])]
    claims = frames["claims"][frames["claims"].order_id.isin(gone.index)]
    net = (gone.value - gone.refunded_value).where(gone.status != "cancelled", 0)
    return len(claims), int((claims.value - net[claims.order_id].to_numpy()).sum())


def check_f1(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    """Cells that differ by more than 2 % or one cent; agreement elsewhere is exact."""
    touches, spend = frames["activations"], frames["spend"]
    logged = touches.assign(date=touches.ts.dt.date).groupby(["platform", "campaign", "date"])
    logged = logged.cost_micros.sum() / 10_000
    billed = spend.set_index(["platform", "campaign", "date"]).amount
    both = pd.concat([logged, billed], axis=1).fillna(0)
    difference = (both.amount - both.cost_micros).abs()
    apart = difference > 0
    assert (difference[apart] > 0.02 * both.amount[apart]).all()
    return int(apart.sum()), int(difference.sum())


def check_g1(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    touches, arms = frames["activations"], frames["assignments"]
    controls = arms[arms.arm == CONTROL].unit_id
    hits = touches[touches.campaign.str.startswith("winback") & touches.customer_id.isin(controls)]
    return hits.customer_id.nunique(), int(hits.cost_micros.fillna(0).sum()) // 10_000


def check_g3(frames: dict[str, pd.DataFrame]) -> tuple[int, None]:
    known = frames["identities"].merge(
        frames["assignments"], left_on="customer_id", right_on="unit_id"
    )
    arms = known.groupby(["kind", "identifier"]).arm.transform("nunique")
    return known[arms > 1].customer_id.nunique(), None


def check_h1(frames: dict[str, pd.DataFrame]) -> tuple[int, int]:
    """Touches not covered by a grant for every channel, or refused for their own channel."""
    touches, consents = frames["activations"], frames["consents"]
    refused = np.zeros(len(touches), dtype=bool)
    for purpose in ("marketing", "measurement"):
        grants = consents[consents.granted & (consents.purpose == purpose)]
        assert (grants.channel == "all").all()
        assert not grants.customer_id.duplicated().any()
        found = touches[["customer_id", "ts"]].merge(grants, on="customer_id", how="left")
        covered = (found.valid_from <= found.ts) & (
            found.valid_to.isna() | (found.ts < found.valid_to)
        )
        refused |= ~covered.to_numpy()
    denied = consents[~consents.granted & (consents.channel != "all")]
    pairs = set(zip(denied.customer_id, denied.channel, strict=True))
    named = zip(touches.customer_id, touches.channel, strict=True)
    refused |= np.array([pair in pairs for pair in named])
    return int(refused.sum()), int(touches.cost_micros[refused].fillna(0).sum()) // 10_000


CHECKS = {
    "A1": check_a1, "A3": check_a3, "B1": check_b1, "B2": check_b2, "B8": check_b8,
    "C1": check_c1, "C3": check_c3, "E6": check_e6, "F1": check_f1, "G1": check_g1,
    "G3": check_g3, "H1": check_h1,
}  # fmt: skip


@pytest.mark.parametrize("code", CHECKS)
def test_planted_defects_are_in_the_tables(
    code: str, world: World, frames: dict[str, pd.DataFrame]
) -> None:
    defect = truth_of(world).defect(code)
    assert CHECKS[code](frames) == (defect.rows, defect.money)
    assert defect.rows > 0
    assert defect.currency == (None if defect.money is None else CURRENCY)


def test_no_claim_has_two_planted_defects(world: World) -> None:
    rows = np.concatenate(list(world.spoiled.rows.values()))
    assert len(rows) == len(np.unique(rows))


def test_programme_bills_equal_their_logs(world: World) -> None:
    assert not world.overbilled[np.isin(world.billed_campaign, PROGRAMME)].any()


def test_everything_happens_inside_the_window(frames: dict[str, pd.DataFrame]) -> None:
    start, end = pd.Timestamp(START), pd.Timestamp(START) + pd.Timedelta(milliseconds=END)
    for name in ("activations", "conversions"):
        # A repeated order is written two seconds after the first.
        assert frames[name].ts.between(start, end + pd.Timedelta(seconds=2)).all(), name
    assert (frames["customers"].first_seen_at < start).all()
    assert (frames["assignments"].assigned_at == start).all()


def test_prior_behaviour_foretells_outcomes(world: World) -> None:
    # Covariates measured before assignment must be worth adjusting for (correlation above 0.05),
    # and the segments' own purchase rates differ.
    people, bought = world.people, world.if_control.net_revenue
    assert np.corrcoef(people.prior_revenue, bought)[0, 1] > 0.05
    rates = [world.if_control.conversion[people.segment == code].mean() for code in range(4)]
    assert max(rates) > 2 * min(rates)


def test_arms_may_be_a_mapping_or_in_order() -> None:
    people = build_people(200, 7)
    arms = [CONTROL if i % 10 == 0 else TREATMENT for i in range(200)]
    ids = people.customer_id.to_pylist()
    worlds = [
        simulate(people, arms),
        simulate(people, dict(zip(reversed(ids), reversed(arms), strict=True))),
        simulate(people, pa.array(arms)),
    ]
    assert truth_of(worlds[0]) == truth_of(worlds[1]) == truth_of(worlds[2])
    assert truth_of(worlds[0]).control == 20
    assert sum(SHARES.values()) == 1


def test_impossible_arms_are_refused() -> None:
    people = build_people(200, 7)
    with pytest.raises(UnknownName, match="winback"):
        simulate(people, ["winbak"] * 200)
    with pytest.raises(InputError, match="there are 200 customers"):
        simulate(people, [CONTROL] * 3)
    with pytest.raises(InputError, match="has no arm"):
        simulate(people, {"c0000000": CONTROL})


@pytest.mark.parametrize("customers", [50, 300, 1_000])
def test_small_worlds_stand_up(customers: int) -> None:
    world = build_world(customers, 11)
    assert truth_of(world).customers == customers
    assert set(world.tables()) == set(TABLES)


def test_the_arm_changes_only_whom_the_programme_touches(world: World) -> None:
    # A held-out customer who is touched all the same responds like a treated one, so for the
    # contaminated and for the unreached both potential outcomes are one.
    changed = world.if_treated.net_revenue != world.if_control.net_revenue
    same = world.delivery.contaminated | ~world.delivery.reached
    assert same.sum() > 100
    assert not changed[same].any()
    lapsed = world.people.segment == [s.name for s in SEGMENTS].index("lapsed")
    assert changed[lapsed & ~same].any()
