"""The clean world with every optional column and table filled, and one injector per further defect.

What each injector plants is counted here by hand, row by row, and never asked of the product.
"""

from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta

import pyarrow as pa

from measure.engine.contracts import CONTRACTS
from measure.reconcile import Settings
from tests.measure.reconcile import further
from tests.measure.reconcile.world import (
    ARROW,
    EXPERIMENT,
    PLATFORM_OF,
    START,
    Planted,
    World,
    bill,
    clean_world,
    consent,
)

SETTINGS = Settings(
    click_window_days=7,
    brand_campaigns=("brand",),
    checkout_minutes=9,
    complete_share=0.9,
    consent_lasts_days=1_000,
    missing_least_rows=50,
)
ZONES = {
    "mailer": "UTC",
    "social": "UTC",
    "search": "Europe/Berlin",
    "display": "Asia/Tokyo",
}


def fuller_world(customers: int = 1_500, seed: int = 7) -> World:
    world = clean_world(customers, seed)
    tables = world.tables
    for claim in [c for c in tables["claims"] if c["kind"] == "view"]:
        _impression_of(world, claim)
    for number, touch in enumerate(tables["activations"]):
        touch["received_at"] = touch["ts"] + timedelta(seconds=30)
        shown = number - 1 if touch["kind"] == "click" else number
        touch |= {"impression_id": f"i{shown:06d}", "network": "mobile", "agent": "app"}
        touch["viewable"] = True if touch["kind"] == "impression" else None
    for order in tables["conversions"]:
        order["received_at"] = order["ts"] + timedelta(hours=1)
    _earlier_orders(world)
    _contracts(world)
    tables["events"] = [
        {
            "event_id": f"e{number:06d}",
            "customer_id": touch["customer_id"],
            "name": "landing",
            "ts": touch["ts"] + timedelta(seconds=3),
            "click_id": touch["click_id"],
        }
        for number, touch in enumerate(tables["activations"])
        if touch.get("click_id")
    ]
    bill(world)
    further.complete(world)
    return world


def _impression_of(world: World, claim: dict) -> None:
    """The impression that a view claim stands on."""
    order = order_of(world, claim)
    world.tables["activations"].append(
        {
            "activation_id": f"a{len(world.tables['activations']):06d}",
            "platform": claim["platform"],
            "channel": claim["channel"],
            "campaign": claim["campaign"],
            "kind": "impression",
            "ts": claim["touched_at"],
            "customer_id": order["customer_id"],
            "cost_micros": 10_000,
            "currency": "EUR",
        }
    )


def _earlier_orders(world: World) -> None:
    """One order in the weeks before the start for every second customer, whatever the arm."""
    for number, row in enumerate(world.tables["customers"]):
        if number % 4 < 2:
            ts = START - timedelta(days=1 + number % 20)
            world.tables["conversions"].append(
                {
                    "conversion_id": f"w{number:05d}",
                    "order_id": f"x{number:05d}",
                    "customer_id": row["customer_id"],
                    "ts": ts,
                    "value": 1_000 + 10 * world.random.randint(0, 100),
                    "refunded_value": 0,
                    "currency": "EUR",
                    "status": "paid",
                    "received_at": ts + timedelta(hours=1),
                }
            )


def _contracts(world: World) -> None:
    tables = world.tables
    tables["scores"] = [
        {
            "unit_id": row["customer_id"],
            "model": "invalid_traffic",
            "version": "1",
            "scored_at": START,
            "score": 0.1,
        }
        for row in tables["customers"]
    ]
    for campaign, (platform, _) in PLATFORM_OF.items():
        tables["campaigns"].append(
            {
                "platform": platform,
                "campaign": campaign,
                "starts_on": date(2025, 2, 20),
                "ends_on": date(2025, 4, 10),
            }
        )
        tables["platforms"].append(
            {
                "platform": platform,
                "time_zone": ZONES[platform],
                "click_window_days": 30,
                "view_window_days": 7,
            }
        )
    state_totals(world, "conversion", "converted_at")


