"""Reads all rows of an organization."""

from __future__ import annotations

from typing import Any

import psycopg

from tests import catalog


def everything_of(url: str, organization_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of an organization, by table, read without row-level security."""
    with psycopg.connect(url) as connection:
        table_names = catalog.tables_of_organizations(connection)
        rows_by_table: dict[str, list[tuple[Any, ...]]] = {table: [] for table in table_names}
        # A Citus cluster reads the tables that have one shard per organization in a single exchange with a node.
        instance_wide = table_names & catalog.INSTANCE_WIDE
        for tables in (table_names - instance_wide, *({table} for table in instance_wide)):
            selects = " union all ".join(
                f"select '{table}', t::text from {table} t where organization_id = %(organization_id)s"
                for table in tables
            )
            rows = connection.execute(f"{selects} order by 1, 2", {"organization_id": organization_id})
            for table, row in rows:
                rows_by_table[table].append((row,))
        return rows_by_table
