"""R14: whatever the order, the overlap, the format and the replay of files, the same table."""

import gzip
import hashlib
import json
import random
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from measure.engine.loading import Warehouse
from tests.measure.engine.one_database import one_database

NAMES = ["exposure_id", "experiment", "unit_id", "ts", "channel"]
HEADER = ",".join(NAMES) + "\n"
ROWS = [f"e{i},x,u{i % 7},2024-01-{i % 28 + 1:02d}T00:00:00Z,Web" for i in range(40)]
REFUSED = ["e90,x,u,2024-01-01,Web", ",x,u,2024-01-01T00:00:00Z,Web"]


@pytest.fixture(autouse=True, scope="module")
def _one_database():
    with one_database():
        yield


def table_digest(rows):
    """SHA-256 of the sorted rows: what a table holds, whatever file they came in."""
    texts = sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def stored(root):
    """Rows of the table as text, read past the product."""
    files = [str(path) for path in Warehouse(root).files("exposures")]
    relation = duckdb.sql(f"SELECT COLUMNS(*)::VARCHAR FROM read_parquet({files!r})")
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def written(folder, name, rows, kind="csv"):
    """Lists of rows as a file of some kind."""
    path = folder / f"{name}.{kind}"
    records = [dict(zip(NAMES, row.split(","), strict=True)) for row in rows]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
        return path
    if kind == "json":
        text = json.dumps(records)
    elif kind == "jsonl":
        text = "".join(json.dumps(record) + "\n" for record in records)
    else:
        text = HEADER + "".join(row + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    return path


def load(root, files):
    """Load lists of rows as files; check the sum of each report, and return the reports."""
    paths = [written(root.parent, number, *file) for number, file in enumerate(files)]
    reports = Warehouse(root).load("exposures", paths)
    for report, (rows, *_) in zip(reports, files, strict=True):
        assert report.read == report.accepted + report.duplicates + report.quarantined
        assert report.conflicts <= report.quarantined
        assert report.read == (0 if report.already_loaded else len(rows))
    return reports


def everything(chance):
    """All rows in random files: cut anywhere, overlapping, repeated, out of order, replayed."""
    rows = chance.sample(ROWS, len(ROWS))
    cut = chance.randrange(1, len(rows))
    late = chance.choices(ROWS + REFUSED, k=chance.randint(1, 30))
    kinds = ["csv", "csv", "csv.gz", "jsonl", "json", "parquet"]
    files = [(rows[:cut], chance.choice(kinds)), (rows[cut:] + late, chance.choice(kinds))]
    files.append(chance.choice(files))  # the same bytes under another name
    chance.shuffle(files)
    return files


def test_200_random_interleavings_give_the_same_table():
    digests = set()
    for seed in range(200):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "warehouse"
            reports = load(root, everything(random.Random(seed)))
            assert sum(report.accepted for report in reports) == len(ROWS)
            assert sum(report.already_loaded for report in reports) == 1
            digests.add(table_digest(stored(root)))
    plain = [dict(zip(NAMES, row.split(","), strict=True)) for row in ROWS]
    expected = [row | {"ts": row["ts"][:10] + " 00:00:00+00"} for row in plain]
    assert digests == {table_digest(expected)}


def test_no_payload_is_lost_whichever_came_first():
    # The row loaded first stays; table and quarantine together hold every payload in any order.
    rows = [f"e{i % 9},x,u{i % 5},2024-01-01T00:00:00Z,Web" for i in range(30)]
    payloads = {(row.split(",")[0], row.split(",")[2]) for row in rows}
    for seed in range(15):
        shuffled = random.Random(seed).sample(rows, len(rows))
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "warehouse"
            reports = load(root, [(shuffled[:13],), (shuffled[13:],)])
            kept = {(row["exposure_id"], row["unit_id"]) for row in stored(root)}
            aside = set()
            for report in reports:
                if report.quarantine_file:
                    refused = pq.read_table(report.quarantine_file).to_pylist()
                    aside |= {(row["exposure_id"], row["unit_id"]) for row in refused}
            assert len(kept) == 9
            assert kept | aside == payloads
            assert not kept & aside
            # Closed form: the first payload of each key in order of arrival is the one kept.
            first = {}
            for row in shuffled:
                first.setdefault(row.split(",")[0], row.split(",")[2])
            assert kept == set(first.items())


fields = st.text(st.characters(codec="utf-8", exclude_characters='\r\n"'), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(fields, fields, fields, fields, fields), min_size=1, max_size=12))
def test_any_text_is_accepted_or_quarantined_and_counted(rows):
    with tempfile.TemporaryDirectory() as folder:
        root, path = Path(folder) / "warehouse", Path(folder) / "any.csv"
        quoted = [",".join(f'"{field}"' for field in row) for row in rows]
        path.write_text(HEADER + "".join(row + "\n" for row in quoted), encoding="utf-8")
        (report,) = Warehouse(root).load("exposures", [path])
        assert report.read == len(rows) == report.accepted + report.duplicates + report.quarantined
        assert len(stored(root)) == report.accepted


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
        (report,) = load(Path(folder) / "warehouse", [(rows,)])
        assert (report.accepted, report.duplicates, report.conflicts) == (
            len(first),
            duplicates,
            conflicts,
        )
