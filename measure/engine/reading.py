"""Strict reading per kind: each column of a contract as a value and a reason to refuse it.

All values arrive as text, whatever the file; these expressions decide what they mean. The first
reason in column order is the one that stands in quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable

from measure.engine.contracts import Column, Contract, Kind
from measure.engine.embedded import identifier, text_literal
from measure.engine.local_time import EPOCHS, Zones
from measure.engine.strict import INTEGER, NUMBER

MOST_BYTES = 16_384
"""Longest text in UTF-8 bytes."""

_CLOCK = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.]\d{1,9})?)?"
_LOCAL = r"\d{4}-\d{2}-\d{2}[T ]" + _CLOCK
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


def value(column: Column, zones: Zones, *, present: bool) -> str:
    """The typed value; missing where the text is not of the column's kind."""
    kind = _TYPES[column.kind]
    if not present:
        return f"CAST(NULL AS {kind})"
    name = identifier(column.name)
    if column.kind is Kind.TEXT:
        return f"nfc_normalize({name})"
    return _moment(name, zones) if column.kind is Kind.TIMESTAMP else f"TRY_CAST({name} AS {kind})"


def _moment(name: str, zones: Zones) -> str:
    """A moment as written, or as the zone or the unit that was stated makes it one."""
    cases = ""
    if zones.is_stated:
        wall = f"TRY_CAST({name} AS TIMESTAMP)"
        cases += f" WHEN {_like(name, _LOCAL)} THEN moment_of({wall}, {zones.expression})"
    if zones.reading.epoch:
        count = f"TRY_CAST({name} AS HUGEINT) * {EPOCHS[zones.reading.epoch]}"
        count = f"TRY_CAST({count} AS BIGINT)"
        # Beyond this no calendar reaches; the range of the contract is checked elsewhere.
        near = f"CASE WHEN abs({count}) < 9000000000000000000 THEN {count} END"
        moment = f"timezone('UTC', make_timestamp({near}))"
        cases += f" WHEN {_like(name, _EPOCH)} THEN {moment}"
    written = f"TRY_CAST({name} AS TIMESTAMP WITH TIME ZONE)"
    return f"(CASE{cases} ELSE {written} END)" if cases else written


def reasons(contract: Contract, present: Iterable[str], extra: Iterable[str], zones: Zones) -> str:
    """Why a row is refused, or NULL: the first broken rule in column order."""
    found = set(present)
    checks = [
        check
        for column in contract.columns
        if column.name in found
        for check in _checks(column, zones)
    ]
    checks += [check for name in extra for check in _text_checks(name, ())]
    cases = " ".join(f"WHEN {test} THEN {text_literal(reason)}" for test, reason in checks)
    return f"CASE {cases} END"


def _checks(column: Column, zones: Zones) -> list[tuple[str, str]]:
    name, label = identifier(column.name), column.name
    checks = [(f"{name} IS NULL", f"{label}: missing")] if column.required else []
    if column.kind is Kind.TEXT:
        return checks + _text_checks(column.name, column.allowed)
    if column.kind is Kind.TIMESTAMP:
        return checks + _timestamp(name, label, zones)
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


def _like(name: str, pattern: str) -> str:
    return f"regexp_full_match({name}, {text_literal(pattern)})"


def _unlike(name: str, pattern: str) -> str:
    return f"NOT {_like(name, pattern)}"


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


def _timestamp(name: str, label: str, zones: Zones) -> list[tuple[str, str]]:
    moment, missing = _moment(name, zones), "IS NOT NULL AND"
    written = [f"({_unlike(name, _MOMENT)})"]
    checks = [(_like(name, _DAY), f"{label}: no time zone and no time of day, only a date")]
    if zones.is_stated:
        written.append(f"({_unlike(name, _LOCAL)})")
    if zones.reading.epoch:
        written.append(f"({_unlike(name, _EPOCH)})")
    return [
        *checks,
        *_local(name, label, zones),
        *_counted(name, label, zones),
        (" AND ".join(written), f"{label}: not an ISO 8601 moment"),
        (f"{name} {missing} {moment} IS NULL", f"{label}: no such moment"),
        (
            f"{moment} < TIMESTAMPTZ '1990-01-01 00:00:00+00' "
            f"OR {moment} >= TIMESTAMPTZ '2100-01-01 00:00:00+00'",
            f"{label}: not between 1990 and 2100",
        ),
    ]


def _local(name: str, label: str, zones: Zones) -> list[tuple[str, str]]:
    """Local times that no zone was stated for, or that their zone has never or twice."""
    local, wall = _like(name, _LOCAL), f"TRY_CAST({name} AS TIMESTAMP)"
    checks = []
    if zones.unknown:
        listed = ", ".join(text_literal(platform) for platform in sorted(zones.unknown))
        of_unknown = f"{local} AND nfc_normalize({identifier('platform')}) IN ({listed})"
        checks.append((of_unknown, f"{label}: the platform's contract names no known time zone"))
    unstated = f"{local} AND {zones.expression} IS NULL" if zones.is_stated else local
    checks.append((unstated, f"{label}: no time zone; write an offset such as +01:00, or Z"))
    if zones.is_stated:
        zone = zones.expression
        checks += [
            (
                f"{local} AND {wall} IS NOT NULL AND moment_of({wall}, {zone}) IS NULL",
                f"{label}: no such local time, the clocks were put forward",
            ),
            (
                f"{local} AND happened_twice({wall}, {zone})",
                f"{label}: a local time that happened twice, the clocks were put back",
            ),
        ]
    return checks


def _counted(name: str, label: str, zones: Zones) -> list[tuple[str, str]]:
    """Numbers for moments, unless their unit was stated."""
    if zones.reading.epoch:
        return []
    reason = f"{label}: a bare number may be seconds or milliseconds; write ISO 8601"
    return [(_like(name, _EPOCH), reason)]


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
    Kind.DATE: _date,
}
