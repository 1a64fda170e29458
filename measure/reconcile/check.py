"""What a check is: declared once, run at one border, counted in the data engine.

A check names the tables and columns it needs, selects the rows it flags as expressions, and says
one sentence about them. Running it gives one of four outcomes: inputs that are absent make it
``not_applicable`` (naming them), anything that breaks makes it ``failed`` (saying why), and only a
check that ran over at least one row can be ``passed``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from types import MappingProxyType
from typing import Any, Literal

from measure.currency import minor_digits
from measure.engine.expressions import Column, Table, literal, window
from measure.reconcile.sources import Sources
from measure.results import Check, Outcome, Severity

Disposition = Literal["drop", "hold", "reweight", "note"]
Findings = Mapping[str, Table]
"""Flagged rows by the table they come from.

Columns of each: ``entity_id`` (what is counted: a claim, an order row, a unit …), ``raw_id`` (the
raw row it came from), ``amount`` (see :data:`IN_MICROS`), ``whole`` (1 when the row is set aside
whole, 0 when only ``amount`` of it is), then whatever a reader needs to see.
"""
NOUNS = {"spend": "rows of spend"}
"""Tables whose name is no word for their rows."""
IN_MICROS = frozenset({"activations", "spend"})
"""Tables whose flagged amounts are in micros of the currency; the others are in minor units."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a check found, for its sentence: per table, flagged rows and amount, examined rows."""

    rows: Mapping[str, int]
    examined: Mapping[str, int]
    currency: str
    amounts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def of(self, table: str, one: str, many: str = "") -> str:
        """``12 of 3,000 claims (0.4 %)`` for the rows of one table."""
        flagged, examined = self.rows.get(table, 0), self.examined.get(table, 0)
        noun = one if examined == 1 else many or f"{one}s"
        return f"{flagged:,} of {examined:,} {noun} ({percent(flagged, examined)})"


@dataclass(frozen=True, slots=True)
class DeclaredCheck:
    """A check of the catalogue.

    ``needs`` maps tables to the columns without which it is not applicable; ``uses`` names tables
    that sharpen it: without one it runs on the rest and says so. ``find`` selects the flagged rows,
    ``examined`` the rows looked at. ``counts`` limits which tables make up the headline (rows and
    money); the others only feed the bridge and the sentence. ``by_entity`` counts
    entities where one has several flagged rows. ``flagged`` words what was found,
    ``passed`` what holds when nothing was, ``empty`` why nothing may be there to examine,
    ``caveat`` what could not be looked at. A check that is not a selection of rows has ``judge``
    instead, which returns its result.
    """

    code: str
    name: str
    title: str
    severity: Severity
    needs: Mapping[str, tuple[str, ...]]
    disposition: Disposition
    passed: str = ""
    empty: str = ""
    flagged: Callable[[Tally], str] = lambda tally: f"{sum(tally.rows.values()):,} rows"
    find: Callable[[Sources], Findings] = lambda _: MappingProxyType({})
    examined: Callable[[Sources], Findings] = lambda _: MappingProxyType({})
    judge: Callable[[Sources], Check] | None = None
    facts: Callable[[Sources], Mapping[str, Any]] = lambda _: MappingProxyType({})
    caveat: Callable[[Sources], str] = lambda _: ""
    uses: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    by_entity: bool = False
    needs_experiment: bool = False
    needs_attribution: bool = False
    needs_incremental: bool = False
    stays: bool = False
    """Flagged claims stay in the bridge, for they are only held until someone looked."""

    @property
    def anchor(self) -> str:
        """The heading of the check in ``docs/checks.md``, as a link fragment."""
        return f"{self.code.lower()}-{self.name}"

    def takes(self, table: str) -> bool:
        """Whether flagged rows of this table enter its ledger; a note takes no claim away."""
        return table != "claims" or not (self.stays or self.disposition == "note")

    def counted(self, table: str) -> bool:
        """Whether rows of this table belong to the headline."""
        return not self.counts or table in self.counts


