"""R20 for loading: killed anywhere, nothing acknowledged is lost and nothing is half loaded."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from measure.engine import manifest
from measure.engine.loading import Warehouse
from tests.measure.engine.one_database import one_database

HEADER = "exposure_id,experiment,unit_id,ts\n"
REFUSED = ",x,u,2024-01-01T00:00:00Z\n"


@pytest.fixture(autouse=True, scope="module")
def _one_database():
    with one_database():
        yield


class Killed(BaseException):
    """Nothing in the product catches this."""


def files(tmp_path):
    paths = []
    for number in range(2):
        path = tmp_path / f"{number}.csv"
        rows = [f"e{number}-{i},x,u,2024-01-01T00:00:00Z\n" for i in range(5)]
        path.write_text(HEADER + "".join(rows) + REFUSED)
        paths.append(path)
    return paths


def rows(warehouse):
    import pyarrow.parquet as pq

    if not (warehouse.root / "manifest.json").exists():
        return 0
    return sum(pq.read_metadata(path).num_rows for path in warehouse.files("exposures"))


# Every step of a load that leaves a trace: flushes and renames of data, quarantine, manifest.
STEPS = [("fsync", step) for step in range(7)] + [("replace", step) for step in range(4)]


@pytest.mark.parametrize(("call", "step"), STEPS)
def test_a_load_that_stops_at_any_step_is_done_or_not_done(tmp_path, monkeypatch, call, step):
    first, second = files(tmp_path)
    warehouse = Warehouse(tmp_path / "warehouse")
    warehouse.load("exposures", [first])
    left = iter(range(step))

    def dying(real):
        def step(*arguments):
            if next(left, None) is None:
                raise Killed
            return real(*arguments)

        return step

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(manifest.os, "fsync", dying(os.fsync))
        else:
            patch.setattr(Path, "replace", dying(Path.replace))
        try:
            warehouse.load("exposures", [second])
        except Killed:
            assert rows(warehouse) in (5, 10)
        else:
            assert step >= (6 if call == "fsync" else 3)
    (again,) = warehouse.load("exposures", [second])
    assert (again.accepted, again.quarantined) in ((5, 1), (0, 0))
    assert rows(warehouse) == 10


_LOADING = """
import os, signal, sys
from pathlib import Path
from measure.engine.loading import Warehouse
root, die_at, *paths = sys.argv[1:]
left = [int(die_at)]
real = Path.replace
def replace(self, target):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
Path.replace = replace
for path in paths:
    Warehouse(Path(root)).load("exposures", [Path(path)])
    print(path, flush=True)
"""


@pytest.mark.parametrize("die_at", [2, 3, 5])
def test_what_was_acknowledged_before_a_kill_is_there_after_it(tmp_path, die_at):
    paths = files(tmp_path)
    warehouse = Warehouse(tmp_path / "warehouse")
    done = subprocess.run(
        [sys.executable, "-c", _LOADING, warehouse.root, str(die_at), *paths],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = len(done.stdout.splitlines())
    assert rows(warehouse) == 5 * acknowledged  # each rename of a manifest ends one load
    warehouse.load("exposures", paths)
    assert rows(warehouse) == 10


def test_a_full_disk_is_said_in_one_line_and_nothing_is_loaded(tmp_path, monkeypatch):
    from measure.errors import EngineError

    first, second = files(tmp_path)
    warehouse = Warehouse(tmp_path / "warehouse")
    warehouse.load("exposures", [first])

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(manifest.os, "fsync", full)
        with pytest.raises(EngineError, match="No space left on device") as caught:
            warehouse.load("exposures", [second])
    assert "\n" not in str(caught.value)
    assert rows(warehouse) == 5
    assert warehouse.load("exposures", [second])[0].accepted == 5
