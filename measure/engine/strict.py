"""What a text must look like to be a number; nothing else is read as one.

Typed readers take ``1_000`` for 1000, ``nan`` and ``inf`` for numbers, ``1e400`` for infinity and
``007`` for 7. Here each of these is refused, on every engine by the same pattern.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from measure.errors import DataError

if TYPE_CHECKING:
    from measure.engine.connection import Engine
    from measure.engine.expressions import Column, Table

INTEGER = "[+-]?(0|[1-9][0-9]{0,18})"
NUMBER = r"[+-]?(0|[1-9][0-9]{0,39})([.][0-9]{1,60})?([eE][+-]?[0-9]{1,2})?"
"""At most 40 digits before the point and two in the exponent: always finite."""


def read_numbers(
    engine: Engine, table: Table, columns: dict[str, str], row: str | None, where: str
) -> dict[str, Column]:
    """Text columns as 64-bit floats, after checking that every value is a plain number.

    ``columns`` maps a text column to the name used in messages, ``row`` is the column with row
    numbers where there is one. An empty text is a missing value. Raises :class:`DataError` naming
    column, value and row of the first text.
    """
    if not columns:
        return {}
    texts = {name: table[name].nullif("") for name in columns}
    refused = {name: ~text.re_search(f"^{NUMBER}$") for name, text in texts.items()}
    counts = {f"bad_{i}": refused[name].ifelse(1, 0).sum() for i, name in enumerate(columns)}
    found = engine.fetch(table.aggregate(**counts)).to_pylist()[0]
    for i, (name, label) in enumerate(columns.items()):
        if found[f"bad_{i}"]:
            bad = table.filter(refused[name])
            raise _text_error(engine, bad, (name, label), row, where, int(found[f"bad_{i}"]))
    return {name: text.cast("float64") for name, text in texts.items()}


def _text_error(
    engine: Engine, bad: Table, column: tuple[str, str], row: str | None, where: str, count: int
) -> DataError:
    name, label = column
    shown = [row, name] if row else [name]
    first = engine.fetch(bad.select(*shown).order_by(*shown).limit(1)).to_pylist()[0]
    place = f" in row {first[row]:,}" if row else ""
    more = f" (and {count - 1:,} more like it)" if count > 1 else ""
    value = str(first[name])
    value = value if len(value) <= 60 else value[:57] + "…"
    return DataError(
        f"{where}: column {label!r} holds {value!r}{place}, which is not a plain number{more}. "
        "Write digits with a point, or leave the value empty where nothing was measured."
    )
