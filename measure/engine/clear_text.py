"""Personal data in clear where a hash belongs stop a load before anything is written.

Quarantine would keep such rows on disk, so it is no place for them: the whole file is refused, and
the message names the row and never what stands in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from measure.engine.embedded import identifier, sql, text_literal
from measure.errors import DataError

IN_CLEAR = r"@|^[+(]?[0-9][0-9 ().\-/]{5,24}$"
"""An e-mail address or a telephone number; a digest in hexadecimal or base 64 is neither."""
HASHED = "_hash"
"""How the names of hashed columns end."""
_PERSONAL = "hash|mail|phone"
"""What the names of kinds hold whose identifiers must be hashed, however they are written."""


def refuse_clear_text(connection: Any, columns: Iterable[str], where: str) -> None:
    """Look through table ``raw``; :class:`DataError` names the first row with personal data."""
    names = list(columns)
    tests = [f"({_in_clear(name)})" for name in names if name.casefold().endswith(HASHED)]
    if {"kind", "identifier"} <= set(names):
        personal = f"regexp_matches(lower(kind), {text_literal(_PERSONAL)})"
        told = [name for name in ("identifier", "normal") if name in names]
        tests.append(f"({personal} AND ({' OR '.join(map(_in_clear, told))}))")
    if not tests:
        return
    query = "SELECT count(*), min(rowid) + 1 FROM raw WHERE $test"
    rows, first = connection.execute(sql(query, test=" OR ".join(tests))).fetchone()
    if rows:
        raise DataError(
            f"{where}: {rows:,} rows hold an e-mail address or a telephone number in clear where a "
            f"hash belongs, the first in row {first:,}. Nothing was loaded. Hash them first."
        )


def _in_clear(name: str) -> str:
    return f"regexp_matches(trim({identifier(name)}), {text_literal(IN_CLEAR)})"
