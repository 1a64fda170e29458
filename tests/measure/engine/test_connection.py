"""``connect(url)``: what opens, and one line for what does not."""

import subprocess
import sys
import textwrap

import pyarrow as pa
import pytest

from measure.engine.connection import connect
from measure.engine.expressions import ifelse
from measure.errors import EngineError, UnknownName
from tests.services import free_port


def test_tables_are_registered_replaced_listed_and_fetched(engine):
    first = pa.table({"name": ["é", None], "n": pa.array([2**53 + 1, None], pa.int64())})
    engine.register("things", first)
    assert engine.has("things")
    assert "things" in engine.tables()
    assert engine.fetch(engine.table("things")).to_pylist() == first.to_pylist()
    second = pa.table({"flag": [True, False], "share": [0.1, None]})
    engine.register("things", second)
    assert engine.fetch(engine.table("things")).to_pylist() == second.to_pylist()


def test_an_empty_result_keeps_its_types(engine):
    table = engine.register("things", pa.table({"name": ["a"], "n": [1], "x": [0.5]}))
    fetched = engine.fetch(table.filter(table.n > 1))
    assert fetched.num_rows == 0
    assert [str(field.type) for field in fetched.schema] == ["string", "int64", "double"]


def test_a_materialized_table_is_what_it_was_made_from(engine):
    table = engine.register("things", pa.table({"n": [1, 2, 3]}))
    derived = table.filter(table.n > 1).select(twice=table.n * 2)
    assert engine.is_derived(derived)
    assert not engine.is_derived(table)
    kept = engine.materialize(derived)
    assert sorted(engine.fetch(kept)["twice"].to_pylist()) == [4, 6]


def test_an_engine_that_cannot_answer_says_so_in_one_line(engine):
    table = engine.register("texts", pa.table({"text": ["many"]}))
    with pytest.raises(EngineError, match="could not answer") as caught:
        engine.fetch(table.select(n=table.text.cast("int64")))
    assert "\n" not in str(caught.value)


def test_times_are_utc_whatever_the_zone_they_came_in(engine):
    from datetime import UTC, datetime, timedelta, timezone

    early = datetime(2024, 3, 10, 8, 30, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    stamps = pa.array([early.astimezone(UTC)], pa.timestamp("us", tz="UTC"))
    table = engine.register("times", pa.table({"ts": stamps}))
    (row,) = engine.fetch(table.select(ts=table.ts, hour=table.ts.hour())).to_pylist()
    moment = row["ts"] if row["ts"].tzinfo else row["ts"].replace(tzinfo=UTC)
    assert (moment, row["hour"]) == (early, 2)


def test_sums_of_conditions_are_portable(engine):
    table = engine.register("flags", pa.table({"flag": [True, False, True]}))
    query = table.aggregate(n=ifelse(table.flag, 1, 0).sum())
    assert engine.fetch(query).to_pylist() == [{"n": 2}]


def test_an_unknown_table_is_named_with_the_nearest():
    with connect() as engine:
        engine.register("customers", pa.table({"a": [1]}))
        with pytest.raises(UnknownName, match="Did you mean 'customers'"):
            engine.table("custmers")


def test_a_server_that_is_not_there_is_one_line_without_the_password():
    url = f"postgresql://ada:secret@127.0.0.1:{free_port()}/shop"
    with pytest.raises(EngineError, match="Check that the server runs") as caught:
        connect(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["oracle17://x", "nonsense", "", "mysql://u:secret@h/db"])
def test_an_unknown_url_lists_what_there_is(url):
    with pytest.raises(EngineError, match="Use warehouse:PATH, duckdb://") as caught:
        connect(url)
    assert "secret" not in str(caught.value)


def test_the_embedded_engine_installs_nothing_and_reads_no_python_variables():
    frame = pa.table({"secret": [1]})
    with connect() as engine:
        import duckdb

        with pytest.raises(duckdb.Error):
            engine.backend.con.execute("SELECT * FROM frame").fetchall()
        settings = dict(
            engine.backend.con.execute(
                "SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%extensions'"
            ).fetchall()
        )
    assert frame.num_rows == 1
    assert settings == {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }


@pytest.mark.parametrize(
    ("missing", "words"), [("pyspark", "pip install 'truelift"), ("java", "Java is not installed")]
)
def test_spark_without_its_parts_says_what_to_install(missing, words):
    # In a process of its own: this one may already have a session.
    script = f"""
        import os, sys
        if {missing!r} == "pyspark":
            sys.modules["pyspark"] = None
        else:
            os.environ["PATH"] = "/nowhere"
            os.environ.pop("JAVA_HOME", None)
        from measure.engine.connection import connect
        from measure.errors import EngineError
        try:
            connect("spark://local[1]")
        except EngineError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert words in done.stdout
    assert done.stdout.count("\n") == 1
