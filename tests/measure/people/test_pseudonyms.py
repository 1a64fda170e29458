"""Keyed pseudonyms: the construction, its domains and versions, the re-key, and what stays put."""

import hashlib
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from designs.assignment.assign import population_query
from measure.engine.connection import connect
from measure.errors import InputError, UnknownName
from measure.people.pseudonyms import PseudonymKeys, rekeyed, version_of
from tests.designs.specs import experiment

OLD, NEW = bytes(range(32)), bytes(range(32, 72))
KEYS = PseudonymKeys({1: OLD})


def hmac_by_definition(key, text):
    """RFC 2104: H(K xor opad, H(K xor ipad, text)), for keys up to a block of 64 bytes."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + text).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).hexdigest()


def test_the_construction():
    expected = hmac_by_definition(OLD, b"measurement\x1fanna@example.com")
    assert KEYS.pseudonym("measurement", "anna@example.com") == f"v1:{expected}"


def test_equal_texts_of_other_code_points_have_one_pseudonym():
    assert KEYS.pseudonym("a", "A\u0308nne") == KEYS.pseudonym("a", "\u00c4nne")


def test_purposes_cannot_be_joined_or_confused():
    assert KEYS.pseudonym("measurement", "x") != KEYS.pseudonym("export", "x")
    with pytest.raises(InputError, match="purpose"):
        KEYS.pseudonym("a\x1fb", "x")
    with pytest.raises(InputError, match="purpose"):
        KEYS.pseudonym("", "x")


def test_trying_all_addresses_finds_nobody_without_the_key():
    """1,000 addresses of a pattern: a plain hash gives all of them away, another key none."""
    addresses = [f"user{n}@example.com" for n in range(1_000)]
    plain = {hashlib.sha256(a.encode()).hexdigest() for a in addresses}
    assert (
        len(
            plain
            & {hashlib.sha256(f"user{n}@example.com".encode()).hexdigest() for n in range(2_000)}
        )
        == 1_000
    )
    stored = {KEYS.pseudonym("measurement", a) for a in addresses}
    wrong = PseudonymKeys({1: NEW})
    guesses = {wrong.pseudonym("measurement", f"user{n}@example.com") for n in range(2_000)}
    assert not stored & guesses
    assert not {text.removeprefix("v1:") for text in stored} & plain


def test_a_rotated_key_makes_new_pseudonyms_and_still_knows_the_old():
    both = KEYS.rotated(NEW)
    old, new = KEYS.pseudonym("export", "x"), both.pseudonym("export", "x")
    assert (both.current, version_of(old), version_of(new)) == (2, 1, 2)
    assert both.is_of(old, "export", "x")
    assert both.is_of(new, "export", "x")
    assert not both.is_of(old, "export", "y")
    assert not both.is_of(old, "measurement", "x")
    with pytest.raises(UnknownName, match="v1"):
        both.without(1).is_of(old, "export", "x")


def test_the_re_key_replaces_what_it_can_and_names_the_rest():
    both = KEYS.rotated(NEW)
    stored = [KEYS.pseudonym("export", name) for name in ("a", "b", "gone")]
    stored += [both.pseudonym("export", "c"), stored[0]]
    done = rekeyed(both, "export", stored, ["a", "b", "c", "never stored"])
    assert done.replaced == {
        KEYS.pseudonym("export", name): both.pseudonym("export", name) for name in ("a", "b")
    }
    assert done.current == 1
    assert done.unknown == (KEYS.pseudonym("export", "gone"),)
    again = rekeyed(both, "export", done.replaced.values(), ["a", "b"])
    assert (dict(again.replaced), again.current, again.unknown) == ({}, 2, ())


@pytest.mark.parametrize(
    ("keys", "said"), [({}, "at least one"), ({0: OLD}, ">= 1"), ({1: b"short"}, ">= 32")]
)
def test_weak_keys_are_refused(keys, said):
    with pytest.raises(InputError, match=said):
        PseudonymKeys(keys)


def test_keys_are_never_printed():
    assert repr(KEYS) == "PseudonymKeys(versions [1])"
    assert OLD.hex() not in repr(KEYS)
    with pytest.raises(InputError) as raised:
        version_of("anna@example.com")
    assert "anna" not in str(raised.value)


def test_a_rotation_of_identity_keys_moves_nobody():
    """The same 3,000 customers before and after the re-key: 0 arms change, all joins still meet."""
    start = datetime(2026, 2, 1, tzinfo=UTC)
    people = [f"c{n}" for n in range(3_000)]
    both, arms, joined = KEYS.rotated(NEW), [], []
    for keys in (KEYS, both):
        hashes = [keys.pseudonym("measurement", f"{p}@example.com") for p in people]
        known = {
            "customer_id": people,
            "kind": ["email_hash"] * len(people),
            "identifier": hashes,
            "seen_at": pa.array([start] * len(people), pa.timestamp("us", "UTC")),
        }
        customers = {"customer_id": people, "first_seen_at": known["seen_at"]}
        with connect() as engine:
            engine.register("customers", pa.table(customers))
            engine.register("identities", pa.table(known))
            rows = engine.fetch(population_query(engine, experiment())).sort_by("unit_id")
        arms.append(rows.select(["unit_id", "arm"]))
        joined.append(dict(zip(hashes, people, strict=True)))
    assert arms[0].equals(arms[1])
    assert set(arms[0]["arm"].to_pylist()) >= {"control"}
    done = rekeyed(both, "measurement", joined[0], [f"{p}@example.com" for p in people])
    assert {done.replaced[old]: person for old, person in joined[0].items()} == joined[1]
