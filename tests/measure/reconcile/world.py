"""A small seeded world in which no check finds anything, and one injector per defect.

Rows are dictionaries in plain Python, so that what an injector plants can be counted by hand. All
money is in euro cents; touch costs are whole cents, so that spend equals the log to the cent.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from measure.engine.contracts import CONTRACTS, Kind
from measure.reconcile import ExperimentWindow

START = datetime(2025, 3, 1, tzinfo=UTC)
DAYS = 28
ARROW = {
    Kind.TEXT: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.MONEY: pa.int64(),
    Kind.MICROS: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.DATE: pa.date32(),
    Kind.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}
EXPERIMENT = ExperimentWindow(
    key="spring",
    arms={"holdout": 0.1, "treated": 0.9},
    control="holdout",
    start=START,
    end=START + timedelta(days=DAYS),
    campaigns=("spring-email", "spring-social"),
)
PLATFORM_OF = {
    "spring-email": ("mailer", "email"),
    "spring-social": ("social", "paid_social"),
    "brand": ("search", "paid_search"),
    "banner": ("display", "display"),
}
WINDOWS = {"mailer": 7, "social": 7, "search": 30, "display": 14}


@dataclass
class World:
    """Rows by table; ``used`` holds ids that an injector has touched, and no other may."""

    tables: dict[str, list[dict]]
    random: random.Random
    used: set[str] = field(default_factory=set)
    serial: int = 0

    def fresh(self, prefix: str) -> str:
        self.serial += 1
        self.used.add(f"{prefix}-planted-{self.serial:05d}")
        return f"{prefix}-planted-{self.serial:05d}"

    def pick(self, table: str, key: str, number: int, keep: Callable[[dict], bool]) -> list[dict]:
        """Rows not yet touched by an injector, chosen at random."""
        rows = [row for row in self.tables[table] if row[key] not in self.used and keep(row)]
        chosen = self.random.sample(rows, number)
        self.used |= {row[key] for row in chosen}
        return chosen

    def arrow(self, table: str) -> pa.Table:
        contract = CONTRACTS[table]
        return pa.table(
            {
                column.name: pa.array(
                    [row.get(column.name) for row in self.tables[table]], ARROW[column.kind]
                )
                for column in contract.columns
            }
        )

    def register(self, engine, without: tuple[str, ...] = ()) -> None:
        for table in self.tables:
            if table not in without:
                engine.register(table, self.arrow(table))


def clean_world(customers: int = 1_500, seed: int = 7) -> World:
    draw = random.Random(seed)
    world = World({name: [] for name in CONTRACTS}, draw)
    for name in ("exposures", "events", "scores"):
        del world.tables[name]
    for number in range(customers):
        _customer(world, f"c{number:05d}", control=number % 10 == 0)
    bill(world)
    return world


def _customer(world: World, customer: str, *, control: bool) -> None:
    draw, tables = world.random, world.tables
    seen = START - timedelta(days=draw.randint(30, 900))
    tables["customers"].append({"customer_id": customer, "first_seen_at": seen})
    tables["assignments"].append(
        {
            "experiment": EXPERIMENT.key,
            "unit_id": customer,
            "arm": "holdout" if control else "treated",
            "assigned_at": START,
        }
    )
    for kind, identifier in (("email_hash", hashed(customer)), ("device", "family tablet")):
        tables["identities"].append(
            {
                "customer_id": customer,
                "kind": kind,
                "identifier": identifier,
                "seen_at": seen,
            }
        )
    for purpose in ("marketing", "measurement"):
        tables["consents"].append(consent(customer, purpose, "all", True, seen))
    campaigns = ["brand", "banner"] if control else list(PLATFORM_OF)
    clicks = [_touch(world, customer, campaign) for campaign in campaigns]
    if draw.random() < 0.5:
        _order(world, customer, draw.choice(clicks))


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def consent(customer, purpose, channel, granted, since, until=None, recorded=None) -> dict:
    return {
        "customer_id": customer,
        "purpose": purpose,
        "channel": channel,
        "granted": granted,
        "valid_from": since,
        "valid_to": until,
        "recorded_at": recorded or since,
    }


def _touch(world: World, customer: str, campaign: str) -> dict:
    """An impression and, a minute later, its click; the click is returned."""
    draw = world.random
    platform, channel = PLATFORM_OF[campaign]
    ts = START + timedelta(seconds=draw.randint(0, (DAYS - 8) * 86_400))
    for kind, later in (("impression", 0), ("click", 60)):
        number = len(world.tables["activations"])
        world.tables["activations"].append(
            {
                "activation_id": f"a{number:06d}",
                "platform": platform,
                "channel": channel,
                "campaign": campaign,
                "kind": kind,
                "ts": ts + timedelta(seconds=later),
                "customer_id": customer,
                "click_id": f"click-{number:06d}" if kind == "click" else None,
                "cost_micros": 10_000 * draw.randint(1, 40),
                "currency": "EUR",
            }
        )
    return world.tables["activations"][-1]


def _order(world: World, customer: str, click: dict) -> None:
    """An order some days after a click, and the claim of the click's platform for it."""
    draw = world.random
    ts = click["ts"] + timedelta(seconds=draw.randint(600, 6 * 86_400))
    number = len(world.tables["conversions"])
    conversion = {
        "conversion_id": f"v{number:05d}",
        "order_id": f"o{number:05d}",
        "customer_id": customer,
        "ts": ts,
        "value": draw.randint(500, 40_000),
        "refunded_value": 0,
        "currency": "EUR",
        "status": "paid",
        "click_id": click["click_id"] if draw.random() < 0.8 else None,
    }
    world.tables["conversions"].append(conversion)
    by_click = conversion["click_id"] is not None and draw.random() < 0.15
    view = not by_click and draw.random() < 0.1
    lag = timedelta(seconds=draw.randint(0, 60))
    world.tables["claims"].append(
        {
            "claim_id": f"m{number:05d}",
            "platform": click["platform"],
            "channel": click["channel"],
            "campaign": click["campaign"],
            "order_id": None if by_click else conversion["order_id"],
            "click_id": None if view else click["click_id"],
            "kind": "view" if view else "click",
            "touched_at": ts - timedelta(hours=5) if view else click["ts"],
            "converted_at": ts + lag,
            "value": conversion["value"],
            "currency": "EUR",
            "window_days": 1 if view else WINDOWS[click["platform"]],
        }
    )