def state_totals(world: World, basis: str, column: str) -> None:
    """The platforms' own totals, by day of one of a claim's two times."""
    values, numbers = Counter(), Counter()
    for claim in world.tables["claims"]:
        key = (claim["platform"], claim["campaign"], claim[column].date())
        values[key] += claim["value"]
        numbers[key] += 1
    world.tables["claim_totals"] = [
        {
            "platform": platform,
            "campaign": campaign,
            "date": day,
            "date_basis": basis,
            "conversions": numbers[platform, campaign, day],
            "value": value,
            "currency": "EUR",
        }
        for (platform, campaign, day), value in sorted(values.items())
    ]


def register(world: World, engine, without: tuple[str, ...] = ()) -> None:
    world.register(engine, (*without, "events"))
    if "events" not in without:
        rows = world.tables["events"]
        columns = {c.name: ARROW[c.kind] for c in CONTRACTS["events"].columns}
        columns["click_id"] = pa.string()
        arrays = {n: pa.array([row.get(n) for row in rows], kind) for n, kind in columns.items()}
        engine.register("events", pa.table(arrays))


def order_of(world: World, claim: dict) -> dict:
    orders = {row["order_id"]: row for row in world.tables["conversions"]}
    if claim["order_id"]:
        return orders[claim["order_id"]]
    return next(o for o in orders.values() if o["click_id"] == claim["click_id"])


def cents(touches: list[dict]) -> int:
    return sum(touch["cost_micros"] for touch in touches) // 10_000


def value(rows: list[dict]) -> int:
    return sum(row["value"] for row in rows)


def touches(world: World, number: int, keep: Callable[[dict], bool]) -> list[dict]:
    return world.pick("activations", "activation_id", number, keep)


def claims(world: World, number: int, keep: Callable[[dict], bool]) -> list[dict]:
    return world.pick("claims", "claim_id", number, keep)


def moved(touch: dict, ts: datetime) -> None:
    touch["ts"], touch["received_at"] = ts, ts + timedelta(seconds=30)


def clicks_first(world: World, number: int = 6) -> Planted:
    """A second before the impression."""
    rows = touches(world, number, lambda t: t["kind"] == "click")
    for click in rows:
        moved(click, click["ts"] - timedelta(seconds=61))
    return Planted(number, cents(rows))


def outside_flight(world: World, number: int = 6) -> Planted:
    """Touches three days before the flight; spend a day after it, without any touch."""
    rows = touches(world, number, lambda t: t["campaign"] == "banner" and t["kind"] == "impression")
    for touch in rows:
        moved(touch, datetime(2025, 2, 16, 12, tzinfo=START.tzinfo))
    bill(world)
    world.tables["spend"].append(
        {
            "platform": "display",
            "channel": "display",
            "campaign": "banner",
            "date": date(2025, 4, 11),
            "amount": 5_000,
            "currency": "EUR",
        }
    )
    # The spend of 16 February is a row too, whose money its touches carry.
    return Planted(number + 2, cents(rows) + 5_000)


def impossible(world: World, number: int = 6) -> Planted:
    """Received five minutes and a second before it happened."""
    orders = world.pick("conversions", "conversion_id", number, lambda _: True)
    logged = touches(world, number, lambda _: True)
    for row in [*orders, *logged]:
        row["received_at"] = row["ts"] - timedelta(seconds=301)
    return Planted(2 * number, value(orders) + cents(logged))


def late(world: World, number: int = 5) -> Planted:
    """On the eleventh of April, one second after the books of March closed; one on time."""
    rows = world.pick("conversions", "conversion_id", number + 1, lambda o: o["ts"] >= START)
    for row in rows:
        row["received_at"] = datetime(2025, 4, 11, tzinfo=START.tzinfo)
    rows[0]["received_at"] -= timedelta(seconds=1)
    return Planted(number, value(rows[1:]))


