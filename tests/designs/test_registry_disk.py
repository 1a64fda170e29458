"""Full disks and failing writes: what was acknowledged stays, what was not leaves no trace."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy import text as sql

from designs.registry.writing import Writing
from measure.errors import RegistryError
from tests.designs.registry_books import KEY, opened, register
from tests.designs.specs import written

WRITER = Path(__file__).with_name("registry_writer.py")
ORDER = ("draft", "running", "concluded")


def whole(url, acknowledged):
    """Assert that each step acknowledged is there, and that no step is there in part."""
    with opened(url) as registry:
        found = {entry.key: entry.state for entry in registry.entries()}
        for key, state in acknowledged.items():
            assert ORDER.index(found[key]) >= ORDER.index(state), key
        for key, state in found.items():
            assert len(registry.events(key)) == ORDER.index(state) + 1, key
            assert [v.version for v in registry.versions(key)] == [1]
            assert (registry.result(key) is not None) == (state == "concluded")
        assert registry.verify_audit(by="x").intact
        with registry._database.engine.connect() as connection:
            # https://sqlite.org/pragma.html#pragma_integrity_check: one row, "ok"
            assert connection.execute(sql("PRAGMA integrity_check")).scalar() == "ok"


def refusal(registry, key):
    """What is said when a long text cannot be written; nothing when it is."""
    try:
        register(registry, written(key) + "# " + "x" * 9_000 + "\n")
    except RegistryError as error:
        return str(error)
    return ""


def test_a_disk_that_fills_up_loses_nothing_acknowledged(sqlite_url):
    """SQLITE_FULL at every number of free pages from none to many, one step at a time."""
    refused, acknowledged = 0, {}
    with opened(sqlite_url) as registry:
        engine = registry._database.engine
        free = {"pages": 0}

        @event.listens_for(engine, "checkout")
        def limit(connection, _record, _proxy):
            pages = connection.execute("PRAGMA page_count").fetchone()[0] + free["pages"]
            connection.execute(f"PRAGMA max_page_count = {pages}")

        for number in range(40):
            free["pages"] = number % 8
            key = f"full-{number}"
            before = len(registry.entries())
            said = refusal(registry, key)
            if not said:
                acknowledged[key] = "draft"
                continue
            refused += 1
            assert "database or disk is full" in said
            assert "the disk has room" in said
            assert len(registry.entries()) == before
        event.remove(engine, "checkout", limit)
    assert refused >= 5
    assert len(acknowledged) >= 5
    whole(sqlite_url, acknowledged)


def outcome(url, *command):
    """Run a writer; return how many steps were refused and how many acknowledged."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stderr
    lines = [line.split() for line in ran.stdout.splitlines()]
    refused = sum(line[0] == "refused" for line in lines)
    acknowledged = dict(line for line in lines if line[0] != "refused")
    whole(url, acknowledged)
    return refused, sum(ORDER.index(state) + 1 for state in acknowledged.values())


def against_limits(url, times, seed):
    return outcome(url, sys.executable, str(WRITER), "limited", url, str(times), str(seed))


def against_errors(url, log, keys, call, when):
    """Let every so-manieth call of one kind fail with EIO (strace(1), tampering)."""
    inject = ("strace", "-f", "-qq", "-o", str(log), "-e", f"trace={call}",
              "-e", f"inject={call}:error=EIO:when={when}")  # fmt: skip
    found = outcome(url, *inject, sys.executable, str(WRITER), "stubborn", url, str(keys))
    return (log.read_text().count("(INJECTED)"), *found)


def test_writes_that_fail_half_way_leave_nothing_half_done(sqlite_url):
    refused, steps = against_limits(sqlite_url, 10, seed=7)
    assert refused == 10
    assert steps > 10


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to make calls fail")
@pytest.mark.parametrize(
    ("call", "when"), [("pwrite64", "211+61"), ("fdatasync", "31+7"), ("ftruncate", "9+4")]
)
def test_calls_that_fail_with_eio_leave_nothing_half_done(sqlite_url, tmp_path, call, when):
    injected, refused, steps = against_errors(sqlite_url, tmp_path / "log", 12, call, when)
    assert injected >= 4
    assert refused >= 2
    assert steps >= 3


@pytest.mark.validation
def test_two_hundred_failing_writes_leave_nothing_half_done(sqlite_url):
    refused, steps = against_limits(sqlite_url, 200, seed=20080320)
    assert refused == 200
    assert steps > 200


@pytest.mark.parametrize("moment", ["before the note", "after the note"])
def test_a_server_that_drops_the_connection_leaves_nothing_half_done(
    postgres_url, monkeypatch, moment
):
    """PostgreSQL ends the session of a writer in the middle of its step, as on a full disk."""
    with opened(postgres_url) as registry:
        register(registry)
        note = Writing.note

        def dropped(self, *args):
            number = note(self, *args) if moment == "after the note" else 0
            own = self.session.scalar(sql("SELECT pg_backend_pid()"))
            with registry._database.engine.connect() as other:
                assert other.scalar(sql(f"SELECT pg_terminate_backend({own}, 5000)"))
            return number or note(self, *args)

        monkeypatch.setattr(Writing, "note", dropped)
        with pytest.raises(RegistryError, match="check that the server runs"):
            registry.start(KEY, by="ana")
        with pytest.raises(RegistryError, match="check that the server runs"):
            register(registry, written().replace("28", "14"))
        monkeypatch.undo()
        assert (registry.get(KEY).state, registry.get(KEY).latest_version) == ("draft", 1)
        assert len(registry.events()) == 1
        assert registry.start(KEY, by="ana").state == "running"
        assert registry.verify_audit(by="x").intact
