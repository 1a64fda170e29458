"""The checks of :mod:`tests.measure.reconcile.careful` by hand, in pandas.

Written from docs/checks.md and not from the product. Each returns the flagged rows and, where it
differs from their value or cost, what each puts in question; nothing is counted once here.
"""

import re
from itertools import pairwise

import pandas as pd


def frames(world) -> dict[str, pd.DataFrame]:
    return {name: world.arrow(name).to_pandas() for name in world.tables}


def claims_with_orders(t) -> pd.DataFrame:
    """By order id, else by click within five minutes (these worlds have one order per click)."""
    orders = t["conversions"].sort_values(["ts", "conversion_id"]).drop_duplicates("order_id")
    claims = t["claims"].copy()
    loose = claims[claims.order_id.isna() & claims.click_id.notna()]
    clicked = t["conversions"].dropna(subset=["click_id"])
    near = loose.merge(clicked, on="click_id", suffixes=("", "_found"))
    apart = (near.converted_at - near.ts).abs()
    near = near[apart <= pd.Timedelta(minutes=5)].sort_values("ts").drop_duplicates("claim_id")
    by_click = near.set_index("claim_id").order_id_found
    claims["wanted"] = claims.order_id.fillna(claims.claim_id.map(by_click))
    kept = orders.set_index("order_id")
    for name in ("value", "customer_id", "tax", "shipping", "status", "refunded_value"):
        claims[f"order_{name}"] = claims.wanted.map(kept[name])
    claims["matched"] = claims.wanted.where(claims.wanted.isin(kept.index))
    return claims


def a2(t):
    claims = claims_with_orders(t)
    orders = t["conversions"].sort_values("ts").drop_duplicates("order_id")
    orders = orders[~orders.order_id.isin([*claims.wanted.dropna(), *claims.order_id.dropna()])]
    orders = orders[orders.status == "paid"]
    days = t["platforms"].set_index("platform").click_window_days.clip(upper=30)
    clicks = t["activations"][t["activations"].kind == "click"]
    pairs = orders.merge(clicks, on="customer_id", suffixes=("", "_click"))
    lag = pairs.ts - pairs.ts_click
    window = pd.to_timedelta(pairs.platform.map(days), unit="D")
    hit = pairs[(lag >= pd.Timedelta(0)) & (lag <= window)].conversion_id
    return orders[orders.conversion_id.isin(hit)].value


def clicked(t):
    columns = ["id", "platform", "click_id", "value", "order_id"]
    claims = t["claims"].rename(columns={"claim_id": "id"})[columns]
    orders = t["conversions"].rename(columns={"conversion_id": "id"}).assign(platform=None)[columns]
    return pd.concat([claims, orders]).dropna(subset=["click_id"])


def once(rows):
    """A conversion is the very money of a flagged claim on its order."""
    claimed = rows.platform.notna()
    same = ~claimed & rows.order_id.isin(rows[claimed].order_id)
    return rows.value.where(~same, 0)


def a4(t):
    log = t["activations"].dropna(subset=["click_id"])
    known, folded = set(log.click_id), {c.lower() for c in log.click_id}
    shortest = log.groupby("platform").click_id.agg(lambda c: c.str.len().min())
    rows = clicked(t)

    def wrong(row):
        c = row.click_id
        if re.search('[^!-~]|["<>{}%]', c):
            return True
        short = len(c) < shortest.get(row.platform, log.click_id.str.len().min())
        return c not in known and (c.lower() in folded or short)

    return once(rows[rows.apply(wrong, axis=1)])


def a5(t):
    log = t["activations"].dropna(subset=["click_id"])[["click_id", "customer_id"]]
    books = t["conversions"].dropna(subset=["click_id"])[["click_id", "customer_id"]]
    people = pd.concat([log, books]).drop_duplicates()
    kinds = ["household", "email_hash", "login", "phone_hash"]
    ids = t["identities"][t["identities"].kind.isin(kinds)]
    of = ids.groupby("customer_id").apply(lambda g: {*zip(g.kind, g.identifier, strict=True)})

    def persons(customers):
        groups: list[set] = []
        for customer in customers:
            mine = of.get(customer, set())
            if not any(mine & group for group in groups):
                groups.append(set(mine))
        return len(groups)

    several = people[people.duplicated("click_id", keep=False)]
    counts = several.groupby("click_id").customer_id.agg(lambda c: persons(sorted(c)))
    rows = clicked(t)
    return once(rows[rows.click_id.isin(counts[counts > 1].index)])


