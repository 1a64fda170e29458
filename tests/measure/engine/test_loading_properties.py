"""R14: whatever the order, the overlap and the replay of files, the same table results."""

import hashlib
import json
import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from measure.engine.connection import connect
from measure.engine.loading import Warehouse

HEADER = "exposure_id,experiment,unit_id,ts,channel\n"
ROWS = [f"e{i},x,u{i % 7},2024-01-{i % 28 + 1:02d}T00:00:00Z,Web" for i in range(40)]
REFUSED = ["e90,x,u,2024-01-01,Web", ",x,u,2024-01-01T00:00:00Z,Web"]


def digest(root):
    """SHA-256 of the sorted rows: what the table holds, whatever file it came in."""
    with connect(f"warehouse:{root}") as engine:
        rows = engine.fetch(engine.table("exposures")).to_pylist()
    texts = sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def load(root, files):
    """Load lists of rows as files; check the sum of each report, and return the reports."""
    reports = []
    for number, rows in enumerate(files):
        path = root.parent / f"{number}.csv"
        path.write_text(HEADER + "".join(row + "\n" for row in rows), encoding="utf-8")
        (report,) = Warehouse(root).load("exposures", [path])
        assert report.read == report.accepted + report.duplicates + report.quarantined
        assert report.conflicts <= report.quarantined
        assert report.read == (0 if report.already_loaded else len(rows))
        reports.append(report)
    return reports


def everything(seed):
    """All rows in random files: overlapping, repeated, out of order, replayed."""
    chance = random.Random(seed)
    files = [chance.choices(ROWS + REFUSED, k=chance.randint(1, 30)) for _ in range(3)]
    files.append(chance.sample(ROWS, len(ROWS)))
    files.append(chance.choice(files))
    chance.shuffle(files)
    return files


def test_random_interleavings_give_the_same_table():
    # 40 here; every further seed is the same code (200 in the validation tier).
    digests = set()
    for seed in range(40):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "warehouse"
            reports = load(root, everything(seed))
            assert sum(report.accepted for report in reports) == len(ROWS)
            digests.add(digest(root))
    assert len(digests) == 1


fields = st.text(st.characters(codec="utf-8", exclude_characters='\r\n"'), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(fields, fields, fields, fields, fields), min_size=1, max_size=12))
def test_any_text_is_accepted_or_quarantined_and_counted(rows):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "warehouse"
        quoted = [",".join(f'"{field}"' for field in row) for row in rows]
        (report,) = load(root, [quoted])
        kept = 0
        with connect(f"warehouse:{root}") as engine:
            kept = engine.fetch(engine.table("exposures")).num_rows
        assert kept == report.accepted


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=25))
def test_conflicts_and_duplicates_are_told_apart(pairs):
    # Model: the first payload of a key stays; the same again is a duplicate, another a conflict.
    first, duplicates, conflicts = {}, 0, 0
    for key, payload in pairs:
        kept = first.setdefault(key, payload)
        if kept == payload:
            duplicates += 1
        else:
            conflicts += 1
    duplicates -= len(first)
    with tempfile.TemporaryDirectory() as folder:
        rows = [f"e{key},x,u{payload},2024-01-01T00:00:00Z," for key, payload in pairs]
        (report,) = load(Path(folder) / "warehouse", [rows])
        assert (report.accepted, report.duplicates, report.conflicts) == (
            len(first),
            duplicates,
            conflicts,
        )
