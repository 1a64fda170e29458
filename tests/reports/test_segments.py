"""Segments found by a search: exploratory, with the corrected p and no search value."""

from dataclasses import replace

from measure.results import Segment, Status
from reports.pages.segments import segments_block
from tests.reports import sample

FOUND = Segment(
    metric="conversion", arm="Win-back", control="Holdout", rule="recency ≤ 4.5 and channel is Web",
    value=0.021, se=0.004, ci_low=0.0132, ci_high=0.0288, ci_level=0.95, p_value=1e-6,
    p_adjusted=0.004, relative=0.5, relative_ci_low=0.3, relative_ci_high=0.7, apart=0.01,
    apart_se=0.005, apart_p_value=0.04, apart_p_adjusted=0.08, n_control=400, n_arm=3_600,
    search_value=0.0999, status=Status.OK,
)  # fmt: skip


def block(*segments: Segment):
    report = sample.winback()
    return segments_block(replace(report, analysis=replace(report.analysis, discovery=segments)))


def test_a_segment_is_a_row_and_its_search_value_is_not_shown() -> None:
    (found,) = block(FOUND)
    (row,) = found.table.rows
    assert row[2:5] == ("recency ≤ 4.5 and channel is Web", "4,000", "+2.1 pp")
    assert row[6] == "0.004"
    assert found.lead.startswith("exploratory")
    assert not any("9.9" in cell for cell in row)


def test_a_segment_without_a_number_says_why() -> None:
    small = replace(FOUND, status=Status.INSUFFICIENT, value=None, ci_low=None, ci_high=None)
    (found,) = block(small)
    assert found.table.rows[0][4] == "too few units"


def test_no_search_no_section() -> None:
    assert block() == ()