def a6(t):
    clicks = t["activations"]
    clicks = clicks[(clicks.kind == "click") & clicks.click_id.notna()]
    lost = ~clicks.click_id.isin(t["events"].click_id.dropna())
    cell = [clicks.platform, clicks.campaign, clicks.ts.dt.date]
    bad = (lost.groupby(cell).transform("sum") > 0.1 * lost.groupby(cell).transform("size")) & (
        lost.groupby(cell).transform("size") >= 20
    )
    return clicks[lost & bad].cost_micros


def a8(t):
    known = pd.concat([t["spend"], t["campaigns"]])[["platform", "campaign"]]
    known = {*known.itertuples(index=False, name=None)}
    log = t["activations"]
    pair = list(zip(log.platform, log.campaign, strict=True))
    return log[[p not in known for p in pair]].cost_micros


def b3(t):
    claims = claims_with_orders(t)
    clicks = t["activations"].dropna(subset=["click_id"]).sort_values(["ts", "activation_id"])
    owner = clicks.drop_duplicates("click_id").set_index("click_id").customer_id
    claims["person"] = claims.order_customer_id.fillna(claims.click_id.map(owner))
    claims = claims.dropna(subset=["person", "event_name"])
    flagged = []
    keys = ["platform", "event_name", "person", "value"]
    for _, group in claims.sort_values(["converted_at", "claim_id"]).groupby(keys):
        rows = list(group.itertuples())
        for before, after in pairwise(rows):
            ids = (before.event_id, after.event_id)
            orders = (before.matched, after.matched)
            near = after.converted_at - before.converted_at <= pd.Timedelta(hours=48)
            other_event = any(pd.isna(i) for i in ids) or ids[0] != ids[1]
            one_order = any(pd.isna(o) for o in orders) or orders[0] == orders[1]
            if near and other_event and one_order:
                flagged.append(after.Index)
    return claims.loc[flagged].value


def b4(t):
    claims = t["claims"].dropna(subset=["action"])
    flagged = []
    for _, mine in claims.groupby("platform"):
        sums = mine.groupby("action").value.agg(["size", "sum"])
        rest = sums.sum() - sums
        near = (sums - rest).abs() <= 0.01 * sums.where(sums > rest, rest)
        found = sums[near.all(axis=1) & (sums["size"] >= 20)].reset_index()
        found = found.sort_values(["sum", "action"], ascending=[False, True])
        flagged += list(mine[mine.action.isin(found.action[:1])].index)
    return claims.loc[flagged].value


def _alike(log):
    own = [c for c in log.columns if c not in ("activation_id", "received_at")]
    return log.sort_values("activation_id").duplicated(own).reindex(log.index)


def b5(t):
    log = t["activations"]
    return log[_alike(log)].cost_micros


def b6(t):
    log = t["activations"]
    log = log[~_alike(log)].sort_values(["ts", "activation_id"])
    gap = log.groupby(["customer_id", "channel", "kind"]).ts.diff()
    return log[gap <= pd.Timedelta(seconds=1)].cost_micros


def b7(t):
    clicks = t["activations"]
    clicks = clicks[clicks.kind == "click"].sort_values(["ts", "activation_id"])
    minute = clicks.ts.dt.floor("min")
    groups = clicks.groupby([clicks.customer_id, clicks.platform, clicks.campaign, minute])
    return clicks[(groups.cumcount() > 0) & (groups.ts.transform("size") > 3)].cost_micros


def b9(t):
    one = t["platforms"].query("count_mode == 'one'").platform
    claims = t["claims"].dropna(subset=["click_id"])
    claims = claims[claims.platform.isin(one)].sort_values(["converted_at", "claim_id"])
    event = claims.event_name.fillna(claims.action).fillna("")
    return claims[claims.assign(event=event).duplicated(["platform", "click_id", "event"])].value


