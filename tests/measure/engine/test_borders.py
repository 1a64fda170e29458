"""Only the data engine knows the libraries it stands on, so that they can be replaced."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = {"ibis", "duckdb", "pyspark", "sqlglot", "psycopg", "py4j"}
FLOORS = ("measure", "designs", "reports", "console")
HOME = ROOT / "measure" / "engine"
EXEMPT = {
    # The registry is a database of its own; SQLAlchemy names its driver.
    "designs/registry": {"psycopg"},
}
MODULES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
NEVER = {
    "asof_join": "its tolerance silently matches nothing on DuckDB",
    "hash": "differs between engines and releases",
    "argmax": "ties are arbitrary between runs",
    "argmin": "ties are arbitrary between runs",
    "group_concat": "has no order on Spark",
    "upsert": "is absent on Spark",
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_modules_are_found():
    assert HOME / "connection.py" in MODULES


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_engine_libraries_are_imported_in_the_engine_alone(path):
    place = str(path.relative_to(ROOT))
    allowed = next((names for where, names in EXEMPT.items() if place.startswith(where)), set())
    found = LIBRARIES.intersection(imported(path)) - allowed
    assert HOME in path.parents or not found, f"{place} imports {', '.join(sorted(found))}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_expressions_that_engines_disagree_on_are_not_used(path):
    source = path.read_text(encoding="utf-8")
    if not any(f".{name}(" in source for name in NEVER):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            numpy = isinstance(node.func.value, ast.Name) and node.func.value.id == "np"
            array = name in ("argmax", "argmin") and HOME not in path.parents
            assert name not in NEVER or numpy or array, f".{name}(): {NEVER[name]}"
