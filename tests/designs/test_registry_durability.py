"""Nothing acknowledged is ever lost: several writers at once, and processes killed at work."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.designs.registry_books import opened, register
from tests.designs.specs import written

WRITER = Path(__file__).with_name("registry_writer.py")
ORDER = ("draft", "running", "concluded")


def launch(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), *arguments], stdout=subprocess.PIPE, text=True
    )


def edited_by(url: str, writers: int, edits: int) -> float:
    """Let several processes change one draft; nothing may be lost. Return edits a second."""
    begun = time.monotonic()
    # The registry does not exist yet: the writers also compete to create it.
    at_work = [launch("drafts", url, f"writer{i}", str(edits)) for i in range(writers)]
    lines = [line for writer in at_work for line in writer.communicate(timeout=1800)[0].split("\n")]
    seconds = time.monotonic() - begun
    assert [writer.returncode for writer in at_work] == [0] * writers
    acknowledged = {int(line.split()[0]): line.split()[1:] for line in lines if line}
    total = writers * edits
    assert sorted(acknowledged) == list(range(1, total + 1))
    with opened(url) as registry:
        assert registry.get("shared").version == total
        versions = registry.versions("shared")
        assert [v.version for v in versions] == list(range(1, total + 1))
        for version in versions:
            name, number = acknowledged[version.version]
            assert version.text.endswith(f"# {name} {number}\n")
        found = registry.verify_audit(by="x")
        assert (found.rows, found.intact) == (total, True)
    return total / seconds


def raced_by(url: str, writers: int, edits: int) -> None:
    """Let several processes read a number, add one and write it back; each addition must count."""
    with opened(url) as registry:
        register(registry, written("shared") + "# nobody 0")
    at_work = [launch("counter", url, f"writer{i}", str(edits)) for i in range(writers)]
    for writer in at_work:
        writer.communicate(timeout=1800)
    assert [writer.returncode for writer in at_work] == [0] * writers
    with opened(url) as registry:
        assert registry.get("shared").text.endswith(f" {writers * edits}")
        assert registry.get("shared").version == writers * edits + 1


def killed(url: str, times: int) -> int:
    """Kill writers at random points; return how many steps were acknowledged, none of them lost."""
    draw = random.Random(20080320)
    acknowledged: dict[str, str] = {}
    for i in range(times):
        writer = launch("keys", url, f"run{i}")
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]  # at work from here on
        time.sleep(draw.uniform(0.0, 0.15))
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.read().split("\n")
        writer.stdout.close()
        assert writer.wait(timeout=10) == -signal.SIGKILL
        acknowledged |= dict(line.split() for line in lines if line.strip())
    assert len(acknowledged) >= times
    with opened(url) as registry:
        found = {entry.key: entry.state for entry in registry.entries()}
        for key, state in acknowledged.items():
            assert ORDER.index(found[key]) >= ORDER.index(state), key
        for key, state in found.items():
            # As many events as steps: no step was half written.
            assert len(registry.events(key)) == ORDER.index(state) + 1
            assert (registry.result(key) is not None) == (state == "concluded")
        assert registry.verify_audit(by="x").intact
    return sum(ORDER.index(state) + 1 for state in acknowledged.values())


def test_four_writers_lose_no_edit(registry_url):
    edited_by(registry_url, 4, 25)


def test_reading_and_writing_back_loses_no_update(registry_url):
    raced_by(registry_url, 4, 6)


def test_killed_writers_lose_nothing_acknowledged(registry_url):
    killed(registry_url, 7)


@pytest.mark.validation
def test_eight_writers_lose_none_of_eight_thousand_edits(registry_url):
    assert edited_by(registry_url, 8, 1000) > 0


@pytest.mark.validation
def test_eight_writers_race_without_a_lost_update(registry_url):
    raced_by(registry_url, 8, 100)


@pytest.mark.validation
def test_two_hundred_killed_writers_lose_nothing_acknowledged(registry_url):
    assert killed(registry_url, 100) >= 100
