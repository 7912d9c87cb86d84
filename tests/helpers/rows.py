"""Reads all rows of an organization."""

from __future__ import annotations

from typing import Any

import psycopg

from tests import catalog


def everything_of(url: str, organization_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of an organization, by table, read past row-level security."""
    with psycopg.connect(url) as connection:
        return {
            table: connection.execute(
                f"select t::text from {table} t where organization_id = %s order by 1", [organization_id]
            ).fetchall()
            for table in catalog.tables_of_organizations(connection)
        }
