"""What cannot be analysed is refused in one line that names column, value, row and way out."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from measure.engine.connection import connect
from measure.engine.units import open_source
from measure.errors import DataError, InputError, MissingFile, TrueliftError, UnknownName
from measure.plan import AnalysisPlan, Metric, Source

PLAN = AnalysisPlan(
    arms={"A": 0.5, "B": 0.5},
    control="A",
    metrics=(Metric(name="spend"), Metric(name="bought", kind="proportion")),
    covariates=("age",),
    cohorts=("city",),
)
HEADER = "id,arm,spend,bought,age,city\n"
GOOD = HEADER + "1,A,1.50,1,30,Rom\n2,B,0,0,,\n3,A,2,0,41,Rom\n"


def open_text(tmp_path, text, name="units.csv", unit_id="id"):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    return open_source(
        connect("duckdb://"), Source(path=name, arm="arm", id=unit_id), PLAN, tmp_path
    )


def test_a_good_file_is_read(tmp_path):
    units = open_text(tmp_path, GOOD)
    cells = units.moments()
    assert cells.units == {"A": 2, "B": 1}
    assert cells.get("spend", "A").mean.tolist() == [1.75, 35.5]
    assert [c.value for c in cells.cohorts("city")] == ["(missing)", "Rom"]
    assert len(units.data_hash) == 64


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_and_a_byte_order_mark_are_read(tmp_path, delimiter):
    units = open_text(tmp_path, "\ufeff" + GOOD.replace(",", delimiter).replace("\n", "\r\n"))
    assert units.moments().get("spend", "A").mean[0] == 1.75


@pytest.mark.parametrize(
    "value", ["1_000", "nan", "inf", "-Infinity", "1e400", "007", " 5", "0x10", "1.", ".5", "five",
              "1,5", "１", "1e5e5", "--1", "=1+1", "true"]
)  # fmt: skip
@pytest.mark.parametrize("column", ["spend", "age"])
def test_a_text_in_a_number_is_named_with_its_row(tmp_path, column, value):
    row = {"spend": f'9,B,"{value}",0,20,Oslo', "age": f'9,B,1,0,"{value}",Oslo'}[column]
    with pytest.raises(DataError) as caught:
        open_text(tmp_path, GOOD + row + "\n")
    message = str(caught.value)
    assert f"column {column!r} holds {value!r} in row 4" in message
    assert "\n" not in message


@pytest.mark.parametrize("value", ["1e5", "-2.5E-3", "+4", "0.0", "0"])
def test_plain_and_exponent_forms_are_numbers(tmp_path, value):
    units = open_text(tmp_path, HEADER + f"1,A,{value},0,1,x\n2,B,1,0,1,x\n")
    assert units.moments().get("spend", "A").mean[0] == pytest.approx(float(value), rel=1e-12)


REFUSED = {
    "a missing column": (
        GOOD.replace("spend", "spent"), UnknownName, "column 'spend' not found.*'spent'"),
    "an arm that was not planned": (
        GOOD + "4,C,1,0,1,x\n", DataError, r"arm column 'arm' holds 'C' \(1 rows\)"),
    "an arm in other letters": (
        GOOD + "4,a,1,0,1,x\n", DataError, "holds 'a'.*Did you mean 'A'"),
    "a unit without an arm": (GOOD + "4,,1,0,1,x\n", DataError, "'arm' is empty in 1 rows"),
    "two rows for one unit": (
        GOOD + "3,B,1,0,1,x\n", DataError, "unit '3' has 2 rows and 1 ids repeat"),
    "a unit without an id": (GOOD + ",B,1,0,1,x\n", DataError, "id column 'id' is empty in 1 rows"),
    "a proportion of 2": (GOOD + "4,B,1,2,1,x\n", DataError, "'bought' holds 2; only 0 and 1"),
    "a proportion of .5": (GOOD + "4,B,1,0.5,1,x\n", DataError, "holds 0.5; only 0 and 1"),
    "a number too large to cube": (GOOD + "4,B,1e80,0,1,x\n", DataError, "'spend' holds 1e"),
    "an empty file": ("", DataError, "the file is empty"),
    "a header alone": (HEADER, DataError, "no rows below the header"),
    "a blank header": ("\n1,2\n", DataError, "first line is blank"),
    "a column named twice": ("id,arm,arm\n", DataError, "'arm' is named twice"),
    "a column without a name": ("id,,arm\n", DataError, "column 2 has no name"),
    "a row cut off": (GOOD + "4,B,1", DataError, "line 5: 3 fields where the header has 6"),
    "a row too long": (GOOD + "4,B,1,0,1,x,y\n", DataError, "line 5: 7 fields"),
    "a quote left open": (GOOD + '4,B,1,0,1,"x\n', DataError, "quoted field does not end"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_one_clear_line_per_defect(tmp_path, text, error, words):
    with pytest.raises(error, match=words) as caught:
        open_text(tmp_path, text)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_named_as_such(tmp_path, encoding):
    (tmp_path / "units.csv").write_bytes(GOOD.replace("Rom", "Zürich").encode(encoding))
    with pytest.raises(DataError, match="save it with the encoding UTF-8"):
        open_source(connect(), Source(path="units.csv", arm="arm"), PLAN, tmp_path)


def test_a_missing_file_says_where_paths_start(tmp_path):
    with pytest.raises(MissingFile, match=r"nowhere\.csv: no such file"):
        open_source(connect(), Source(path="nowhere.csv", arm="arm"), PLAN, tmp_path)


def test_an_unknown_kind_of_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.csv"):
        open_text(tmp_path, GOOD, name="units.xlsx")


def test_a_compressed_file_is_read_and_a_damaged_one_refused(tmp_path):
    packed = gzip.compress(GOOD.encode())
    (tmp_path / "units.csv.gz").write_bytes(packed)
    source = Source(path="units.csv.gz", arm="arm")
    assert open_source(connect(), source, PLAN, tmp_path).moments().units == {"A": 2, "B": 1}
    wrong_checksum = packed[:-8] + bytes(4) + packed[-4:]
    for damaged in (packed[:-12], wrong_checksum):
        (tmp_path / "units.csv.gz").write_bytes(damaged)
        with pytest.raises(DataError, match="damaged or cut off"):
            open_source(connect(), source, PLAN, tmp_path)


def parquet(tmp_path, **columns):
    plain = {"arm": ["A", "B"], "spend": [1.0, 2.0], "bought": [0, 1], "age": [3, 4], "city": "xy"}
    table = pa.table({name: pa.array(v) for name, v in (plain | columns).items()})
    pq.write_table(table, tmp_path / "units.parquet")
    return open_source(connect(), Source(path="units.parquet", arm="arm"), PLAN, tmp_path)


def test_parquet_is_read_with_its_types(tmp_path):
    units = parquet(tmp_path, bought=[False, True])
    assert units.moments().get("bought", "B").mean.tolist() == [1.0, 4.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_refused_in_typed_columns_too(tmp_path, value):
    with pytest.raises(DataError, match=r"column 'spend' holds (nan|inf|-inf)"):
        parquet(tmp_path, spend=[1.0, value])


def test_a_column_of_another_type_is_refused(tmp_path):
    import datetime as dt

    with pytest.raises(DataError, match="'age' is of type date, must be a number"):
        parquet(tmp_path, age=[dt.date(2024, 1, 1)] * 2)


def test_a_parquet_file_cut_off_is_refused_whole(tmp_path):
    parquet(tmp_path)
    path = tmp_path / "units.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a Parquet file, or cut off"):
        open_source(connect(), Source(path="units.parquet", arm="arm"), PLAN, tmp_path)


def test_a_text_column_of_a_table_counts_when_every_value_is_a_number(engine, tmp_path):
    columns = {"arm": ["A", "B"], "spend": ["1.5", "2"], "bought": ["0", ""], "age": ["3", "4"]}
    engine.register("texts", pa.table(columns | {"city": ["x", "y"]}))
    source = Source(table="texts", arm="arm")
    cells = open_source(engine, source, PLAN, tmp_path).moments()
    assert cells.get("spend", "A").mean.tolist() == [1.5, 3.0]
    assert cells.missing["bought", "B"] == 1
    engine.register("texts", pa.table(columns | {"spend": ["1.5", "many"], "city": ["x", "y"]}))
    with pytest.raises(DataError, match=r"column 'spend' holds 'many'"):
        open_source(engine, source, PLAN, tmp_path)


def test_a_table_that_does_not_exist_is_named(engine, tmp_path):
    engine.register("customers", pa.table({"arm": ["A"]}))
    with pytest.raises(UnknownName, match=r"table 'customer' not found\. Did you mean 'customers'"):
        open_source(engine, Source(table="customer", arm="arm"), PLAN, tmp_path)


def test_hostile_names_are_names(tmp_path):
    column = 'spend"; drop table source;--'
    plan = PLAN.model_copy(update={"metrics": (Metric(name="x", column=column),)})
    (tmp_path / "it's.csv").write_text(
        'arm,"spend""; drop table source;--",age,city\nA,1,2,<b>\nB,3,4,\'\n', encoding="utf-8"
    )
    units = open_source(connect(), Source(path="it's.csv", arm="arm"), plan, tmp_path)
    assert units.moments().get("x", "B").mean[0] == 3.0


def test_every_message_is_one_of_ours(tmp_path):
    # Random damage to a good file: read or refused, but never any other error.
    import random

    chance = random.Random(20080320)
    messages = []
    for _ in range(150):
        broken = bytearray(GOOD.encode())
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(len(broken))] = chance.choice(b'",\n\r\0;\xff\xc3 aA1.')
        (tmp_path / "units.csv").write_bytes(bytes(broken))
        try:
            open_source(connect(), Source(path="units.csv", arm="arm"), PLAN, tmp_path).moments()
        except TrueliftError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert not any("\n" in message for message in messages)