@dataclass(frozen=True, slots=True)
class Ran:
    """A check after its run: its result, and the expressions that others count on.

    ``amounts`` are totals per table as flagged, before money is counted once.
    """

    declared: DeclaredCheck
    result: Check
    found: Findings = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    amounts: Mapping[str, int] = field(default_factory=dict)

    @property
    def flagged(self) -> bool:
        """Whether it ran and found something."""
        return self.result.outcome is Outcome.FLAGGED

    @property
    def answered(self) -> bool:
        """Whether it ran at all."""
        return self.result.outcome in {Outcome.PASSED, Outcome.FLAGGED}


def run(declared: DeclaredCheck, sources: Sources) -> Ran:
    """Run one check; whatever goes wrong inside it becomes the outcome ``failed``."""
    missing = missing_inputs(declared, sources)
    if missing:
        return Ran(declared, answer(declared, Outcome.NOT_APPLICABLE, missing))
    try:
        return _run(declared, sources)
    except Exception as error:  # noqa: BLE001 - the one border: any backend's error is an outcome
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Ran(declared, answer(declared, Outcome.FAILED, f"Could not run: {text[:500]}"))


def missing_inputs(declared: DeclaredCheck, sources: Sources) -> str:
    """Name the inputs that are absent; empty when none is."""
    absent = [name for name in declared.needs if not sources.has(name)]
    if absent:
        return f"Not applicable: no table {' and no table '.join(absent)}."
    for name, columns in declared.needs.items():
        there = sources.columns(name)
        without = [column for column in columns if column not in there]
        if without:
            return f"Not applicable: {name} has no column {', '.join(without)}."
    return _not_given(declared, sources)


def _not_given(declared: DeclaredCheck, sources: Sources) -> str:
    """Name what was not handed in, or in another currency; empty when nothing is missing."""
    if declared.needs_experiment and sources.experiment is None:
        return "Not applicable: no experiment was given."
    if declared.needs_attribution:
        if sources.attribution is None:
            return "Not applicable: no attribution was given."
        stated = sources.attribution.definition.get("currency") or sources.currency
        if stated != sources.currency:
            return f"Not applicable: the attribution is in {stated}."
    if declared.needs_incremental and sources.incremental is None:
        return "Not applicable: no experiment estimate was given."
    return ""


