"""The tables are held against the audit: what the owner of the database changes in them shows."""

import re

import pytest
from sqlalchemy import text as sql

from designs.registry import Policy
from designs.registry.database import Database
from tests.designs.registry_books import KEY, PEOPLE, REQUIRED, opened, register, running
from tests.designs.specs import written

VIP = {"name": "VIP", "role": "finance", "population": {"segment": "VIP"}}
SIGNED = Policy.of("required", PEOPLE, [VIP])


@pytest.fixture
def registry(registry_url):
    """One experiment concluded, one with a change proposed, one waiting for its second approval."""
    with opened(registry_url, SIGNED) as registry:
        running(registry)
        registry.stop(KEY, by="fin", reason="enough")
        registry.conclude(KEY, {"lift": 1}, by="ana")
        running(registry, written("letters", more="rollout: 0.1"))
        register(registry, written("letters", more="rollout: 0.5"), by="ben")
        register(registry, written("waiting"))
        registry.submit("waiting", by="ana")
        registry.approve("waiting", by="ben", reason="sound")
        yield registry


def owning(url, *statements):
    """What somebody does who owns the database: no trigger stops them."""
    database = Database(url)
    with database.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for (name,) in connection.execute(sql(query)).all():
                connection.execute(sql(f"DROP TRIGGER {name}"))
        else:
            connection.execute(sql("SET session_replication_role = replica"))
        for statement in statements:
            connection.execute(sql(statement))
    database.close()


def test_an_untouched_registry_agrees(registry):
    assert registry.verify_audit(by="fin").intact


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            f"UPDATE versions SET text = replace(text, '28', '14') WHERE key = '{KEY}'",
            f"version 1 of '{KEY}' was changed after it was registered",
        ),
        (
            "UPDATE versions SET spec_hash = 'x' WHERE key = 'waiting'",
            "version 1 of 'waiting' was changed",
        ),
        (
            "UPDATE versions SET registered_by = 'cy' WHERE key = 'waiting'",
            "version 1 of 'waiting' is by ana in the audit",
        ),
        ("DELETE FROM versions WHERE version = 2", "versions of 'letters' are missing"),
        (
            "INSERT INTO versions SELECT key, 9, text, spec_hash, plan_hash, registered_at, "
            "registered_by FROM versions WHERE key = 'waiting'",
            "version 9 of 'waiting' is not in the audit",
        ),
        (
            "UPDATE experiments SET state = 'approved' WHERE key = 'waiting'",
            "'waiting' is approved in the tables and in review in the audit",
        ),
        (
            "UPDATE experiments SET version = 2, proposed = NULL WHERE key = 'letters'",
            "the version of 'letters' is 2, in the audit 1",
        ),
        (
            "UPDATE experiments SET approved = 1 WHERE key = 'waiting'",
            "the approved version of 'waiting' is 1, in the audit None",
        ),
        (
            "UPDATE experiments SET plan_hash = 'x' WHERE key = 'letters'",
            "the frozen plan of 'letters' is not the one in the audit",
        ),
        (
            "UPDATE experiments SET latest = 7 WHERE key = 'waiting'",
            "'waiting' is at version 7, not the last one in the audit",
        ),
        (
            "INSERT INTO approvals SELECT 999, key, version, 'fin', 'finance', 'ok', at "
            "FROM approvals WHERE key = 'waiting'",
            "an approval of 'waiting' (row 999) is not the one in the audit",
        ),
        (
            "UPDATE approvals SET who = 'fin', role = 'finance' WHERE key = 'waiting'",
            "is not the one in the audit",
        ),
        ("DELETE FROM approvals WHERE key = 'waiting'", "is not the one in the audit"),
        (
            "UPDATE results SET document = '{}'",
            f"the result of '{KEY}' was changed after its conclusion",
        ),
        ("UPDATE results SET result_hash = 'x'", "is not the one in the audit"),
        ("DELETE FROM results", f"the result of '{KEY}' is not the one in the audit"),
    ],
)
def test_what_is_changed_beside_the_audit_is_named(registry, registry_url, statement, words):
    owning(registry_url, statement)
    found = registry.verify_audit(by="fin")
    assert (found.first_bad, found.intact) == (None, False)
    assert re.search(re.escape(words), found.record), found.record


def test_an_experiment_that_vanishes_is_named(registry, registry_url):
    tables = ("approvals", "versions", "results", "experiments")
    owning(registry_url, *(f"DELETE FROM {table} WHERE key = '{KEY}'" for table in tables))
    assert registry.verify_audit(by="fin").record == f"experiment '{KEY}' is in the audit only"


def test_every_way_through_the_lifecycle_agrees(registry_url):
    with opened(registry_url, REQUIRED) as registry:
        register(registry)
        registry.submit(KEY, by="ana")
        register(registry, written() + "# again\n", by="ben")
        registry.submit(KEY, by="ben")
        registry.approve(KEY, by="fin")
        registry.reject(KEY, by="fin", reason="on second thoughts")
        registry.submit(KEY, by="ana")
        registry.approve(KEY, by="fin")
        registry.start(KEY, by="ana")
        registry.stop(KEY, by="ana")
        registry.archive(KEY, by="ada")
        running(registry, written("letters", more="rollout: 0.1"))
        register(registry, written("letters", more="rollout: 0.4"))
        registry.reject("letters", by="fin", reason="slowly")
        register(registry, written("letters", more="rollout: 0.3"))
        registry.approve("letters", by="fin")
        register(registry, written("letters", more="rollout: 0.5"))
    with opened(registry_url) as registry:  # where nobody needs to approve
        register(registry, written("letters", more="rollout: 0.6"), by="ana")
        registry.conclude("letters", {}, by="ana")
        register(registry, written("own"))
        registry.start("own", by="ana")
        assert registry.verify_audit(by="x").intact
