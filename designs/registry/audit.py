"""The audit chain: every row carries a keyed hash of itself and of the row before it.

``h_i = HMAC-SHA256(key, h_(i−1) ‖ canonical(row_i))``, from a first link of 64 zeros. Without the
key nobody can write a row that fits, and a changed, missing or added row breaks the chain at that
row. What a chain alone cannot show is that its end was cut off: for that an exported head is kept
elsewhere (:class:`Head`) and held against the chain. Rows are ordered by their number, which has no
gaps, never by the clock.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from measure.errors import DataError, InputError
from measure.results import Result

FIRST_LINK = "0" * 64
SEAL = "seal"
"""The row that counts those from before the chain, written when their registry was upgraded."""
MIN_KEY_BYTES = 16
_PURPOSE = b"truelift audit chain, version 1"


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row as it is stored; ``at`` is microseconds since 1970 in UTC."""

    sequence: int
    key: str
    at: int
    who: str
    role: str
    account: str
    what: str
    detail: str
    """Canonical JSON."""
    hash: str = ""
    """Empty in rows that were written before there was a chain."""


@dataclass(frozen=True, slots=True)
class Head(Result):
    """How far a chain has come, to be kept outside: number and hash of its last row."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verification(Result):
    """What became of a chain that was read row by row."""

    rows: int
    unchained: int
    """Rows of an earlier release, before the chain; the first chained row vouches for them."""
    first_bad: int | None
    """Number of the first row that is wrong or missing; ``None`` when all is well."""
    reason: str
    record: str = ""
    """What the registry's tables say otherwise than the chain; empty when they agree."""

    @property
    def intact(self) -> bool:
        """Whether every row is what it was, and the tables say what the rows say."""
        return self.first_bad is None and not self.record


def chain_key(secret: bytes) -> bytes:
    """Derive the chain's own key from the workspace's secret, so that no two uses share one."""
    if len(secret) < MIN_KEY_BYTES:
        raise InputError(
            f"the workspace key has {len(secret)} bytes, must be at least {MIN_KEY_BYTES}. "
            "Restore it from your backup: another key would not fit the audit chain."
        )
    return hmac.digest(secret, _PURPOSE, "sha256")


def link(key: bytes, previous: str, row: AuditRow) -> str:
    """Return the hash of a row that follows a row with hash ``previous``."""
    message = f"{previous}\n{canonical(_content(row))}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def verify(
    rows: Iterable[AuditRow], key: bytes, stored: Head, exported: Head | None = None
) -> Verification:
    """Walk a chain from its first row; stop at the first that is wrong.

    ``stored`` is the head that the registry keeps, ``exported`` one that was kept elsewhere.
    """
    previous, count, unchained, sealed = FIRST_LINK, 0, 0, 0
    for row in rows:
        expected = link(key, previous, row)
        reason = _wrong(row, expected, count, unchained, exported)
        if reason:
            return Verification(count, unchained, count + 1, reason)
        unchained += not row.hash
        sealed = max(sealed, _sealed(row))
        previous, count = expected, count + 1
    if unchained != sealed:
        at = min(unchained, sealed) + 1
        return Verification(count, unchained, at, f"row {at} carries no hash")
    cut, reason = _cut_off(Head(count, previous), stored, exported)
    return Verification(count, unchained, cut, reason)


def _cut_off(last: Head, stored: Head, exported: Head | None) -> tuple[int | None, str]:
    """Compare the last row with where the heads say the chain ends."""
    count = last.sequence
    for head, name in ((exported, "exported head"), (stored, "registry's own head")):
        if head and head.sequence > count:
            return count + 1, f"row {count + 1} is missing: the {name} is at row {head.sequence}"
    if stored.sequence < count:
        extra = stored.sequence + 1
        return extra, f"row {extra} is beyond the registry's own head"
    if count and stored.hash != last.hash:
        return count, f"row {count} is not the one in the registry's own head"
    return None, ""


def read_head(text: str, origin: str) -> Head:
    """Read an exported head; :class:`DataError` when it is none."""
    try:
        document = json.loads(text)
        head = Head(document["sequence"], document["hash"])
    except (ValueError, KeyError, TypeError):
        head = None
    if head is None or not _is_head(head):
        raise DataError(
            f"{origin}: not an exported head. Write one: truelift audit head --out FILE"
        )
    return head


def text_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8, as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(value: Mapping[str, Any]) -> str:
    """JSON that is the same for the same value: sorted names, no blanks, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def one_line(text: str, most: int = 200) -> str:
    """Keep a text from forging further lines: what is not printable becomes a blank."""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:most]


def _is_head(head: Head) -> bool:
    """Whether a head that was read has the values of one: a row's number and its hash."""
    number, hashed = head.sequence, head.hash
    whole = isinstance(number, int) and not isinstance(number, bool) and number > 0
    return whole and isinstance(hashed, str) and re.fullmatch("[0-9a-f]{64}", hashed) is not None


def _sealed(row: AuditRow) -> int:
    """How many rows from before the chain a row counts."""
    return int(json.loads(row.detail)["unchained"]) if row.what == SEAL and row.hash else 0


def _content(row: AuditRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in AuditRow.__slots__ if name != "hash"}


def _wrong(row: AuditRow, expected: str, count: int, unchained: int, exported: Head | None) -> str:
    """Say what is wrong with the row after the first ``count``; nothing when nothing is."""
    if row.sequence != count + 1:
        return f"row {count + 1} is missing"
    if exported and row.sequence == exported.sequence and row.hash != exported.hash:
        return f"row {row.sequence} is not the one in the exported head"
    if not row.hash and unchained == count:
        return ""  # of an earlier release: the seal vouches for its content
    if not hmac.compare_digest(expected.encode(), row.hash.encode()):
        reason = f"row {row.sequence} does not follow from the rows before it"
        if unchained and unchained == count:
            reason += f"; rows 1 to {unchained} carry no hash, so it may be one of them"
        return reason
    return ""
