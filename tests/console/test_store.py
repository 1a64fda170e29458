import pytest

from console.store import read, save
from measure.errors import DataError
from measure.results import (
    Analysis,
    Check,
    Cohort,
    Estimand,
    Estimate,
    Family,
    Outcome,
    Severity,
    Status,
)

CHECK = Check(
    "G5", "Sample ratio", Outcome.PASSED, "As designed.", Severity.STOP, rows=0, p_value=0.4
)
ESTIMATE = Estimate(
    "visit", "mail", "none", Cohort("channel", "Web"), Estimand.CATE, "difference", 0.05, 0.01,
    0.03, 0.07, 0.95, 1e-6, 0.5, 0.3, 0.7, 1000, 1000, Status.OK, "note",
)  # fmt: skip
FAMILY = Family("visit", "mail", "channel", "difference", "benjamini-hochberg", ("Web",), (0.1,), 0)
ANALYSIS = Analysis(
    "key", Status.OK, (CHECK,), (ESTIMATE,), (FAMILY,), provenance={"plan_hash": "ab"}
)


def test_what_is_read_back_is_what_was_saved(tmp_path):
    save(tmp_path / "new", "analysis", ANALYSIS)
    assert read(tmp_path / "new", "analysis", Analysis) == ANALYSIS


def test_a_result_never_computed_is_none(tmp_path):
    assert read(tmp_path, "analysis", Analysis) is None


@pytest.mark.parametrize("text", ["{", '{"experiment": 1}', '{"schema_version": "0.1"}'])
def test_a_damaged_result_says_what_to_do(tmp_path, text):
    (tmp_path / "analysis.json").write_text(text)
    with pytest.raises(DataError):
        read(tmp_path, "analysis", Analysis)


def test_not_a_number_never_reaches_the_file(tmp_path):
    import dataclasses

    estimate = dataclasses.replace(ESTIMATE, value=float("nan"), ci_high=float("inf"))
    path = save(tmp_path, "analysis", dataclasses.replace(ANALYSIS, estimates=(estimate,)))
    assert "NaN" not in path.read_text()
    assert "Infinity" not in path.read_text()
    back = read(tmp_path, "analysis", Analysis)
    assert back is not None
    assert back.estimates[0].value is None
