"""A job is running, done or failed; one whose process died is never "running" for ever."""

import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text as sql

from designs.registry import Registry
from designs.registry.jobs import SILENCE, process_started
from measure.errors import InputError
from tests.designs.registry_books import opened, register

WRITER = Path(__file__).with_name("registry_writer.py")


def test_a_job_is_on_record_while_it_runs_and_after(registry_url):
    with opened(registry_url) as registry:
        with registry.job("analyze", "spring") as number:
            (job,) = registry.jobs()
            assert (job.id, job.kind, job.key, job.state) == (
                number,
                "analyze",
                "spring",
                "running",
            )
            with Registry(registry_url) as other:  # alive, so it is left alone
                assert other.jobs()[0].state == "running"
        (job,) = registry.jobs()
        assert (job.state, job.note, job.finished_at is None) == ("done", "", False)


def test_a_job_that_raises_has_failed_and_says_why(registry_url):
    with opened(registry_url) as registry:
        with pytest.raises(InputError), registry.job("analyze", "spring"):
            raise InputError("no such\ncolumn")
        with pytest.raises(KeyboardInterrupt), registry.job("analyze", "spring"):
            raise KeyboardInterrupt
        first, second = registry.jobs()
        assert (first.state, first.note) == ("failed", "InputError: no such column")
        assert (second.state, second.note) == ("failed", "stopped")


def test_a_killed_job_is_failed_at_the_next_start(registry_url):
    with opened(registry_url) as registry:
        register(registry)
    worker = subprocess.Popen(
        [sys.executable, str(WRITER), "job", registry_url], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "working\n"
    os.kill(worker.pid, signal.SIGKILL)
    worker.stdout.close()
    worker.wait(timeout=10)
    with Registry(registry_url) as registry:
        (job,) = registry.jobs()
    assert job.state == "failed"
    assert "process ended before the work did; run the command again" in job.note


def pretend(registry, **values):
    settings = ", ".join(f"{name} = '{value}'" for name, value in values.items())
    with registry._database.engine.begin() as connection:
        connection.execute(sql(f"UPDATE jobs SET state = 'running', {settings}"))


def states(url, clock=None):
    with Registry(url, clock=clock) as registry:
        return [job.state for job in registry.jobs()]


def test_a_process_number_used_again_is_another_process(registry_url):
    with Registry(registry_url) as registry:
        with registry.job("analyze", "spring"):
            pass
        assert process_started(os.getpid())
        pretend(registry, process_started="1")
    assert states(registry_url) == ["failed"]


def test_a_job_of_another_host_counts_as_dead_after_a_silence(registry_url):
    with Registry(registry_url) as registry:
        with registry.job("analyze", "spring"):
            pass
        pretend(registry, host=f"not-{socket.gethostname()}")
    now = datetime.now(UTC)
    assert states(registry_url, lambda: now + SILENCE - timedelta(minutes=1)) == ["running"]
    assert states(registry_url, lambda: now + SILENCE + timedelta(seconds=1)) == ["failed"]


def test_work_that_was_given_up_stays_given_up(registry_url):
    with Registry(registry_url) as registry:
        with (
            registry.job("analyze", "spring"),
            registry._database.engine.begin() as connection,
        ):
            connection.execute(sql("UPDATE jobs SET state = 'failed', note = 'given up'"))
        assert [(j.state, j.note) for j in registry.jobs()] == [("failed", "given up")]
