"""E-mail addresses and telephone numbers as platforms normalise them before they hash.

One person has other hashes on other platforms, so the variants stand side by side:

* e-mail: blanks at the ends go, letters become small. Google also drops the dots of the local part
  at gmail.com and googlemail.com.
* telephone: E.164. Google hashes it with its plus, Meta the digits without it.

A number without a country code names nobody in particular and is refused, never completed. A plain
hash of a telephone number can be found by trying all numbers: inside, identities are keyed
(:mod:`measure.people.pseudonyms`); these hashes are only for matching with a platform.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from enum import StrEnum

from measure.errors import InputError

_DOTLESS = frozenset({"gmail.com", "googlemail.com"})
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_BETWEEN = re.compile(r"[\s().\-/]")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


class Platform(StrEnum):
    """Whose rules of normalisation."""

    GOOGLE = "google"
    """E-mail without dots in the local part of a Gmail address; telephone with its plus."""
    META = "meta"
    """E-mail as it is, in small letters; telephone as digits only."""


def normal_email(text: str, platform: Platform) -> str:
    """An address as the platform hashes it; :class:`InputError` for what is none."""
    address = unicodedata.normalize("NFC", text).strip().lower()
    if not _ADDRESS.fullmatch(address):
        raise InputError("an e-mail address must read name@domain.tld; this one does not.")
    local, _, domain = address.rpartition("@")
    if platform is Platform.GOOGLE and domain in _DOTLESS:
        local = local.replace(".", "")
    return f"{local}@{domain}"


def normal_phone(text: str, platform: Platform) -> str:
    """A number as the platform hashes it; :class:`InputError` for one without country code."""
    number = _BETWEEN.sub("", text.strip())
    if not _E164.fullmatch(number):
        raise InputError(
            "a telephone number must be in E.164 form, as in +49 30 123456; this one is not."
        )
    return number if platform is Platform.GOOGLE else number.removeprefix("+")


def email_hashes(text: str) -> dict[Platform, str]:
    """SHA-256 of an address in each variant, 64 small hexadecimal digits."""
    return {platform: _digest(normal_email(text, platform)) for platform in Platform}


def phone_hashes(text: str) -> dict[Platform, str]:
    """SHA-256 of a telephone number in each variant, 64 small hexadecimal digits."""
    return {platform: _digest(normal_phone(text, platform)) for platform in Platform}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
