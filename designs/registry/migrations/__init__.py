"""How the tables of the registry came to be, one migration a schema version."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection


def refuse_changes(connection: Connection, table: str, *actions: str) -> None:
    """Let the database itself refuse to change or delete rows of a table."""
    if connection.dialect.name == "sqlite":
        for action in actions:
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    connection.exec_driver_sql(
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
    )
    for action in actions + (("TRUNCATE",) if "DELETE" in actions else ()):
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
        )


def refuse_replacement(connection: Connection, table: str, *names: str) -> None:
    """Let SQLite refuse ``INSERT OR REPLACE``, which deletes a row without asking its triggers.

    https://sqlite.org/lang_conflict.html, REPLACE. On PostgreSQL ``ON CONFLICT DO UPDATE`` is an
    update, which is refused already.
    """
    if connection.dialect.name != "sqlite":
        return
    same = " AND ".join(f"{name} = NEW.{name}" for name in names)
    known = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608 - our own tables' names
    connection.exec_driver_sql(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {known} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )
