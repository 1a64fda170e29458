"""R11: an engine puts every unit into the same bucket as the published vectors say."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from measure.engine.bucketing import bucket_below, bucket_column
from measure.engine.connection import Engine
from measure.errors import EngineError, InputError

VECTORS = Path(__file__).resolve().parents[2] / "designs" / "vectors.json.gz"


@pytest.fixture(scope="module")
def vectors():
    with gzip.open(VECTORS, "rt", encoding="utf-8") as stream:
        found = json.load(stream)["vectors"]
    by_salt = {}
    for vector in found:
        by_salt.setdefault(vector["salt"], []).append((vector["id"], vector["bucket"]))
    return by_salt


@pytest.mark.dialect
def test_the_published_vectors(engine, vectors):
    compared = 0
    for salt, pairs in vectors.items():
        table = engine.register("ids", pa.table({"id": [unit for unit, _ in pairs]}))
        query = table.select(table.id, bucket=bucket_column(table.id, salt, engine))
        found = {row["id"]: row["bucket"] for row in engine.fetch(query).to_pylist()}
        assert found == dict(pairs)
        compared += len(pairs)
    assert compared == 10_000


@pytest.mark.dialect
@pytest.mark.parametrize("salt", ["it's", "back\\slash\\n", "$$ %s {x}", '"', "tab\t", "a;--", "é"])
def test_any_salt_is_a_value_and_never_query_text(engine, salt):
    import hashlib

    ids = ["007", "1e5", "o'brien", "a\\b", "👩‍👩‍👧", " "]
    table = engine.register("ids", pa.table({"id": ids}))
    query = table.select(table.id, bucket=bucket_column(table.id, salt, engine))
    for row in engine.fetch(query).to_pylist():
        message = salt.encode() + b"\x1f" + row["id"].encode()
        assert row["bucket"] == int(hashlib.sha256(message).hexdigest()[:15], 16)


@pytest.mark.dialect
def test_a_missing_id_has_no_bucket(engine):
    table = engine.register("ids", pa.table({"id": pa.array([None, "a"], pa.string())}))
    query = table.filter(table.id.isnull()).select(bucket=bucket_column(table.id, "s", engine))
    assert engine.fetch(query).to_pylist() == [{"bucket": None}]


@pytest.mark.dialect
def test_below_is_the_comparison_of_buckets(engine, vectors):
    salt, pairs = next(iter(vectors.items()))
    table = engine.register("ids", pa.table({"id": [unit for unit, _ in pairs]}))
    numbers = [number for _, number in pairs[:3]]
    ends = [0, 1, 16**15 // 10, 16**15 - 1, 16**15, *numbers, *(n + 1 for n in numbers)]
    columns = {f"e{i}": bucket_below(table.id, salt, end, engine) for i, end in enumerate(ends)}
    for row in engine.fetch(table.select(table.id, **columns)).to_pylist():
        number = dict(pairs)[row["id"]]
        assert [row[f"e{i}"] for i in range(len(ends))] == [number < end for end in ends]


@pytest.mark.parametrize("salt", ["", "a\x1fb", "a\0"])
def test_a_salt_that_could_be_mistaken_is_refused(salt):
    with pytest.raises(InputError, match="salt"):
        bucket_column(None, salt, Engine(_Backend("duckdb"), "duckdb://"))


def test_an_engine_that_is_not_known_to_agree_is_refused():
    with pytest.raises(EngineError, match="Use DuckDB, PostgreSQL or Spark"):
        bucket_column(None, "salt", Engine(_Backend("mysql"), "mysql://"))


class _Backend:
    def __init__(self, name):
        self.name = name
