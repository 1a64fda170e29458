"""The few words of the expression language that other modules use; only this package knows Ibis.

Everything else is a method of a table or column. Never used here or by callers, because backends
disagree or order is arbitrary: as-of joins with a tolerance, ``.hash()``, ``argmax`` on time,
ordered ``group_concat`` or ``collect``, upserts, temporary tables, boolean casts (use ``ifelse``).
"""

from __future__ import annotations

from datetime import UTC, datetime

import ibis
from ibis import (
    _,
    cases,
    coalesce,
    cume_dist,
    desc,
    greatest,
    ifelse,
    interval,
    least,
    literal,
    null,
    or_,
    row_number,
    union,
    window,
)
from ibis.expr.types import Column, Scalar, Table, Value

__all__ = [
    "Column",
    "Scalar",
    "Table",
    "Value",
    "_",
    "cases",
    "coalesce",
    "cume_dist",
    "desc",
    "greatest",
    "ifelse",
    "interval",
    "least",
    "literal",
    "moment",
    "month_start",
    "null",
    "or_",
    "row_number",
    "trimmed",
    "union",
    "whole_numbers",
    "window",
]


def moment(when: datetime, like: Column) -> Scalar:
    """Return a time as a literal of a column's own type, zoned or not; naive means UTC."""
    kind = like.type()
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    zoned = getattr(kind, "timezone", None)
    return literal(aware if zoned else aware.astimezone(UTC).replace(tzinfo=None), type=kind)


def month_start(day: Value) -> Value:
    """The first day of its month.

    Made of its parts: a truncated date is a moment on Spark, which a cast to date leaves one.
    """
    return ibis.date(day.year(), day.month(), 1)


def trimmed(text: Value) -> Value:
    """A text without blanks and tabs at its ends.

    Not ``strip()``: on Spark that takes away the letter v as well, because Ibis 12 writes a
    vertical tab so.
    """
    return text.re_replace(r"^[ \t]+", "").re_replace(r"[ \t]+$", "")


def whole_numbers(first: int, last: int, name: str) -> Table:
    """A table with one column and a row per whole number, both ends included."""
    return ibis.range(first, last + 1).unnest().name(name).as_table()
