"""R14, R15, A20, A21: loading is exactly-once, guesses nothing and drops nothing in silence."""

import gzip
import json
import multiprocessing
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from measure.engine.connection import connect
from measure.engine.loading import Warehouse
from measure.errors import DataError, EngineError, MissingFile, UnknownName

CONVERSIONS = (
    "conversion_id,order_id,customer_id,ts,value,refunded_value,currency,status\n"
    "c1,o1,007,2024-03-10T07:30:00Z,1250,0,USD,paid\n"
    "c2,o2,1e5,2024-03-10T02:30:00-05:00,99,99,USD,refunded\n"
    "c3,o3,12345678901234567,2024-03-10 08:30:00+05:45,5,0,USD,paid\n"
    "c4,o4,12345678901234568,2024-03-10T07:30:00.123456Z,5,0,USD,paid\n"
)


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "warehouse")


def put(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def content(warehouse, table):
    with connect(f"warehouse:{warehouse.root}") as engine:
        return engine.fetch(engine.table(table)).to_pylist()


def quarantined(report):
    return pq.read_table(report.quarantine_file).to_pylist()


def test_a_csv_never_guesses(warehouse, tmp_path):
    (report,) = warehouse.load("conversions", [put(tmp_path, "c.csv", CONVERSIONS)])
    assert (report.read, report.accepted, report.quarantined) == (4, 4, 0)
    rows = content(warehouse, "conversions")
    ids = [row["customer_id"] for row in rows]
    assert ids == ["007", "1e5", "12345678901234567", "12345678901234568"]
    # Closed form: 02:30−05:00 is 07:30 UTC, 08:30+05:45 is 02:45 UTC.
    assert [row["ts"] for row in rows] == [
        datetime(2024, 3, 10, 7, 30, tzinfo=UTC),
        datetime(2024, 3, 10, 7, 30, tzinfo=UTC),
        datetime(2024, 3, 10, 2, 45, tzinfo=UTC),
        datetime(2024, 3, 10, 7, 30, 0, 123456, tzinfo=UTC),
    ]


REFUSED = {
    "a naive time": ("ts", "2024-03-10T07:30:00", "ts: no time zone"),
    "a day for a moment": ("ts", "2024-03-10", "ts: no time zone"),
    "epoch seconds": ("ts", "1710055800", "ts: a bare number may be seconds or milliseconds"),
    "epoch milliseconds": ("ts", "1710055800000", "ts: a bare number may be seconds"),
    "a leap second": ("ts", "2016-12-31T23:59:60Z", "ts: not an ISO 8601 moment"),
    "hour 24": ("ts", "2024-03-10T24:00:00Z", "ts: not an ISO 8601 moment"),
    "30 February": ("ts", "2024-02-30T00:00:00Z", "ts: no such moment"),
    "the year 9999": ("ts", "9999-01-01T00:00:00Z", "ts: not between 1990 and 2100"),
    "1970": ("ts", "1970-01-01T00:00:00Z", "ts: not between 1990 and 2100"),
    "words for a time": ("ts", "yesterday", "ts: not an ISO 8601 moment"),
    "-infinity": ("ts", "-infinity", "ts: not an ISO 8601 moment"),
    "digits with underscores": ("value", "1_000", "value: not a plain whole number"),
    "leading zeros": ("value", "007", "value: not a plain whole number"),
    "a decimal": ("value", "12.50", "value: not a plain whole number"),
    "an exponent": ("value", "1e400", "value: not a plain whole number"),
    "nan": ("value", "nan", "value: not a plain whole number"),
    "more than 64 bits": ("value", "9223372036854775808", "value: beyond 64 bits"),
    "an unknown status": ("status", "Paid", "status: not one of paid, refunded"),
    "a missing id": ("customer_id", "", "customer_id: missing"),
    "a NUL": ("customer_id", "a\0b", "customer_id: holds a NUL character"),
    "10,000 characters of two bytes": ("customer_id", "ü" * 10_000, "longer than 16,384 bytes"),
}
GOOD_ROW = {
    "conversion_id": "c9", "order_id": "o9", "customer_id": "u", "ts": "2024-03-10T07:30:00Z",
    "value": "1", "refunded_value": "0", "currency": "USD", "status": "paid",
}  # fmt: skip


@pytest.mark.parametrize(("column", "value", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_refused_row_is_kept_with_its_reason(warehouse, tmp_path, column, value, reason):
    text = CONVERSIONS + ",".join((GOOD_ROW | {column: value}).values()) + "\n"
    (report,) = warehouse.load("conversions", [put(tmp_path, "c.csv", text)])
    assert (report.read, report.accepted, report.quarantined, report.conflicts) == (5, 4, 1, 0)
    (row,) = quarantined(report)
    assert reason in row["reason"]
    assert (row["source_file"], row["source_row"]) == ("c.csv", 5)
    assert row[column] == (value or None)


def test_the_same_file_renamed_is_loaded_once(warehouse, tmp_path):
    first = put(tmp_path, "a.csv", CONVERSIONS)
    second = put(tmp_path, "b.csv", CONVERSIONS)
    one, two = warehouse.load("conversions", [first, second])
    assert (one.accepted, one.already_loaded) == (4, False)
    assert (two.read, two.accepted, two.duplicates, two.already_loaded) == (0, 0, 0, True)
    assert len(warehouse.files("conversions")) == 1


def test_the_same_row_in_another_file_is_a_duplicate(warehouse, tmp_path):
    more = CONVERSIONS + ",".join(GOOD_ROW.values()) + "\n"
    _, report = warehouse.load(
        "conversions", [put(tmp_path, "a.csv", CONVERSIONS), put(tmp_path, "b.csv", more)]
    )
    assert (report.read, report.accepted, report.duplicates) == (5, 1, 4)
    assert len(content(warehouse, "conversions")) == 5


def test_the_same_moment_written_otherwise_is_the_same_row(warehouse, tmp_path):
    text = CONVERSIONS + "c1,o1,007,2024-03-10T08:30:00+01:00,1250,0,USD,paid\n"
    (report,) = warehouse.load("conversions", [put(tmp_path, "a.csv", text)])
    assert (report.accepted, report.duplicates, report.conflicts) == (4, 1, 0)


@pytest.mark.parametrize("apart", [False, True])
def test_the_same_key_with_other_values_is_a_counted_conflict(warehouse, tmp_path, apart):
    other = "c1,o1,007,2024-03-10T07:30:00Z,9999,0,USD,paid\n"
    header = CONVERSIONS.splitlines()[0] + "\n"
    texts = [CONVERSIONS, header + other] if apart else [CONVERSIONS + other]
    files = [put(tmp_path, f"{i}.csv", text) for i, text in enumerate(texts)]
    report = warehouse.load("conversions", files)[-1]
    assert (report.conflicts, report.quarantined, report.duplicates) == (1, 1, 0)
    assert "same key" in quarantined(report)[0]["reason"]
    kept = [r["value"] for r in content(warehouse, "conversions") if r["conversion_id"] == "c1"]
    assert kept == [1250]


def test_ids_are_nfc_normalised(warehouse, tmp_path):
    text = "experiment,unit_id,arm,assigned_at\n"
    text += "x,Ame\u0301lie,a,2024-01-01T00:00:00Z\nx,Am\u00e9lie,a,2024-01-01T00:00:00Z\n"
    (report,) = warehouse.load("assignments", [put(tmp_path, "a.csv", text)])
    assert (report.accepted, report.duplicates) == (1, 1)
    assert content(warehouse, "assignments")[0]["unit_id"] == "Am\u00e9lie"


def test_attributes_are_kept_as_text_where_the_contract_keeps_them(warehouse, tmp_path):
    first = "customer_id,first_seen_at,tier\n1,2024-01-01T00:00:00Z,007\n"
    second = "customer_id,first_seen_at,city\n2,2024-01-01T00:00:00Z,Rom\n"
    warehouse.load("customers", [put(tmp_path, "a.csv", first), put(tmp_path, "b.csv", second)])
    rows = content(warehouse, "customers")
    assert [(row["tier"], row["city"]) for row in rows] == [("007", None), (None, "Rom")]


def test_a_row_whose_attributes_went_missing_is_a_conflict(warehouse, tmp_path):
    first = "customer_id,first_seen_at,tier\n1,2024-01-01T00:00:00Z,gold\n"
    second = "customer_id,first_seen_at\n1,2024-01-01T00:00:00Z\n"
    reports = warehouse.load(
        "customers", [put(tmp_path, "a.csv", first), put(tmp_path, "b.csv", second)]
    )
    assert [report.conflicts for report in reports] == [0, 1]


def test_columns_are_checked_by_name(warehouse, tmp_path):
    with pytest.raises(UnknownName, match=r"column 'custmer_id' not found.*'customer_id'"):
        warehouse.load(
            "conversions",
            [put(tmp_path, "a.csv", CONVERSIONS.replace("customer_id", "custmer_id"))],
        )
    with pytest.raises(UnknownName, match=r"column 'first_seen_at' not found"):
        warehouse.load("customers", [put(tmp_path, "b.csv", "customer_id,city\n1,Rom\n")])
    with pytest.raises(UnknownName, match=r"table 'conversion' not found.*'conversions'"):
        warehouse.load("conversion", [])
    assert warehouse.tables() == ()


def test_json_lines_keep_numbers_as_they_were_written(warehouse, tmp_path):
    rows = [dict(GOOD_ROW, conversion_id="j1", customer_id=12345678901234568, value=5),
            dict(GOOD_ROW, conversion_id="j2", value=5.5)]  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (report,) = warehouse.load("conversions", [put(tmp_path, "c.jsonl", text)])
    assert (report.accepted, report.quarantined) == (1, 1)
    assert content(warehouse, "conversions")[0]["customer_id"] == "12345678901234568"


def test_parquet_keeps_its_times_and_refuses_naive_ones(warehouse, tmp_path):
    def write(name, zone):
        moment = pa.array([1_710_055_800_000_000], pa.int64()).cast(pa.timestamp("us", tz=zone))
        columns = {**{k: [v] for k, v in GOOD_ROW.items()}, "ts": moment, "value": [7]}
        pq.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    aware, naive = warehouse.load(
        "conversions", [write("a.parquet", "UTC"), write("b.parquet", None)]
    )
    assert (aware.accepted, naive.accepted) == (1, 0)
    assert "ts: no time zone" in quarantined(naive)[0]["reason"]


BROKEN = {
    "cut off within a row": ("c.csv", CONVERSIONS[:-30].encode(), "fields where the header has 8"),
    "empty": ("c.csv", b"", "the file is empty"),
    "a header alone": (
        "c.csv",
        CONVERSIONS.split("\n", maxsplit=1)[0].encode(),
        "no rows below the header",
    ),
    "not UTF-8": ("c.csv", CONVERSIONS.replace("o1", "ö1").encode("latin-1"), "UTF-8"),
    "gzip cut off": ("c.csv.gz", gzip.compress(CONVERSIONS.encode())[:-9], "damaged or cut off"),
    "not Parquet": ("c.parquet", b"PAR1" + bytes(50), "not a Parquet file, or cut off"),
    "not JSON": ("c.jsonl", b'{"conversion_id": "c1"\n', "c.jsonl"),
    "a JSON list": ("c.jsonl", b'["c1"]\n', "not a JSON object"),
}


@pytest.mark.parametrize(("name", "data", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_whole(warehouse, tmp_path, name, data, words):
    warehouse.load("conversions", [put(tmp_path, "good.csv", CONVERSIONS)])
    before = sorted(p for p in warehouse.root.rglob("*") if p.is_file())
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=words) as caught:
        warehouse.load("conversions", [tmp_path / name])
    assert "\n" not in str(caught.value)
    assert sorted(p for p in warehouse.root.rglob("*") if p.is_file()) == before
    assert len(content(warehouse, "conversions")) == 4


def test_a_missing_file_is_named(warehouse, tmp_path):
    with pytest.raises(MissingFile, match=r"none\.csv: no such file"):
        warehouse.load("conversions", [tmp_path / "none.csv"])


def test_files_that_the_manifest_does_not_name_are_not_read(warehouse, tmp_path):
    # What a killed load leaves behind: a data file without an entry, a half-written one.
    warehouse.load("conversions", [put(tmp_path, "a.csv", CONVERSIONS)])
    (data,) = warehouse.files("conversions")
    data.with_name("stray.parquet").write_bytes(data.read_bytes())
    data.with_suffix(".new").write_bytes(data.read_bytes()[:100])
    assert len(content(warehouse, "conversions")) == 4


def test_a_damaged_manifest_is_named_and_nothing_is_overwritten(warehouse, tmp_path):
    path = put(tmp_path, "a.csv", CONVERSIONS)
    warehouse.load("conversions", [path])
    (warehouse.root / "manifest.json").write_text('{"version": 1, "fi', encoding="utf-8")
    with pytest.raises(EngineError, match="manifest cannot be read"):
        warehouse.load("conversions", [path])


def test_a_later_manifest_is_refused(warehouse):
    warehouse.root.mkdir()
    (warehouse.root / "manifest.json").write_text('{"version": 2, "files": []}', encoding="utf-8")
    with pytest.raises(EngineError, match="version 2 of the manifest"):
        warehouse.tables()


def load_in_process(root, path):
    (report,) = Warehouse(root).load("conversions", [path])
    return report.accepted


def test_concurrent_loads_of_the_same_rows_keep_each_row_once(warehouse, tmp_path):
    files = [put(tmp_path, f"{i}.csv", CONVERSIONS + "\n" * i) for i in range(4)]
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(2) as pool:
        accepted = pool.starmap(load_in_process, [(warehouse.root, file) for file in files])
    assert sum(accepted) == 4
    assert len(content(warehouse, "conversions")) == 4


def test_a_warehouse_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingFile, match="no such file or folder"):
        connect(f"warehouse:{tmp_path / 'nowhere'}")
