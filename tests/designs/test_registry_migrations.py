"""Registries of every release open; a later one is refused; a failed upgrade leaves no trace."""

import gzip
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect
from sqlalchemy import text as sql

from designs.registry import Registry
from designs.registry.database import Database
from designs.registry.models import SCHEMA, Base
from measure.errors import RegistryError
from tests.designs.registry_books import KEY, REQUIRED, SECRET, opened, register
from tests.designs.specs import written

# Written by the code of schema 1: `concluded`, `running` (two versions) and `draft`; seven events.
SCHEMA_1 = Path(__file__).with_name("registry_schema1.db.gz")
# Written by the code of schema 2 on top of it: a stop, a proposed change, a design in review, a
# refusal and a job; sixteen events, the first seven without a hash.
SCHEMA_2 = Path(__file__).with_name("registry_schema2.db.gz")


@pytest.fixture
def old_url(tmp_path):
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress(SCHEMA_1.read_bytes()))
    return f"sqlite:///{path}"


def test_a_registry_of_schema_1_opens_with_all_it_held(old_url):
    with opened(old_url) as registry:
        found = {e.key: (e.state, e.version, e.started_at) for e in registry.entries()}
        assert found == {
            "concluded": ("concluded", 1, "2026-03-01T12:00:04Z"),
            "draft": ("draft", 1, None),
            "running": ("running", 2, "2026-03-01T12:00:12Z"),
        }
        assert registry.result("concluded") == {"status": "ok"}
        assert registry.text("running", 1) == written("running")
        assert [(e.sequence, e.who, e.what) for e in registry.events()] == [
            (1, "ana", "register"),
            (2, "ana", "start"),
            (3, "ana", "conclude"),
            (4, "ana", "register"),
            (5, "ben", "register"),
            (6, "ben", "start"),
            (7, "ana", "register"),
            (8, "upgrade", "seal"),
        ]


def test_an_upgraded_registry_works_on_and_its_old_rows_are_vouched_for(old_url):
    with opened(old_url) as registry:
        found = registry.verify_audit(by="x")
        assert (found.rows, found.unchained, found.intact) == (8, 7, True)
        registry.start("draft", by="ana")
        registry.stop("running", by="ana")
        assert registry.conclude("running", {}, by="ana").state == "concluded"
        assert registry.archive("concluded", by="ana").state == "archived"
        found = registry.verify_audit(by="x")
        assert (found.rows, found.unchained, found.intact) == (12, 7, True)
    database = sqlite3.connect(old_url.removeprefix("sqlite:///"))
    database.execute("DROP TRIGGER audit_no_update")
    database.execute("UPDATE audit SET who = 'eve' WHERE sequence = 3")
    database.commit()
    database.close()
    with opened(old_url) as registry:
        found = registry.verify_audit(by="x")
        assert found.first_bad == 8
        assert "rows 1 to 7 carry no hash, so it may be one of them" in found.reason


def test_a_registry_of_schema_2_opens_with_all_it_held(tmp_path):
    path = tmp_path / "two.db"
    path.write_bytes(gzip.decompress(SCHEMA_2.read_bytes()))
    url = f"sqlite:///{path}"
    with pytest.raises(RegistryError, match="its upgrade needs the workspace's key"):
        Registry(url)
    with opened(url, REQUIRED) as registry:
        found = {e.key: (e.state, e.version, e.proposed_version) for e in registry.entries()}
        assert found == {
            "approved": ("running", 1, 2),
            "concluded": ("concluded", 1, None),
            "draft": ("draft", 1, None),
            "running": ("stopped", 2, None),
            "waiting": ("in review", 1, None),
        }
        checked = registry.verify_audit(by="fin")
        assert (checked.rows, checked.unchained, checked.intact) == (17, 7, True)
        assert registry.events()[-1].detail == {"unchained": 7}
        assert registry.approve("approved", by="ana").version == 2
        assert registry.approve("waiting", by="fin").state == "approved"
        assert registry.verify_audit(by="fin").intact
    with Registry(url) as registry:  # once upgraded, it is read without the key as before
        assert len(registry.entries()) == 5


def test_an_upgraded_file_has_the_tables_of_a_new_one(old_url, sqlite_url):
    def shape(url):
        with opened(url) as registry:
            found = inspect(registry._database.engine)
            return {
                table: (
                    {c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns(table)},
                    sorted(i["name"] for i in found.get_indexes(table)),
                    sorted(f["referred_table"] for f in found.get_foreign_keys(table)),
                )
                for table in found.get_table_names()
            }

    assert shape(old_url) == shape(sqlite_url)


def test_the_migrations_make_the_tables_that_the_code_declares(registry_url):
    with opened(registry_url) as registry:
        found = inspect(registry._database.engine)
        for table in Base.metadata.tables.values():
            columns = {c["name"]: c["nullable"] for c in found.get_columns(table.name)}
            assert columns == {c.name: c.nullable for c in table.columns}, table.name
        assert set(found.get_table_names()) == {*Base.metadata.tables, "alembic_version"}


@pytest.mark.parametrize("schema", [SCHEMA + 1, 99])
def test_a_registry_of_a_later_release_is_refused(registry_url, schema):
    with opened(registry_url) as registry:
        register(registry)
        with registry._database.engine.begin() as connection:
            connection.execute(sql(f"UPDATE schema_version SET version = {schema}"))
    with pytest.raises(
        RegistryError, match=rf"schema {schema}, this one knows {SCHEMA}\); upgrade"
    ):
        Registry(registry_url)


def test_a_failed_upgrade_leaves_everything_as_it_was(old_url, monkeypatch):
    from designs.registry import database

    def fails(*_args, **_kwargs):
        raise RegistryError("power cut")

    monkeypatch.setattr(database, "_require_whole", fails)
    with pytest.raises(RegistryError, match="power cut"):
        Registry(old_url)
    monkeypatch.undo()
    connection = sqlite3.connect(old_url.removeprefix("sqlite:///"))
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert "events" in tables
    assert not {"audit", "jobs", "alembic_version", "_alembic_tmp_experiments"} & tables
    with opened(old_url) as registry:
        assert len(registry.events()) == 8


def test_several_processes_make_one_registry(registry_url):
    program = "import sys; from designs.registry import Registry; Registry(sys.argv[1]).close()"
    made = [
        subprocess.Popen(
            [sys.executable, "-c", program, registry_url],
            cwd=Path(__file__).resolve().parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    errors = [process.communicate(timeout=120)[1] for process in made]
    assert [process.returncode for process in made] == [0] * 4, errors
    with opened(registry_url) as registry:
        register(registry)


def test_opening_an_up_to_date_registry_needs_no_migrations(sqlite_url):
    with opened(sqlite_url) as registry:
        register(registry)
    program = (
        "import sys; from designs.registry import Registry; r = Registry(sys.argv[1]);"
        f"r.get('{KEY}'); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, sqlite_url], check=True,
                   cwd=Path(__file__).resolve().parents[2])  # fmt: skip


def test_database_names_its_url_without_the_password(registry_url):
    database = Database(registry_url)
    assert database.url.startswith(("sqlite:///", "postgresql+psycopg://"))
    database.close()
    assert SECRET.decode() not in database.url
