"""The bridge by hand: the rules of docs/checks.md over plain rows, one claim at a time.

Written from the documentation and not from the product, so that the two can disagree.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction

TOLERANCE = timedelta(minutes=5)


@dataclass
class Account:
    """Claims and money that each check takes, and what is left."""

    taken: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))
    gone: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))
    left: dict[str, int] = field(default_factory=dict)
    overlap: int = 0
    overlap_rows: int = 0
    by_platform: dict[str, Fraction] = field(default_factory=dict)


CHECKS = ("A1", "A3", "B2", "C1", "C3", "E6", "H1")


def orders_of(conversions: list[dict]) -> dict[str, dict]:
    orders: dict[str, list[dict]] = {}
    for row in sorted(conversions, key=lambda r: (r["ts"], r["conversion_id"])):
        orders.setdefault(row["order_id"], []).append(row)
    known = {}
    for order_id, rows in orders.items():
        refunded = max(row["refunded_value"] for row in rows)
        silent = any(r["status"] == "refunded" and not r["refunded_value"] for r in rows)
        void = silent or all(row["status"] == "cancelled" for row in rows)
        net = 0 if void else max(rows[0]["value"] - refunded, 0)
        known[order_id] = {**rows[0], "net": net, "returned": void or refunded > 0}
    return known


def consented(consents: list[dict], customer: str, channel: str, ts) -> bool:
    for purpose in ("marketing", "measurement"):
        valid = [
            row
            for row in consents
            if row["customer_id"] == customer
            and row["purpose"] == purpose
            and row["channel"] in (channel, "all")
            and row["valid_from"] <= ts
            and (row["valid_to"] is None or ts < row["valid_to"])
        ]
        if not valid:
            return False
        last = max(row["recorded_at"] for row in valid)
        if not all(row["granted"] for row in valid if row["recorded_at"] == last):
            return False
    return True


def account(tables: dict[str, list[dict]]) -> Account:
    claims = tables["claims"]
    orders = orders_of(tables["conversions"])
    clicks: dict[str, dict] = {}
    for touch in sorted(tables["activations"], key=lambda r: (r["ts"], r["activation_id"])):
        if touch["click_id"]:
            clicks.setdefault(touch["click_id"], touch)
    matched = {c["claim_id"]: _match(c, tables["conversions"]) for c in claims}
    repeats = _repeats(claims, matched)
    result = Account()
    for claim in claims:
        order = orders.get(matched[claim["claim_id"]])
        reasons = _reasons(claim, order, clicks, repeats, tables["consents"])
        left = claim["value"]
        for check in CHECKS:
            if check not in reasons:
                continue
            if check == "E6" and order["net"] > 0:
                result.taken["E6"] += claim["value"] - order["net"]
                left = order["net"]
                continue
            result.taken[check] += left
            result.gone[check] += 1
            left = None
            break
        if left is not None:
            result.left[claim["claim_id"]] = left
    _overlap(result, claims, matched, orders)
    return result


def _match(claim: dict, conversions: list[dict]) -> str | None:
    if claim["order_id"]:
        return claim["order_id"]
    near = [
        (abs(row["ts"] - claim["converted_at"]), row["ts"], row["conversion_id"], row["order_id"])
        for row in conversions
        if claim["click_id"]
        and row["click_id"] == claim["click_id"]
        and abs(row["ts"] - claim["converted_at"]) <= TOLERANCE
    ]
    return min(near)[-1] if near else None


def _repeats(claims: list[dict], matched: dict) -> set[str]:
    groups: dict[tuple, list[dict]] = {}
    for claim in claims:
        order = matched[claim["claim_id"]]
        if order:
            key = (claim["platform"], order)
        elif claim["click_id"]:
            key = (claim["platform"], claim["click_id"], claim["converted_at"])
        else:
            continue
        groups.setdefault(key, []).append(claim)
    surplus = set()
    for rows in groups.values():
        rows.sort(key=lambda c: c["claim_id"])
        rows.sort(key=lambda c: c["touched_at"], reverse=True)
        rows.sort(key=lambda c: c["touched_at"] > c["converted_at"] + TOLERANCE)
        surplus |= {row["claim_id"] for row in rows[1:]}
    return surplus


def _reasons(claim, order, clicks, repeats, consents) -> set[str]:
    reasons = set()
    click = clicks.get(claim["click_id"])
    if order is None:
        reasons.add("A1")
    if claim["click_id"] and click is None:
        reasons.add("A3")
    if claim["claim_id"] in repeats:
        reasons.add("B2")
    if claim["converted_at"] + TOLERANCE < claim["touched_at"] or (
        order and click and order["ts"] + TOLERANCE < click["ts"]
    ):
        reasons.add("C1")
    days = min(claim["window_days"], 30 if claim["kind"] == "click" else 7)
    if claim["converted_at"] - claim["touched_at"] > timedelta(days=days):
        reasons.add("C3")
    if order and order["returned"] and claim["value"] > order["net"]:
        reasons.add("E6")
    customer = click["customer_id"] if click else order["customer_id"] if order else None
    channel = click["channel"] if click else claim["channel"]
    ts = click["ts"] if click else claim["touched_at"]
    if customer and not consented(consents, customer, channel, ts):
        reasons.add("H1")
    return reasons


def _overlap(result: Account, claims, matched, orders) -> None:
    by_order: dict[str, list[dict]] = {}
    for claim in claims:
        order = matched[claim["claim_id"]]
        if claim["claim_id"] in result.left and order in orders:
            by_order.setdefault(order, []).append(claim)
    for order, rows in by_order.items():
        if len({row["platform"] for row in rows}) < 2:
            continue
        claimed = sum(result.left[row["claim_id"]] for row in rows)
        surplus = max(claimed - orders[order]["net"], 0)
        result.overlap += surplus
        result.overlap_rows += len(rows) - 1
        for row in rows:
            share = Fraction(result.left[row["claim_id"]] * surplus, max(claimed, 1))
            result.by_platform[row["platform"]] = (
                result.by_platform.get(row["platform"], Fraction()) + share
            )
