"""Tables of the registry. Times are integer microseconds since 1970 in UTC."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Connection,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    event,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = 1
"""Version of these tables; a registry with a higher one is refused."""

_KEY = String(80)
_HASH = String(64)
_ROWID = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """All tables of the registry."""


class SchemaRow(Base):
    """The version of the tables, one row."""

    __tablename__ = "schema_version"
    version: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[int] = mapped_column(BigInteger)


class ExperimentRow(Base):
    """Where an experiment stands; ``version`` points at its latest specification."""

    __tablename__ = "experiments"
    __table_args__ = (
        CheckConstraint("state IN ('draft', 'running', 'concluded')", name="state_known"),
        CheckConstraint("(state = 'draft') = (plan_hash IS NULL)", name="plan_frozen_when_started"),
    )
    key: Mapped[str] = mapped_column(_KEY, primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    version: Mapped[int]
    plan_hash: Mapped[str | None] = mapped_column(_HASH)
    """Frozen at the start."""
    registered_at: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[int | None] = mapped_column(BigInteger)
    concluded_at: Mapped[int | None] = mapped_column(BigInteger)


class VersionRow(Base):
    """One specification as it was written; never changed, never deleted."""

    __tablename__ = "versions"
    key: Mapped[str] = mapped_column(ForeignKey("experiments.key"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    spec_hash: Mapped[str] = mapped_column(_HASH)
    """SHA-256 of what the text declares, whatever its layout."""
    plan_hash: Mapped[str] = mapped_column(_HASH)
    registered_at: Mapped[int] = mapped_column(BigInteger)
    registered_by: Mapped[str] = mapped_column(String(200))


class ResultRow(Base):
    """The analysis an experiment was concluded with."""

    __tablename__ = "results"
    key: Mapped[str] = mapped_column(ForeignKey("experiments.key"), primary_key=True)
    document: Mapped[str] = mapped_column(Text)
    result_hash: Mapped[str] = mapped_column(_HASH)
    recorded_at: Mapped[int] = mapped_column(BigInteger)


class EventRow(Base):
    """One step that somebody took; rows are only ever added, and ``id`` is their order."""

    __tablename__ = "events"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's own form
    id: Mapped[int] = mapped_column(_ROWID, primary_key=True)
    key: Mapped[str] = mapped_column(ForeignKey("experiments.key"), index=True)
    at: Mapped[int] = mapped_column(BigInteger)
    who: Mapped[str] = mapped_column(String(200))
    what: Mapped[str] = mapped_column(String(40))
    detail: Mapped[str] = mapped_column(Text)
    """Canonical JSON."""


def _append_only(table: str) -> None:
    """Let the database itself refuse to change or delete rows (on SQLite)."""

    def create_triggers(_target: Table, connection: Connection, **_options: Any) -> None:
        if connection.dialect.name != "sqlite":
            return
        for action in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )

    event.listen(Base.metadata.tables[table], "after_create", create_triggers)


for _table in ("versions", "results", "events"):
    _append_only(_table)
