"""Group A, match rate: days on which conversions suddenly find fewer of their keys.

A day is held against the 28 days with conversions before it. Its standard deviation is the larger
of the binomial one and that of the earlier days' own shares, so weekdays that always differ raise
no alarm. At the default of 4 the false-alarm rate of a normal share is 3 in 100,000 per day and
key (one-sided).
"""

from __future__ import annotations

from measure.engine.expressions import (
    Table,
    coalesce,
    greatest,
    ifelse,
    literal,
    or_,
    window,
)
from measure.reconcile.check import DeclaredCheck, Findings
from measure.reconcile.sources import Sources
from measure.results import Severity

TRAILING_DAYS = 28
FEWEST_DAYS = 14
"""Earlier days with conversions below which a day is not judged."""
_KEYS = ("click", "hash")


def matched_conversions(sources: Sources) -> Table:
    """Conversions, with 1 or 0 for each key: its click is logged, its customer has a hash."""
    table = sources.table("conversions")
    log = sources.table("activations")
    known = log.filter(log.click_id.notnull()).select(known_click="click_id").distinct()
    table = table.left_join(known, table.click_id == known.known_click)
    table = table.mutate(day=table.ts.date(), click=ifelse(table.known_click.notnull(), 1, 0))
    if not sources.has("identities"):
        return table.mutate(hash=literal(0))
    people = sources.table("identities")
    hashed = people.filter(people.kind.isin(["email_hash", "phone_hash"]))
    hashed = hashed.select(hashed="customer_id").distinct()
    table = table.left_join(hashed, table.customer_id == hashed.hashed)
    return table.mutate(hash=ifelse(table.hashed.notnull(), 1, 0))


def dropped(sources: Sources, daily: Table, key: str, by: tuple[str, ...] = ()) -> Table:
    """Days, with ``<key>_drop`` 1 where the share falls below what the days before allow.

    ``daily`` has ``day``, ``n`` and the matched under the name of the key, per group ``by``.
    """
    daily = daily.mutate(share=daily[key] / daily.n)
    before = window(group_by=list(by) or None, order_by="day", preceding=(TRAILING_DAYS, 1))
    daily = daily.mutate(
        days=daily.n.count().over(before),
        earlier=daily.n.sum().over(before),
        earlier_matched=daily[key].sum().over(before),
        spread=coalesce(daily.share.std(how="sample").over(before), 0.0),
    )
    usual = daily.earlier_matched / daily.earlier
    # One more of each kind, so that a share of exactly 1 does not make every miss an alarm.
    smooth = (daily.earlier_matched + 1) / (daily.earlier + 2)
    deviation = greatest((smooth * (1 - smooth) / daily.n).sqrt(), daily.spread)
    limit = usual - sources.settings.match_rate_deviations * deviation
    fell = (
        (daily.days >= FEWEST_DAYS)
        & (daily.n >= sources.settings.match_rate_rows)
        & (daily.share < coalesce(limit, 0.0))
    )
    return daily.select(*by, **{f"{key}_day": daily.day, f"{key}_drop": ifelse(fell, 1, 0)})


def _drops(sources: Sources) -> Findings:
    """Unmatched conversions of the days on which a key's share fell."""
    table = matched_conversions(sources)
    daily = table.group_by("day").aggregate(
        n=table.count(), click=table.click.sum(), hash=table.hash.sum()
    )
    for key in _KEYS:
        days = dropped(sources, daily, key)
        table = table.join(days, table.day == days[f"{key}_day"])
    lost_click = (table.click_drop == 1) & (table.click == 0)
    lost_hash = (table.hash_drop == 1) & (table.hash == 0)
    lost = table.mutate(
        key=ifelse(lost_click & lost_hash, "click, hash", ifelse(lost_click, "click", "hash"))
    ).filter(or_(lost_click, lost_hash))
    rows = lost.select(
        entity_id=lost.day.cast("string"),
        raw_id=lost.conversion_id,
        amount=sources.money_of(lost),
        whole=1,
        date=lost.day,
        key=lost.key,
        click_id=lost.click_id,
        customer_id=lost.customer_id,
    )
    return {"conversions": rows}


MATCH_RATE_DROP = DeclaredCheck(
    code="A7",
    name="match_rate_drop",
    title="Days with a lower match rate",
    severity=Severity.NOTE,
    needs={
        "conversions": ("conversion_id", "customer_id", "ts", "click_id", "value", "currency"),
        "activations": ("click_id",),
    },
    uses=("identities",),
    disposition="note",
    by_entity=True,
    passed="On no day does the share of matched conversions fall below its trend",
    flagged=lambda tally: (
        f"On {tally.rows['conversions']:,} "
        f"{'day' if tally.rows['conversions'] == 1 else 'days'} far fewer conversions than usual "
        "find their click or hash"
    ),
    find=_drops,
    examined=lambda sources: {"conversions": sources.table("conversions")},
)
