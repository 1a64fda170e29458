"""Numbers that other packages gave for the same questions."""

import json
from functools import cache
from typing import Any

from tests.data import fixture_file


@cache
def _all() -> dict[str, dict[str, Any]]:
    document = json.loads(fixture_file("peer_statistics.json").read_text(encoding="utf-8"))
    return {fixture["id"]: fixture for fixture in document["fixtures"]}


def peer(name: str) -> dict[str, Any]:
    return _all()[name]