def _months(t):
    spend = t["spend"].assign(month=pd.to_datetime(t["spend"].date).dt.to_period("M"))
    bills = t["invoices"].assign(month=pd.to_datetime(t["invoices"].month).dt.to_period("M"))
    table = bills.pivot_table(
        index=["platform", "month"], columns="kind", values="amount", aggfunc="sum", fill_value=0
    ).reindex(columns=["media", "fee", "credit"], fill_value=0)
    table["spent"] = spend.groupby(["platform", "month"]).amount.sum().reindex(table.index)
    table["extras"] = table.fee + table.credit
    table["without"] = (table.spent - table.media).abs()
    table["within"] = (table.spent - table.media - table.extras).abs()
    return table


def f2(t):
    table = _months(t)
    gap = table[["without", "within"]].min(axis=1)
    billed = table.media.where(table.within >= table.without, table.media + table.extras)
    limit = 0.02 * pd.concat([billed, table.spent], axis=1).max(axis=1)
    return gap[(gap > 1) & (gap > limit)]


def f3(t):
    log = t["activations"]
    log = log[log.cost_micros > 0]
    cell = [log.platform, log.campaign, log.ts.dt.date]
    bare = log.cost_micros.where(log.creative.isna(), 0)
    part, whole = (
        bare.groupby(cell).transform("sum"),
        log.cost_micros.groupby(cell).transform("sum"),
    )
    named = log.creative.notna().groupby(cell).transform("any")
    return log[named & log.creative.isna() & (part > 10_000) & (part > 0.02 * whole)].cost_micros


def _beyond(claims):
    returned = (claims.order_refunded_value > 0) | claims.order_status.isin(["cancelled"])
    return (claims.value - claims.order_value).clip(lower=0).where(~returned, 0)


def _gross(claims):
    more = claims.value - claims.order_value
    parts = (claims.order_tax, claims.order_shipping, claims.order_tax + claims.order_shipping)
    return (more > 0) & (sum(more == part for part in parts) > 0)


def _off(ratio, tolerance):
    ratio = ratio.where(ratio >= 1, 1 / ratio)
    return sum(((ratio / f - 1).abs() <= tolerance) for f in (100, 1_000, 1_000_000)) > 0


def f5(t):
    claims = claims_with_orders(t).dropna(subset=["matched"])
    claims = claims[_off(claims.value / claims.order_value, 0.005) & ~_gross(claims)]
    spend, log = t["spend"], t["activations"]
    spent = spend.groupby(["platform", "campaign", "date"]).amount.sum()
    cost = log.groupby(["platform", "campaign", log.ts.dt.date]).cost_micros.sum() / 10_000
    cost.index.names = spent.index.names
    both = pd.concat([spent, cost], axis=1).dropna()
    wrong = both[_off(both.amount / both.cost_micros, 0.1)]
    gap = (wrong.amount - wrong.cost_micros).abs()
    return pd.concat([_beyond(claims), gap])


def f6(t):
    claims = claims_with_orders(t).dropna(subset=["matched"])
    return _beyond(claims[_gross(claims)])


def f7(t):
    spend = t["spend"]
    names = ["", "(not set)", "other", "unassigned", "unknown", "unmapped"]
    lost = spend[spend.channel.fillna("").str.lower().isin(names)]
    return lost.amount if lost.amount.sum() > 0.02 * spend.amount.sum() else lost.amount[:0]


def f8(t):
    table = _months(t)
    out = table[table.within >= table.without].index.get_level_values("platform")
    bills = t["invoices"]
    return bills[bills.kind.isin(["fee", "credit"]) & bills.platform.isin(out)].amount.abs()


ORACLES = {
    "A2": a2, "A4": a4, "A5": a5, "A6": a6, "A8": a8, "B3": b3, "B4": b4, "B5": b5, "B6": b6,
    "B7": b7, "B9": b9, "F2": f2, "F3": f3, "F5": f5, "F6": f6, "F7": f7, "F8": f8,
}  # fmt: skip
IN_MICROS = {"A6", "A8", "B5", "B6", "B7", "F3"}
"""Checks whose rows cost micros; the others are in cents."""
