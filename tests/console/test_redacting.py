"""Files that name a person: rows are taken out, numbers that look like an id are left alone."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from console.redacting import names_any, without_rows

TWELVE = frozenset({"12"})


def test_a_page_loses_rows_of_its_samples_and_no_figure(tmp_path):
    page = tmp_path / "page.html"
    figures = (
        "<table><tr><th>visits</th><td>12</td></tr><tr><th>units</th><td>3,012</td></tr></table>"
    )
    sample = "<details><table><tr><th>{}</th><td>click</td></tr></table></details>"
    page.write_text(figures + sample.format("34"))
    before = page.read_bytes()
    assert not without_rows(page, TWELVE | {"012"}, TWELVE)
    assert page.read_bytes() == before
    page.write_text(figures + sample.format("12"))
    assert without_rows(page, TWELVE, TWELVE)
    assert page.read_text() == figures + "<details><table></table></details>"


def test_a_result_loses_evidence_and_nothing_else(tmp_path):
    result = tmp_path / "analysis.json"
    told = {"multiplicity": [{"cohorts": ["12", "34"]}], "estimates": [{"arm": "12"}]}
    evidence = [{"customer_id": "12"}, {"customer_id": "34"}]
    result.write_text(json.dumps({**told, "checks": [{"evidence": evidence}]}))
    assert without_rows(result, TWELVE, TWELVE)
    left = json.loads(result.read_text())
    assert left == {**told, "checks": [{"evidence": evidence[1:]}]}
    assert not without_rows(result, TWELVE, TWELVE)


def test_a_list_loses_the_person_and_nobody_whose_id_is_one_of_their_orders(tmp_path):
    listed = tmp_path / "reach.csv"
    listed.write_text('"unit_id","arm"\n"12","a"\n"1001","b"\n')
    assert without_rows(listed, frozenset({"12", "1001"}), TWELVE)
    assert listed.read_text().splitlines() == ['"unit_id","arm"', '"1001","b"']


@pytest.mark.parametrize("kind", ["gz", "numbers", "categories", "broken.gz", "broken.parquet"])
def test_no_file_passes_unread(tmp_path, kind):
    who = frozenset({"1234567"})
    path = tmp_path / ("log.csv.gz" if "gz" in kind else "log.parquet")
    ids = pa.array([1_234_567])
    if kind == "gz":
        path.write_bytes(gzip.compress(b"customer_id\n1234567\n"))
    elif kind.startswith("broken"):
        path.write_bytes(b"neither the one nor the other")
    else:
        column = ids if kind == "numbers" else ids.cast(pa.string()).dictionary_encode()
        pq.write_table(pa.table({"customer_id": column}), path)
    assert names_any(path, who)


def test_an_amount_names_nobody(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"customer_id": [7], "value": [1_234_567]}), path)
    assert not names_any(path, frozenset({"1234567"}))
