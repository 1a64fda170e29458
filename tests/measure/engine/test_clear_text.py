"""Raw e-mail addresses and telephone numbers in a hashed column stop the load."""

import hashlib

import pytest

from measure.engine.loading import Warehouse
from measure.errors import DataError

DIGEST = hashlib.sha256(b"anna@example.com").hexdigest()
HEADER = "customer_id,kind,identifier,seen_at\n"
GOOD = f"c1,email_hash,{DIGEST},2025-01-01T00:00:00Z\n"


def put(tmp_path, text, name="identities.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "raw",
    ["anna@example.com", " anna@example.com", "+49 30 1234567", "030/1234567", "(030) 1234567"],
)
@pytest.mark.parametrize("kind", ["email_hash", "phone_hash"])
def test_the_whole_file_is_refused_and_nothing_of_it_is_kept(tmp_path, raw, kind):
    warehouse = Warehouse(tmp_path / "warehouse")
    bad = put(tmp_path, f"{HEADER}{GOOD}c2,{kind},{raw},2025-01-01T00:00:00Z\n")
    with pytest.raises(DataError, match=r"1 rows hold .* in row 2\. Nothing was loaded") as raised:
        warehouse.load("identities", [bad])
    assert raw.strip() not in str(raised.value)
    assert warehouse.tables() == ()
    kept = b"".join(f.read_bytes() for f in (tmp_path / "warehouse").rglob("*") if f.is_file())
    assert raw.strip().encode() not in kept
    # The same folder takes the file once it is right.
    (report,) = warehouse.load("identities", [put(tmp_path, f"{HEADER}{GOOD}")])
    assert (report.read, report.accepted) == (1, 1)


def test_devices_and_logins_may_be_what_they_are(tmp_path):
    rows = (
        "c1,login,anna@example.com,2025-01-01T00:00:00Z\nc1,device,491234567,2025-01-01T00:00:00Z\n"
    )
    warehouse = Warehouse(tmp_path / "warehouse")
    (report,) = warehouse.load("identities", [put(tmp_path, f"{HEADER}{GOOD}{rows}")])
    assert (report.read, report.accepted, report.quarantined) == (3, 3, 0)


def test_attributes_that_call_themselves_hashes_are_looked_at_too(tmp_path):
    text = "customer_id,first_seen_at,email_hash,note\n"
    fine = f"c1,2025-01-01T00:00:00Z,{DIGEST},write to anna@example.com\n"
    warehouse = Warehouse(tmp_path / "warehouse")
    bad = put(tmp_path, f"{text}{fine}c2,2025-01-01T00:00:00Z,anna@example.com,\n", "customers.csv")
    with pytest.raises(DataError, match="in clear where a hash belongs, the first in row 2"):
        warehouse.load("customers", [bad])
    (report,) = warehouse.load("customers", [put(tmp_path, f"{text}{fine}", "customers.csv")])
    assert report.accepted == 1


def test_a_later_sighting_of_an_identifier_is_a_row_of_its_own(tmp_path):
    warehouse = Warehouse(tmp_path / "warehouse")
    again = GOOD.replace("2025-01-01", "2025-02-01")
    (report,) = warehouse.load("identities", [put(tmp_path, f"{HEADER}{GOOD}{again}{GOOD}")])
    assert (report.accepted, report.duplicates, report.conflicts) == (2, 1, 0)


@pytest.mark.parametrize("kind", ["email_hash ", "Email-Hash", "email", "phone"])
def test_a_kind_that_is_written_otherwise_hides_nothing(tmp_path, kind):
    warehouse = Warehouse(tmp_path / "warehouse")
    bad = put(tmp_path, f"{HEADER}c2,{kind},anna@example.com,2025-01-01T00:00:00Z\n")
    with pytest.raises(DataError, match="in clear where a hash belongs"):
        warehouse.load("identities", [bad])
    assert not list(warehouse.root.rglob("*.parquet"))  # not even in quarantine


@pytest.mark.parametrize(
    ("table", "header", "row"),
    [
        (
            "customers",
            "customer_id,first_seen_at,Email_Hash",
            "c1,2025-01-01T00:00:00Z,a@b.example",
        ),
        ("hash_variants", "kind,identifier,normal,variant", f"email_hash,{DIGEST},a@b.example,x"),
    ],
)
def test_no_column_of_hashes_is_passed_over(tmp_path, table, header, row):
    warehouse = Warehouse(tmp_path / "warehouse")
    with pytest.raises(DataError, match="in clear where a hash belongs"):
        warehouse.load(table, [put(tmp_path, f"{header}\n{row}\n", f"{table}.csv")])
    assert warehouse.tables() == ()
