"""Nothing acknowledged is ever lost: several writers at once, and processes killed at work."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from designs.registry import Registry
from designs.specification import parse_specification
from tests.designs.specs import written

WRITER = Path(__file__).with_name("registry_writer.py")
ORDER = ("draft", "running", "concluded")


def launch(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), *arguments], stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'registry.db'}"


def test_four_writers_lose_no_edit(url):
    # The registry does not exist yet: the four also compete to create it.
    writers = [launch("drafts", url, f"writer{i}", "50") for i in range(4)]
    lines = [line for writer in writers for line in writer.communicate(timeout=300)[0].split("\n")]
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    acknowledged = {int(line.split()[0]): line.split()[1:] for line in lines if line}
    assert sorted(acknowledged) == list(range(1, 201))
    with Registry(url) as registry:
        assert registry.get("shared").version == 200
        assert len(registry.events("shared")) == 200
        for version, (name, number) in acknowledged.items():
            assert registry.text("shared", version).endswith(f"# {name} {number}\n")


def test_reading_and_writing_back_loses_no_update(url):
    with Registry(url) as registry:
        text = written("shared") + "# nobody 0"
        registry.register(text, parse_specification(text, "x").experiment, by="x")
    writers = [launch("counter", url, f"writer{i}", "15") for i in range(4)]
    for writer in writers:
        writer.communicate(timeout=300)
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    with Registry(url) as registry:
        assert registry.get("shared").text.endswith(" 60")


def test_killed_writers_lose_nothing_acknowledged(url):
    draw = random.Random(20080320)
    acknowledged: dict[str, str] = {}
    for i in range(10):
        writer = launch("keys", url, f"run{i}")
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]  # at work from here on
        time.sleep(draw.uniform(0.0, 0.15))
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.read().split("\n")
        writer.stdout.close()
        assert writer.wait(timeout=10) == -signal.SIGKILL
        acknowledged |= dict(line.split() for line in lines if line.strip())
    assert len(acknowledged) >= 10
    with Registry(url) as registry:
        found = {entry.key: entry.state for entry in registry.entries()}
        for key, state in acknowledged.items():
            assert ORDER.index(found[key]) >= ORDER.index(state), key
        for key, state in found.items():
            # As many events as steps: no step was half written.
            assert len(registry.events(key)) == ORDER.index(state) + 1
            assert (registry.result(key) is not None) == (state == "concluded")
