"""Money counted once: a raw row that several checks flag belongs to the first of them.

"First" is the order of the catalogue (A1, A3, B2, C1, …), whatever the order the bridge is drawn
in. The overlap between platforms (B1) is the exception: it splits what is left of an order after
all the others, so it counts last. There is one ledger for each table that holds money (claims,
conversions, activations, spend), so a claim and a touch never compete. One order, however, is one
sum of money: where a flagged claim has already put it in question, the conversion behind it adds
nothing under A3, A4, A5 and C1. A repeat of an order (B8) is money of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from measure.engine.expressions import (
    Table,
    Value,
    _,
    coalesce,
    ifelse,
    literal,
    moment,
    union,
    window,
)
from measure.reconcile.check import IN_MICROS, Ran, micros_to_minor
from measure.reconcile.duplication import overlap
from measure.reconcile.sources import Sources

OVERLAP = "B1"
"""Split among claims after all other checks."""
SAME_MONEY_AS_CLAIMS = frozenset({"A3", "A4", "A5", "C1"})
"""Checks that flag a conversion for the very money a claim on its order stands for."""
_NONE = 1_000_000
_CHECK, _PLATFORM = "check", "platform"


@dataclass(frozen=True, slots=True)
class Share:
    """What one check takes from one ledger: rows set aside whole, and money (or micros)."""

    rows: int = 0
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """Shares by check code and table, and the overlap between platforms on what is left."""

    shares: Mapping[tuple[str, str], Share]
    overlap: Share
    by_platform: Mapping[str, int]
    """The overlap's money by platform, in the order of the platforms' names."""

    def claims(self, code: str) -> Share:
        """What a check takes from the claims."""
        return self.overlap if code == OVERLAP else self.shares.get((code, "claims"), Share())

    def money(self, ran: Ran, currency: str) -> int:
        """The headline of a check in minor units, over the tables that belong to it."""
        if ran.declared.code == OVERLAP:
            return self.overlap.amount
        code, total = ran.declared.code, 0
        for table in ran.found:
            if ran.declared.counted(table):
                amount = self.shares.get((code, table), Share()).amount
                if not ran.declared.takes(table):
                    amount = ran.amounts.get(table, 0)
                total += micros_to_minor(amount, currency) if table in IN_MICROS else amount
        return total


def count_once(sources: Sources, ran: Sequence[Ran]) -> Ledger:
    """Give every flagged amount to the first check that flags its row."""
    shares: dict[tuple[str, str], Share] = {}
    by_platform: dict[str, Share] = {}
    tables = dict.fromkeys(table for one in ran if one.flagged for table in one.found)
    for table in tables:
        parts = _parts(sources, ran, table)
        alone = _alone(ran, table, parts)
        if alone is not None:
            shares[alone.declared.code, table] = Share(alone.rows[table], alone.amounts[table])
            continue
        totals = [_split(parts)] if parts else []
        if table == "claims" and _flags_overlap(ran):
            totals.append(_overlap_left(sources, ran))
        for kind, key, share in _fetch(sources, totals):
            if kind == _CHECK:
                shares[key, table] = share
            else:
                by_platform[key] = share
    return Ledger(shares, _sum(by_platform.values()), {p: s.amount for p, s in by_platform.items()})


def _fetch(sources: Sources, totals: Sequence[Table]) -> list[tuple[str, str, Share]]:
    """Fetch totals in one query, for they share most of their work; sorted by kind and key."""
    if not totals:
        return []
    query = union(*totals) if len(totals) > 1 else totals[0]
    rows = sources.engine.fetch(query).to_pylist()
    found = [(r["kind"], r["key"], Share(int(r["rows"]), int(r["amount"]))) for r in rows]
    return sorted(found, key=lambda row: row[:2])


def _sum(shares: Iterable[Share]) -> Share:
    listed = list(shares)
    return Share(sum(share.rows for share in listed), sum(share.amount for share in listed))


def _flags_overlap(ran: Sequence[Ran]) -> bool:
    return any(one.declared.code == OVERLAP and one.flagged for one in ran)


def _alone(ran: Sequence[Ran], table: str, parts: Mapping[str, Table]) -> Ran | None:
    """The only check that flags rows of a table: its totals are known, nothing is to be shared.

    Not so for claims, where rows set aside whole are told from those that lose a part, nor for
    checks of conversions that leave out what flagged claims already put in question.
    """
    (code, *others) = parts or ("",)
    if others or table == "claims" or code in SAME_MONEY_AS_CLAIMS:
        return None
    return next((one for one in ran if one.declared.code == code), None)


def _flagging(ran: Sequence[Ran], table: str) -> dict[str, Table]:
    """Flagged rows of one table by check code, in the order of the catalogue."""
    return {
        one.declared.code: one.found[table]
        for one in ran
        if one.flagged
        and one.rows.get(table)
        and one.declared.code != OVERLAP
        and one.declared.takes(table)
    }


def _parts(sources: Sources, ran: Sequence[Ran], table: str) -> dict[str, Table]:
    parts = _flagging(ran, table)
    if table != "conversions" or not SAME_MONEY_AS_CLAIMS.intersection(parts):
        return parts
    disputed = _disputed_orders(sources, ran)
    if disputed is None:
        return parts
    return {
        code: rows.anti_join(disputed, rows.order_id == disputed.disputed)
        if code in SAME_MONEY_AS_CLAIMS
        else rows
        for code, rows in parts.items()
    }


def _disputed_orders(sources: Sources, ran: Sequence[Ran]) -> Table | None:
    """Orders that a flagged claim names."""
    flagged = _flagging(ran, "claims")
    if not flagged:
        return None
    ids = _stack(flagged).select("raw_id").distinct()
    claims = sources.matched_claims.filter(sources.matched_claims.matched_order.notnull())
    named = claims.semi_join(ids, claims.claim_id == ids.raw_id)
    return named.select(disputed="matched_order").distinct()


def _stack(parts: Mapping[str, Table]) -> Table:
    """All flagged rows of one table, each with the ``rank`` and ``code`` of its check."""
    ranked = [
        rows.select(
            raw_id=rows.raw_id,
            amount=rows.amount.cast("int64"),
            whole=rows.whole.cast("int64"),
        ).mutate(rank=rank, code=literal(code))
        for rank, (code, rows) in enumerate(parts.items())
    ]
    return union(*ranked) if len(ranked) > 1 else ranked[0]


def _split(parts: Mapping[str, Table]) -> Table:
    """Share out one ledger.

    The first check that sets a row aside whole takes what earlier partial ones left of it; later
    checks take nothing.
    """
    flagged = _settled(parts)
    gone = ifelse(flagged.rank == flagged.first, 1, 0)
    flagged = flagged.mutate(taken=_taken(flagged), gone=gone)
    totals = flagged.group_by("code").aggregate(
        rows=flagged.gone.sum().cast("int64"), amount=flagged.taken.sum().cast("int64")
    )
    return totals.select(kind=literal(_CHECK), key="code", rows="rows", amount="amount")


def _settled(parts: Mapping[str, Table]) -> Table:
    """Flagged rows with ``first`` (rank of what takes the row whole) and ``partly`` (before it)."""
    flagged = _stack(parts)
    same = window(group_by="raw_id")
    flagged = flagged.mutate(first=ifelse(flagged.whole == 1, flagged.rank, _NONE).min().over(same))
    partial = ifelse((flagged.whole == 0) & (flagged.rank < flagged.first), flagged.amount, 0)
    return flagged.mutate(partly=partial.sum().over(same))


def _taken(flagged: Table) -> Value:
    """What a check takes of a row, given its ``rank``, ``first`` and ``partly``."""
    return ifelse(
        flagged.rank == flagged.first,
        flagged.amount - flagged.partly,
        ifelse(flagged.rank < flagged.first, flagged.amount, 0),
    ).cast("int64")


def counted_rows(sources: Sources, ran: Sequence[Ran], one: Ran, table: str) -> Table:
    """Flagged rows of one check and table, each with ``counted``: what is counted under it.

    The sum of ``counted`` over the tables of the headline is the check's money, as
    :meth:`Ledger.money` has it, in the table's own unit.
    """
    rows, code = one.found[table], one.declared.code
    if code == OVERLAP:
        split = overlap(remaining_claims(sources, ran)).select("claim_id", counted="overlap")
        joined = rows.left_join(split, rows.raw_id == split.claim_id).drop("claim_id")
        return joined.mutate(counted=coalesce(joined.counted, 0).cast("int64"))
    parts = _parts(sources, ran, table)
    if code not in parts:
        return rows.mutate(counted=rows.amount.cast("int64"))
    kept = parts[code].select(*rows.columns)
    settled = (
        _settled(parts).group_by("raw_id").aggregate(first=_.first.min(), partly=_.partly.max())
    )
    settled = settled.rename(settled_row="raw_id")
    ranked = kept.join(settled, kept.raw_id == settled.settled_row)
    ranked = ranked.mutate(rank=literal(list(parts).index(code)))
    counted = ranked.mutate(counted=_taken(ranked)).select(*rows.columns, "counted")
    if code not in SAME_MONEY_AS_CLAIMS or table != "conversions":
        return counted
    ids = kept.select(kept_row="raw_id").distinct()
    elsewhere = rows.anti_join(ids, rows.raw_id == ids.kept_row)
    return union(counted, elsewhere.mutate(counted=literal(0).cast("int64")))


def remaining_claims(sources: Sources, ran: Sequence[Ran]) -> Table:
    """Matched claims that no check sets aside whole, with ``remaining``: what they still claim."""
    claims, flagged = sources.matched_claims, _flagging(ran, "claims")
    if not flagged:
        return claims.mutate(remaining=claims.value)
    stacked = _stack(flagged)
    gone = stacked.filter(stacked.whole == 1).select(gone="raw_id").distinct()
    claims = claims.anti_join(gone, claims.claim_id == gone.gone)
    partial = stacked.filter(stacked.whole == 0)
    partial = partial.group_by("raw_id").aggregate(less=partial.amount.sum().cast("int64"))
    claims = claims.left_join(partial, claims.claim_id == partial.raw_id)
    left = (claims.value - coalesce(claims.less, 0)).cast("int64")
    return claims.mutate(remaining=left)


def beyond_experiment(sources: Sources, ran: Sequence[Ran]) -> Share:
    """What is left, each order once, of claims that the experiment does not test.

    These are claims for other campaigns (where campaigns are named), and claims on conversions
    outside the experiment's days. ``rows`` are the orders whose first claim is one of them.
    """
    tested = sources.experiment
    if tested is None:
        return Share()
    left = remaining_claims(sources, ran)
    shared = overlap(left).select("position", "overlap", shared_claim="claim_id")
    left = left.left_join(shared, left.claim_id == shared.shared_claim)
    converted = left.converted_at
    inside = (converted >= moment(tested.start, converted)) & (
        converted <= moment(tested.end, converted)
    )
    if tested.campaigns:
        inside &= left.campaign.isin(sorted(tested.campaigns))
    others = left.filter(~inside)
    total = others.aggregate(
        rows=ifelse(coalesce(others.position, 0) > 0, 0, 1).sum().cast("int64"),
        amount=(others.remaining - coalesce(others.overlap, 0)).sum().cast("int64"),
    )
    row = sources.engine.fetch(total).to_pylist()[0]
    return Share(int(row["rows"] or 0), int(row["amount"] or 0))


def _overlap_left(sources: Sources, ran: Sequence[Ran]) -> Table:
    """The overlap between platforms on what the other checks left, by platform."""
    split = overlap(remaining_claims(sources, ran))
    by_platform = split.group_by("platform").aggregate(
        rows=ifelse(split.position > 0, 1, 0).sum().cast("int64"),
        amount=split.overlap.sum().cast("int64"),
    )
    return by_platform.select(kind=literal(_PLATFORM), key="platform", rows="rows", amount="amount")
