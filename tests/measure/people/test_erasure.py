"""What goes with a person who is erased, and what stays, down to the last row."""

from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from measure.engine.connection import connect
from measure.engine.erasing import erase_from_warehouse
from measure.engine.loading import Warehouse
from measure.people.erasure import is_known, marks_of

SEEN = "2026-01-01T00:00:00Z"
FILES = {
    "customers": f"customer_id,first_seen_at\nann,{SEEN}\nbob,{SEEN}\n12,{SEEN}\n",
    "links": (
        "customer_id,other_customer_id,probability,model,linked_at\n"
        f"ann,bob,0.9,names,{SEEN}\nann,eve,0.9,names,{SEEN}\n"
    ),
    "activations": (
        "activation_id,platform,channel,campaign,kind,ts,customer_id,click_id\n"
        f"t1,mailer,email,spring,click,{SEEN},ann,shared\n"
        f"t2,mailer,email,spring,click,{SEEN},bob,own\n"
    ),
    "conversions": (
        "conversion_id,order_id,customer_id,ts,value,refunded_value,currency,status,click_id\n"
        f"s1,o1,bob,{SEEN},100,0,EUR,paid,shared\n"
        "s2,o2,ann,not a time,12,0,EUR,paid,\n"
        "s3,12,ann,2026-13-12,5,0,EUR,paid,\n"
        "s4,o4,12,not a time,7,0,EUR,paid,\n"
    ),
}


@pytest.fixture
def warehouse(tmp_path):
    found = Warehouse(tmp_path / "warehouse")
    for table, text in FILES.items():
        load(found, table, text)
    return found


def load(warehouse, table, text):
    path = warehouse.root.parent / f"{table}.csv"
    path.write_text(text)
    return warehouse.load(table, [path])[0]


def erase(warehouse, customer):
    with connect(f"warehouse:{warehouse.root}") as engine:
        marks = marks_of(engine, customer)
    until = datetime.now(UTC) + timedelta(days=1)
    key = warehouse.root.parent / "tombstone.key"
    return erase_from_warehouse(warehouse.root, marks, counted=(), key_file=key, until=until)


def rows(warehouse, table):
    return [row for file in warehouse.files(table) for row in pq.read_table(file).to_pylist()]


def test_a_click_on_record_for_somebody_else_in_another_table_stays_with_them(warehouse):
    with connect(f"warehouse:{warehouse.root}") as engine:
        marks = marks_of(engine, "bob")
    assert marks.ids["click"] == {"own"}
    assert marks.ids["order"] == {"o1"}
    erase(warehouse, "bob")
    again = FILES["activations"].replace("t1,", "t3,")
    report = load(warehouse, "activations", again)
    assert (report.accepted, report.quarantined) == (1, 1)  # Ann's row is taken, Bob's is not


def test_links_go_with_either_of_the_two_and_do_not_come_back(warehouse):
    with connect(f"warehouse:{warehouse.root}") as engine:
        assert is_known(engine, "eve")  # whom nothing but a link names
        assert not is_known(engine, "zoe")
    assert erase(warehouse, "bob").rows["links"] == 1
    assert {row["other_customer_id"] for row in rows(warehouse, "links")} == {"eve"}
    more = load(warehouse, "links", FILES["links"].replace("names", "dates"))
    assert (more.accepted, more.quarantined) == (1, 1)
    assert "bob" not in str(rows(warehouse, "links"))


def test_an_id_that_is_a_number_takes_no_refused_row_of_others_with_it(warehouse):
    # 12 stands as a value, an order, a day and a row number of refused rows that are Ann's.
    assert erase(warehouse, "12").quarantined == 1
    left = [
        pq.read_table(f).to_pylist() for f in (warehouse.root / "quarantine").rglob("*.parquet")
    ]
    assert sorted(row["conversion_id"] for row in left[0]) == ["s2", "s3"]
    assert erase(warehouse, "ann").quarantined == 2


def test_files_beside_the_tables_are_left_alone(warehouse):
    mine = warehouse.root / "my export.parquet"
    mine.write_bytes(b"PAR1")
    half = warehouse.root / "customers" / "half.new"
    half.write_bytes(b"PAR1")
    erase(warehouse, "bob")
    assert mine.exists()
    assert not half.exists()
