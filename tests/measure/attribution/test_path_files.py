"""Path files that cannot be used, and odd ones that can."""

import pytest

from measure.attribution import attribute_paths
from measure.errors import DataError, InputError, MissingFile, UnknownName

HEADER = "path,total_conversions,total_conversion_value,total_null\n"


def refused(tmp_path, text, error, match, **options):
    file = tmp_path / "paths.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=match) as caught:
        attribute_paths(file, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("", DataError, "is empty"),
        (HEADER, DataError, "no rows"),
        ("way,total_conversions\na,1\n", UnknownName, "column 'path' not found"),
        ("path,total_conversion\na,1\n", UnknownName, "Did you mean 'total_conversion'"),
        ("path,path,total_conversions\na,b,1\n", DataError, "'path' stands there twice"),
        (
            HEADER + "a,-1,0,3\n",
            DataError,
            "data row 1: total_conversions == '-1', must be a whole",
        ),
        (HEADER + "a,1,1,2\nb,x,0,3\n", DataError, "data row 2: total_conversions == 'x'"),
        (HEADER + "a,1.5,1,2\n", DataError, "'1.5', must be a whole number"),
        (HEADER + "a,,1,2\n", DataError, "''"),
        (HEADER + "a,1,nan,2\n", DataError, "total_conversion_value == 'nan'"),
        (HEADER + "a,1,1,inf\n", DataError, "total_null == 'inf'"),
        (HEADER + "a,0,3.5,2\n", DataError, r"value == 3\.5 without a conversion"),
        (HEADER + "a >  > b,1,1,2\n", DataError, "step without a name"),
        (HEADER + "a,1,1\n", DataError, "cannot be read as CSV"),
        (HEADER + ",1,1,2\n", DataError, "no path has a touch"),
        ("path,converted\na,2\n", DataError, "converted == '2', must be 0 or 1"),
        (b"path,total_conversions\n\xff\xfe,1\n", DataError, "UTF-8"),
    ],
)
def test_one_clear_line(tmp_path, text, error, match):
    if "total_conversion\n" in str(text):
        match = "'total_conversions' not found"
    refused(tmp_path, text, error, match)


def test_missing_file_and_options(tmp_path):
    with pytest.raises(MissingFile, match=r"nowhere\.csv: no such file"):
        attribute_paths(tmp_path / "nowhere.csv")
    refused(tmp_path, HEADER + "a,1,1,2\n", InputError, "separator", separator="")
    refused(tmp_path, HEADER + "a,1,1,2\n", UnknownName, "'region'", cohort_column="region")


def test_names_may_hold_any_characters(tmp_path):
    names = ["e-mail, weekly", 'the "big" one', "a>b", "(start)", "ünï 🛒", "x\ny", "007"]
    file = tmp_path / "odd.csv"
    quoted = " > ".join(names).replace('"', '""')
    file.write_text(f'\ufeff{HEADER}"{quoted}",7,7,3\n', encoding="utf-8")
    result = attribute_paths(file, ["linear", "markov"])
    assert {c.channel for c in result.credits} == set(names)
    assert [c.conversions for c in result.credits] == pytest.approx([1.0] * 14)


def test_absent_optional_columns(tmp_path):
    file = tmp_path / "bare.csv"
    file.write_text("total_conversions,path\n3,a > b\n1,b\n")
    result = attribute_paths(file)
    assert (result.total_conversions, result.total_value) == (4, 0)
    assert "markov" in result.definition["refused"]


def test_another_separator(tmp_path):
    file = tmp_path / "arrow.csv"
    file.write_text("path,converted\na|b,1\nb,0\n")
    result = attribute_paths(file, ["first"], separator="|")
    assert {c.channel: c.conversions for c in result.credits} == {"a": 1.0, "b": 0.0}
