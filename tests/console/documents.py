"""JSON documents against docs/json.md: every field documented, every documented field present."""

import re
from pathlib import Path
from typing import Any

TYPES = {
    "text": lambda v: isinstance(v, str),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "list": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
    "null": lambda v: v is None,
    "any": lambda _: True,
}


def documented(section: str) -> dict[str, str]:
    """Field path to type, as the section of docs/json.md says."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    body = re.split(r"^## ", text, flags=re.MULTILINE)
    part = next(part for part in body if part.startswith(section + "\n"))
    return dict(re.findall(r"^\| `([^`]+)` \| ([a-z ]+?) \|", part, flags=re.MULTILINE))


def fields(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """All (path, value) pairs of a document; list elements under ``[]``."""
    found = [(path, value)] if path else []
    if isinstance(value, dict):
        for name, item in value.items():
            found += fields(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for item in value:
            found += fields(item, f"{path}[]")
    return found


def assert_documented(section: str, document: dict[str, Any], *, absent: set[str] = frozenset()):
    """Hold a real document against its section; ``absent`` may be missing from this one."""
    contract = documented(section)
    open_ended = tuple(p.removesuffix(".*") for p in contract if p.endswith(".*"))
    seen = set()
    for path, value in fields(document):
        if path in contract:
            seen.add(path)
            allowed = contract[path].split(" or ")
            assert any(TYPES[kind](value) for kind in allowed), f"{path} == {value!r}: {allowed}"
            continue
        if path.endswith("[]") and isinstance(value, dict):
            continue  # the fields of the element are what is documented
        assert path.startswith(open_ended), f"{section}: {path} is not documented"
    missing = {p for p in contract if not p.endswith(".*")} - seen - absent
    assert not missing, f"{section}: documented but not in the document: {sorted(missing)}"
