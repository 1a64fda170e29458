"""Bringing a registry's tables to this release, inside a transaction that the caller holds."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from designs.registry.models import SCHEMA, SchemaRow

if TYPE_CHECKING:
    from sqlalchemy import Connection


def schema_of(connection: Connection) -> int | None:
    """Return the version of the tables; ``None`` when there are none yet."""
    if not inspect(connection).has_table(SchemaRow.__tablename__):
        return None
    return int(connection.scalar(text("SELECT version FROM schema_version")) or 0)


def migrate(connection: Connection, now: int) -> None:
    """Make or upgrade the tables. The caller commits; whatever fails leaves nothing behind."""
    from alembic import command
    from alembic.config import Config

    before = schema_of(connection)
    with resources.as_file(resources.files("designs.registry") / "migrations") as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        if before is not None and not inspect(connection).has_table("alembic_version"):
            command.stamp(config, str(before))  # written before migrations were kept track of
        command.upgrade(config, str(SCHEMA))
    values = {"version": SCHEMA, "now": now}
    if before is None:
        connection.execute(text("INSERT INTO schema_version VALUES (:version, :now)"), values)
    else:
        connection.execute(text("UPDATE schema_version SET version = :version"), values)
