"""Tables of the registry. Times are integer microseconds since 1970 in UTC.

The tables are made and changed by the migrations beside this module; ``SCHEMA`` is the last one.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = 3
"""Version of these tables; a registry with a higher one is refused."""

_KEY = String(80)
_HASH = String(64)
_NAME = String(200)
_ROWID = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """All tables of the registry."""


class SchemaRow(Base):
    """The version of the tables, one row."""

    __tablename__ = "schema_version"
    version: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[int] = mapped_column(BigInteger)


class ExperimentRow(Base):
    """Where an experiment stands; ``version`` is the specification in force."""

    __tablename__ = "experiments"
    __table_args__ = (
        CheckConstraint(
            "state IN ('draft', 'in review', 'approved', 'running', 'stopped', 'concluded', "
            "'archived')",
            name="state_known",
        ),
        CheckConstraint(
            "(state NOT IN ('draft', 'in review', 'approved') OR plan_hash IS NULL) AND "
            "(state NOT IN ('running', 'stopped', 'concluded') OR plan_hash IS NOT NULL)",
            name="plan_frozen_when_started",
        ),
    )
    key: Mapped[str] = mapped_column(_KEY, primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    version: Mapped[int]
    plan_hash: Mapped[str | None] = mapped_column(_HASH)
    """Frozen at the start."""
    registered_at: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[int | None] = mapped_column(BigInteger)
    concluded_at: Mapped[int | None] = mapped_column(BigInteger)
    stopped_at: Mapped[int | None] = mapped_column(BigInteger)
    state_since: Mapped[int] = mapped_column(BigInteger)
    latest: Mapped[int]
    """Highest version number; above ``version`` when a later text was proposed or turned down."""
    proposed: Mapped[int | None]
    """Version that waits for approval while an earlier one runs."""
    approved: Mapped[int | None]
    """Last version that was approved."""
    submission: Mapped[int | None] = mapped_column(BigInteger)
    """Audit row with which the review under way began; earlier approvals do not count."""
    revision: Mapped[int] = mapped_column(Integer)
    """Counts writes: a write based on an older row fails."""
    __mapper_args__ = {"version_id_col": revision}  # noqa: RUF012 - SQLAlchemy's own form


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
    registered_by: Mapped[str] = mapped_column(_NAME)


class ApprovalRow(Base):
    """Somebody's approval of one version; never changed, never deleted."""

    __tablename__ = "approvals"
    sequence: Mapped[int] = mapped_column(_ROWID, primary_key=True, autoincrement=False)
    """Number of its audit row."""
    key: Mapped[str] = mapped_column(ForeignKey("experiments.key"), index=True)
    version: Mapped[int]
    who: Mapped[str] = mapped_column(_NAME)
    role: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[int] = mapped_column(BigInteger)


class ResultRow(Base):
    """The analysis an experiment was concluded with."""

    __tablename__ = "results"
    key: Mapped[str] = mapped_column(ForeignKey("experiments.key"), primary_key=True)
    document: Mapped[str] = mapped_column(Text)
    result_hash: Mapped[str] = mapped_column(_HASH)
    recorded_at: Mapped[int] = mapped_column(BigInteger)


class EventRow(Base):
    """One step that somebody took or was refused; rows are only ever added, without gaps."""

    __tablename__ = "audit"
    sequence: Mapped[int] = mapped_column(_ROWID, primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(String(200), index=True)
    at: Mapped[int] = mapped_column(BigInteger)
    who: Mapped[str] = mapped_column(_NAME)
    role: Mapped[str] = mapped_column(String(20))
    account: Mapped[str] = mapped_column(_NAME)
    """Account of the operating system, where it says something else than ``who``."""
    what: Mapped[str] = mapped_column(String(40))
    detail: Mapped[str] = mapped_column(Text)
    """Canonical JSON."""
    hash: Mapped[str] = mapped_column(_HASH)
    """Link of the audit chain; empty in rows written before there was one."""


class HeadRow(Base):
    """End of the audit chain, one row; every writer locks it first, so that writers take turns."""

    __tablename__ = "audit_head"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(_HASH)


class JobRow(Base):
    """Something that takes a while, and the process that does it."""

    __tablename__ = "jobs"
    id: Mapped[int] = mapped_column(_ROWID, primary_key=True)
    key: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20), index=True)
    host: Mapped[str] = mapped_column(_NAME)
    pid: Mapped[int]
    process_started: Mapped[str] = mapped_column(String(40))
    """When the process began, as the system counts it: a number used again is another process."""
    started_at: Mapped[int] = mapped_column(BigInteger)
    heartbeat_at: Mapped[int] = mapped_column(BigInteger)
    finished_at: Mapped[int | None] = mapped_column(BigInteger)
    note: Mapped[str] = mapped_column(Text)
