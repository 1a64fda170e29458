"""Shared fixtures and order: one thread for BLAS, one worker per module, the longest first."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

FIRST = (
    "spark",
    "demo",
    "pymc",
    "hillstrom",
    "tests/measure/incrementality/test_bayes_parts.py",
    "tests/measure/incrementality/test_combinations.py",
    "tests/designs/test_assign_inference.py",
    "tests/designs/test_specification.py",
    "tests/designs/test_registry_durability.py",
    "tests/measure/incrementality/observational/test_published.py",
    "tests/measure/incrementality/test_complier_effects.py",
    "tests/designs/test_assign_independence.py",
    "tests/designs/test_assign_balance.py",
)
"""Groups that take long: begun last, one of them would keep a worker busy when the other is done.
Java and the samplers are started once."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Give each test to a worker by its group; where none is named, by its module.

    What a module sets up is then set up once in a run, and not once per worker.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=_rank)


def _group(item):
    """``spark`` for whatever starts Java, so that one worker does; else the module."""
    engines = item.callspec.params.values() if hasattr(item, "callspec") else ()
    starts_java = any(isinstance(engine, str) and engine == "spark" for engine in engines)
    return "spark" if starts_java else item.nodeid.partition("::")[0]


def _rank(item):
    name = item.get_closest_marker("xdist_group").args[0]
    return FIRST.index(name) if name in FIRST else len(FIRST)


def pytest_unconfigure():
    services = sys.modules.get("tests.services")
    if services is not None:
        services.stop()