def bill(world: World) -> None:
    """Spend exactly as logged."""
    cents: dict[tuple, int] = {}
    for touch in world.tables["activations"]:
        key = (touch["platform"], touch["channel"], touch["campaign"], touch["ts"].date())
        cents[key] = cents.get(key, 0) + touch["cost_micros"] // 10_000
    names = ("platform", "channel", "campaign", "date")
    world.tables["spend"] = [
        {**dict(zip(names, key, strict=True)), "amount": amount, "currency": "EUR"}
        for key, amount in sorted(cents.items())
    ]


@dataclass(frozen=True)
class Planted:
    """What a check must find: rows flagged, and money in cents (``None``: has none)."""

    rows: int
    money: int | None


def by_order(claim: dict) -> bool:
    return claim["order_id"] is not None and claim["click_id"] is not None


def claims_without_order(world: World, number: int = 6) -> Planted:
    """Half name an order nobody knows, half a click that led to no order in time, one nothing."""
    claims = world.pick("claims", "claim_id", number, by_order)
    for position, claim in enumerate(claims):
        claim["order_id"] = world.fresh("order") if position % 2 else None
        if position % 2 == 0:
            claim["converted_at"] += timedelta(minutes=7)  # beyond 5 minutes, inside the window
            claim["touched_at"] += timedelta(minutes=7)
    claims[0]["click_id"] = None
    return Planted(number, sum(claim["value"] for claim in claims))


