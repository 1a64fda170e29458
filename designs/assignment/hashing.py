"""``bucket(salt, unit_id)``: a number in [0, 2⁶⁰) that is the same in every language, for ever.

The bucket is the first 15 hex digits (60 bits, which fit a signed 64-bit integer everywhere) of the
SHA-256 over the UTF-8 bytes of the salt, one byte 0x1F, and the NFC-normalised id. Buckets are
compared with integer thresholds, so shares are exact and no modulo favours a value. 10,000
published vectors (``tests/designs/vectors.json.gz``) hold the function in place.
"""

from __future__ import annotations

import hashlib
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple

from measure.errors import InputError

SPACE = 1 << 60
"""Number of buckets."""
HEX_DIGITS = 15
SEPARATOR = "\x1f"
MAX_ID_BYTES = 16_384


class Purpose(StrEnum):
    """What a hash is used for; each purpose has salts of its own, so no two share a hash."""

    HOLDOUT = "holdout"
    """Whether a unit is held back from every campaign; salted by the holdout's name."""
    LAYER = "layer"
    """Where a unit lies in a layer of experiments that exclude each other; salted by its name."""
    ROLLOUT = "rollout"
    """Whether a unit is let in at the present ramp share; salted by the experiment."""
    ARM = "arm"
    """Which arm a unit gets; salted by the experiment, and by the factor in a factorial design."""
    DRAW = "draw"
    """Draws of a balanced assignment; salted by the experiment and the number of the draw."""
    SCHEDULE = "schedule"
    """Order of arms in a switchback; salted by the experiment and the number of the round."""


class Threshold(NamedTuple):
    """An arm and the end of its buckets: it owns those from the previous end up to below this."""

    arm: str
    end: int


def purpose_salt(purpose: Purpose, name: str) -> str:
    """The salt of one purpose, for example ``arm:womens-email-2008``."""
    if SEPARATOR in name or "\x00" in name:
        raise InputError.rule("salt", name, "must not hold the control characters 0x1F or NUL")
    return f"{purpose.value}:{name}"


def normalize_id(unit_id: str) -> str:
    """The NFC form of an id; :class:`InputError` on empty, NUL, lone surrogates or over 16 KiB."""
    text = unicodedata.normalize("NFC", unit_id)
    shown = text[:40]
    if not text:
        raise InputError.rule("unit id", shown, "must not be empty")
    if "\x00" in text:
        raise InputError.rule("unit id", shown, "must not hold NUL")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InputError.rule("unit id", shown, "must be valid Unicode text") from None
    if size > MAX_ID_BYTES:
        raise InputError.rule("unit id", shown + "…", f"has {size} bytes, at most {MAX_ID_BYTES}")
    return text


def digest(salt: str, unit_id: str) -> str:
    """SHA-256 (64 hex digits) of salt, 0x1F and the normalised id."""
    return hashlib.sha256(f"{salt}{SEPARATOR}{normalize_id(unit_id)}".encode()).hexdigest()


def bucket(salt: str, unit_id: str) -> int:
    """Bucket of a unit under a salt, in [0, 2⁶⁰); :class:`InputError` when the id is unusable."""
    return int(digest(salt, unit_id)[:HEX_DIGITS], 16)


def share_threshold(share: float) -> int:
    """First bucket beyond a share: ``0.1`` covers the buckets below ``⌊2⁶⁰ / 10⌋``.

    A share means the decimal number as it is written, not its binary approximation.
    """
    if not 0 <= share <= 1:
        raise InputError.rule("share", share, "must lie between 0 and 1")
    return int(_exact(share) * SPACE)


def thresholds(shares: Mapping[str, float]) -> tuple[Threshold, ...]:
    """Cumulative ends of the arms in [0, 2⁶⁰]; the last end is exactly 2⁶⁰.

    Arms lie in the order of their names (by code point), so the order in which a specification
    lists them moves nobody.
    """
    if abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values(), default=0.0) < 0:
        raise InputError.rule("shares", dict(shares), "must be positive and add up to 1")
    names = sorted(shares)
    ends = [int(end * SPACE) for end in accumulate(_exact(shares[name]) for name in names)]
    ends[-1] = SPACE
    return tuple(Threshold(name, end) for name, end in zip(names, ends, strict=True))


def arm_of(bucket_number: int, shares: Mapping[str, float]) -> str:
    """The arm that owns a bucket."""
    if not 0 <= bucket_number < SPACE:
        raise InputError.rule("bucket", bucket_number, "must lie in [0, 2^60)")
    ends = thresholds(shares)
    return ends[bisect_right([end for _, end in ends], bucket_number)].arm


def _exact(share: float) -> Fraction:
    return Fraction(repr(float(share)))
