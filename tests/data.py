"""Where the public data sets lie: beside the checkout, or where ``TRUELIFT_DATA`` points."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    return Path(os.environ.get("TRUELIFT_DATA", ROOT.parent / "shared" / "data"))


def data_file(name: str) -> Path:
    """Return the path of a data set; absent, it skips the test aloud, and fails it under CI."""
    path = data_folder() / name
    if not path.exists():
        message = f"{name} is not in {data_folder()}; set TRUELIFT_DATA to the folder that has it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def fixture_file(name: str) -> Path:
    """Return the path of a file of peer numbers, which lies beside the data."""
    return data_file(f"../fixtures/{name}")