def unknown_clicks(world: World, number: int = 5) -> Planted:
    """Claims whose click is not logged, and as many conversions that no flagged claim names."""
    claims = world.pick("claims", "claim_id", number, by_order)
    for claim in claims:
        claim["click_id"] = world.fresh("click")
    free = {c["order_id"]: c["claim_id"] for c in world.tables["claims"] if c["order_id"]}
    free = {order: claim for order, claim in free.items() if claim not in world.used}
    orders = world.pick(
        "conversions",
        "conversion_id",
        number,
        lambda row: row["click_id"] and row["order_id"] in free,
    )
    for order in orders:
        world.used.add(free[order["order_id"]])
        order["click_id"] = world.fresh("click")
    return Planted(2 * number, sum(row["value"] for row in [*claims, *orders]))


def claims_across_platforms(world: World, number: int = 8) -> Planted:
    """A second platform claims the same order in full: two claims each, one order's value over."""
    claims = world.pick(
        "claims", "claim_id", number, lambda c: by_order(c) and c["kind"] == "click"
    )
    for claim in claims:
        other = next(p for p in WINDOWS if p != claim["platform"])
        world.tables["claims"].append(
            {**claim, "claim_id": world.fresh("claim"), "platform": other, "window_days": 7}
        )
    return Planted(2 * number, sum(claim["value"] for claim in claims))


def claims_within_platform(world: World, number: int = 6) -> Planted:
    """Repeats: twice by order, thrice for one of them; and one by click and time alone."""
    claims = world.pick("claims", "claim_id", number, by_order)
    loose = world.pick("claims", "claim_id", 1, lambda c: c["order_id"] is None)
    again = [*claims, claims[0], *loose]
    for claim in again:
        world.tables["claims"].append({**claim, "claim_id": world.fresh("claim")})
    return Planted(len(again), sum(claim["value"] for claim in again))


def orders_twice(world: World, number: int = 5) -> Planted:
    rows = world.pick("conversions", "conversion_id", number, lambda _: True)
    for row in rows:
        world.tables["conversions"].append(
            {
                **row,
                "conversion_id": world.fresh("conversion"),
                "ts": row["ts"] + timedelta(seconds=9),
            }
        )
    return Planted(number, sum(row["value"] for row in rows))


def conversions_before_touch(world: World, number: int = 6) -> Planted:
    """Half by the platform's own times, half by the log: the click came after the order."""
    clicks = {row["click_id"]: row for row in world.tables["activations"] if row["click_id"]}
    orders = {row["order_id"]: row for row in world.tables["conversions"]}
    claims = world.pick(
        "claims",
        "claim_id",
        number,
        lambda c: by_order(c) and orders[c["order_id"]]["click_id"] is None,
    )
    for position, claim in enumerate(claims):
        if position % 2:
            claim["touched_at"] = claim["converted_at"] + timedelta(minutes=6)
        else:
            click = clicks[claim["click_id"]]
            click["ts"] = orders[claim["order_id"]]["ts"] + timedelta(minutes=6)
    bill(world)
    return Planted(number, sum(claim["value"] for claim in claims))


def outside_window(world: World, number: int = 6) -> Planted:
    """One second beyond the window of the claim; clicks and views."""
    claims = world.pick("claims", "claim_id", number, lambda c: c["order_id"] is not None)
    for claim in claims:
        window = timedelta(days=claim["window_days"], seconds=1)
        claim["touched_at"] = claim["converted_at"] - window
    return Planted(number, sum(claim["value"] for claim in claims))


