"""Binding of parameters and transactions on a connection to Citus."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from agentidp.db.pipeline import OutcomeLost, is_lost
from agentidp.db.sql import Call, Rows, enters_organization, fetch_rows, load_sql, run_statement

_NOT_CONNECTED = re.compile(r"Connection refused|No route to host|timeout expired|the database system is")
"""Messages of errors that occur before a connection to a worker is open, so the worker has received nothing."""

_UNCERTAIN = ("57014", "XX000")
"""SQLSTATEs of errors after which a worker may have committed: a cancelled statement, an internal error of Citus."""

_REPEATED = (psycopg.errors.DeadlockDetected, psycopg.errors.InsufficientPrivilege)
"""Errors after which nothing was changed and another attempt may succeed. Each has a cause on Citus:

- Citus confuses transactions of one server (citusdata/citus#1803), so a transaction may seem to wait for itself.
- If an organization's shard has just moved to another worker, row-level security refuses its rows there.
"""

MAX_ATTEMPTS = 20
"""Maximum number of attempts per transaction. All attempts within about 100 ms can fail by the same deadlock."""


def adapt_to_citus(connection: psycopg.Connection[Any]) -> None:
    """Make psycopg insert parameters into the text of statements if the database has Citus.

    ``set local``, which Citus forwards to its workers, accepts no parameters. Citus also needs the values in the text
    to plan a statement that it runs in several steps.
    """
    [row] = run_statement(connection, "database/look_for_citus")
    if row.has_citus:
        connection.cursor_factory = psycopg.ClientCursor


def is_on_citus(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the connection's database has Citus."""
    return connection.cursor_factory is psycopg.ClientCursor


def enter_organization(
    connection: psycopg.Connection[Any], organization_id: str, *, durable: bool
) -> psycopg.Cursor[Any]:
    """Restrict an open transaction to one organization's rows. If *durable*, its commit waits for the disk."""
    if not is_on_citus(connection):
        parameters = {"organization_id": organization_id, "durable": durable}
        return connection.execute(load_sql("database/enter_organization"), parameters)
    connection.execute(load_sql("database/set_local_organization"), {"organization_id": organization_id})
    # Each Citus worker commits on its own, so synchronous_commit must also be set on the workers.
    parameters = {"synchronous_commit": "on" if durable else "off"}
    return connection.execute(load_sql("database/set_local_commit"), parameters)


def run_on_citus(
    connection: psycopg.Connection[Any], organization_id: str, calls: list[Call], *, durable: bool
) -> list[Rows]:
    """Run an organization's calls in one transaction and one round trip, and return the rows of each call."""
    remaining_attempts = MAX_ATTEMPTS
    while True:
        remaining_attempts -= 1
        try:
            if len(calls) == 1 and enters_organization(calls[0].name):
                # A single statement that sets the organization itself needs no explicit transaction.
                return [fetch_rows(_execute(connection, calls[0]))]
            return _run_calls_in_transaction(connection, organization_id, calls, durable=durable)
        except psycopg.Error as error:
            if isinstance(error, _REPEATED) and remaining_attempts:
                connection.rollback()
                continue
            # If the transaction is still open after the error, it was not committed, so its outcome is known.
            is_transaction_open = connection.info.transaction_status == TransactionStatus.INERROR
            if not is_transaction_open and (is_lost(error) or may_have_committed(error)):
                raise OutcomeLost(str(error)) from error
            raise


def may_have_committed(error: psycopg.Error) -> bool:
    """Return whether a worker may have committed, although the coordinator reported this error."""
    sqlstate = error.sqlstate or ""
    return sqlstate in _UNCERTAIN or (sqlstate.startswith("08") and not _NOT_CONNECTED.search(str(error)))


def _run_calls_in_transaction(
    connection: psycopg.Connection[Any], organization_id: str, calls: Iterable[Call], *, durable: bool
) -> list[Rows]:
    first_error: psycopg.Error | None = None
    cursors = []
    try:
        with connection.pipeline():
            # connection.transaction() is not used, because it would take four round trips instead of one.
            connection.execute("begin")
            try:
                enter_organization(connection, organization_id, durable=durable)
                cursors = [_execute(connection, call) for call in calls]
                connection.execute("commit")
            except psycopg.Error as error:
                # The error is raised below, because inside the pipeline psycopg would log all skipped statements.
                first_error = error
    except psycopg.Error as error:
        raise first_error or error from None
    if first_error:
        raise first_error
    return [fetch_rows(cursor) for cursor in cursors]


def _execute(connection: psycopg.Connection[Any], call: Call) -> psycopg.Cursor[Any]:
    if call.name == "database/enter_organization":
        return enter_organization(connection, call.parameters["organization_id"], durable=call.parameters["durable"])
    return connection.execute(load_sql(call.name), call.parameters)
