"""Arrow columns from integer codes, without a Python loop over rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from console.demo.setting import START, Flags, Integers

_START_MICROSECONDS = int(START.timestamp()) * 1_000_000


def times(milliseconds: Integers, missing: Flags | None = None) -> pa.TimestampArray:
    """UTC timestamps in microseconds from milliseconds since the start of the window."""
    microseconds = _START_MICROSECONDS + np.asarray(milliseconds, dtype=np.int64) * 1_000
    return pa.array(microseconds, pa.int64(), mask=missing).cast(pa.timestamp("us", tz="UTC"))


def pick(names: Sequence[str], codes: Integers) -> pa.StringArray:
    """Text from codes: ``names[code]``."""
    return pa.array(list(names), pa.string()).take(pa.array(codes))


def serial(prefix: str, n: int, width: int, first: int = 0) -> pa.StringArray:
    """Ids such as ``c0000123``."""
    return numbered(prefix, np.arange(first, first + n), width)


def numbered(prefix: str, numbers: Integers, width: int) -> pa.StringArray:
    """Ids of given numbers, zero-padded to ``width`` digits."""
    digits = pc.utf8_lpad(pa.array(numbers, pa.int64()).cast(pa.string()), width, "0")
    return prefixed(prefix, digits)


def prefixed(prefix: str, text: pa.StringArray) -> pa.StringArray:
    """``prefix`` before each text."""
    return pc.binary_join_element_wise(pa.scalar(prefix), text, pa.scalar(""))


def hexadecimal(draw: np.random.Generator, n: int, size: int) -> pa.StringArray:
    """``n`` random identifiers of ``size`` bytes, as lower-case hexadecimal digits."""
    digits = draw.bytes(n * size).hex().encode()
    return pa.array(np.frombuffer(digits, dtype=f"S{2 * size}"), pa.binary()).cast(pa.string())


def optional(text: pa.StringArray, position: Integers, n: int) -> pa.StringArray:
    """A column of ``n`` rows holding ``text[i]`` at row ``position[i]``, missing elsewhere."""
    source = np.zeros(n, dtype=np.int64)
    absent = np.ones(n, dtype=bool)
    source[position], absent[position] = np.arange(len(position)), False
    return text.take(pa.array(source, mask=absent))
