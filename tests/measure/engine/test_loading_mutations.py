"""R15, A7, A9: damaged and hostile files end in one line or in rows that are all accounted for."""

import csv
import gzip
import io
import json
import random
import resource
import zipfile

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from measure.engine.loading import Warehouse
from measure.engine.local_time import Reading
from measure.errors import TrueliftError
from tests.measure.engine.mutations import HEADER, as_csv, counted, mutated
from tests.measure.engine.one_database import one_database

GOOD = dict(zip(HEADER, ["c1", "o1", "u1", "2024-03-10T07:30:00Z", "5", "0", "USD", "paid"],
                strict=True))  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _one_database():
    with one_database():
        yield


def load(root, name, data, reading=None):
    """Load one file; return its report, or the one line that refuses it."""
    path = root / name
    path.write_bytes(data)
    try:
        (report,) = Warehouse(root / f"of-{name}").load("conversions", [path], reading)
    except TrueliftError as error:
        return None, str(error)
    return report, ""


def accounted(report, name, data):
    """Assert that every row of the file is accepted, a duplicate, or set aside with a reason."""
    assert report.read == counted(name, data), name
    assert report.read == report.accepted + report.duplicates + report.quarantined, name
    aside = []
    if report.quarantine_file is not None:
        aside = pq.read_table(report.quarantine_file).column("reason").to_pylist()
    assert len(aside) == report.quarantined, name
    assert all(aside), name


def test_500_damaged_files_lose_no_row_in_silence(tmp_path):
    loaded = 0
    for seed in range(500):
        name, data = mutated(seed)
        report, line = load(tmp_path, name, data)
        if report is None:
            assert "\n" not in line, name
            assert len(line) < 500, name
            continue
        loaded += 1
        accounted(report, name, data)
    assert loaded > 150  # damage that a file survives is the interesting kind


def generated(chance, number):
    """A row that is right or wrong in ways chosen at random, and whether it is right."""
    ids = ["007", "1e5", "é", "12345678901234567", "a,b", 'a"b', "a\nb", "=1", "NULL", "ﬃ"]
    row = GOOD | {"conversion_id": f"c{number}", "customer_id": chance.choice(ids),
                  "order_id": str(number), "value": str(chance.randint(-(2**63), 2**63 - 1)),
                  "ts": f"20{chance.randint(10, 40)}-0{chance.randint(1, 9)}-1"
                  f"{chance.randint(0, 9)}T0{chance.randint(0, 9)}:00:00."
                  f"{chance.randrange(10**6):06d}Z"}  # fmt: skip
    if chance.random() < 0.3:
        wrong = {"value": ["1_000", "1e3", "007", "nan", "", "1.0", "2" * 25],
                 "ts": ["2024-03-10T07:30:00", "1710055800", "9999-01-01T00:00:00Z", "", "now"],
                 "status": ["Paid", "", "paid "]}  # fmt: skip
        column = chance.choice(sorted(wrong))
        return row | {column: chance.choice(wrong[column])}, False
    return row, True


def test_10_000_generated_rows_come_back_as_they_were(tmp_path):
    chance = random.Random(5)
    rows = [generated(chance, number) for number in range(10_000)]
    table = [row for row, _ in rows]
    right = {row["conversion_id"]: row for row, good in rows if good}
    files = {
        "g.csv": as_csv(table).encode(),
        "g.json": json.dumps(table).encode(),
        "g.jsonl": "".join(json.dumps(row) + "\n" for row in table).encode(),
    }
    for name, data in files.items():
        report, _ = load(tmp_path, name, data)
        accounted(report, name, data)
        (kept,) = Warehouse(tmp_path / f"of-{name}").files("conversions")
        query = (
            f"SELECT * REPLACE (strftime(ts AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') AS ts), "
            f"FROM read_parquet('{kept}')"
        )
        back = duckdb.sql(f"SELECT {', '.join(HEADER)} FROM ({query})").fetchall()
        texts = [dict(zip(HEADER, map(str, row), strict=True)) for row in back]
        assert {row["conversion_id"]: row for row in texts} == right


