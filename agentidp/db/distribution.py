"""Citus: each organization's rows on one of several PostgreSQL servers, the workers, with its functions beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from agentidp.config import ConfigurationError
from agentidp.db.citus import is_on_citus
from agentidp.db.database import SERVICE_ROLE, connect
from agentidp.db.migrations import MIGRATION_LOCK, applied_steps, pending_steps
from agentidp.db.sql import load_sql

_ROLE = (
    "distribution/forbid_temporary_tables",
    "distribution/let_service_log_in",
    "distribution/plan_without_jit",
    "distribution/plan_by_index",
)


def distribute(url: str) -> Iterator[tuple[str, str]]:
    """Distribute what is not distributed yet: tables, then functions, each in a transaction of its own.

    What was done stays done when this is interrupted, and the next run goes on from there. Migrations wait meanwhile.

    :param url: of the coordinator's database, as a superuser.
    :returns: each function or table as soon as it is done, and what it is now; the service's role, if how the servers
        plan for it changes.
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
    for statement in _ROLE:
        connection.execute(load_sql(statement))
    tables = connection.execute(load_sql("distribution/tables")).fetchall()
    beside = next((table.name for table in tables if table.is_distributed and table.is_done), "none")
    for table in tables:
        if table.is_done:
            continue
        if table.is_distributed:
            connection.execute(load_sql("distribution/distribute_table"), {"name": table.name, "colocate_with": beside})
            beside = table.name if beside == "none" else beside
            yield table.name, "distributed by organization"
        else:
            connection.execute(load_sql("distribution/replicate_table"), {"name": table.name})
            yield table.name, "whole on every node"
    connection.execute(load_sql("distribution/grant_views"))
    yield from _plan(connection)
    for function in connection.execute(load_sql("distribution/functions")).fetchall():
        if function.argument is None:
            connection.execute(load_sql("distribution/send_function"), {"signature": function.signature})
            yield function.signature, "on every node"
        else:
            call = {"signature": function.signature, "argument": function.argument}
            connection.execute(load_sql("distribution/distribute_function"), call)
            yield function.signature, "beside the organization"


def _plan(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """Let the servers keep plans for the service, unless one of them does not find those that it has kept."""
    are_kept = True
    for server in connection.execute(load_sql("distribution/keeps_plans")).fetchall():
        if not server.success and not server.result.endswith("plans are not kept"):
            raise ConfigurationError(f"cannot test whether {server.node} keeps plans: {server.result}")
        are_kept = are_kept and server.success
    [each_time] = connection.execute(load_sql("distribution/plans_each_time")).fetchall()
    connection.execute(load_sql("distribution/plan_once" if are_kept else "distribution/plan_each_time"))
    if each_time.is_so is are_kept:
        how = "once" if are_kept else "at each call, as this version of Citus requires"
        yield SERVICE_ROLE, f"plans each statement {how}"