def skewed(world: World) -> Planted:
    """The search platform's clock runs two minutes ahead of ours."""
    clicks = {t.get("click_id") for t in world.tables["activations"] if t["platform"] == "search"}
    clicks.discard(None)
    for event in world.tables["events"]:
        if event["click_id"] in clicks:
            event["ts"] -= timedelta(minutes=2)
    return Planted(len(clicks), None)


def changed_clocks(world: World) -> Planted:
    """The display platform keeps the time of New York, which lost an hour on 9 March."""
    for row in world.tables["platforms"]:
        if row["platform"] == "display":
            row["time_zone"] = "America/New_York"
    return Planted(1, None)


def by_click_day(world: World) -> Planted:
    """Totals by the day of the click: those flagged whose two days differ in value."""
    by_order: Counter = Counter()
    for claim in world.tables["claims"]:
        key = (claim["platform"], claim["campaign"], claim["converted_at"].date())
        by_order[key] += claim["value"]
    state_totals(world, "click", "touched_at")
    gaps = [
        abs(t["value"] - by_order[t["platform"], t["campaign"], t["date"]])
        for t in world.tables["claim_totals"]
    ]
    return Planted(sum(gap > 0 for gap in gaps), sum(gaps))


def too_fast(world: World, number: int = 7) -> Planted:
    """Four seconds after the click, and one claim at five."""
    rows = claims(world, number + 1, lambda c: c["kind"] == "click")
    for claim in rows:
        claim["touched_at"] = claim["converted_at"] - timedelta(seconds=4)
    rows[0]["touched_at"] -= timedelta(seconds=1)
    return Planted(number, value(rows[1:]))


def immature(world: World, number: int = 6) -> Planted:
    """Claims on touches of the last hours."""
    newest = max(claim["converted_at"] for claim in world.tables["claims"])
    rows = claims(world, number, lambda c: c["kind"] == "click" and c["converted_at"] < newest)
    for claim in rows:
        claim["touched_at"] = newest - timedelta(hours=3)
        claim["converted_at"] = newest - timedelta(hours=2)
    return Planted(number, value(rows))


def missing_values(world: World) -> Planted:
    """From the last day of touches on, half the display clicks lose their click id."""
    last = START.date() + timedelta(days=18)
    rows = [
        touch
        for touch in world.tables["activations"]
        if touch["platform"] == "display"
        and touch["kind"] == "click"
        and touch["ts"].date() == last
    ]
    assert len(rows) >= SETTINGS.missing_least_rows
    for touch in rows[::2]:
        touch["click_id"] = None
    return Planted(1, None)


def sampled(world: World) -> Planted:
    """The mailer hands over nine claims of ten."""
    mine = [claim for claim in world.tables["claims"] if claim["platform"] == "mailer"]
    gone = mine[::10]
    names = {claim["claim_id"] for claim in gone}
    kept = [claim for claim in world.tables["claims"] if claim["claim_id"] not in names]
    world.tables["claims"] = kept
    return Planted(1, value(gone))


def listed(world: World, number: int = 8) -> Planted:
    """A data centre, the own network, a bot and a pre-fetch in turn; nobody with an order."""
    rows = touches(world, number, lambda t: t["customer_id"] not in buyers(world))
    for position, touch in enumerate(rows):
        touch["network"] = ("data_centre", "internal", "mobile", None)[position % 4]
        touch["agent"] = ("app", None, "declared_bot", "prefetch")[position % 4]
    return Planted(number, cents(rows))


def buyers(world: World) -> set[str]:
    return {order["customer_id"] for order in world.tables["conversions"]}


