"""What only a process can show: the installed program's start, its exit, and being stopped.

All other tests of commands run in the process of the tests; here both are held to say the same.
"""

import re
import resource
import signal
import subprocess
from importlib.metadata import version

import pytest

from console.workspace import Workspace
from tests.console.command import COMMAND, installed, truelift
from tests.console.test_bad_input import write

HEAVY = {
    "alembic", "arviz", "dowhy", "duckdb", "econml", "ibis", "jinja2", "lightgbm", "matplotlib",
    "networkx", "numpy", "pandas", "pyarrow", "pydantic", "pymc", "pyspark", "scipy", "sklearn",
    "sqlalchemy", "statsmodels", "yaml", "zarr",
}  # fmt: skip


def test_help_answers_at_once_and_imports_nothing_heavy():
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = installed("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert (ran.code, ran.err) == (0, "")
        assert "Measure what marketing caused" in ran.out
    assert min(seconds) < 0.4
    imported = installed("--help", PYTHONPROFILEIMPORTTIME="1").err
    packages = set(re.findall(r"\| +(\w+)(?:\.[\w.]+)?$", imported, flags=re.MULTILINE))
    assert "typer" in packages
    assert not packages & HEAVY


def test_the_version_is_the_installed_one():
    assert installed("--version").out == f"truelift {version('truelift')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("analyze", "letters.yaml"),
        ("analyze", "none.yaml"),
        ("list",),
        ("lisst",),
        ("plan", "letters.yaml", "--power", "much"),
    ],
    ids=" ".join,
)
def test_a_process_says_what_the_tests_are_told(tmp_path, arguments):
    write(tmp_path)
    assert truelift(*arguments, cwd=tmp_path) == installed(*arguments, cwd=tmp_path)


def test_bad_input_ends_the_process_with_one_line(tmp_path):
    installed("analyze", tmp_path / "none.yaml").refused("none.yaml", "no such file")


def test_the_environment_names_who_acts_in_a_process_too(tmp_path):
    shop = Workspace.create(tmp_path / "shop", people={"Ana": "analyst"}).root
    refused = installed("list", cwd=shop, TRUELIFT_USER="Eve")
    refused.refused("'Eve' is not among the people")
    assert installed("list", cwd=shop, TRUELIFT_USER="Ana").code == 0


def test_a_reader_that_has_gone_is_told_nothing():
    with subprocess.Popen(
        [COMMAND, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


def test_an_interrupted_process_ends_without_a_traceback(tmp_path):
    with subprocess.Popen(
        [COMMAND, "demo", tmp_path / "shop", "--customers", "2000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        begun = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert "✓" in begun
    assert process.returncode == 1
    assert said.endswith("truelift: Stopped.\n")
    assert "Traceback" not in said
    assert not (tmp_path / "shop" / "reports" / "index.html").exists()
