"""The few words of the expression language that other modules use; only this package knows Ibis.

Everything else is a method of a table or column. Never used here or by callers, because backends
disagree or order is arbitrary: as-of joins with a tolerance, ``.hash()``, ``argmax`` on time,
ordered ``group_concat`` or ``collect``, upserts, temporary tables, boolean casts (use ``ifelse``).
"""

from __future__ import annotations

from datetime import UTC, datetime

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
    "null",
    "or_",
    "row_number",
    "union",
    "window",
]


def moment(when: datetime, like: Column) -> Scalar:
    """Return a time as a literal of a column's own type, zoned or not; naive means UTC."""
    kind = like.type()
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    zoned = getattr(kind, "timezone", None)
    return literal(aware if zoned else aware.astimezone(UTC).replace(tzinfo=None), type=kind)
