"""Probabilistic links on fake_1000: the quality that MANIFEST.md states, twice the same."""

import pyarrow as pa
import pyarrow.csv as pc
import pytest

from measure.errors import DataError, UnknownName
from measure.people.agreement import agreements
from measure.people.linkage import THRESHOLDS, Records, link_probabilities
from tests.data import data_file

COLUMNS = Records(id="unique_id", birth_date="dob", exact=("city",))


@pytest.fixture(scope="module")
def records():
    path = data_file("fake_1000.csv")
    names = path.read_text().splitlines()[0].split(",")
    as_text = pc.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    return pc.read_csv(path, convert_options=as_text)


@pytest.fixture(scope="module")
def links(records):
    return link_probabilities(records, COLUMNS)


def truth(records):
    ids, clusters = (records[name].to_pylist() for name in ("unique_id", "cluster"))
    return dict(zip(ids, clusters, strict=True))


def test_persons_agree_as_well_as_the_manifest_says(records, links):
    """MANIFEST.md: fuzzy matching F1 .965 at threshold .5."""
    half, ninety, ninety_nine = agreements(links, truth(records), THRESHOLDS)
    assert half.f1 >= 0.965
    assert ninety.f1 >= 0.965
    assert half.precision <= ninety.precision <= ninety_nine.precision
    assert half.recall >= ninety.recall >= ninety_nine.recall
    assert half.persons <= ninety.persons <= ninety_nine.persons
    assert ninety_nine.precision >= 0.99


def test_probabilities_are_calibrated_enough_to_count_with(records, links):
    """Of the pairs above .5, the share that are wrong against the expected share, 1 − p."""
    known = truth(records)
    sure = [row for row in links.to_pylist() if row["probability"] >= 0.5]
    wrong = sum(known[row["customer_id"]] != known[row["other_customer_id"]] for row in sure)
    expected = sum(1 - row["probability"] for row in sure)
    assert abs(wrong - expected) / len(sure) < 0.05


def test_pairs_stand_once_in_the_order_of_their_ids(links):
    pairs = list(
        zip(links["customer_id"].to_pylist(), links["other_customer_id"].to_pylist(), strict=True)
    )
    assert pairs == sorted(set(pairs))
    assert all(one < other for one, other in pairs)
    assert all(0.01 <= p <= 1 for p in links["probability"].to_pylist())


def test_the_same_records_in_another_order_give_the_same_links(records, links):
    backwards = records.take(pa.array(range(len(records))[::-1]))
    assert link_probabilities(backwards, COLUMNS).equals(links)


def test_records_that_cannot_be_linked_are_refused(records):
    with pytest.raises(UnknownName, match="birth_date"):
        link_probabilities(records, Records(id="unique_id"))
    twice = pa.concat_tables([records, records.slice(0, 1)])
    with pytest.raises(DataError, match="an id of its own"):
        link_probabilities(twice, COLUMNS)
    with pytest.raises(DataError, match="too few"):
        link_probabilities(records.slice(0, 5), COLUMNS)
