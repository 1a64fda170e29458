"""Write ``docs/validation.md`` from the results of the heavy simulations.

    python tests/validation/report.py FOLDER docs/validation.md

``FOLDER`` has what pytest wrote with ``--junitxml``, one file for each part that was run; where two
files have the same test, the later run counts. Each test's ``record_property`` values become one
row of its module's table. A module's docstring is the text above its table. Simulations that exist
and have no result are listed at the end.
"""

import ast
import subprocess
import sys
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


def main(folder: Path, page: Path) -> None:
    """Group test cases by module and write one table for each."""
    suites = [suite for file in folder.glob("*.xml") for suite in ET.parse(file).iter("testsuite")]
    suites.sort(key=lambda suite: suite.get("timestamp", ""))
    latest = {_name(case): case for suite in suites for case in suite.iter("testcase")}
    modules: dict[str, list[ET.Element]] = {}
    for (module, _), case in latest.items():
        modules.setdefault(module, []).append(case)
    parts = [HEAD, _provenance(suites, list(latest.values()))]
    parts += [_section(name, cases) for name, cases in sorted(modules.items())]
    parts += _not_run(set(latest))
    page.write_text("\n".join(parts), encoding="utf-8")


def _name(case: ET.Element) -> tuple[str, str]:
    return case.get("classname", ""), case.get("name", "")


def _provenance(suites: list[ET.Element], cases: list[ET.Element]) -> str:
    failed = sum(_outcome(case) != "passed" for case in cases)
    days = sorted({suite.get("timestamp", "")[:10] for suite in suites})
    minutes = sum(float(case.get("time", "0")) for case in cases) / 60
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Run on {' and '.join(days)}: {len(cases)} simulations, {len(cases) - failed} passed, "
        f"{failed} not; {minutes:.0f} minutes of work.\n\n"
        f"Python {sys.version.split()[0]}, {packages}.\n"
    )


def _not_run(known: set[tuple[str, str]]) -> list[str]:
    """A list of the simulations that no result is about."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q"]
    command += ["-m", "validation or reference", "tests"]
    nodes = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    missing: dict[str, int] = {}
    for node in (line for line in nodes.splitlines() if "::" in line):
        path, _, name = node.partition("::")
        classname = path.removesuffix(".py").replace("/", ".")
        if (classname, name) not in known:
            title = f"{classname}: {name.partition('[')[0].removeprefix('test_').replace('_', ' ')}"
            missing[title] = missing.get(title, 0) + 1
    lines = [f"- {title} ({count})" for title, count in missing.items()]
    return ["## Not run for this page", "", *lines, ""] if lines else []


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
