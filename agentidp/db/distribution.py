"""Distributes the tables with Citus, so that one of several servers has the rows and functions of an organization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from agentidp.config import ConfigurationError
from agentidp.db.citus import is_on_citus
from agentidp.db.database import SERVICE_ROLE, connect
from agentidp.db.migrations import MIGRATION_LOCK, applied_steps, pending_steps
from agentidp.db.sql import load_sql

_ROLE_STATEMENTS = (
    "distribution/forbid_temporary_tables",
    "distribution/let_service_log_in",
    "distribution/plan_without_jit",
    "distribution/plan_by_index",
)


def distribute(url: str) -> Iterator[tuple[str, str]]:
    """Distribute the tables and then the functions that are not distributed yet, each in a transaction of its own.

    If the function is interrupted, the next call continues. Migrations wait until the function ends.

    :param url: the coordinator's database, with a superuser.
    :returns: the name of each table or function as soon as it is distributed, with its new state; and the service's
        role if its planning changes.
    :raises ConfigurationError: the server does not answer, has no Citus, or refuses.
    """
    try:
        with connect(url) as connection:
            if not is_on_citus(connection):
                raise ConfigurationError(
                    "the database has no Citus: install it on the coordinator and on every worker, and there let a "
                    'superuser run "create extension citus"'
                )
            connection.execute(load_sql("database/lock_migrations"), {"key": MIGRATION_LOCK})
            [readiness] = connection.execute(load_sql("distribution/readiness")).fetchall()
            if not readiness.may_copy:
                raise ConfigurationError(
                    "AGENTIDP_DATABASE_URL must name a superuser for this: PostgreSQL lets nobody else copy rows into "
                    "tables under forced row-level security"
                )
            if not readiness.has_schema or pending_steps(applied_steps(connection)):
                raise ConfigurationError("the schema is not up to date: run agentidp db migrate first, as the owner")
            yield from _distribute(connection)
    except psycopg.Error as error:
        reason = ": ".join(filter(None, (error.diag.message_primary, error.diag.message_detail))) or str(error)
        raise ConfigurationError(f"the tables cannot be distributed: {reason}") from None


def _distribute(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    for statement in _ROLE_STATEMENTS:
        connection.execute(load_sql(statement))
    tables = connection.execute(load_sql("distribution/tables")).fetchall()
    first_table = next((table.name for table in tables if table.is_distributed and table.is_done), "none")
    for table in tables:
        if table.is_done:
            continue
        if table.is_distributed:
            parameters = {"name": table.name, "colocate_with": first_table}
            connection.execute(load_sql("distribution/distribute_table"), parameters)
            first_table = table.name if first_table == "none" else first_table
            yield table.name, "distributed by organization"
        else:
            connection.execute(load_sql("distribution/replicate_table"), {"name": table.name})
            yield table.name, "whole on every node"
    connection.execute(load_sql("distribution/grant_views"))
    yield from _set_plan_caching(connection)
    for function in connection.execute(load_sql("distribution/functions")).fetchall():
        if function.argument is None:
            connection.execute(load_sql("distribution/send_function"), {"signature": function.signature})
            yield function.signature, "on every node"
        else:
            parameters = {"signature": function.signature, "argument": function.argument}
            connection.execute(load_sql("distribution/distribute_function"), parameters)
            yield function.signature, "beside the organization"


def _set_plan_caching(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """Let the servers cache plans for the service's role, unless a server does not reuse cached plans."""
    can_cache = True
    for server in connection.execute(load_sql("distribution/keeps_plans")).fetchall():
        if not server.success and not server.result.endswith("plans are not kept"):
            raise ConfigurationError(f"cannot test whether {server.node} keeps plans: {server.result}")
        can_cache = can_cache and server.success
    [current] = connection.execute(load_sql("distribution/plans_each_time")).fetchall()
    connection.execute(load_sql("distribution/plan_once" if can_cache else "distribution/plan_each_time"))
    if current.is_so is can_cache:
        how = "once" if can_cache else "at each call, as this version of Citus requires"
        yield SERVICE_ROLE, f"plans each statement {how}"
