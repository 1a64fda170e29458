"""File names and CSV: ASVS 5.0 req. 1.2.10 and rows A4 and A8 of the attack list."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.files import csv_text, guarded, slug, write_whole


@pytest.mark.parametrize(
    "text", ["=1+1", "=cmd|'/c calc'!A1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", " =1"]
)
def test_what_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("number", [-0.031, 12, -5, 1e-12, 0])
def test_numbers_stay_numbers(number: float) -> None:
    row = next(csv.reader(io.StringIO(csv_text(("x",), [[number]]).split("\r\n", 1)[1])))
    assert float(row[0]) == number


def test_nothing_is_an_empty_cell() -> None:
    assert csv_text(("a", "b"), [[None, "x"]]) == "a,b\r\n,x\r\n"


@given(st.text(max_size=40))
def test_text_survives_a_csv_file(text: str) -> None:
    made = csv_text(("name",), [[text], ["end"]])
    rows = list(csv.reader(io.StringIO(made, newline="")))
    assert len(rows) == 3
    assert rows[1][0].removeprefix("'") in {text.replace("\0", "�"), text.removeprefix("'")}


def test_a_plain_key_is_its_own_file_name() -> None:
    assert slug("win-back-2025") == "win-back-2025"


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "CON", "con", "a/b", "A", "", "имя", "x" * 500, "trailing.", "a b"]
)
def test_other_keys_become_safe_and_stay_apart(text: str) -> None:
    made = slug(text)
    assert made
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(made) <= 70
    assert made != text
    assert made == slug(text)


@given(st.text(max_size=30), st.text(max_size=30))
def test_two_keys_never_share_a_file(a: str, b: str) -> None:
    assert (slug(a) == slug(b)) == (a == b)


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "page.html"
    write_whole(target, "old")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(target, "new")
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]
