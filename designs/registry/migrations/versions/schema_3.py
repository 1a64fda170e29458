"""No row of the record can be replaced, and the head of the audit cannot be deleted."""

from __future__ import annotations

from alembic import op

from designs.registry.migrations import refuse_changes, refuse_replacement

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Add the triggers."""
    connection = op.get_bind()
    refuse_replacement(connection, "versions", "key", "version")
    refuse_replacement(connection, "results", "key")
    refuse_replacement(connection, "audit", "sequence")
    refuse_replacement(connection, "approvals", "sequence")
    refuse_replacement(connection, "experiments", "key")
    refuse_changes(connection, "audit_head", "DELETE")
