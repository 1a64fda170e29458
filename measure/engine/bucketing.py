r"""Bucketing in the engine: the same 60 bits as in Python, for whole populations at once.

``bucket = int(sha256(utf8(salt) + b"\x1f" + utf8(id)).hexdigest()[:15], 16)``, in [0, 2⁶⁰). Ids are
NFC-normalised at loading, so an engine only hashes. Each engine reads hex digits in its own way;
that leaf is here, all else is shared.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from measure.errors import EngineError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibis.expr.types import BooleanValue

    from measure.engine.connection import Engine
    from measure.engine.expressions import Column

_SEPARATOR = "\x1f"
_DIGITS = 15

_POSTGRES_FUNCTION = r"""
CREATE OR REPLACE FUNCTION pg_temp.truelift_bucket(message text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT AS $$
  SELECT ('x' || substr(encode(sha256(convert_to(message, 'UTF8')), 'hex'), 1, 15))
         ::bit(60)::bigint
$$
"""


def bucket_column(id_column: Column, salt: str, engine: Engine) -> Column:
    """Buckets of a text column as 64-bit integers in [0, 2**60); a missing id has none.

    Raises :class:`InputError` for a salt that is empty or holds the separator 0x1F or NUL, and
    :class:`EngineError` for an engine whose hashing is not known to agree.
    """
    import ibis

    if not salt or _SEPARATOR in salt or "\0" in salt:
        raise InputError.rule("salt", salt, "must be a text without the characters 0x1F and NUL")
    leaf = _LEAVES.get(engine.name)
    if leaf is None:
        raise EngineError(
            f"engine {engine.name!r}: bucketing is not known to agree with Python there. "
            "Use DuckDB, PostgreSQL or Spark for assignment."
        )
    return leaf(ibis.literal(salt + _SEPARATOR) + id_column, engine)


def bucket_below(id_column: Column, salt: str, end: int, engine: Engine) -> BooleanValue:
    """Whether buckets lie below ``end``; the same as comparing :func:`bucket_column`, but quicker.

    DuckDB compares the digest as text: hex digits of equal case order as the numbers do, and a
    digest that begins with the 15 digits of ``end`` is longer, so it is not below. Elsewhere the
    collation of a database could order text otherwise, so numbers are compared. Raises like
    :func:`bucket_column`.
    """
    import ibis

    bucket = bucket_column(id_column, salt, engine)
    if engine.name != "duckdb" or not 0 <= end < 16**_DIGITS:
        return bucket < end
    digest = _function("sha256", (str,), str)(ibis.literal(salt + _SEPARATOR) + id_column)
    return digest < ibis.literal(f"{end:0{_DIGITS}x}")


def _duckdb(message: Column, _: Engine) -> Column:
    import ibis

    digest = _function("sha256", (str,), str)(message)
    return (ibis.literal("0x") + digest.substr(0, _DIGITS)).cast("int64")


def _postgres(message: Column, engine: Engine) -> Column:
    # PostgreSQL below 16 has no cast from a hexadecimal text, and Ibis has no bit strings.
    with engine.backend._safe_raw_sql(_POSTGRES_FUNCTION):  # noqa: SLF001 - commits and closes
        pass
    return _function("truelift_bucket", (str,), int, database="pg_temp")(message)


def _spark(message: Column, _: Engine) -> Column:
    digest = _function("sha2", (str, int), str)(message, 256)
    return _function("conv", (str, int, int), str)(digest.substr(0, _DIGITS), 16, 10).cast("int64")


@cache
def _function(name: str, takes: tuple[type, ...], gives: type, **where: str) -> Any:
    """A function that the engine already has, as something an expression can call."""
    import ibis

    declared = _SHAPES[len(takes)]
    return ibis.udf.scalar.builtin(declared, name=name, signature=(takes, gives), **where)


def _one(a: Any) -> Any: ...
def _two(a: Any, b: Any) -> Any: ...
def _three(a: Any, b: Any, c: Any) -> Any: ...


_SHAPES = {1: _one, 2: _two, 3: _three}
"""Ibis reads the number of arguments off a Python function; it is never called."""


_LEAVES: dict[str, Callable[[Column, Engine], Column]] = {
    "duckdb": _duckdb,
    "postgres": _postgres,
    "pyspark": _spark,
}
