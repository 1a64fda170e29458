"""Strict reading per kind: each column of a contract as a value and a reason to refuse it.

All values arrive as text, whatever the file; these expressions decide what they mean. The first
reason in column order is the one that stands in quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable

from measure.engine.contracts import Column, Contract, Kind
from measure.engine.embedded import identifier, text_literal
from measure.engine.strict import INTEGER, NUMBER

MOST_BYTES = 16_384
"""Longest text in UTF-8 bytes."""

_CLOCK = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.]\d{1,9})?)?"
_NAIVE = r"\d{4}-\d{2}-\d{2}([T ]" + _CLOCK + ")?"
_MOMENT = r"\d{4}-\d{2}-\d{2}[T ]" + _CLOCK + r"(Z|[+-]\d{2}(:?\d{2})?)"
_EPOCH = r"\d{9,19}"
_DAY = r"\d{4}-\d{2}-\d{2}"

_TYPES = {
    Kind.TEXT: "VARCHAR",
    Kind.INTEGER: "BIGINT",
    Kind.MONEY: "BIGINT",
    Kind.MICROS: "BIGINT",
    Kind.NUMBER: "DOUBLE",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
    Kind.DATE: "DATE",
}


def value(column: Column, *, present: bool) -> str:
    """The typed value; missing where the text is not of the column's kind."""
    kind = _TYPES[column.kind]
    if not present:
        return f"CAST(NULL AS {kind})"
    name = identifier(column.name)
    if column.kind is Kind.TEXT:
        return f"nfc_normalize({name})"
    return f"TRY_CAST({name} AS {kind})"


def reasons(contract: Contract, present: Iterable[str], extra: Iterable[str]) -> str:
    """Why a row is refused, or NULL: the first broken rule in column order."""
    found = set(present)
    checks = [
        check for column in contract.columns if column.name in found for check in _checks(column)
    ]
    checks += [check for name in extra for check in _text_checks(name, ())]
    cases = " ".join(f"WHEN {test} THEN {text_literal(reason)}" for test, reason in checks)
    return f"CASE {cases} END"


def _checks(column: Column) -> list[tuple[str, str]]:
    name, label = identifier(column.name), column.name
    checks = [(f"{name} IS NULL", f"{label}: missing")] if column.required else []
    if column.kind is Kind.TEXT:
        return checks + _text_checks(column.name, column.allowed)
    return checks + _KIND_CHECKS[column.kind](name, label)


def _text_checks(label: str, allowed: tuple[str, ...]) -> list[tuple[str, str]]:
    name = identifier(label)
    checks = [
        (f"strlen({name}) > {MOST_BYTES}", f"{label}: longer than {MOST_BYTES:,} bytes"),
        (f"contains({name}, chr(0))", f"{label}: holds a NUL character"),
    ]
    if allowed:
        listed = ", ".join(text_literal(item) for item in allowed)
        checks.append((f"{name} NOT IN ({listed})", f"{label}: not one of {', '.join(allowed)}"))
    return checks


def _unlike(name: str, pattern: str) -> str:
    return f"NOT regexp_full_match({name}, {text_literal(pattern)})"


def _integer(name: str, label: str) -> list[tuple[str, str]]:
    return [
        (_unlike(name, INTEGER), f"{label}: not a plain whole number"),
        (
            f"{name} IS NOT NULL AND TRY_CAST({name} AS BIGINT) IS NULL",
            f"{label}: beyond 64 bits",
        ),
    ]


def _number(name: str, label: str) -> list[tuple[str, str]]:
    return [(_unlike(name, NUMBER), f"{label}: not a plain finite number")]


def _boolean(name: str, label: str) -> list[tuple[str, str]]:
    return [(f"{name} NOT IN ('true', 'false', '1', '0')", f"{label}: not true or false")]


def _timestamp(name: str, label: str) -> list[tuple[str, str]]:
    moment = f"TRY_CAST({name} AS TIMESTAMP WITH TIME ZONE)"
    return [
        (
            f"regexp_full_match({name}, {text_literal(_NAIVE)})",
            f"{label}: no time zone; write an offset such as +01:00, or Z",
        ),
        (
            f"regexp_full_match({name}, {text_literal(_EPOCH)})",
            f"{label}: a bare number may be seconds or milliseconds; write ISO 8601",
        ),
        (_unlike(name, _MOMENT), f"{label}: not an ISO 8601 moment"),
        (f"{name} IS NOT NULL AND {moment} IS NULL", f"{label}: no such moment"),
        (
            f"{moment} < TIMESTAMPTZ '1990-01-01 00:00:00+00' "
            f"OR {moment} >= TIMESTAMPTZ '2100-01-01 00:00:00+00'",
            f"{label}: not between 1990 and 2100",
        ),
    ]


def _date(name: str, label: str) -> list[tuple[str, str]]:
    day = f"TRY_CAST({name} AS DATE)"
    return [
        (_unlike(name, _DAY), f"{label}: not an ISO 8601 date"),
        (f"{name} IS NOT NULL AND {day} IS NULL", f"{label}: no such day"),
        (
            f"{day} < DATE '1990-01-01' OR {day} >= DATE '2100-01-01'",
            f"{label}: not between 1990 and 2100",
        ),
    ]


_KIND_CHECKS = {
    Kind.INTEGER: _integer,
    Kind.MONEY: _integer,
    Kind.MICROS: _integer,
    Kind.NUMBER: _number,
    Kind.BOOLEAN: _boolean,
    Kind.TIMESTAMP: _timestamp,
    Kind.DATE: _date,
}
