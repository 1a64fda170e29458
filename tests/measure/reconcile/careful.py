"""The clean world with what a careful shop also keeps, and one injector per defect of it.

Creatives, landings, event ids and actions, taxes and shipping, contracts with platforms, a plan,
invoices and rates of exchange. One platform bills a fee that its spend contains.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa

from tests.measure.reconcile.world import (
    DAYS,
    PLATFORM_OF,
    START,
    WINDOWS,
    Planted,
    World,
    bill,
    by_order,
    clean_world,
)

MONTH = date(2025, 3, 1)
WITH_FEE = "display"


@dataclass
class Careful(World):
    """A world whose events carry click ids."""

    def arrow(self, table: str) -> pa.Table:
        data = super().arrow(table)
        if table == "events":
            clicks = pa.array([row["click_id"] for row in self.tables[table]], pa.string())
            data = data.append_column("click_id", clicks)
        return data


def careful_world(customers: int = 500, seed: int = 7) -> Careful:
    world = clean_world(customers, seed)
    full = Careful(world.tables, world.random, world.used, world.serial)
    tables = full.tables
    for number, touch in enumerate(tables["activations"]):
        touch["creative"] = f"creative-{number % 5}"
    tables["events"] = [landing(row) for row in tables["activations"] if row["click_id"]]
    for number, order in enumerate(tables["conversions"]):
        order["tax"] = 1 + order["value"] * 19 // 100
        order["shipping"] = 490 if number % 2 else 0
    for number, claim in enumerate(tables["claims"]):
        claim["event_name"], claim["event_id"] = "purchase", f"event-{number:05d}"
        claim["action"] = "first_purchase" if number % 4 == 0 else "purchase"
    tables["platforms"] = [
        {
            "platform": name,
            "time_zone": "UTC",
            "click_window_days": days,
            "view_window_days": 1,
            "count_mode": "one",
        }
        for name, days in WINDOWS.items()
    ]
    tables["campaigns"] = [
        {
            "platform": platform,
            "campaign": campaign,
            "starts_on": START.date(),
            "ends_on": (START + timedelta(days=DAYS)).date(),
        }
        for campaign, (platform, _) in PLATFORM_OF.items()
    ]
    invoice(full)
    return full


def landing(touch: dict) -> dict:
    return {
        "event_id": f"landing-{touch['activation_id']}",
        "customer_id": touch["customer_id"],
        "name": "landing",
        "ts": touch["ts"] + timedelta(seconds=2),
        "click_id": touch["click_id"],
    }


def invoice(world: World) -> None:
    """Bills of March: media as spent; of one platform a tenth of it is a fee."""
    world.tables["invoices"] = []
    for platform in WINDOWS:
        spent = sum(r["amount"] for r in world.tables["spend"] if r["platform"] == platform)
        fee = spent // 10 if platform == WITH_FEE else 0
        bill_of(world, platform, "media", spent - fee)
        if fee:
            bill_of(world, platform, "fee", fee)


def bill_of(world: World, platform: str, kind: str, amount: int) -> None:
    world.tables["invoices"].append(
        {"platform": platform, "month": MONTH, "kind": kind, "amount": amount, "currency": "EUR"}
    )


def orders_without_claims(world: World, number: int = 6) -> Planted:
    """Claims that were never made, and one on a cancelled order, which nobody should claim."""
    orders = {row["order_id"]: row for row in world.tables["conversions"]}
    gone = world.pick("claims", "claim_id", number + 1, by_order)
    ids = {claim["claim_id"] for claim in gone}
    world.tables["claims"] = [c for c in world.tables["claims"] if c["claim_id"] not in ids]
    world.used |= {orders[claim["order_id"]]["conversion_id"] for claim in gone}
    orders[gone[0]["order_id"]]["status"] = "cancelled"
    return Planted(number, sum(orders[c["order_id"]]["value"] for c in gone[1:]))


def spoiled_clicks(world: World, number: int = 8) -> Planted:
    """In capitals, cut short, with a blank, or a placeholder that nobody filled; two orders too."""
    claims = world.pick("claims", "claim_id", number, by_order)
    free = {c["order_id"] for c in world.tables["claims"] if c["claim_id"] not in world.used}
    orders = world.pick(
        "conversions", "conversion_id", 2, lambda r: r["click_id"] and r["order_id"] in free
    )
    ways = (str.upper, lambda c: c[:-3], lambda c: f"{c} ", lambda _: "{click_id}")
    for position, row in enumerate([*claims, *orders]):
        row["click_id"] = ways[position % 4](row["click_id"])
    named = {order["order_id"] for order in orders}
    world.used |= {c["claim_id"] for c in world.tables["claims"] if c["order_id"] in named}
    return Planted(number + 2, sum(row["value"] for row in [*claims, *orders]))


def shared_clicks(world: World, number: int = 5) -> Planted:
    """Links passed on: a second person clicks with the same id. One pair shares a roof."""
    claims = world.pick("claims", "claim_id", number + 1, by_order)
    clicks = {row["click_id"]: row for row in world.tables["activations"] if row["click_id"]}
    orders = {row["order_id"]: row for row in world.tables["conversions"]}
    people = [row["customer_id"] for row in world.tables["customers"]]
    for position, claim in enumerate(claims):
        click = clicks[claim["click_id"]]
        other = next(p for p in people[position:] if p != click["customer_id"])
        world.tables["activations"].append(
            {
                **click,
                "activation_id": world.fresh("activation"),
                "customer_id": other,
                "ts": click["ts"] + timedelta(hours=1),
            }
        )
        if position == number:
            world.tables["identities"] += [
                {
                    "customer_id": person,
                    "kind": "household",
                    "identifier": "one roof",
                    "seen_at": START,
                }
                for person in (click["customer_id"], other)
            ]
    bill(world)
    shared = claims[:number]
    named = [c for c in shared if orders[c["order_id"]]["click_id"] == c["click_id"]]
    return Planted(number + len(named), sum(claim["value"] for claim in shared))


def _campaign_days(world: World, fewest: int, kinds: tuple[str, ...]) -> list[list[dict]]:
    """Untouched activations of each campaign day that has enough of them."""
    days: dict[tuple, list[dict]] = {}
    for touch in world.tables["activations"]:
        if touch["kind"] in kinds and touch["activation_id"] not in world.used:
            days.setdefault((touch["campaign"], touch["ts"].date()), []).append(touch)
    return [touches for touches in days.values() if len(touches) >= fewest]


def lost_landings(world: World, number: int = 3) -> Planted:
    """Campaign days that lose a third of their landings; another loses too few to be judged."""
    chosen = world.random.sample(_campaign_days(world, 22, ("click",)), number + 1)
    lost = [click for clicks in chosen[:number] for click in clicks[: len(clicks) // 3]]
    gone = {click["click_id"] for click in [*lost, chosen[number][0]]}
    world.tables["events"] = [e for e in world.tables["events"] if e["click_id"] not in gone]
    return Planted(len(lost), sum(click["cost_micros"] for click in lost) // 10_000)


def orphans(world: World, number: int = 6) -> Planted:
    """A campaign that nobody planned and nobody billed."""
    touches = world.pick("activations", "activation_id", number, lambda r: r["kind"] != "click")
    for touch in touches:
        touch["campaign"] = "unheard-of"
    return Planted(number, sum(touch["cost_micros"] for touch in touches) // 10_000)


def events_twice(world: World, number: int = 6) -> Planted:
    """Sent again by the server: half without an order, a third without an event id.

    Alike after 49 hours, or under the same event id, is no copy of this kind.
    """
    claims = world.pick("claims", "claim_id", number + 2, by_order)
    for position, claim in enumerate(claims):
        again = {**claim, "claim_id": world.fresh("claim"), "event_id": world.fresh("event")}
        again["converted_at"] += timedelta(minutes=7)
        if position % 2:
            again["order_id"] = None
        if position % 3 == 0:
            again["event_id"] = None
        if position == number:
            again["converted_at"] += timedelta(hours=49)
        if position == number + 1:
            again["event_id"] = claim["event_id"]
        world.tables["claims"].append(again)
    return Planted(number, sum(claim["value"] for claim in claims[:number]))


def nested_actions(world: World, _: int = 0) -> Planted:
    """One platform counts everything once more under a name that means all of it."""
    again = [
        {**claim, "claim_id": world.fresh("claim"), "action": "any_purchase"}
        for claim in world.tables["claims"]
        if claim["platform"] == "search"
    ]
    world.tables["claims"] += again
    return Planted(len(again), sum(claim["value"] for claim in again))


def copied_touches(world: World, number: int = 6, seconds: int = 0) -> Planted:
    """Logged again under another id; the first of them twice."""
    touches = world.pick("activations", "activation_id", number, lambda r: r["kind"] != "click")
    again = [touches[0], *touches]
    for position, touch in enumerate(again):
        late = timedelta(seconds=seconds * (2 if position == 0 else 1))
        copy = {**touch, "activation_id": world.fresh("activation"), "ts": touch["ts"] + late}
        world.tables["activations"].append(copy)
    return Planted(len(again), sum(touch["cost_micros"] for touch in again) // 10_000)


def near_touches(world: World, number: int = 6) -> Planted:
    """One second later each; another two seconds later is a touch of its own."""
    touch = world.pick("activations", "activation_id", 1, lambda r: r["kind"] != "click")[0]
    later = touch["ts"] + timedelta(seconds=2)
    world.tables["activations"].append(
        {**touch, "activation_id": world.fresh("activation"), "ts": later}
    )
    return copied_touches(world, number, seconds=1)


def bursts(world: World, number: int = 4) -> Planted:
    """Five clicks in a minute, ten seconds apart; three are no burst."""
    clicks = world.pick("activations", "activation_id", number + 1, lambda r: r["kind"] == "click")
    for position, click in enumerate(clicks):
        minute = click["ts"].replace(second=0, microsecond=0) + timedelta(minutes=5)
        for second in range(0, 50 if position < number else 30, 10):
            world.tables["activations"].append(
                {
                    **click,
                    "activation_id": world.fresh("activation"),
                    "click_id": world.fresh("click"),
                    "ts": minute + timedelta(seconds=second),
                }
            )
    return Planted(4 * number, sum(4 * c["cost_micros"] for c in clicks[:number]) // 10_000)


def many_per_click(world: World, number: int = 5) -> Planted:
    """A second conversion on a click of a platform that counts one; another event is none."""
    claims = world.pick("claims", "claim_id", number + 1, by_order)
    for position, claim in enumerate(claims):
        again = {**claim, "claim_id": world.fresh("claim"), "order_id": None}
        again["converted_at"] += timedelta(minutes=9)
        again["event_id"], again["count_mode"] = world.fresh("event"), "many"
        if position == number:
            again["event_name"] = "lead"
        world.tables["claims"].append(again)
    return Planted(number, sum(claim["value"] for claim in claims[:number]))


def invoiced_more(world: World, _: int = 0) -> Planted:
    """Two platforms bill 5 % more than was spent, one of them the one with a fee."""
    money = 0
    for row in world.tables["invoices"]:
        if row["platform"] in ("mailer", WITH_FEE) and row["kind"] == "media":
            extra = row["amount"] // 20
            row["amount"] += extra
            money += extra
    return Planted(2, money)


def fees_left_out(world: World, _: int = 0) -> Planted:
    """A fee and a credit that spend knows nothing of; a tax is no spend anyway."""
    bill_of(world, "social", "fee", 12_345)
    bill_of(world, "search", "credit", -2_345)
    bill_of(world, "search", "tax", 99_999)
    return Planted(2, 12_345 + 2_345)


def nameless_creatives(world: World, number: int = 3) -> Planted:
    """Campaign days on which every third touch names no creative."""
    chosen = world.random.sample(_campaign_days(world, 12, ("click", "impression")), number)
    bare = [touch for day in chosen for touch in day[::3]]
    for touch in bare:
        touch["creative"] = None
    return Planted(len(bare), sum(touch["cost_micros"] for touch in bare) // 10_000)


def wrong_units(world: World, number: int = 6) -> Planted:
    """Claims in hundredths, thousandths and millionths; one in whole units; one day of spend."""
    claims = world.pick("claims", "claim_id", number + 1, by_order)
    orders = {row["order_id"]: row for row in world.tables["conversions"]}
    money = 0
    for position, claim in enumerate(claims):
        order = orders[claim["order_id"]]
        if position == number:
            order["value"], claim["value"] = 30_000, 300
        else:
            claim["value"] = order["value"] * (100, 1_000, 1_000_000)[position % 3]
            money += claim["value"] - order["value"]
    day = world.random.choice(world.tables["spend"])
    money += 99 * day["amount"]
    day["amount"] *= 100
    return Planted(number + 2, money)


def gross_claims(world: World, number: int = 9) -> Planted:
    """With tax, with shipping, with both."""
    orders = {row["order_id"]: row for row in world.tables["conversions"]}
    claims = world.pick(
        "claims", "claim_id", number, lambda c: by_order(c) and orders[c["order_id"]]["shipping"]
    )
    money = 0
    for position, claim in enumerate(claims):
        tax, shipping = (orders[claim["order_id"]][name] for name in ("tax", "shipping"))
        extra = (tax, shipping, tax + shipping)[position % 3]
        claim["value"] += extra
        money += extra
    return Planted(number, money)


def nameless_channels(world: World, number: int = 8) -> Planted:
    """Spend mapped to "Other", above 2 % of all."""
    rows = sorted(world.tables["spend"], key=lambda row: row["amount"])[-number:]
    for row in rows:
        row["channel"] = "Other"
    return Planted(number, sum(row["amount"] for row in rows))


INJECTORS: dict[str, Callable[..., Planted]] = {
    "A2": orders_without_claims,
    "A4": spoiled_clicks,
    "A5": shared_clicks,
    "A6": lost_landings,
    "A8": orphans,
    "B3": events_twice,
    "B4": nested_actions,
    "B5": copied_touches,
    "B6": near_touches,
    "B7": bursts,
    "B9": many_per_click,
    "F2": invoiced_more,
    "F3": nameless_creatives,
    "F5": wrong_units,
    "F6": gross_claims,
    "F7": nameless_channels,
    "F8": fees_left_out,
}
