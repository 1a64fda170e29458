"""Databases for the registry: a file of SQLite, and a real PostgreSQL with a database a test."""

import itertools

import pytest

from tests.services import postgres

_numbers = itertools.count()


@pytest.fixture(scope="session")
def registry_server():
    with postgres() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path / 'registry.db'}"


@pytest.fixture
def postgres_url(registry_server):
    import psycopg

    name = f"registry_{next(_numbers)}"
    with psycopg.connect(registry_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return registry_server.rpartition("/")[0] + "/" + name


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request):
    """URL of an empty registry, once on each database that holds one."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return request.getfixturevalue(name)
