"""Review, approvals, the audit chain and jobs.

Events become the first rows of the audit; having no hash, they are vouched for by the first row
that has one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from designs.registry.migrations import refuse_changes

revision = "2"
down_revision = "1"

_ROWID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_STATES = "'draft', 'in review', 'approved', 'running', 'stopped', 'concluded', 'archived'"
_FROZEN = (
    "(state NOT IN ('draft', 'in review', 'approved') OR plan_hash IS NULL) AND "
    "(state NOT IN ('running', 'stopped', 'concluded') OR plan_hash IS NOT NULL)"
)


def upgrade() -> None:
    """Widen the experiments, move the events into the audit, add approvals and jobs."""
    _audit()
    _experiments()
    _others()
    connection = op.get_bind()
    for table in ("audit", "approvals"):
        refuse_changes(connection, table, "UPDATE", "DELETE")
    refuse_changes(connection, "experiments", "DELETE")


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("sequence", _ROWID, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String(200), nullable=False, index=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("account", sa.String(200), nullable=False),
        sa.Column("what", sa.String(40), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.execute(
        "INSERT INTO audit (sequence, key, at, who, role, account, what, detail, hash) "
        "SELECT id, key, at, who, '', '', what, detail, '' FROM events"
    )
    op.drop_table("events")
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.execute(
        "INSERT INTO audit_head (id, sequence, hash) "
        "SELECT 1, COALESCE(MAX(sequence), 0), '' FROM audit"
    )


def _experiments() -> None:
    # SQLite cannot change a constraint: the table is made anew, from this picture of the old one.
    old = sa.Table(
        "experiments",
        sa.MetaData(),
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
    with op.batch_alter_table("experiments", copy_from=old) as batch:
        batch.drop_constraint("state_known", type_="check")
        batch.drop_constraint("plan_frozen_when_started", type_="check")
        batch.create_check_constraint("state_known", sa.text(f"state IN ({_STATES})"))
        batch.create_check_constraint("plan_frozen_when_started", sa.text(_FROZEN))
        batch.add_column(sa.Column("stopped_at", sa.BigInteger))
        for name, kind in (
            ("state_since", sa.BigInteger()),
            ("latest", sa.Integer()),
            ("revision", sa.Integer()),
        ):
            batch.add_column(sa.Column(name, kind, nullable=False, server_default="0"))
        batch.add_column(sa.Column("proposed", sa.Integer))
        batch.add_column(sa.Column("approved", sa.Integer))
        batch.add_column(sa.Column("submission", sa.BigInteger))
    op.execute(
        "UPDATE experiments SET latest = version, revision = 1, "
        "state_since = COALESCE(concluded_at, started_at, registered_at)"
    )


def _others() -> None:
    op.create_table(
        "approvals",
        sa.Column("sequence", _ROWID, primary_key=True, autoincrement=False),
        sa.Column(
            "key", sa.String(80), sa.ForeignKey("experiments.key"), nullable=False, index=True
        ),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("id", _ROWID, primary_key=True),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("state", sa.String(20), nullable=False, index=True),
        sa.Column("host", sa.String(200), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("process_started", sa.String(40), nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("note", sa.Text, nullable=False),
    )
