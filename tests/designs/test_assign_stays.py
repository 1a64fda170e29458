"""R13: of a million ids nobody moves, neither when a ramp widens nor in another process."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pytest

from designs.assignment.assign import assign, population_query
from measure.engine.connection import connect
from tests.designs.specs import experiment

MILLION = 1_000_000
RAMPS = (0.001, 0.01, 0.1, 0.25, 0.5, 0.9, 1.0)
GATES = "holdout: {share: 0.05}\nlayer: {name: home, slot: [0.1, 0.8]}\n"

# Arms of the first 2,000 and of all of a million ids, one letter each, as first published.
FROZEN = {
    2_000: "f024950ab5d7a977737abe3f6c70dedaf572f28df12731b32895e621276c2885",
    MILLION: "ee08ece68b6873542d517313a397d78df944d1d3ed590e919984015cb67e6db9",
}


def arms(n, ramp, threads=2):
    """One letter per id, in the order of ids: n, c, or - for none."""
    design = experiment(more=f"{GATES}rollout: {ramp}")
    with connect() as engine:
        con = engine.backend.con
        con.execute(f"SET threads = {threads}")
        con.execute(
            "CREATE TABLE customers AS SELECT 'id-' || i AS customer_id, "
            f"TIMESTAMPTZ '2026-02-01 00:00:00+00' AS first_seen_at FROM range({n}) t(i)"
        )
        rows = engine.fetch(population_query(engine, design)).sort_by("unit_id")
    letters = pc.utf8_slice_codeunits(pc.fill_null(rows["arm"], "-"), 0, 1)
    return rows["unit_id"], letters.combine_chunks()


def digest(letters):
    return hashlib.sha256("".join(letters.to_pylist()).encode()).hexdigest()


def only_adds(n):
    ids, before = arms(n, RAMPS[0])
    for ramp in RAMPS[1:]:
        again, now = arms(n, ramp)
        assert again.equals(ids)
        had = pc.not_equal(before, "-")
        assert pc.all(pc.equal(now.filter(had), before.filter(had))).as_py() is not False
        assert pc.sum(pc.not_equal(now, "-")).as_py() > pc.sum(had).as_py()
        before = now
    # The whole ramp is the experiment without one.
    return digest(before)


def in_another_process(n, threads, seed):
    shown = f"print(digest(arms({n}, 1.0, {threads})[1]))"
    code = f"from tests.designs.test_assign_stays import *; {shown}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Kathmandu", "LC_ALL": "C"},
    )
    return done.stdout.strip()


def test_a_wider_ramp_moves_nobody_and_neither_does_another_process():
    assert only_adds(2_000) == FROZEN[2_000]
    assert in_another_process(2_000, 1, "1") == FROZEN[2_000]
    ids, letters = arms(2_000, 0.5)
    design = experiment(more=f"{GATES}rollout: 0.5")
    in_python = "".join((one.arm or "-")[0] for one in assign(design, ids.to_pylist()[:1_999]))
    assert in_python == "".join(letters.to_pylist())[:1_999]


@pytest.mark.validation
def test_of_a_million_nobody_moves():
    assert only_adds(MILLION) == FROZEN[MILLION]
    for threads, seed in ((1, "0"), (2, "1"), (2, "random")):
        assert in_another_process(MILLION, threads, seed) == FROZEN[MILLION]
