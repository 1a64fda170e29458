"""Buckets: 10,000 published vectors, exact shares, and nobody moves (goals R11, R12 and R13)."""

import json
import math
import os
import shutil
import subprocess
import sys
import unicodedata
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from designs.assignment.hashing import (
    SPACE,
    Purpose,
    arm_of,
    bucket,
    digest,
    normalize_id,
    purpose_salt,
    share_threshold,
    thresholds,
)
from measure.errors import InputError
from tests.designs import make_vectors

FOLDER = Path(__file__).parent

# SHA-256 by GNU coreutils: printf '%s\x1f%s' SALT ID | sha256sum
BY_SHA256SUM = [
    (
        "arm:womens-email-2008",
        "007",
        "5c48e24e6df717328708d4edb574a71556d23f5b4f3157a439c8a7087c31338c",
    ),
    (
        "arm:womens-email-2008",
        "1e5",
        "4c0f647aa9753b232a676e1ccf149c284b4880ca2e5ef46b0fc577111417b599",
    ),
    (
        "arm:womens-email-2008",
        "日本語",
        "97ba6264def015aba8405c8fcfc251f20edc0ee2598b61b0212087d225547278",
    ),
    (
        "rollout:womens-email-2008",
        "👍🏽",
        "b8040f4489df30ca20f68214fb6608d12bf6fdaedc1c81fe4c4b7b5b3b6419a1",
    ),
]


@pytest.fixture(scope="module")
def published():
    return make_vectors.stored()


@pytest.mark.parametrize(("salt", "unit_id", "sha256"), BY_SHA256SUM)
def test_digest_is_the_sha256_of_salt_separator_and_id(salt, unit_id, sha256):
    assert digest(salt, unit_id) == sha256
    assert bucket(salt, unit_id) == int(sha256[:15], 16)


def test_published_vectors_hold(published):
    vectors = published["vectors"]
    assert len(vectors) == 10_000
    wrong = [v for v in vectors if bucket(v["salt"], v["id"]) != v["bucket"]]
    assert wrong == []


def test_published_vectors_are_what_their_generator_writes(published):
    assert published == make_vectors.document()


def test_published_vectors_cover_the_hard_ids(published):
    ids = {vector["id"] for vector in published["vectors"]}
    assert len(ids) == 10_000
    assert {"007", "1e5", "👍🏽", "'", '"', " ", "\\", "日本語"} <= ids
    assert all(unicodedata.is_normalized("NFC", unit_id) for unit_id in ids)
    assert any(unicodedata.combining(c) for unit_id in ids for c in unit_id)
    assert any(unicodedata.bidirectional(unit_id[0]) == "R" for unit_id in ids)
    assert max(len(unit_id.encode()) for unit_id in ids) == 10_240
    assert not any("\x00" in unit_id for unit_id in ids)


def test_composed_and_decomposed_forms_share_a_bucket(published):
    pairs = published["normalised"]
    assert sum(pair["raw"] != pair["nfc"] for pair in pairs) >= 20
    wrong = [p for p in pairs if bucket(p["salt"], p["raw"]) != p["bucket"]]
    assert wrong == []


def test_javascript_gives_the_same_buckets():
    node = shutil.which("node")
    if node is None:
        if os.environ.get("CI"):
            pytest.fail("node is needed to check the vectors in JavaScript; install nodejs")
        pytest.skip("node is not installed, so the vectors were not checked in JavaScript")
    command = [node, str(FOLDER / "check_vectors.mjs"), str(make_vectors.FILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "10056 buckets agree\n", "")


def test_buckets_do_not_depend_on_the_process():
    code = (
        "from designs.assignment.hashing import bucket;"
        "print([bucket('arm:a', str(i)) for i in range(100)])"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=FOLDER.parents[1],
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1")
    }
    assert len(runs) == 1
    assert json.loads(runs.pop()) == [bucket("arm:a", str(i)) for i in range(100)]


@pytest.mark.parametrize(
    ("unit_id", "rule"),
    [
        ("", "must not be empty"),
        ("a\x00b", "must not hold NUL"),
        ("\ud800", "must be valid Unicode text"),
        ("x" * 16_385, "has 16385 bytes, at most 16384"),
    ],
)
def test_unusable_ids_are_refused(unit_id, rule):
    with pytest.raises(InputError, match=rule):
        bucket("arm:a", unit_id)


@given(st.text(min_size=1, max_size=50).filter(lambda t: "\x00" not in t and t.isprintable()))
def test_any_id_has_one_bucket_whatever_its_form(unit_id):
    found = bucket("arm:a", unit_id)
    assert 0 <= found < SPACE
    assert bucket("arm:a", unicodedata.normalize("NFD", unit_id)) == found
    assert normalize_id(normalize_id(unit_id)) == normalize_id(unit_id)


def test_shares_mean_their_decimal_text():
    # 0.1 as a binary float is 0.1000000000000000055…; the threshold is that of one tenth exactly.
    assert share_threshold(0.1) == SPACE // 10
    assert share_threshold(0.333) == SPACE * 333 // 1000
    assert (share_threshold(0), share_threshold(1)) == (0, SPACE)


def test_thresholds_fill_the_space_in_the_order_of_names():
    ends = thresholds({"No E-Mail": 0.333, "Womens E-Mail": 0.334, "Mens E-Mail": 0.333})
    assert [arm for arm, _ in ends] == ["Mens E-Mail", "No E-Mail", "Womens E-Mail"]
    assert [end for _, end in ends] == [SPACE * 333 // 1000, SPACE * 666 // 1000, SPACE]


@given(st.permutations([("a", 0.2), ("b", 0.5), ("c", 0.3)]), st.integers(0, SPACE - 1))
def test_the_order_in_which_arms_are_written_moves_nobody(items, number):
    assert arm_of(number, dict(items)) == arm_of(number, {"a": 0.2, "b": 0.5, "c": 0.3})


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=8))
def test_each_arm_owns_its_share_of_buckets(weights):
    whole = sum(weights)
    shares = {f"arm{i}": weight / whole for i, weight in enumerate(weights)}
    ends = [0, *(end for _, end in thresholds(shares))]
    for i, weight in enumerate(weights):
        # Shares were rounded to floats, so each is exact to 2⁻⁵² of the space and one bucket.
        owned = Fraction(ends[i + 1] - ends[i], SPACE)
        assert math.isclose(owned, Fraction(weight, whole), abs_tol=2**-48)


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.6}, {"a": 1.5, "b": -0.5}, {}])
def test_shares_that_do_not_fill_the_space_are_refused(shares):
    with pytest.raises(InputError, match="add up to 1"):
        thresholds(shares)


@pytest.mark.parametrize("number", [-1, SPACE])
def test_a_bucket_outside_the_space_is_refused(number):
    with pytest.raises(InputError, match="must lie in"):
        arm_of(number, {"a": 0.5, "b": 0.5})


def test_the_first_and_last_buckets_have_an_arm():
    assert arm_of(0, {"a": 0.5, "b": 0.5}) == "a"
    assert arm_of(SPACE // 2 - 1, {"a": 0.5, "b": 0.5}) == "a"
    assert arm_of(SPACE // 2, {"a": 0.5, "b": 0.5}) == "b"
    assert arm_of(SPACE - 1, {"a": 0.5, "b": 0.5}) == "b"


def test_each_purpose_has_a_salt_of_its_own():
    salts = {purpose_salt(purpose, "same-name") for purpose in Purpose}
    assert len(salts) == len(Purpose) == 6
    with pytest.raises(InputError, match="control characters"):
        purpose_salt(Purpose.ARM, "a\x1fb")
