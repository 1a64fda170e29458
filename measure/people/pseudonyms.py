"""Pseudonyms: keyed hashes of identifiers, with versions of the key and one domain per purpose.

A pseudonym is HMAC-SHA-256 (RFC 2104, FIPS 198-1) under a secret key over the purpose, a 0x1F byte
and the normalised identifier, written as ``v<version>:<64 hexadecimal digits>``. Pseudonyms of
different purposes cannot be joined with each other, and nobody finds an identifier by trying all of
them without the key, which stays outside the warehouse.

Keys rotate: the newest version makes pseudonyms, older ones are kept to recognise those they made,
until :func:`rekeyed` has replaced them. A re-key needs the identifiers, for a pseudonym cannot be
turned back. Arms never depend on any of this: assignment hashes the customer id with a salt of its
own, so that a rotation moves nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from measure.errors import InputError, UnknownName

_SEPARATOR = b"\x1f"
_LEAST_BYTES = 32
_PURPOSE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_PSEUDONYM = re.compile(r"v([1-9][0-9]*):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, repr=False)
class PseudonymKeys:
    """Secret keys by version; the highest makes new pseudonyms. Never printed."""

    keys: Mapping[int, bytes]

    def __post_init__(self) -> None:
        if not self.keys:
            raise InputError("pseudonyms need at least one key.")
        for version, key in self.keys.items():
            if version < 1:
                raise InputError.rule("version of a key", version, "must be >= 1")
            if len(key) < _LEAST_BYTES:
                rule = f"must be >= {_LEAST_BYTES}"
                raise InputError.rule(f"bytes of key {version}", len(key), rule)
        object.__setattr__(self, "keys", MappingProxyType(dict(self.keys)))

    def __repr__(self) -> str:
        return f"PseudonymKeys(versions {sorted(self.keys)})"

    @property
    def current(self) -> int:
        """The version that makes new pseudonyms."""
        return max(self.keys)

    def rotated(self, key: bytes) -> Self:
        """The same keys and a newer one."""
        return type(self)({**self.keys, self.current + 1: key})

    def without(self, version: int) -> Self:
        """The keys but for a version that nothing is stored under any more."""
        self._key(version)
        return type(self)({v: key for v, key in self.keys.items() if v != version})

    def pseudonym(self, purpose: str, identifier: str, version: int | None = None) -> str:
        """The pseudonym of a normalised identifier for one purpose, such as ``measurement``."""
        if not _PURPOSE.fullmatch(purpose):
            rule = "must be small letters, digits, - and _, beginning with a letter"
            raise InputError.rule("purpose", purpose, rule)
        number = self.current if version is None else version
        text = purpose.encode() + _SEPARATOR + unicodedata.normalize("NFC", identifier).encode()
        return f"v{number}:{hmac.new(self._key(number), text, hashlib.sha256).hexdigest()}"

    def is_of(self, pseudonym: str, purpose: str, identifier: str) -> bool:
        """Whether a stored pseudonym stands for an identifier, under the key it was made with."""
        expected = self.pseudonym(purpose, identifier, version_of(pseudonym))
        return hmac.compare_digest(expected, pseudonym)

    def _key(self, version: int) -> bytes:
        if version not in self.keys:
            raise UnknownName.of("key", f"v{version}", [f"v{v}" for v in self.keys])
        return self.keys[version]


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """Old pseudonyms with their new ones, and how many were new already or could not be told."""

    replaced: Mapping[str, str]
    current: int
    unknown: tuple[str, ...]


def version_of(pseudonym: str) -> int:
    """The version of the key that made a pseudonym; :class:`InputError` for what is none."""
    found = _PSEUDONYM.fullmatch(pseudonym)
    if found is None:
        raise InputError("a pseudonym must read v<version>:<64 hexadecimal digits>.")
    return int(found[1])


def rekeyed(
    keys: PseudonymKeys, purpose: str, stored: Iterable[str], identifiers: Iterable[str]
) -> Rekeyed:
    """New pseudonyms for stored ones, from the identifiers of the source system.

    ``unknown`` are pseudonyms of older keys that none of the identifiers explains; they cannot be
    re-keyed and are to be removed or kept with their key. Run again, it changes nothing.
    """
    wanted = dict.fromkeys(stored)
    old = {pseudonym for pseudonym in wanted if version_of(pseudonym) != keys.current}
    versions = sorted({version_of(pseudonym) for pseudonym in old})
    replaced = {}
    for identifier in identifiers:
        for version in versions:
            known = keys.pseudonym(purpose, identifier, version)
            if known in old:
                replaced[known] = keys.pseudonym(purpose, identifier)
    unknown = tuple(sorted(old.difference(replaced)))
    return Rekeyed(MappingProxyType(replaced), len(wanted) - len(old), unknown)
