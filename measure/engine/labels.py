"""How arms and cohort values read, the same for every engine and column type."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = "(missing)"
"""The cohort of units whose value is missing."""


def label_of(value: object) -> str:
    """An arm or cohort value as text; ``1.0`` reads ``1``, a missing value ``(missing)``."""
    if value is None or value == "" or value != value:  # noqa: PLR0124 - NaN differs from itself
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if isinstance(value, date) else str(value)


def labelled(column: pa.ChunkedArray) -> pa.Array:
    """A column of any type as labels."""
    import pyarrow as pa

    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    labels = pa.array([label_of(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return labels.take(encoded.indices)
