"""From a figure of the statement down to the raw rows it is made of.

A check's result holds counts, totals and a bounded sample; here are all of its rows, each with the
part of its amount that counts under the check. The other way round, a few raw rows are asked which
checks flag them, and claims which line of the bridge they end in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from measure.engine.expressions import Table
from measure.errors import InputError, UnknownName
from measure.reconcile.bridge import DISTINCT, LINES, SHARED
from measure.reconcile.check import IN_MICROS, DeclaredCheck, Ran, missing_inputs, run
from measure.reconcile.ledger import count_once, counted_rows
from measure.reconcile.sources import Sources
from measure.reconcile.statement import CATALOGUE, WITHOUT_MONEY, priced
from measure.results import Check, Outcome, Result

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 20_000
"""Rows fetched at a time."""
COLUMNS = ("check", "table", "entity_id", "raw_id", "money_at_risk", "money_counted", "unit")
"""First columns of every list of flagged rows; what else a row says comes after."""
BY_ENTITY = frozenset({"identities"})
"""Tables whose flagged rows are known by what they are about, not by a row of their own."""


@dataclass(frozen=True, slots=True)
class FlaggedRows:
    """All rows of a check's headline.

    ``rows`` yields tuples in the order of ``header``; amounts are in ``unit``: ``minor`` units of
    the currency, or ``micros`` of it where one row may cost less than a cent.
    """

    check: Check
    header: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]
    by_entity: bool


@dataclass(frozen=True, slots=True)
class Flag(Result):
    """A check that flags one raw row; ``money`` and ``counted`` as in :data:`COLUMNS`."""

    code: str
    title: str
    table: str
    row_id: str
    money_at_risk: int
    money_counted: int | None
    unit: str
    disposition: str


def flagged_rows(sources: Sources, code: str) -> FlaggedRows:
    """All rows that one check flags, with their money counted once.

    The number of rows (of distinct entities where the check counts those) is the ``rows`` of the
    check in :func:`measure.reconcile.reconcile`, the sum of ``money_counted`` its ``money``.
    :class:`UnknownName` for a code that the catalogue has not, :class:`InputError` for a check that
    judges totals and flags no rows, or that found none.
    """
    declared = _declared(code)
    if declared.judge is not None:
        raise InputError(
            f"{code} judges totals and flags no rows. Its numbers are in the JSON of "
            "`truelift reconcile`."
        )
    ran = [run(each, sources) for each in CATALOGUE]
    one = next(each for each in ran if each.declared.code == code)
    check = priced(one, count_once(sources, ran), sources.currency)
    if check.outcome in {Outcome.NOT_APPLICABLE, Outcome.FAILED}:
        raise InputError(f"{code} has no rows. {check.message}")
    tables = [t for t in one.found if one.declared.counted(t)]
    counted = {t: counted_rows(sources, ran, one, t) for t in tables}
    facts = tuple(dict.fromkeys(c for rows in counted.values() for c in _facts(rows)))
    return FlaggedRows(
        check, (*COLUMNS, *facts), _streamed(sources, one, counted, facts), declared.by_entity
    )


def flags_on(
    sources: Sources, ids: Mapping[str, Sequence[str]], candidates: Sequence[DeclaredCheck]
) -> tuple[list[Flag], list[Ran]]:
    """Which checks flag these raw rows (ids by table), in the order of the catalogue.

    ``candidates`` are the checks to ask; the others are known to flag nothing. Also returns what
    ran, cut down to these rows, which :func:`bridge_of_claims` needs. To count money once, ``ids``
    must hold all claims of an order with one of its claims.
    """
    ran = [_narrowed(declared, sources, ids) for declared in candidates]
    ran = [one for one in ran if one.rows]
    flags = []
    for one in ran:
        for table in one.found:
            rows = sources.engine.fetch(counted_rows(sources, ran, one, table)).to_pylist()
            flags += [_flag(one.declared, table, row) for row in rows]
    return flags, ran


def askable(sources: Sources) -> tuple[list[DeclaredCheck], list[str]]:
    """Checks that select rows and have what they need, and the codes of those that have not."""
    selecting = [declared for declared in CATALOGUE if declared.judge is None]
    able = [declared for declared in selecting if not missing_inputs(declared, sources)]
    names = {declared.code for declared in able}
    return able, [declared.code for declared in selecting if declared.code not in names]


def bridge_of_claims(
    claims: Mapping[str, int], flags: Sequence[Flag]
) -> dict[str, tuple[tuple[str, int], ...]]:
    """Where each claim (its value by id) goes in the bridge: what each line takes, then the rest.

    Added up over all claims this gives the lines of :func:`measure.reconcile.bridge.build_bridge`.
    """
    lines = {code: line.step for line in (*LINES, SHARED) for code in line.codes}
    found = {}
    for claim, value in claims.items():
        mine = [f for f in flags if f.table == "claims" and f.row_id == claim and f.code in lines]
        steps = [(lines[f.code], -f.money_counted) for f in mine if f.money_counted]
        rest = value + sum(money for _, money in steps)
        found[claim] = (*steps, (DISTINCT, rest))
    return found


def _declared(code: str) -> DeclaredCheck:
    known = {declared.code: declared for declared in CATALOGUE}
    if code not in known:
        raise UnknownName.of("check", code, tuple(known), "the catalogue (docs/checks.md)")
    return known[code]


def _narrowed(declared: DeclaredCheck, sources: Sources, ids: Mapping[str, Sequence[str]]) -> Ran:
    """A check run over nothing but the rows asked about."""
    found, rows, amounts = {}, {}, {}
    for table, flagged in declared.find(sources).items():
        wanted = ids.get(table)
        if not wanted:
            continue
        column = "entity_id" if table in BY_ENTITY else "raw_id"
        mine = flagged.filter(flagged[column].isin(list(wanted)))
        first = sources.engine.fetch(mine.select("amount"))["amount"].to_pylist()
        if first:
            found[table] = sources.engine.materialize(mine)
            rows[table], amounts[table] = len(first), sum(map(int, first))
    if rows and not any(sources.number(t) for t in declared.examined(sources).values()):
        found, rows, amounts = {}, {}, {}  # nothing is to be examined, so nothing is flagged
    result = Check(
        code=declared.code,
        title=declared.title,
        outcome=Outcome.FLAGGED if rows else Outcome.PASSED,
        message="",
    )
    return Ran(declared, result, found, rows, amounts)


def _flag(declared: DeclaredCheck, table: str, row: Mapping[str, Any]) -> Flag:
    named = row["entity_id"] if table in BY_ENTITY else row["raw_id"]
    return Flag(
        declared.code,
        declared.title,
        table,
        str(named),
        int(row["amount"]),
        None if declared.code in WITHOUT_MONEY else int(row["counted"]),
        _unit(table),
        declared.disposition,
    )


def _unit(table: str) -> str:
    return "micros" if table in IN_MICROS else "minor"


def _facts(rows: Table) -> tuple[str, ...]:
    own = {"entity_id", "raw_id", "amount", "whole", "counted", *COLUMNS}
    return tuple(name for name in rows.columns if name not in own)


def _streamed(
    sources: Sources, one: Ran, counted: Mapping[str, Table], facts: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    priced_rows = one.declared.code not in WITHOUT_MONEY
    for table, rows in counted.items():
        ordered = rows.order_by(["entity_id", "raw_id"])
        for batch in sources.engine.batches(ordered, BATCH):
            for row in _rows(batch):
                money = row["counted"] if priced_rows else None
                head = (one.declared.code, table, row["entity_id"], row["raw_id"])
                amounts = (row["amount"], money, _unit(table))
                yield (*head, *amounts, *(_text(row.get(name)) for name in facts))


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = batch.to_pylist()
    return found


def _text(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value