def _run(declared: DeclaredCheck, sources: Sources) -> Ran:
    if declared.judge is not None:
        return Ran(declared, declared.judge(sources))
    examined = {t: sources.number(rows) for t, rows in declared.examined(sources).items()}
    if not sum(examined.values()):
        nothing = declared.empty or f"no rows in {' and '.join(examined)}"
        text = f"Not applicable: {nothing}."
        return Ran(declared, answer(declared, Outcome.NOT_APPLICABLE, text))
    # Computed once: evidence, facts, the ledger and the bridge all read these rows again.
    found = {t: sources.engine.materialize(rows) for t, rows in declared.find(sources).items()}
    sampled = {table: _sample(declared, sources, flagged) for table, flagged in found.items()}
    rows = {table: sample.rows for table, sample in sampled.items()}
    amounts = {table: sample.amount for table, sample in sampled.items()}
    partial = _partial(declared, sources) + declared.caveat(sources)
    if not sum(rows.values()):
        looked = ", ".join(f"{n:,} {NOUNS.get(table, table)}" for table, n in examined.items())
        text = f"{declared.passed} ({looked} examined).{partial}"
        result = answer(declared, Outcome.PASSED, text, rows=0, currency=sources.currency)
        return Ran(declared, result, found, rows, amounts)
    tally = Tally(rows, examined, sources.currency, amounts, declared.facts(sources))
    result = answer(
        declared,
        Outcome.FLAGGED,
        f"{declared.flagged(tally)}.{partial}",
        rows=sum(n for table, n in rows.items() if declared.counted(table)),
        currency=sources.currency,
        evidence=_evidence(declared, sources, sampled),
    )
    return Ran(declared, result, found, rows, amounts)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Totals of flagged rows, and the first of them."""

    rows: int
    amount: int
    first: tuple[dict[str, Any], ...] = ()


def _sample(declared: DeclaredCheck, sources: Sources, flagged: Table) -> _Sample:
    """Count, add up and sample the flagged rows in one pass, in a total order."""
    whole_table = window()
    totals = flagged.mutate(
        all_rows=flagged.count().over(whole_table),
        all_amount=flagged.amount.sum().over(whole_table).cast("int64"),
    )
    limit = max(sources.settings.evidence_rows, 1)
    first = sources.engine.fetch(totals.order_by(["entity_id", "raw_id"]).limit(limit)).to_pylist()
    if not first:
        return _Sample(0, 0)
    rows, amount = int(first[0]["all_rows"]), int(first[0]["all_amount"])
    if declared.by_entity:
        entities = sources.engine.fetch(flagged.aggregate(rows=flagged.entity_id.nunique()))
        rows = int(entities["rows"][0].as_py())
    return _Sample(rows, amount, tuple(first))


def _partial(declared: DeclaredCheck, sources: Sources) -> str:
    absent = [name for name in declared.uses if not sources.has(name)]
    return f" Checked without {' and '.join(absent)}, which are absent." if absent else ""


def _evidence(
    declared: DeclaredCheck, sources: Sources, sampled: Mapping[str, _Sample]
) -> tuple[Mapping[str, Any], ...]:
    """Take the first flagged rows of the headline, with the ids of their raw rows."""
    rows = [
        _plain(table, row)
        for table, sample in sampled.items()
        if declared.counted(table)
        for row in sample.first
    ]
    return tuple(rows[: sources.settings.evidence_rows])


def _plain(table: str, row: dict[str, Any]) -> Mapping[str, Any]:
    amount = "micros_at_risk" if table in IN_MICROS else "money_at_risk"
    renamed = {"table": table, **row, amount: row["amount"]}
    hidden = {"amount", "whole", "all_rows", "all_amount"}
    return {name: _text(value) for name, value in renamed.items() if name not in hidden}


def _text(value: Any) -> Any:
    """Times as ISO 8601 in UTC, so that evidence is plain JSON."""
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return int(value) if isinstance(value, Decimal) else value


def answer(declared: DeclaredCheck, outcome: Outcome, message: str, **fields: Any) -> Check:
    """The result of a check; ``fields`` are those of :class:`measure.results.Check`."""
    return Check(
        code=declared.code,
        title=declared.title,
        outcome=outcome,
        message=message,
        severity=declared.severity,
        disposition=declared.disposition,
        anchor=declared.anchor,
        **fields,
    )


def micros_to_minor(micros: int, currency: str) -> int:
    """Millionths of a currency unit in minor units, a half rounded to the even neighbour."""
    minor = Decimal(micros) / (10 ** (6 - minor_digits(currency)))
    return int(minor.to_integral_value(ROUND_HALF_EVEN))


def money_text(minor: int, currency: str) -> str:
    """``1,234.50 EUR`` from minor units, with a typographic minus."""
    digits = minor_digits(currency)
    amount = f"{Decimal(abs(minor)).scaleb(-digits):,.{digits}f}"
    return f"{'−' if minor < 0 else ''}{amount} {currency}"


def without_money(entity: Column, raw: Column | None = None) -> dict[str, Any]:
    """Leading columns of flagged rows that put no money in question and are set aside whole."""
    raw = entity if raw is None else raw
    return {"entity_id": entity, "raw_id": raw, "amount": literal(0).cast("int64"), "whole": 1}


def percent(part: int, whole: int) -> str:
    """``0.4 %``; a share that would round to 0 is shown as below 0.1 %."""
    if not whole:
        return "share unknown"
    share = 100 * part / whole
    return "< 0.1 %" if 0 < share < 0.05 else f"{share:.1f} %"
