"""ARCHITECTURE.md against the real imports: every module listed, no upward import, no circle."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("measure", "designs", "reports", "console")  # from the ground up
INSIDE_MEASURE = (  # what comes first may not import what comes later
    ("errors", "results", "declared", "methods", "plan", "moments", "grams", "currency"),
    ("engine",),
    ("people",),
    ("journeys",),
    ("reconcile", "incrementality", "attribution", "scores"),
    ("value", "health"),
)


def modules() -> dict[str, Path]:
    found = {}
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[dotted.removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> set[str]:
    """Modules of this project that a file imports, at the top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    known = modules()
    resolved = {name if name in known else name.rpartition(".")[0] for name in names}
    return {name for name in resolved if name in known}


def rank(module: str) -> int:
    return FLOORS.index(module.partition(".")[0])


def layer(module: str) -> int | None:
    parts = module.split(".")
    if parts[0] != "measure" or len(parts) == 1:
        return None
    return next(i for i, names in enumerate(INSIDE_MEASURE) if parts[1] in names)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_only_go_down(module):
    upward = {name for name in imports(modules()[module]) if rank(name) > rank(module)}
    assert not upward, f"{module} imports from a floor above: {sorted(upward)}"


@pytest.mark.parametrize("module", sorted(m for m in modules() if layer(m) is not None))
def test_inside_measure_imports_only_go_down(module):
    upward = {
        name
        for name in imports(modules()[module])
        if layer(name) is not None and layer(name) > layer(module)
    }
    assert not upward, f"{module} imports what builds on it: {sorted(upward)}"


def test_no_module_imports_itself_through_others():
    graph = {module: imports(path) - {module} for module, path in modules().items()}
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"circle: {' → '.join([*trail, module])}"
        if module in done:
            return
        for name in sorted(graph[module]):
            walk(name, (*trail, module))
        done.add(module)

    for module in sorted(graph):
        walk(module, ())


def test_only_the_engine_knows_its_databases():
    foreign = {"ibis", "duckdb", "pyspark", "psycopg"}
    for module, path in modules().items():
        if module.startswith("measure.engine"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            used = {name.partition(".")[0] for name in names} & foreign
            assert not used, f"{module} imports {sorted(used)}; only measure.engine may"


def test_the_table_of_modules_is_the_tree():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z_./]+)` \|", text, flags=re.MULTILINE))
    real = set()
    for floor in FLOORS:
        for entry in (ROOT / floor).iterdir():
            if entry.suffix == ".py" and entry.stem != "__init__":
                real.add(f"{floor}/{entry.name}")
            elif entry.is_dir() and any(entry.rglob("*.py")):
                real.add(f"{floor}/{entry.name}/")
    assert listed == real


@pytest.mark.parametrize("module", sorted(modules()))
def test_modules_fit_in_one_sitting(module):
    lines = modules()[module].read_text(encoding="utf-8").count("\n")
    assert lines <= 400, f"{module} has {lines} lines; split it by topic"
