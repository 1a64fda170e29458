"""Files state what loading them must report; the statement is checked by reading them."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from console.demo import DataFile, World, build_world, write_files, write_people
from console.demo.truth import truth_of
from measure.engine.contracts import CONTRACTS


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(5_000, 4)


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[DataFile, ...]:
    return write_files(world, tmp_path_factory.mktemp("world"))


def rows_of(file: DataFile) -> pd.DataFrame:
    if file.path.suffix == ".csv":
        return pd.read_csv(file.path, dtype=str, keep_default_na=False)
    return pq.read_table(file.path).to_pandas()


def test_counts_add_up(files: tuple[DataFile, ...]) -> None:
    for file in files:
        assert file.read == file.accepted + file.duplicates + file.quarantined
        assert file.read == (0 if file.already_loaded else len(rows_of(file)))
        assert file.conflicts <= file.quarantined


def test_accepted_rows_are_the_tables(world: World, files: tuple[DataFile, ...]) -> None:
    tables = world.tables()
    del tables["assignments"]  # the product writes them
    for name, table in tables.items():
        accepted = sum(file.accepted for file in files if file.table == name)
        assert accepted == table.num_rows, name


def test_parquet_and_csv_are_both_there(files: tuple[DataFile, ...]) -> None:
    assert {file.path.suffix for file in files} == {".parquet", ".csv"}
    assert {file.table for file in files} == set(CONTRACTS) & {
        "customers", "identities", "consents", "activations", "conversions", "claims", "spend",
    }  # fmt: skip


def test_one_file_comes_twice_byte_for_byte(files: tuple[DataFile, ...]) -> None:
    (again,) = [file for file in files if file.already_loaded]
    original = again.path.with_name(again.path.name.replace("-again", ""))
    assert again.path.read_bytes() == original.read_bytes()
    assert again.accepted == 0


def test_repeated_and_conflicting_rows(files: tuple[DataFile, ...]) -> None:
    main, late = (file for file in files if file.table == "conversions")
    before, after = rows_of(main), rows_of(late)
    both = after.merge(before, on="conversion_id", suffixes=("", "_before"))
    same = both.value == both.value_before
    assert (int(same.sum()), int((~same).sum())) == (late.duplicates, late.conflicts)
    (log,) = [f for f in files if f.table == "activations" and f.duplicates and f.accepted]
    assert int(rows_of(log).duplicated().sum()) == log.duplicates


def test_each_unreadable_order_breaks_one_rule(files: tuple[DataFile, ...]) -> None:
    _, late = (file for file in files if file.table == "conversions")
    bad = rows_of(late).iloc[-(late.quarantined - late.conflicts) :]
    contract = CONTRACTS["conversions"]
    required = {column.name for column in contract.columns if column.required}
    assert required <= set(bad.columns) <= set(contract.names)
    faults = pd.DataFrame(
        {
            "ts": [
                pd.isna(pd.to_datetime(ts, errors="coerce")) or not ts.endswith("Z")
                for ts in bad.ts
            ],
            "value": ~bad.value.str.fullmatch(r"-?\d+"),
            "customer_id": bad.customer_id == "",
            "status": ~bad.status.isin(contract.column("status").allowed),
        },
        index=bad.index,
    )
    assert (faults.sum(axis=1) == 1).all()


def test_the_same_world_gives_the_same_bytes(
    world: World, files: tuple[DataFile, ...], tmp_path: Path
) -> None:
    for one, other in zip(files, write_files(world, tmp_path), strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()


def test_truth_is_written_beside(world: World, files: tuple[DataFile, ...]) -> None:
    document = json.loads((files[0].path.parent / "truth.json").read_text())
    truth = truth_of(world)
    assert document["seed"] == 4
    assert [q["name"] for q in document["quantities"]] == [q.name for q in truth.quantities]
    assert [d["code"] for d in document["defects"]] == [d.code for d in truth.defects]
    assert [f["path"] for f in document["files"]] == [f.path.name for f in files]


def test_people_can_be_written_before_they_are_assigned(
    world: World, files: tuple[DataFile, ...], tmp_path: Path
) -> None:
    parts = write_people(world.people, tmp_path), write_files(world, tmp_path, with_people=False)
    assert [f.path.name for part in parts for f in part] == [f.path.name for f in files]
    for one, other in zip((f for part in parts for f in part), files, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
