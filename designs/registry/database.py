"""Connections and transactions: writers take turns, so no update is ever lost.

SQLite: a deferred transaction that reads and then writes fails at once when another process wrote
in between; reading and writing without one loses updates silently. ``BEGIN IMMEDIATE`` waits
instead. PostgreSQL: the first statement of every writer locks the one row of the audit's head.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from designs.registry.migrate import migrate, schema_of
from designs.registry.models import SCHEMA, EventRow, HeadRow
from measure.errors import RegistryError

BUSY_MILLISECONDS = 30_000
SAFE_WAL = (3, 51, 3)
"""Older SQLite can corrupt a write-ahead log that is reset while it is read."""
_MIGRATION_LOCK = 7_212_651_811_904
"""Number of PostgreSQL's advisory lock under which tables are made; any number would do."""


class Database:
    """The registry's tables behind one engine: SQLite or PostgreSQL."""

    def __init__(self, url: str) -> None:
        self.engine = _create_engine(url)
        self.url = self.engine.url.render_as_string(hide_password=True)
        self._embedded = self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view of the tables."""
        engine = self.engine
        if not self._embedded:
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with self._translated(), Session(engine) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[tuple[Session, HeadRow]]:
        """A transaction that holds the only write lock; committed when the block ends well.

        Yields the session and the audit's head, which is locked before anything is read.
        """
        writer = self.engine.execution_options(truelift_begin="BEGIN IMMEDIATE")
        with self._translated(), Session(writer) as session, session.begin():
            head = session.scalars(select(HeadRow).with_for_update()).one_or_none()
            if head is None:
                raise RegistryError(
                    f"registry {self.url}: the head of the audit is gone. Restore it from a backup."
                )
            yield session, head

    def prepare(self, now: int, seal: Callable[[Session, HeadRow], None] | None) -> None:
        """Make the tables of a new registry, upgrade an older one, refuse a later one's.

        ``seal`` vouches for rows of the audit from before its chain; whoever has no key has none.
        """
        with self._translated(), self.engine.connect() as connection:
            found = schema_of(connection)
        if found is None or found < SCHEMA:
            self._migrate(now, seal)
        elif found > SCHEMA:
            raise RegistryError(
                f"{self.url}: written by a later release (schema {found}, this one knows "
                f"{SCHEMA}); upgrade Truelift."
            )

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def _migrate(self, now: int, seal: Callable[[Session, HeadRow], None] | None) -> None:
        """Migrate in one transaction that holds the write lock; another process may be faster."""
        writer = self.engine.execution_options(truelift_begin="BEGIN IMMEDIATE")
        with (
            self._translated(),
            writer.connect() as connection,
            _without_foreign_keys(connection, embedded=self._embedded),
            connection.begin(),
        ):
            if not self._embedded:
                lock = text("SELECT pg_advisory_xact_lock(:number)")
                connection.execute(lock, {"number": _MIGRATION_LOCK})
            found = schema_of(connection)
            if found is None or found < SCHEMA:
                migrate(connection, now)
                _require_whole(connection, embedded=self._embedded)
                self._seal(connection, seal)

    def _seal(
        self, connection: Connection, seal: Callable[[Session, HeadRow], None] | None
    ) -> None:
        """Vouch for the rows of an earlier release while the upgrade holds the write lock."""
        with Session(connection) as session:
            if (
                session.scalars(select(EventRow.sequence).where(EventRow.hash == "")).first()
                is None
            ):
                return
            if seal is None:
                raise RegistryError(
                    f"registry {self.url}: an earlier release wrote it, and its upgrade needs the "
                    "workspace's key. Run `truelift audit verify` in the workspace once."
                )
            seal(session, session.scalars(select(HeadRow)).one())
            session.commit()  # into the transaction of the upgrade, which is still open

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the driver raises into one readable line."""
        try:
            yield
        except StaleDataError as error:
            raise RegistryError(
                f"registry {self.url}: somebody else changed the same experiment; try again."
            ) from error
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            way_out = (
                "check that the file is a registry, readable and writable, and that the disk has "
                "room."
                if self._embedded
                else "check that the server runs, and that the URL names a database of yours."
            )
            raise RegistryError(f"registry {self.url}: {reason}; {way_out}") from error


def _create_engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise RegistryError(
            f"registry {url!r}: not a URL; write sqlite:///PATH or postgresql://USER@HOST/DATABASE."
        ) from None
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        return create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    if parsed.get_backend_name() != "sqlite":
        shown = parsed.render_as_string(hide_password=True)
        raise RegistryError(
            f"registry {shown}: only sqlite:///PATH and postgresql://USER@HOST/DATABASE are "
            "supported."
        )
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


@contextmanager
def _without_foreign_keys(connection: Connection, *, embedded: bool) -> Iterator[None]:
    """Let SQLite make a table anew that others refer to; it can only be told between transactions.

    https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes".
    """
    if not embedded:
        yield
        return
    driver = connection.connection.driver_connection
    if driver is None:
        raise RegistryError("the registry's connection is closed; open it again.")
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


def _require_whole(connection: Connection, *, embedded: bool) -> None:
    """Refuse a migration that left a row without its parent; the transaction is undone."""
    if embedded and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise RegistryError("the upgrade would lose a reference between tables; nothing was done.")