BOMBS = {
    "a million columns": ("x.csv", lambda: ",".join(map(str, range(10**6))).encode() + b"\n",
                          "longer than 1,000,000 bytes"),
    "60,000 columns": ("x.csv", lambda: ",".join(f"c{i}" for i in range(60_000)).encode() + b"\n",
                       "60,000 columns, at most 5,000"),
    # DuckDB's parallel reader passes over a last line longer than its buffer without a word.
    "a last line of 50 MB": ("x.csv", lambda: as_csv([GOOD]).encode() + b"x" * 50_000_000 + b"\n",
                             "longer than 1,000,000 bytes"),
    "JSON 100,000 levels deep": ("x.json", lambda: b'[{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}]",
                                 "nested more than 100 levels"),
    "objects within objects": ("x.jsonl", lambda: b'{"a":' * 10**5 + b"1" + b"}" * 10**5,
                               "nested more than 100 levels"),
    "50,000 fields": ("x.json", lambda: json.dumps([dict.fromkeys(map(str, range(50_000)))])
                      .encode(), "50,000 columns"),
    "an object of 40 MB": ("x.jsonl", lambda: json.dumps(GOOD | {"order_id": "x" * 40_000_000})
                           .encode(), "longer than 16 MB"),
    "a gzip bomb": ("x.csv.gz", lambda: gzip.compress(b"x" * 100_000_000, 9),
                    "grows to more than 200 times"),
    "a field twice in JSON": ("x.json", lambda: b'[{"order_id": 1, "order_id": 2}]',
                              "name a field twice"),
    "a column twice in CSV": ("x.csv", lambda: as_csv([GOOD], header=[*HEADER[:-1], "TS"]).encode(),
                              "named twice"),
    "a name of 300 characters": ("x.csv", lambda: b"x" * 300 + b"\n1\n", "has 300 characters"),
    "two arrays": ("x.json", lambda: json.dumps([GOOD]).encode() + b"]", "not JSON"),
    "an object for an array": ("x.json", lambda: json.dumps(GOOD).encode(), "not a JSON array"),
    "an array of numbers": ("x.json", lambda: b"[1, 2]", "an element of the array is not"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "words"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_in_one_line(tmp_path, name, data, words):
    report, line = load(tmp_path, name, data())
    assert report is None
    assert words in line
    assert "\n" not in line
    assert len(line) < 500


def test_a_column_twice_in_parquet_and_a_zip_are_refused(tmp_path):
    out = io.BytesIO()
    pq.write_table(pa.table([pa.array(["1"])] * 2, names=["order_id", "order_id"]), out)
    assert "named twice" in load(tmp_path, "x.parquet", out.getvalue())[1]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", b"0" * 10**7)
    assert "must end in" in load(tmp_path, "x.zip", packed.getvalue())[1]
    assert "not UTF-8" in load(tmp_path, "x.csv", packed.getvalue())[1]


def test_a_parser_that_passes_over_a_row_is_found_out(tmp_path, monkeypatch):
    # Were the parser to skip a row, the count made apart from it would say so.
    from measure.engine import loading

    def skipping(*arguments):
        return f"(SELECT * FROM {real(*arguments)} LIMIT 1)"

    real = loading.read_csv
    monkeypatch.setattr(loading, "read_csv", skipping)
    data = as_csv([GOOD, GOOD | {"conversion_id": "c2"}]).encode()
    assert "2 rows, of which 1 can be read" in load(tmp_path, "x.csv", data)[1]


def test_a_quote_within_a_field_is_a_letter(tmp_path):
    rows = [GOOD | {"conversion_id": str(i), "order_id": '5" pipe'} for i in range(3)]
    lines = [",".join(row.values()) for row in rows]
    data = "\n".join([",".join(HEADER), *lines]).encode()
    report, _ = load(tmp_path, "x.csv", data)
    assert (report.read, report.accepted) == (3, 3)


def test_values_of_json_keep_their_type(tmp_path):
    odd = [True, [1], {"a": None}, 1.5, float("inf"), "1", 7, None]
    rows = [GOOD | {"conversion_id": f"c{i}", "value": value} for i, value in enumerate(odd)]
    report, _ = load(tmp_path, "x.json", json.dumps(rows).encode())
    assert (report.read, report.accepted, report.quarantined) == (8, 2, 6)


def test_a_long_file_is_scanned_across_blocks_as_in_one(tmp_path):
    # Quotes, line ends and escapes that fall on the edge of a block; csv and json count them too.
    from measure.engine.scanning import CsvScan, JsonScan

    chance = random.Random(1)
    cells = ['a"b', "x\r\ny", "plain", "", "\n", '"', "\\", '\\"', "[{", "}]"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    table = [[chance.choice(cells) + "." for _ in range(3)] for _ in range(50)]
    writer.writerows(table)
    objects = json.dumps([{"a": cell, "b": [cell, {"c": 1}]} for row in table for cell in row])
    for size in (1, 3, 64, 10**6):
        for text, scan, rows in (
            (out.getvalue(), CsvScan(), 50),
            (objects, JsonScan(2), 150),
        ):
            data = text.encode()
            for start in range(0, len(data), size):
                scan.take(data[start : start + size])
            scan.take(b"")
            assert scan.rows == rows, (size, type(scan))


def test_loading_holds_little_in_memory_of_a_big_file(tmp_path):
    # 150,000 rows, 12 MB of text; a whole copy as Python objects would be above 300 MB.
    line = ",o1,u1,2024-03-10T07:30:00Z,5,0,USD,paid\n"
    text = ",".join(HEADER) + "\n" + "".join(f"conversion-{i:020d}{line}" for i in range(150_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report, _ = load(tmp_path, "big.csv", text.encode(), Reading())
    assert report.accepted == 150_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 250_000  # KiB
