"""Tombstones: keyed hashes by which rows of erased people are known again, and nothing else.

A log that is loaded anew must not bring somebody back. What is kept is HMAC-SHA256 (RFC 2104) of
the kind of id and the id, under a key of its own that lies outside the warehouse, and only until a
date. Rows that match are refused with a reason, and nothing of what they held is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measure.engine.embedded import identifier, sql, text_literal
from measure.engine.manifest import publish
from measure.errors import EngineError

REASON = "of somebody who was erased"
KINDS = {
    "customer_id": "person",
    "other_customer_id": "person",
    "unit_id": "person",
    "order_id": "order",
    "click_id": "click",
}
"""Columns that are held against tombstones, and what kind of id they hold."""
_NAME = "tombstones.json"
_HERE = "rowid IN (SELECT r FROM erased_rows)"
_BLOCK = 64
_INSIDE, _OUTSIDE = b"\x36" * _BLOCK, b"\x5c" * _BLOCK


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A keyed hash, and the moment from which it is forgotten."""

    digest: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Tombstones:
    """Those that stand in a warehouse, and the key they were made with."""

    key: bytes
    stones: tuple[Tombstone, ...]

    def digest(self, kind: str, value: str) -> str:
        """The hash by which an id is known again."""
        return hmac.digest(self.key, f"{kind}\x1f{value}".encode(), "sha256").hex()


def read_tombstones(root: Path, now: datetime | None = None) -> Tombstones | None:
    """Those that have not run out; ``None`` where there are none.

    :class:`EngineError` when their key is gone: loading would bring erased people back.
    """
    path = root / _NAME
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    moment = now or datetime.now(UTC)
    stones = tuple(
        Tombstone(one["digest"], datetime.fromisoformat(one["until"]))
        for one in content["tombstones"]
    )
    standing = tuple(stone for stone in stones if stone.until > moment)
    if not standing:
        return None
    key = (root / content["key_file"]).resolve()
    if not key.is_file():
        raise EngineError(
            f"{key}: the key of the tombstones is missing, so erased people could come back with a "
            "file. Restore it from your backup."
        )
    return Tombstones(bytes.fromhex(key.read_text(encoding="ascii").strip()), standing)


def add_tombstones(
    root: Path, key_file: Path, ids: Iterable[tuple[str, str]], until: datetime
) -> None:
    """Put up tombstones for (kind, id); those that have run out are taken down."""
    standing = read_tombstones(root)
    key = standing.key if standing else _key(key_file)
    known = Tombstones(key, standing.stones if standing else ())
    new = {known.digest(kind, value): until for kind, value in ids}
    stones = {stone.digest: stone.until for stone in known.stones} | new
    content = {
        "version": 1,
        "key_file": os.path.relpath(key_file, root),
        "tombstones": [
            {"digest": digest, "until": moment.isoformat()}
            for digest, moment in sorted(stones.items())
        ],
    }
    temporary = root / f"{_NAME}.new"
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    publish(temporary, root / _NAME)


def blank_erased(session: Any, root: Path, names: Sequence[str]) -> str | None:
    """Empty the rows of ``raw`` that are of erased people; SQL that is true for them, if any.

    ``session`` is an embedded one with a temporary table ``raw`` of text columns ``names``.
    """
    columns = [name for name in names if name in KINDS]
    standing = read_tombstones(root) if columns else None
    if standing is None:
        return None
    session.execute("CREATE TEMP TABLE tombstones (digest VARCHAR)")
    session.executemany("INSERT INTO tombstones VALUES (?)", [[s.digest] for s in standing.stones])
    hashes = ", ".join(_hashed(standing.key, name) for name in columns)
    session.execute(
        sql(
            "CREATE TEMP TABLE erased_rows AS SELECT DISTINCT r FROM "
            "(SELECT rowid AS r, unnest([$hashes]) AS digest FROM raw) SEMI JOIN tombstones "
            "USING (digest)",
            hashes=hashes,
        )
    )
    blank = ", ".join(f"{identifier(name)} = NULL" for name in names)
    session.execute(sql("UPDATE raw SET $blank WHERE $here", blank=blank, here=_HERE))
    return _HERE


def _hashed(key: bytes, column: str) -> str:
    """HMAC-SHA256 of a column in the engine: H(key ⊕ outside, H(key ⊕ inside, text))."""
    block = hashlib.sha256(key).digest() if len(key) > _BLOCK else key
    padded = block.ljust(_BLOCK, b"\0")
    inside, outside = (
        bytes(a ^ b for a, b in zip(padded, p, strict=True)).hex() for p in (_INSIDE, _OUTSIDE)
    )
    kind = text_literal(f"{KINDS[column]}\x1f")
    text = f"encode({kind} || nfc_normalize({identifier(column)}))"
    return f"sha256(unhex('{outside}') || unhex(sha256(unhex('{inside}') || {text})))"


def _key(path: Path) -> bytes:
    """The key in a file that only the owner can read; made when there is none."""
    if not path.exists():
        temporary = path.with_name(f"{path.name}.new")
        temporary.touch(mode=0o600)
        temporary.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
        publish(temporary, path)
    return bytes.fromhex(path.read_text(encoding="ascii").strip())