def refunds(world: World, number: int = 9) -> Planted:
    """A third cancelled, a third refunded whole, a third in part: the claims stay as they were."""
    orders = {row["order_id"]: row for row in world.tables["conversions"]}
    claims = world.pick("claims", "claim_id", number, lambda c: c["order_id"] is not None)
    money = 0
    for position, claim in enumerate(claims):
        order = orders[claim["order_id"]]
        status, refunded = [
            ("cancelled", 0),
            ("refunded", order["value"]),
            ("paid", order["value"] // 3),
        ][position % 3]
        order["status"], order["refunded_value"] = status, refunded
        money += order["value"] if status == "cancelled" else refunded
    return Planted(number, money)


def overbilled(world: World, number: int = 4) -> Planted:
    """Days billed 10 % and a euro above the log."""
    rows = world.random.sample(world.tables["spend"], number)
    money = 0
    for row in rows:
        extra = row["amount"] // 10 + 100
        row["amount"] += extra
        money += extra
    return Planted(number, money)


def other_currency(world: World, number: int = 4) -> Planted:
    """Claims in dollars: set aside, and none of their money added up."""
    for claim in world.pick("claims", "claim_id", number, by_order):
        claim["currency"] = "USD"
    return Planted(number, 0)


def contamination(world: World, number: int = 7) -> Planted:
    """Control units sent the tested e-mail, the first of them twice."""
    units = world.pick("assignments", "unit_id", number, lambda row: row["arm"] == "holdout")
    money = 0
    for position, unit in enumerate([units[0], *units]):
        world.tables["activations"].append(
            {
                "activation_id": world.fresh("activation"),
                "platform": "mailer",
                "channel": "email",
                "campaign": "spring-email",
                "kind": "send",
                # The last moment that counts; the one sent twice, an hour before as well.
                "ts": EXPERIMENT.end - timedelta(hours=0 if position else 1),
                "customer_id": unit["unit_id"],
                "cost_micros": 20_000,
                "currency": "EUR",
            }
        )
        money += 2
    bill(world)
    return Planted(number, money)


def cross_arm(world: World, number: int = 5) -> Planted:
    """Pairs that share a login across arms; one pair within an arm shares one too."""
    controls = world.pick("assignments", "unit_id", number, lambda row: row["arm"] == "holdout")
    treated = world.pick("assignments", "unit_id", number + 2, lambda row: row["arm"] == "treated")
    pairs = [*zip(controls, treated, strict=False), (treated[-1], treated[-2])]
    for left, right in pairs:
        login = world.fresh("login")
        for unit in (left, right):
            world.tables["identities"].append(
                {
                    "customer_id": unit["unit_id"],
                    "kind": "login",
                    "identifier": login,
                    "seen_at": START,
                }
            )
    return Planted(2 * number, None)


def lopsided(world: World, number: int = 60) -> Planted:
    """Control units that never made it into the table."""
    rows = world.pick("assignments", "unit_id", number, lambda row: row["arm"] == "holdout")
    gone = {row["unit_id"] for row in rows}
    kept = [row for row in world.tables["assignments"] if row["unit_id"] not in gone]
    world.tables["assignments"] = kept
    return Planted(0, None)


def without_consent(world: World, number: int = 8) -> Planted:
    """Touches of people nobody asked, who refused, withdrew, or whose consent ran out.

    Four ways in turn; nobody among them has an order, so no claim is drawn in.
    """
    buyers = {row["customer_id"] for row in world.tables["conversions"]}
    people = world.pick(
        "customers", "customer_id", number, lambda r: r["customer_id"] not in buyers
    )
    ways = {row["customer_id"]: position % 4 for position, row in enumerate(people)}
    kept = []
    for row in world.tables["consents"]:
        way = ways.get(row["customer_id"])
        if way == 0:
            continue
        if way == 1:
            row["granted"] = False
        if way == 3 and row["purpose"] == "measurement":
            row["valid_to"] = START
        kept.append(row)
    for customer, way in ways.items():
        if way == 2:
            refusal = consent(customer, "marketing", "all", False, START)
            kept.append(refusal)
    world.tables["consents"] = kept
    touches = [row for row in world.tables["activations"] if row["customer_id"] in ways]
    return Planted(len(touches), sum(row["cost_micros"] for row in touches) // 10_000)


INJECTORS: dict[str, Callable[[World], Planted]] = {
    "A1": claims_without_order,
    "A3": unknown_clicks,
    "B1": claims_across_platforms,
    "B2": claims_within_platform,
    "B8": orders_twice,
    "C1": conversions_before_touch,
    "C3": outside_window,
    "E6": refunds,
    "F1": overbilled,
    "F4": other_currency,
    "G1": contamination,
    "G3": cross_arm,
    "G5": lopsided,
    "H1": without_consent,
}
