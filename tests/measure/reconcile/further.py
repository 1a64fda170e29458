"""What a world needs beyond the usual tables for the rarer checks, and one injector per defect.

Every customer is a geo of its own, so that the experiment's units are geos as well.
"""

from collections.abc import Callable
from datetime import timedelta

from tests.measure.reconcile.world import DAYS, EXPERIMENT, START, Planted, World, hashed

RELEASE = START.date() + timedelta(days=9)
AHEAD = timedelta(hours=2)


def complete(world: World) -> None:
    """Channels of sessions, geos, a release, lists at the platforms, variants of hashes."""
    tables = world.tables
    channels = {t.get("click_id"): t["channel"] for t in tables["activations"]}
    for event in tables["events"]:
        event["channel"] = channels[event["click_id"]]
    for order in tables["conversions"]:
        order["geo"] = order["customer_id"]
    for row in tables["claim_totals"]:
        row["suppressed"] = False
    for row in tables["campaigns"]:
        row["sensitive"] = False
    for row in tables["customers"]:
        row["minor"] = False
    tables["releases"] = [{"release": "tag 2.0", "released_on": RELEASE, "platform": None}]
    tables["hash_variants"] = [
        {
            "kind": "email_hash",
            "identifier": hashed(row["customer_id"].upper()),
            "normal": hashed(row["customer_id"]),
            "variant": "capitals",
        }
        for row in tables["customers"]
    ]
    tables["list_uploads"] = [
        _upload(platform, "audience", arm, members)
        for platform in ("mailer", "social")
        for arm, members in (("treated", 1_350), ("holdout", 150))
    ]
    tables["list_uploads"].append(_upload("display", "suppression", None, None))


def _upload(platform: str, kind: str, arm: str | None, members: int | None) -> dict:
    name = f"{platform} {kind} {arm}"
    return {
        "list_id": name,
        "experiment": EXPERIMENT.key,
        "platform": platform,
        "kind": kind,
        "arm": arm,
        "uploaded_at": START,
        "sha256": hashed(name),
        "registered_sha256": hashed(name),
        "members": members,
        "matched": None if members is None else members * 6 // 10,
    }


def other_zone(world: World) -> Planted:
    """The display platform writes its log two hours ahead; its claims carry the same clock."""
    for touch in world.tables["activations"]:
        if touch["platform"] == "display":
            touch["ts"] += AHEAD
    moved = [
        claim["value"]
        for claim in world.tables["claims"]
        if claim["platform"] == "display"
        and (claim["converted_at"] - AHEAD).date() != claim["converted_at"].date()
    ]
    return Planted(1, sum(moved))


def counts_otherwise(world: World) -> Planted:
    """Since the release the display platform logs no impressions, and is paid as before."""
    tables = world.tables
    tables["activations"] = [
        touch
        for touch in tables["activations"]
        if touch["platform"] != "display"
        or touch["kind"] != "impression"
        or touch["ts"].date() <= RELEASE
    ]
    last = RELEASE + timedelta(days=14)
    paid = [
        r for r in tables["spend"] if r["platform"] == "display" and RELEASE < r["date"] <= last
    ]
    return Planted(1, sum(row["amount"] for row in paid))


def suppressed(world: World, number: int = 5) -> Planted:
    """Small totals of the mailer come in rows that name no campaign."""
    totals = [row for row in world.tables["claim_totals"] if row["platform"] == "mailer"]
    rows = world.random.sample(totals, number)
    for row in rows:
        row |= {"campaign": "(suppressed)", "suppressed": True}
    return Planted(number, sum(row["value"] for row in rows))


def spilled(world: World, number: int = 6) -> Planted:
    """Control geos buy on clicks of treated people; two more do so after the end."""
    control = {r["unit_id"] for r in world.tables["assignments"] if r["arm"] == "holdout"}
    clicks = [
        touch["click_id"]
        for touch in world.tables["activations"]
        if touch["kind"] == "click" and touch["campaign"] == "spring-email"
    ]
    rows = world.pick(
        "conversions",
        "conversion_id",
        number + 2,
        lambda o: o["geo"] in control and START <= o["ts"] < START + timedelta(days=DAYS),
    )
    for order, click in zip(rows, clicks, strict=False):
        order["click_id"] = click
    for order in rows[number:]:
        order["ts"] = EXPERIMENT.end + timedelta(seconds=1)
    return Planted(number, sum(order["value"] for order in rows[:number]))


def drifted(world: World) -> Planted:
    """One list was changed on its way; another finds the holdout half as often as the treated."""
    for row in world.tables["list_uploads"]:
        if row["platform"] == "display":
            row["sha256"] = hashed("changed")
        if row["platform"] == "social" and row["arm"] == "holdout":
            row["matched"] = row["members"] * 3 // 10
    return Planted(3, None)


def written_otherwise(world: World, number: int = 6) -> Planted:
    """Addresses hashed in capitals."""
    rows = [row for row in world.tables["identities"] if row["kind"] == "email_hash"]
    for row in world.random.sample(rows, number):
        row["identifier"] = hashed(row["customer_id"].upper())
    return Planted(number, None)


def to_be_spared(world: World, number: int = 5) -> Planted:
    """Minors were touched; of one customer nobody knows."""
    people = world.pick("customers", "customer_id", number + 1, lambda _: True)
    for row in people:
        row["minor"] = True
    people[0]["minor"] = None
    names = {row["customer_id"] for row in people[1:]}
    found = [t for t in world.tables["activations"] if t["customer_id"] in names]
    return Planted(len(found), sum(t["cost_micros"] for t in found) // 10_000)


INJECTORS: dict[str, Callable[..., Planted]] = {
    "C8": other_zone,
    "D2": counts_otherwise,
    "D5": suppressed,
    "G8": spilled,
    "G9": drifted,
    "H6": written_otherwise,
    "H8": to_be_spared,
}
