"""Erasure by command: nothing is left of the person, and nothing else has changed."""

import json
import re
import shutil
import sqlite3

import pyarrow.parquet as pq
import pytest

from console import erasing
from measure.engine import erasing as tables
from measure.engine.connection import connect
from measure.engine.loading import Warehouse
from measure.engine.manifest import read_erased, read_manifest
from measure.people.erasure import marks_of
from tests.console.documents import assert_documented
from tests.console.people_shop import answer, begin, people, ran, read, rows, shop, write
from tests.services import postgres

WHO = "buyer-8"  # has touches, an order and a claim; every fourth has
NAMED = re.compile(r"(?<![0-9A-Za-z_])[a-z-]*buyer-8(?![0-9A-Za-z_])")
WHY = ("--reason", "asked for by letter of 3 April")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    base = tmp_path_factory.mktemp("erase")
    root = shop(base / "made", base / "files")
    bad = base / "files" / "bad.csv"  # a refused row that names the person
    bad.write_text(
        "conversion_id,order_id,customer_id,ts,value,refunded_value,currency,status\n"
        f"x1,y1,{WHO},not a time,1,0,EUR,paid\n"
    )
    ran(root, "load", "conversions", str(bad))
    ran(root, "assign", "spring")
    begin(root, "old")
    ran(root, "assign", "old")
    ran(root, "conclude", "old")
    ran(root, "report", "old")
    ran(root, "audience", "spring", "--channel", "email", "--out", str(root / "reach.csv"))
    return root


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "shop")


def holding(root):
    """Files of the workspace that name the person; Parquet files by their values."""
    found = []
    for path in sorted(root.rglob("*")):
        if path.suffix == ".parquet":
            text = json.dumps(pq.read_table(path).to_pylist(), default=str)
        elif path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
        else:
            continue
        if NAMED.search(text):
            found.append(path.relative_to(root).as_posix())
    return found


def test_nothing_is_left_of_the_person_and_closed_results_keep_their_bytes(root):
    closed = [root / "results" / "old" / "analysis.json"]
    closed += [p for p in (root / "reports").glob("*.html") if not NAMED.search(p.read_text())]
    assert len(closed) > 2
    before = {path: path.read_bytes() for path in closed}
    was = holding(root)
    assert any(name.startswith("warehouse/quarantine") for name in was)
    units = answer(root, "analyze", "spring")["estimates"][0]
    done = answer(root, "erase", WHO, *WHY)
    assert_documented("erase", done, absent={"remaining[]", "removed[]"})
    assert holding(root) == []
    assert {path: path.read_bytes() for path in closed} == before
    expected = {"customers": 1, "identities": 1, "consents": 2, "activations": 1}
    assert done["rows"] == expected | {"conversions": 1, "claims": 1, "assignments": 2}
    assert done["quarantined"] == 1
    assert done["remaining"] == []
    assert set(done["units"]) == {"spring"}  # "old" is closed
    assert sum(done["units"]["spring"].values()) == 1
    assert not NAMED.search(json.dumps(done))
    again = answer(root, "analyze", "spring")
    now = again["estimates"][0]
    assert now["n_arm"] + now["n_control"] == units["n_arm"] + units["n_control"] - 1
    (check,) = [c for c in again["checks"] if c["code"] == "H10"]
    assert (check["outcome"], check["rows"]) == ("passed", 1)
    assert "asked to be erased" in check["message"]
    with sqlite3.connect(root / "registry.db") as registry:
        ((who, detail),) = registry.execute(
            "SELECT who, detail FROM audit WHERE what = 'erase person'"
        ).fetchall()
    assert json.loads(detail)["reason"] == WHY[1]
    assert not NAMED.search(who + detail)
    ran(root, "audit", "verify")
    assert "is in no table" in ran(root, "erase", WHO, *WHY, code=2)


