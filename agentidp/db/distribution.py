"""Distributes the tables with Citus over several servers, so that all rows of an organization are on one server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from agentidp.config import ConfigurationError
from agentidp.db.citus import is_on_citus
from agentidp.db.database import SERVICE_ROLE, connect
from agentidp.db.migrations import MIGRATION_LOCK, list_pending_steps, read_applied_steps
from agentidp.db.sql import run_statement

_ROLE_STATEMENTS = (
    "distribution/forbid_temporary_tables",
    "distribution/let_service_log_in",
    "distribution/plan_without_jit",
    "distribution/plan_by_index",
)


def distribute(url: str) -> Iterator[tuple[str, str]]:
    """Distribute the tables and then the functions that are not distributed yet, each in a transaction of its own.

    If a call is interrupted, the next call continues. Migrations wait until the call ends.

    :param url: the coordinator's database, with a superuser.
    :returns: the names of changed tables, functions and roles as soon as they are changed, each with the new state.
    :raises ConfigurationError: the server does not answer, has no Citus, or refuses a statement.
    """
    try:
        with connect(url) as connection:
            if not is_on_citus(connection):
                raise ConfigurationError(
                    "the database has no Citus: install it on the coordinator and on every worker, and there let a "
                    'superuser run "create extension citus"'
                )
            run_statement(connection, "database/lock_migrations", key=MIGRATION_LOCK)
            [readiness_row] = run_statement(connection, "distribution/readiness")
            if not readiness_row.may_copy:
                raise ConfigurationError(
                    "AGENTIDP_DATABASE_URL must name a superuser for this: PostgreSQL lets nobody else copy rows into "
                    "tables under forced row-level security"
                )
            if not readiness_row.has_schema or list_pending_steps(read_applied_steps(connection)):
                raise ConfigurationError("the schema is not up to date: run agentidp db migrate first, as the owner")
            yield from _distribute_schema(connection)
    except psycopg.Error as error:
        error_text = ": ".join(filter(None, (error.diag.message_primary, error.diag.message_detail))) or str(error)
        raise ConfigurationError(f"the tables cannot be distributed: {error_text}") from None


def _distribute_schema(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    for statement_name in _ROLE_STATEMENTS:
        run_statement(connection, statement_name)
    table_rows = run_statement(connection, "distribution/tables")
    colocated_table = next(
        (table_row.name for table_row in table_rows if table_row.is_distributed and table_row.is_done), "none"
    )
    for table_row in table_rows:
        if table_row.is_done:
            continue
        if table_row.is_distributed:
            run_statement(
                connection, "distribution/distribute_table", name=table_row.name, colocate_with=colocated_table
            )
            colocated_table = table_row.name if colocated_table == "none" else colocated_table
            yield table_row.name, "distributed by organization"
        else:
            run_statement(connection, "distribution/replicate_table", name=table_row.name)
            yield table_row.name, "whole on every node"
    run_statement(connection, "distribution/grant_views")
    yield from _set_plan_caching(connection)
    for function_signature, argument_name in run_statement(connection, "distribution/functions"):
        if argument_name is None:
            run_statement(connection, "distribution/send_function", signature=function_signature)
            yield function_signature, "on every node"
        else:
            run_statement(
                connection, "distribution/distribute_function", signature=function_signature, argument=argument_name
            )
            yield function_signature, "beside the organization"


def _set_plan_caching(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """Let the servers cache plans for the service's role, unless a server's Citus never reuses cached plans."""
    can_cache_plans = True
    for server_row in run_statement(connection, "distribution/keeps_plans"):
        if not server_row.success and not server_row.result.endswith("plans are not kept"):
            raise ConfigurationError(f"cannot test whether {server_row.node} keeps plans: {server_row.result}")
        can_cache_plans = can_cache_plans and server_row.success
    [setting_row] = run_statement(connection, "distribution/plans_each_time")
    run_statement(connection, "distribution/plan_once" if can_cache_plans else "distribution/plan_each_time")
    if setting_row.is_so is can_cache_plans:
        planning_frequency = "once" if can_cache_plans else "at each call, as this version of Citus requires"
        yield SERVICE_ROLE, f"plans each statement {planning_frequency}"
