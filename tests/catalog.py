"""What the database's catalog knows of the schema, so that no test keeps a list of tables."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import tuple_row

from agentidp.db.database import SERVICE_ROLE

INSTANCE_WIDE = {"clients", "resource_identifiers", "schema_migrations", "signing_keys"}
"""Tables whose key does not begin with an organization. They are exceptions on purpose: every other table has the
organization in each unique key.
"""


def tables(connection: psycopg.Connection[Any]) -> set[str]:
    """Return every table of the schema."""
    return _names(connection, "true")


def tables_of_organizations(connection: psycopg.Connection[Any]) -> set[str]:
    """Return the tables with rows that belong to an organization."""
    return _names(
        connection, "exists (select from pg_attribute where attrelid = t.oid and attname = 'organization_id')"
    )


def written_by_the_service(connection: psycopg.Connection[Any]) -> set[str]:
    """Return the tables of organizations into which the service's role may insert rows."""
    may_insert = _names(connection, f"has_table_privilege('{SERVICE_ROLE}', t.oid, 'insert')")
    return may_insert & tables_of_organizations(connection)


def references(connection: psycopg.Connection[Any]) -> set[tuple[str, str]]:
    """Return (referencing table, referenced table) per foreign key."""
    rows = connection.execute(
        "select conrelid::regclass::text, confrelid::regclass::text from pg_constraint where contype = 'f'"
    )
    return {(str(table), str(referenced)) for table, referenced in rows.fetchall()}


def _names(connection: psycopg.Connection[Any], condition: str) -> set[str]:
    cursor = connection.cursor(row_factory=tuple_row)
    cursor.execute(
        "select relname from pg_class as t "
        f"where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and {condition}".encode()
    )
    return {str(name) for (name,) in cursor.fetchall()}
