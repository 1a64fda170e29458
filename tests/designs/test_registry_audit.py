"""The audit chain: whatever is done to its rows in the database itself is named, row by row."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text as sql
from sqlalchemy.exc import DBAPIError

from designs.registry.audit import Head, chain_key, read_head
from designs.registry.database import Database
from measure.errors import DataError, InputError, RegistryError
from tests.designs.registry_books import KEY, REQUIRED, SECRET, opened, register, running
from tests.designs.specs import written

ROWS = 8


@pytest.fixture
def registry(registry_url):
    """A registry with eight rows in its chain."""
    with opened(registry_url, REQUIRED) as registry:
        running(registry)
        registry.stop(KEY, by="fin", reason="enough")
        registry.conclude(KEY, {"a": 1}, by="ana")
        register(registry, written("other"))
        register(registry, written("other") + "# again")
        assert len(registry.events()) == ROWS
        yield registry


def tamper(url, *statements):
    """What somebody does who owns the database: drop the triggers, then change rows."""
    database = Database(url)
    with database.engine.begin() as connection:
        for action in ("update", "delete"):
            on = "" if connection.dialect.name == "sqlite" else " ON audit"
            connection.execute(sql(f"DROP TRIGGER audit_no_{action}{on}"))
        for statement in statements:
            connection.execute(sql(statement))
    database.close()


def test_an_untouched_chain_is_whole(registry):
    found = registry.verify_audit(by="fin")
    assert (found.rows, found.unchained, found.first_bad, found.intact) == (ROWS, 0, None, True)


def test_the_chain_is_the_documented_formula(registry):
    # h_i = HMAC-SHA256(key, h_(i-1) newline canonical JSON of the row), from 64 zeros.
    key = hmac.new(SECRET, b"truelift audit chain, version 1", hashlib.sha256).digest()
    previous = "0" * 64
    with registry._database.engine.connect() as connection:
        for row in connection.execute(sql("SELECT * FROM audit ORDER BY sequence")).mappings():
            content = {name: value for name, value in row.items() if name != "hash"}
            line = json.dumps(content, sort_keys=True, separators=(",", ":"))
            previous = hmac.new(key, f"{previous}\n{line}".encode(), hashlib.sha256).hexdigest()
            assert row["hash"] == previous


@pytest.mark.parametrize(
    "column", ["who", "at", "detail", "what", "key", "role", "account", "hash"]
)
def test_an_edited_row_is_named(registry, registry_url, column):
    tamper(registry_url)
    for row in range(1, ROWS + 1):
        read = sql(f"SELECT {column} FROM audit WHERE sequence = {row}")
        write = sql(f"UPDATE audit SET {column} = :value WHERE sequence = {row}")
        with registry._database.engine.begin() as connection:
            was = connection.scalar(read)
            connection.execute(write, {"value": 1 if column == "at" else "{}"})
        found = registry.verify_audit(by="fin")
        assert (found.first_bad, f"row {row} " in found.reason) == (row, True)
        with registry._database.engine.begin() as connection:
            connection.execute(write, {"value": was})
    assert registry.verify_audit(by="fin").intact


@pytest.mark.parametrize("row", [1, 2, ROWS - 1, ROWS])
def test_a_row_robbed_of_its_hash_is_named(registry, registry_url, row):
    tamper(registry_url, f"UPDATE audit SET hash = '' WHERE sequence = {row}")
    # Only rows that the seal of an upgrade counts may go without; this registry never had any.
    found = registry.verify_audit(by="fin")
    assert (found.first_bad, found.intact) == (row, False)


@pytest.mark.parametrize("row", [1, 2, ROWS // 2, ROWS])
def test_a_deleted_row_is_named(registry, registry_url, row):
    tamper(registry_url, f"DELETE FROM audit WHERE sequence = {row}")
    found = registry.verify_audit(by="fin")
    assert found.first_bad == row
    assert found.reason.startswith(f"row {row} is missing")


def test_rows_closed_up_after_a_deletion_are_named(registry, registry_url):
    tamper(
        registry_url,
        "DELETE FROM audit WHERE sequence = 4",
        *(f"UPDATE audit SET sequence = {n - 1} WHERE sequence = {n}" for n in range(5, ROWS + 1)),
        f"UPDATE audit_head SET sequence = {ROWS - 1}",
    )
    assert registry.verify_audit(by="fin").first_bad == 4


def test_an_added_row_is_named(registry, registry_url):
    copy = "SELECT 9, key, at, who, role, account, what, detail, hash FROM audit WHERE sequence = 8"
    tamper(registry_url, f"INSERT INTO audit {copy}")
    assert registry.verify_audit(by="fin").first_bad == 9


def test_a_cut_end_is_found_by_the_exported_head(registry, registry_url):
    head = registry.audit_head(by="fin")
    assert head.sequence == ROWS + 1  # the export is a row itself
    assert registry.verify_audit(by="fin", exported=head).intact
    tamper(
        registry_url,
        f"DELETE FROM audit WHERE sequence > {ROWS - 2}",
        "UPDATE audit_head SET sequence = 6, hash = (SELECT hash FROM audit WHERE sequence = 6)",
    )
    # The chain alone cannot show it; the tables still hold what was registered in its lost end.
    found = registry.verify_audit(by="fin")
    assert (found.first_bad, found.record) == (None, "experiment 'other' is in the tables only")
    found = registry.verify_audit(by="fin", exported=head)
    assert (found.first_bad, "exported head is at row 9" in found.reason) == (7, True)


def test_a_chain_grown_anew_is_not_the_exported_one(registry, registry_url):
    head = registry.audit_head(by="fin")
    tamper(
        registry_url,
        f"DELETE FROM audit WHERE sequence > {ROWS - 2}",
        "UPDATE audit_head SET sequence = 6, hash = (SELECT hash FROM audit WHERE sequence = 6)",
    )
    for number in range(5):
        register(registry, written(f"new-{number}"))
    assert registry.verify_audit(by="fin").first_bad is None
    found = registry.verify_audit(by="fin", exported=head)
    assert (found.first_bad, found.reason) == (9, "row 9 is not the one in the exported head")


def test_a_chain_robbed_of_all_its_hashes_is_no_chain_of_an_earlier_release(registry, registry_url):
    """Without the key nobody can write hashes, but everybody can wipe them out."""
    head = registry.audit_head(by="fin")
    tamper(
        registry_url,
        "UPDATE audit SET who = 'eve', hash = ''",
        "UPDATE audit_head SET hash = ''",
    )
    found = registry.verify_audit(by="fin")
    assert (found.first_bad, found.reason) == (1, "row 1 carries no hash")
    found = registry.verify_audit(by="fin", exported=head)
    assert (found.first_bad, found.reason) == (9, "row 9 is not the one in the exported head")
    with pytest.raises(RegistryError, match="head of the audit lost its hash"):
        register(registry, written("more"))  # which would have vouched for the forged rows


def test_a_head_that_does_not_fit_its_row_is_named(registry, registry_url):
    tamper(registry_url, f"UPDATE audit_head SET hash = '{'a' * 64}'")
    found = registry.verify_audit(by="fin")
    assert (found.first_bad, "own head" in found.reason) == (ROWS, True)


def test_a_hash_that_is_no_hash_is_named(registry, registry_url):
    tamper(registry_url, "UPDATE audit SET hash = 'é' WHERE sequence = 3")
    assert registry.verify_audit(by="fin").first_bad == 3


def test_a_registry_without_its_head_is_not_written(registry, registry_url):
    database = Database(registry_url)
    with database.engine.begin() as connection:
        with pytest.raises(DBAPIError, match="audit_head is append-only"):
            connection.execute(sql("DELETE FROM audit_head"))
        connection.rollback()
    with database.engine.begin() as connection:
        on = "" if connection.dialect.name == "sqlite" else " ON audit_head"
        connection.execute(sql(f"DROP TRIGGER audit_head_no_delete{on}"))
        connection.execute(sql("DELETE FROM audit_head"))
    database.close()
    with pytest.raises(RegistryError, match="head of the audit is gone"):
        registry.submit("other", by="ana")


def test_another_key_fits_no_row(registry_url, registry):
    from designs.registry import Registry

    with Registry(registry_url, secret=b"x" * 32) as other:
        assert other.verify_audit(by="fin").first_bad == 1


def test_a_short_key_is_refused():
    with pytest.raises(InputError, match="must be at least 16"):
        chain_key(b"short")


def test_a_clock_set_back_changes_no_order(registry_url):
    moments = iter(datetime(2026, 3, 1, 12, tzinfo=UTC) - timedelta(hours=n) for n in range(200))
    with opened(registry_url, clock=lambda: next(moments)) as registry:
        for number in range(6):
            register(registry, written(f"key-{number}"))
        events = registry.events()
        assert [e.key for e in events] == [f"key-{n}" for n in range(6)]
        assert [e.at for e in events] == sorted((e.at for e in events), reverse=True)
        assert registry.verify_audit(by="x").intact


FORGED = "ana\r\n    9  2026-01-01T00:00:00Z  root  approve\x1b[2K\u2028\u202e\x00x"


def test_names_and_reasons_cannot_forge_lines(registry_url):
    with opened(registry_url, account=FORGED) as registry:
        register(registry, by=FORGED)
        registry.submit(KEY, by="ben")
        registry.reject(KEY, by=FORGED, reason=FORGED)
        for event in registry.events():
            for text in (event.who, event.account, event.detail.get("reason", "")):
                assert text.isprintable()
                assert len(text.splitlines()) <= 1
        assert len(registry.events()) == 3
        assert registry.verify_audit(by="x").intact


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"sequence": "9", "hash": "x"}', '{"hash": "x"}']
    + [
        f'{{"sequence": {n}, "hash": "{h}"}}'
        for n, h in (("0", "a" * 64), ("true", "a" * 64), ("9", ""), ("9", "A" * 64))
    ],
)
def test_what_is_no_head_is_refused(text):
    with pytest.raises(DataError, match=r"head\.json: not an exported head"):
        read_head(text, "head.json")


def test_an_exported_head_reads_back():
    text = f'{{"sequence": 9, "hash": "{"ab" * 32}", "schema_version": "1"}}'
    assert read_head(text, "x") == Head(9, "ab" * 32)
