"""The list of checks, as every page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from measure.results import Check, Outcome, Severity
from reports.charts.shapes import Column, Table
from reports.numbers import count, number, p_exact, p_value, short_minor
from reports.pages.model import CheckRow, ChecksBlock
from reports.text import check_summary
from reports.words import clean, outcome_word, plain_name, plural, sentence

_ORDER = {
    Outcome.FLAGGED: 0,
    Outcome.FAILED: 1,
    Outcome.PASSED: 2,
    Outcome.NOT_APPLICABLE: 3,
}
_DISPOSITION = {
    "drop": "left out",
    "hold": "held back, not left out",
    "reweight": "counted in part",
    "note": "noted only",
}
SAMPLES = 10
"""Evidence rows shown under a check."""


def checks_block(
    checks: Sequence[Check], *, heading: str = "Checks", grouped: bool = False
) -> ChecksBlock:
    """All checks: what was flagged first, or in the order of the catalogue when ``grouped``."""
    ordered = list(checks)
    if not grouped:
        ordered.sort(key=lambda c: (_ORDER[c.outcome], c.severity is not Severity.STOP))
    rows = tuple(_row(check) for check in ordered)
    return ChecksBlock("checks", heading, check_summary(checks), rows)


def disposition(word: str | None) -> str:
    """What happened to the rows a check flagged."""
    return _DISPOSITION.get(word or "", plain_name(word or ""))


def _row(check: Check) -> CheckRow:
    flagged = check.outcome in {Outcome.FLAGGED, Outcome.FAILED}
    stop = flagged and check.severity is Severity.STOP
    return CheckRow(
        code=clean(check.code, 20),
        title=clean(check.title),
        icon="stop" if stop else check.outcome.value,
        word=f"{outcome_word(check.outcome)}, no conclusion" if stop else _word(check),
        message=sentence(clean(check.message, 800)),
        figures=_figures(check),
        anchor="" if check.outcome is Outcome.PASSED else clean(check.anchor, 120),
        evidence=_evidence(check),
    )


def _word(check: Check) -> str:
    noted = check.outcome is Outcome.FLAGGED and check.severity is Severity.NOTE
    return "noted" if noted else outcome_word(check.outcome)


def _figures(check: Check) -> tuple[tuple[str, str], ...]:
    """The numbers of a check that have a meaning for it."""
    found = []
    if check.rows is not None:
        found.append(("rows", count(check.rows)))
    if check.money is not None and check.currency:
        found.append(("money", short_minor(check.money, check.currency)))
    if check.disposition and check.outcome is Outcome.FLAGGED:
        found.append(("treated as", disposition(check.disposition)))
    if check.p_value is not None:
        found.append(("p", p_value(check.p_value)))
    return tuple(found)


def _evidence(check: Check) -> Table | None:
    """A few of the rows a check flagged, under their own column names."""
    if not check.evidence:
        return None
    shown = check.evidence[:SAMPLES]
    names = list(dict.fromkeys(str(name) for row in shown for name in row))[:12]
    rows = tuple(tuple(_cell(row, name) for name in names) for row in shown)
    caption = "What it looked at"
    if check.outcome is Outcome.FLAGGED and check.rows:
        caption = f"{count(len(shown))} of {plural(check.rows, 'flagged row')}"
    caption = f"{clean(check.code, 20)}: {caption[:1].lower()}{caption[1:]}"
    return Table(caption, tuple(Column(plain_name(name)) for name in names), rows)


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        small = 0 < abs(value) < 0.001
        return (
            p_exact(value) if small and "p" in name.split("_") else number(value, 6 if small else 4)
        )
    return clean(str(value), 80)
