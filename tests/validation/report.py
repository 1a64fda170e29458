"""Write ``docs/validation.md`` from the results of the heavy simulations.

    python tests/validation/report.py RESULTS.xml docs/validation.md

``RESULTS.xml`` is what pytest writes with ``--junitxml``; each test's ``record_property`` values
become one row of its module's table. A module's docstring is the text above its table.
"""

import ast
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("numpy", "scipy", "pandas", "duckdb", "pymc", "arviz", "econml", "dowhy", "lightgbm")
HEAD = """# Validation

What the heavy simulations found, by the shipped path: `make validate` runs them and writes this
page. A test that left its band fails that command, so a row here is inside it unless it says
otherwise. The small tier of the same simulations runs with every `make test`.
"""


def main(results: Path, page: Path) -> None:
    """Group test cases by module and write one table for each."""
    suite = next(ET.parse(results).iter("testsuite"))
    modules: dict[str, list[ET.Element]] = {}
    for case in suite.iter("testcase"):
        modules.setdefault(case.get("classname", ""), []).append(case)
    parts = [HEAD, _provenance(suite, modules)]
    parts += [_section(name, cases) for name, cases in sorted(modules.items())]
    page.write_text("\n".join(parts), encoding="utf-8")


def _provenance(suite: ET.Element, modules: dict) -> str:
    cases = [case for cases in modules.values() for case in cases]
    failed = sum(_outcome(case) != "passed" for case in cases)
    when = datetime.fromisoformat(suite.get("timestamp", "")).date()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    minutes = float(suite.get("time", "0")) / 60
    return (
        f"Run on {when}: {len(cases)} simulations, {len(cases) - failed} passed, {failed} not; "
        f"{minutes:.0f} minutes. Python {sys.version.split()[0]}, {packages}.\n"
    )


def _section(classname: str, cases: list[ET.Element]) -> str:
    path = ROOT / (classname.replace(".", "/") + ".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or classname
    title, _, body = text.partition("\n\n")
    if ": " in title:
        title, _, rest = title.partition(": ")
        body = f"{rest[0].upper()}{rest[1:]}\n\n{body}"
    lines = [f"## {title.rstrip('.')}", "", body.strip(), ""]
    for shape, rows in _tables(cases).items():
        lines += [f"| {' | '.join(shape)} |", "|" + " --- |" * len(shape), *rows, ""]
    return "\n".join(lines)


def _tables(cases: list[ET.Element]) -> dict[tuple[str, ...], list[str]]:
    """Rows by the names of their columns, so that each table has one shape."""
    widest: dict[str, list[dict[str, str]]] = {}
    for case in cases:
        name = (case.get("name") or "").partition("[")[0]
        widest.setdefault(name, []).append(_row(case))
    tables: dict[tuple[str, ...], list[str]] = {}
    for rows in widest.values():
        shape = tuple(dict.fromkeys(column for row in rows for column in row))
        shown = [f"| {' | '.join(row.get(column, '') for column in shape)} |" for row in rows]
        tables.setdefault(shape, []).extend(shown)
    return tables


def _row(case: ET.Element) -> dict[str, str]:
    found = {p.get("name", ""): p.get("value", "") for p in case.iter("property")}
    if not found:
        name, _, parameters = (case.get("name") or "").removeprefix("test_").partition("[")
        shown = f" ({parameters.removesuffix(']')})" if parameters else ""
        found = {"simulation": name.replace("_", " ") + shown}
    outcome = _outcome(case)
    return found | ({} if outcome == "passed" else {"result": outcome})


def _outcome(case: ET.Element) -> str:
    bad = (tag for tag in ("failure", "error", "skipped") if case.find(tag) is not None)
    return next(bad, "passed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