def test_old_files_do_not_bring_the_person_back(root, tmp_path):
    ran(root, "erase", WHO, *WHY)
    late = [("customers", ("newcomer", "2026-04-01T00:00:00Z", "DE"))]
    files = write(tmp_path / "late", [*rows(), *late])  # other bytes, the same people and more
    reports = {
        table: answer(root, "load", table, str(path))["files"][0] for table, path in files.items()
    }
    assert reports["customers"]["accepted"] == 1
    assert holding(root) == []
    again = {table: r for table, r in reports.items() if not r["already_loaded"]}
    assert set(again) == {"customers"}
    changed = tmp_path / "late" / "claims2.csv"
    changed.write_text(files["claims"].read_text().replace("\r\n", "\n"))  # other bytes
    report = answer(root, "load", "claims", str(changed))["files"][0]
    assert (report["quarantined"], report["accepted"]) == (1, 0)
    assert report["read"] == report["duplicates"] + 1
    (kept,) = pq.read_table(report["quarantine_file"]).to_pylist()
    assert kept["reason"] == "of somebody who was erased"
    assert kept["claim_id"] is None
    assert holding(root) == []
    (root / erasing.KEY_FILE).unlink()
    changed.write_text(changed.read_text() + "\n")
    assert "key of the tombstones is missing" in ran(root, "load", "claims", str(changed), code=1)


class Killed(BaseException):
    """What no handler of the product catches."""


POINTS = ("rewritten file", "tombstones", "manifest", "old files", "results", "audit")


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_the_tables_before_or_after_and_the_next_erasure_finishes(
    root, monkeypatch, point
):
    def killed(*_args, **_options):
        raise Killed

    places = {
        "rewritten file": (tables, "publish"),
        "tombstones": (tables, "add_tombstones"),
        "manifest": (tables, "write_manifest"),
        "old files": (tables, "sweep"),
        "results": (erasing, "_rewritten"),
        "audit": ("designs.registry.store.Registry", "record_erasure"),
    }
    where, name = places[point]
    warehouse = Warehouse(root / "warehouse")
    before = {table: _ids(warehouse, table) for table in warehouse.tables()}
    with monkeypatch.context() as patched:
        target = f"{where}.{name}" if isinstance(where, str) else None
        patched.setattr(target, killed) if target else patched.setattr(where, name, killed)
        with pytest.raises(Killed):
            ran(root, "erase", WHO, *WHY)
    now = {table: _ids(warehouse, table) for table in warehouse.tables()}
    after = {
        table: [row for row in found if not NAMED.search(row)] for table, found in before.items()
    }
    assert now in (before, after)
    assert (now == after) is (point in ("old files", "results", "audit"))
    ran(root, "erase", "buyer-9", "--reason", "another letter")
    assert {table: _ids(warehouse, table) for table in warehouse.tables()} == {
        table: [row for row in found if "buyer-9" not in re.findall(r"buyer-\d+", row)]
        for table, found in after.items()
    }
    assert holding(root) == []
    assert sum(read_erased(root / "warehouse")["spring"].values()) == 2  # each counted once


def _ids(warehouse, table):
    found = [json.dumps(row, default=str) for f in warehouse.files(table)
             for row in pq.read_table(f).to_pylist()]  # fmt: skip
    return sorted(found)


def test_what_is_not_ours_is_named_and_a_reason_that_names_the_person_is_refused(root):
    (root / "notes.txt").write_text(f"call {WHO} back")
    said = ran(root, "erase", WHO, "--reason", f"{WHO} wrote", code=2)
    assert "names the person" in said
    assert "is empty" in ran(root, "erase", WHO, "--reason", " ", code=2)
    assert not (root / erasing.JOURNAL).exists()
    assert answer(root, "erase", WHO, *WHY)["remaining"] == ["notes.txt"]


def test_a_list_that_was_written_is_rewritten(root):
    listed = [row["unit_id"] for row in read(root / "reach.csv")]
    done = answer(root, "erase", listed[0], *WHY)
    assert [row["unit_id"] for row in read(root / "reach.csv")] == listed[1:]
    assert any("reach.csv" in name for name in done["rewritten"])


@pytest.mark.xdist_group("postgres")
def test_a_database_is_emptied_of_the_person_in_one_transaction(made):
    entries = read_manifest(made / "warehouse")
    with postgres() as url, connect(url) as engine:
        for entry in entries:
            if entry.accepted:
                engine.register(entry.table, pq.read_table(made / "warehouse" / entry.data_file))
        done = tables.erase_from_postgres(engine, marks_of(engine, WHO), ["spring", "old"])
        assert done.rows["claims"] == done.rows["customers"] == 1
        left = {t: engine.fetch(engine.table(t)).to_pylist() for t in engine.tables()}
        assert not NAMED.search(json.dumps(left, default=str))
        assert len(left["customers"]) == len(people()) - 1
        again = tables.erase_from_postgres(engine, marks_of(engine, WHO), ["spring", "old"])
        assert again.rows == {}
        assert [row["units"] for row in left["truelift_erasures"]] == [1]
