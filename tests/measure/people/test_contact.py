"""Platforms' own normalisations, side by side; the rules are those that the platforms publish."""

import hashlib

import pytest

from measure.errors import InputError
from measure.people.contact import (
    Platform,
    email_hashes,
    normal_email,
    normal_phone,
    phone_hashes,
)

PUBLISHED = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"
"""SHA-256 of test@example.com, as platforms' guides to hashed uploads print it."""


@pytest.mark.parametrize(
    ("text", "google", "meta"),
    [
        (" Anna.Berg@Example.COM ", "anna.berg@example.com", "anna.berg@example.com"),
        ("Anna.Berg@GMail.com", "annaberg@gmail.com", "anna.berg@gmail.com"),
        ("a.n.n.a@googlemail.com", "anna@googlemail.com", "a.n.n.a@googlemail.com"),
        ("an.na+shop@gmail.com", "anna+shop@gmail.com", "an.na+shop@gmail.com"),
        ("an.na@gmail.com.example.org", "an.na@gmail.com.example.org", None),
        ("\tÄnne@Example.de\n", "änne@example.de", "änne@example.de"),
    ],
)
def test_addresses(text, google, meta):
    assert normal_email(text, Platform.GOOGLE) == google
    assert normal_email(text, Platform.META) == (meta or google)


@pytest.mark.parametrize("text", ["+49 (30) 12345-67", "+49.30.1234567", " +49301234567 "])
def test_telephone_numbers(text):
    assert normal_phone(text, Platform.GOOGLE) == "+49301234567"
    assert normal_phone(text, Platform.META) == "49301234567"


@pytest.mark.parametrize("text", ["030 123456", "004930123456", "+0301234567", "+1 23", "call me"])
def test_a_number_without_a_country_is_refused_and_not_repeated(text):
    with pytest.raises(InputError, match=r"E\.164") as raised:
        normal_phone(text, Platform.META)
    assert text not in str(raised.value)


@pytest.mark.parametrize("text", ["anna", "anna@", "@example.com", "a b@example.com", "a@b", ""])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InputError, match=r"name@domain\.tld"):
        normal_email(text, Platform.GOOGLE)


def test_one_number_has_two_hashes_and_most_addresses_one():
    assert email_hashes("Test@Example.com ") == dict.fromkeys(Platform, PUBLISHED)
    both = phone_hashes("+1 800 555 0100")
    assert both[Platform.GOOGLE] == hashlib.sha256(b"+18005550100").hexdigest()
    assert both[Platform.META] == hashlib.sha256(b"18005550100").hexdigest()
    assert len(set(email_hashes("a.b@gmail.com").values())) == 2
