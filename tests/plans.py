"""What a statement reads when it runs as the service runs it: as its role, prepared, with a generic plan."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg

from agentidp.db.database import SERVICE_ROLE
from agentidp.db.organization import common_parameters
from agentidp.db.pipeline import Statement
from agentidp.db.sql import load_sql


@contextlib.contextmanager
def service_connection(url: str, organization_id: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection that is configured like those of the service's pool, and sees one organization."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(
            load_sql("database/configure_connection"), {"role": SERVICE_ROLE, "statement_timeout": "60s"}
        )
        connection.execute("select set_config('agentidp.organization_id', %s, false)", [organization_id])
        yield connection


def prepare(connection: psycopg.Connection[Any], name: str, **parameters: Any) -> str:
    """Prepare ``sql/<name>.sql`` anew, and return the SQL that executes it with *parameters*, which must include
    ``organization_id`` and ``at``.
    """
    parameters = common_parameters(parameters["organization_id"], parameters["at"]) | parameters
    query, names = Statement.parse(load_sql(name))
    connection.execute("deallocate all")
    connection.execute(b"prepare planned as " + query)
    placeholders = ", ".join(["%s"] * len(names))
    return psycopg.ClientCursor(connection).mogrify(f"execute planned ({placeholders})", [parameters[n] for n in names])


def explain(connection: psycopg.Connection[Any], execute: str) -> dict[str, Any]:
    """Run a statement of :func:`prepare`, and return its plan with the numbers of pages that it read."""
    [(explained,)] = connection.execute(f"explain (analyze, buffers, timing off, format json) {execute}".encode())
    plan: dict[str, Any] = explained[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every node of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def pages(plan: dict[str, Any]) -> int:
    """Return the number of pages of tables and indexes that a plan read."""
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
