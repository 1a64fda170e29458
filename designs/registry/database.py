"""Connections and transactions: every write is immediate, so no update is ever lost.

A deferred transaction that reads and then writes fails at once when another process wrote in
between; reading and writing without one loses updates silently. ``BEGIN IMMEDIATE`` waits instead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from designs.registry.models import SCHEMA, Base, SchemaRow
from measure.errors import RegistryError

BUSY_MILLISECONDS = 30_000
SAFE_WAL = (3, 51, 3)
"""Older SQLite can corrupt a write-ahead log that is reset while it is read."""


class Database:
    """The registry's tables behind one engine; only SQLite so far."""

    def __init__(self, url: str) -> None:
        self.engine = _create_engine(url)
        self.url = self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view of the tables."""
        with self._translated(), Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that holds the only write lock; committed when the block ends well."""
        writer = self.engine.execution_options(truelift_begin="BEGIN IMMEDIATE")
        with self._translated(), Session(writer) as session, session.begin():
            yield session

    def prepare(self, now: int) -> None:
        """Create the tables of a new registry; refuse one that a later release wrote."""
        with self._translated(), self.engine.connect() as connection:
            ready = inspect(connection).has_table(SchemaRow.__tablename__)
        if not ready:
            self._create(now)
        with self.reading() as session:
            version = session.scalar(select(SchemaRow.version)) or 0
        if version > SCHEMA:
            raise RegistryError(
                f"{self.url}: written by a later release (schema {version}, this one knows "
                f"{SCHEMA}); upgrade Truelift."
            )

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def _create(self, now: int) -> None:
        with self.writing() as session:
            connection = session.connection()
            if inspect(connection).has_table(SchemaRow.__tablename__):
                return  # another process was faster
            Base.metadata.create_all(connection)
            session.add(SchemaRow(version=SCHEMA, created_at=now))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the driver raises into one readable line."""
        try:
            yield
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            raise RegistryError(
                f"registry {self.url}: {reason}; check that the file is a registry, readable and "
                "writable, and that the disk has room."
            ) from error


def _create_engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise RegistryError(f"registry {url!r}: not a URL; write sqlite:///PATH.") from None
    if parsed.get_backend_name() != "sqlite":
        shown = parsed.render_as_string(hide_password=True)
        raise RegistryError(f"registry {shown}: only sqlite:///PATH is supported.")
    engine = create_engine(parsed)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: object) -> None:
    """Take transactions out of the driver's hands, and make a commit survive a power cut."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA foreign_keys = ON")
    mode = "wal" if sqlite3.sqlite_version_info >= SAFE_WAL else "truncate"
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != mode:
        # TRUNCATE syncs the emptied journal under FULL; DELETE would leave the folder unsynced.
        cursor.execute(f"PRAGMA journal_mode = {mode}")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get("truelift_begin", "BEGIN")
    connection.exec_driver_sql(statement)
