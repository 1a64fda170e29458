"""The first tables: experiments with their versions, results and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from designs.registry.migrations import refuse_changes

revision = "1"
down_revision = None

_ROWID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "schema_version",
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "experiments",
        sa.Column("key", sa.String(80), primary_key=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("plan_hash", sa.String(64)),
        sa.Column("registered_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("concluded_at", sa.BigInteger),
        sa.CheckConstraint("state IN ('draft', 'running', 'concluded')", name="state_known"),
        sa.CheckConstraint(
            "(state = 'draft') = (plan_hash IS NULL)", name="plan_frozen_when_started"
        ),
    )
    op.create_table(
        "versions",
        sa.Column("key", sa.String(80), sa.ForeignKey("experiments.key"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("spec_hash", sa.String(64), nullable=False),
        sa.Column("plan_hash", sa.String(64), nullable=False),
        sa.Column("registered_at", sa.BigInteger, nullable=False),
        sa.Column("registered_by", sa.String(200), nullable=False),
    )
    op.create_table(
        "results",
        sa.Column("key", sa.String(80), sa.ForeignKey("experiments.key"), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("result_hash", sa.String(64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", _ROWID, primary_key=True),
        sa.Column("key", sa.String(80), sa.ForeignKey("experiments.key"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("what", sa.String(40), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    for table in ("versions", "results"):
        refuse_changes(op.get_bind(), table, "UPDATE", "DELETE")