def clockwork(world: World, number: int = 12) -> Planted:
    """A click every 30 seconds; a person whose gaps vary, and one with nine clicks, are left."""
    rows = []
    for gaps, clicks in ((lambda n: 30 * n, number), (lambda n: n * n * 7, 12), (lambda n: n, 9)):
        (person,) = world.pick("customers", "customer_id", 1, lambda _: True)
        rows.append(
            [
                {
                    **_display_click(world, person["customer_id"]),
                    "ts": START + timedelta(days=3, seconds=gaps(n)),
                }
                for n in range(1, clicks + 1)
            ]
        )
    for touch in [touch for person in rows for touch in person]:
        moved(touch, touch["ts"])
        world.tables["activations"].append(touch)
    own = [t for t in world.tables["activations"] if t["customer_id"] == rows[0][0]["customer_id"]]
    own = [t for t in own if t["platform"] == "display" and t["kind"] == "click"]
    world.tables["activations"].remove(own[0])  # the click that was there before
    bill(world)
    return Planted(number, cents(rows[0]))


def _display_click(world: World, customer: str) -> dict:
    return {
        "activation_id": world.fresh("activation"),
        "platform": "display",
        "channel": "display",
        "campaign": "banner",
        "kind": "click",
        "customer_id": customer,
        "cost_micros": 20_000,
        "currency": "EUR",
    }


def suspected(world: World, number: int = 4) -> Planted:
    """People scored 0.95; one at the threshold."""
    rows = world.pick("scores", "unit_id", number + 1, lambda _: True)
    for row in rows:
        row["score"] = 0.95
    rows[0]["score"] = 0.9
    people = {row["unit_id"] for row in rows[1:]}
    found = [t for t in world.tables["activations"] if t["customer_id"] in people]
    return Planted(len(found), cents(found))


def unseen(world: World, number: int = 4) -> Planted:
    rows = claims(world, number, lambda c: c["kind"] == "view")
    for claim in rows:
        customer = order_of(world, claim)["customer_id"]
        for touch in world.tables["activations"]:
            near = abs(touch["ts"] - claim["touched_at"]) <= timedelta(minutes=5)
            if touch["customer_id"] == customer and near and touch["kind"] == "impression":
                touch["viewable"] = False
    return Planted(number, value(rows))


def own_orders(world: World, number: int = 6) -> Planted:
    """Tests and staff in turn; half their claims find the order by the click."""
    rows = claims(world, number // 2, lambda c: c["order_id"] is None)
    rows += claims(world, number // 2, lambda c: c["order_id"] is not None)
    for position, claim in enumerate(rows):
        order_of(world, claim)["status"] = ("test", "internal")[position % 2]
    return Planted(len(rows), value(rows))


def worthless(world: World, number: int = 5) -> Planted:
    """Claims worth nothing, and one worth less."""
    rows = claims(world, number, lambda _: True)
    for claim in rows:
        claim["value"] = 0
    rows[0]["value"] = -500
    return Planted(number, 500)


def harvested(world: World, number: int = 6) -> Planted:
    """A brand click nine minutes before the order; one at nine minutes and a second."""
    rows = world.pick("conversions", "conversion_id", number + 1, lambda o: o["ts"] >= START)
    for position, order in enumerate(rows):
        click = {**_display_click(world, order["customer_id"]), "platform": "search"}
        click |= {"channel": "paid_search", "campaign": "brand"}
        ts = order["ts"] - timedelta(minutes=9, seconds=int(position == 0))
        moved(click, ts)
        world.tables["activations"].append(click)
    bill(world)
    return Planted(number, value(rows[1:]))


def too_many(world: World, number: int = 60) -> Planted:
    """Sixty impressions of one person, where others have four to nine touches."""
    (person,) = world.pick("customers", "customer_id", 1, lambda _: True)
    for n in range(number):
        touch = {**_display_click(world, person["customer_id"]), "kind": "impression"}
        moved(touch, START + timedelta(hours=3, seconds=97 * n * n))
        world.tables["activations"].append(touch)
    mine = [t for t in world.tables["activations"] if t["customer_id"] == person["customer_id"]]
    bill(world)
    return Planted(len(mine), cents(mine))


def unreached(world: World, number: int = 9) -> Planted:
    """Treated people whose touches under test never were; one of them was touched too late."""
    rows = world.pick("assignments", "unit_id", number, lambda row: row["arm"] == "treated")
    people = {row["unit_id"] for row in rows}
    gone = [
        touch
        for touch in world.tables["activations"]
        if touch["customer_id"] in people and touch["campaign"] in EXPERIMENT.campaigns
    ]
    for touch in gone[1:]:
        world.tables["activations"].remove(touch)
    gone[0]["ts"] = EXPERIMENT.end + timedelta(seconds=1)
    bill(world)
    return Planted(number, None)


def assigned_late(world: World, number: int = 7) -> Planted:
    """Assigned after the first touch under test by more than the clocks may disagree."""
    rows = world.pick("assignments", "unit_id", number, lambda row: row["arm"] == "treated")
    first = {}
    for touch in world.tables["activations"]:
        if touch["campaign"] in EXPERIMENT.campaigns:
            person = touch["customer_id"]
            first[person] = min(first.get(person, touch["ts"]), touch["ts"])
    for row in rows:
        row["assigned_at"] = first[row["unit_id"]] + timedelta(seconds=301)
    return Planted(number, None)


def stale_consent(world: World, number: int = 5) -> Planted:
    """Given more than a thousand days ago for measurement, and never since."""
    rows = world.pick("customers", "customer_id", number, lambda _: True)
    people = {row["customer_id"] for row in rows}
    for record in world.tables["consents"]:
        if record["customer_id"] in people and record["purpose"] == "measurement":
            record["valid_from"] = START - timedelta(days=1_001)
    found = [t for t in world.tables["activations"] if t["customer_id"] in people]
    return Planted(len(found), cents(found))


def withdrawn(world: World, number: int = 6) -> Planted:
    """Half withdrew, half let it end; two more never agreed, which is no withdrawal."""
    rows = world.pick(
        "customers", "customer_id", number + 2, lambda r: r["customer_id"] not in buyers(world)
    )
    ways = {row["customer_id"]: position for position, row in enumerate(rows)}
    kept = []
    for record in world.tables["consents"]:
        way = ways.get(record["customer_id"])
        if way in {number, number + 1}:
            continue
        if way is not None and way % 2 and record["purpose"] == "marketing":
            record["valid_to"] = START
        kept.append(record)
    for person, way in ways.items():
        if way < number and way % 2 == 0:
            kept.append(consent(person, "marketing", "all", False, START))
    world.tables["consents"] = kept
    people = [person for person, way in ways.items() if way < number]
    found = [t for t in world.tables["activations"] if t["customer_id"] in people]
    return Planted(len(found), cents(found))


def raw_identifiers(world: World, number: int = 6) -> Planted:
    _identities(world, number, lambda n: (f"someone{n}@example.com", "+49 30 123456")[n % 2])
    return Planted(number, None)


def malformed(world: World, number: int = 6) -> Planted:
    """Too short, in capitals, and the hash of nothing."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    _identities(world, number, lambda n: ("ab" * 31, "AB" * 32, empty)[n % 3])
    return Planted(number, None)


def _identities(world: World, number: int, identifier: Callable[[int], str]) -> None:
    rows = [row for row in world.tables["identities"] if row["kind"] == "email_hash"]
    for n, row in enumerate(world.random.sample(rows, number)):
        row["kind"] = ("email_hash", "phone_hash")[n % 2]
        row["identifier"] = identifier(n)


FULLER: dict[str, Callable[[World], Planted]] = {
    "C2": clicks_first,
    "C4": outside_flight,
    "C5": impossible,
    "C6": late,
    "C7": skewed,
    "C9": changed_clocks,
    "C10": by_click_day,
    "C11": too_fast,
    "C12": immature,
    "D3": missing_values,
    "D4": sampled,
    "E1": listed,
    "E2": clockwork,
    "E3": suspected,
    "E4": unseen,
    "E5": own_orders,
    "E7": worthless,
    "E8": harvested,
    "E9": too_many,
    "G2": unreached,
    "G4": assigned_late,
    "H2": withdrawn,
    "H3": stale_consent,
    "H4": raw_identifiers,
    "H5": malformed,
    **further.INJECTORS,
}
