"""What is different on a connection to Citus: how parameters are bound, and how a transaction is opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

from agentidp.db.pipeline import OutcomeLost, is_lost
from agentidp.db.sql import Call, Rows, load_sql


def look_for_citus(connection: psycopg.Connection[Any]) -> None:
    """Bind parameters on the client if the database has Citus.

    Citus sends only ``set local`` on to its workers, which takes no parameter, and it cannot make the generic plan of
    a statement in several steps.
    """
    [row] = connection.execute(load_sql("database/look_for_citus")).fetchall()
    if row.has_citus:
        connection.cursor_factory = psycopg.ClientCursor


def is_on_citus(connection: psycopg.Connection[Any]) -> bool:
    """Whether the connection's database has Citus."""
    return connection.cursor_factory is psycopg.ClientCursor


def enter_organization(
    connection: psycopg.Connection[Any], organization_id: str, *, durable: bool
) -> psycopg.Cursor[Any]:
    """Open a transaction's view of one organization. The transaction must have begun; the view ends with it."""
    if not is_on_citus(connection):
        enter = {"organization_id": organization_id, "durable": durable}
        return connection.execute(load_sql("database/enter_organization"), enter)
    connection.execute(load_sql("database/set_local_organization"), {"organization_id": organization_id})
    # The workers commit, each by a setting of its own unless this is sent.
    commit = {"synchronous_commit": "on" if durable else "off"}
    return connection.execute(load_sql("database/set_local_commit"), commit)


def run_on_citus(connection: psycopg.Connection[Any], calls: Iterable[Call]) -> list[Rows]:
    """What :meth:`PipelinedConnection.run_together` does, in an explicit transaction and psycopg's own pipeline."""
    failure: psycopg.Error | None = None
    cursors = []
    try:
        with connection.pipeline():
            # By connection.transaction() it would be four round trips. The pool rolls back.
            connection.execute("begin")
            try:
                for call in calls:
                    if call.name == "database/enter_organization":
                        entered = call.parameters["organization_id"], call.parameters["durable"]
                        cursors.append(enter_organization(connection, entered[0], durable=entered[1]))
                    else:
                        cursors.append(connection.execute(load_sql(call.name), call.parameters))
                connection.execute("commit")
            except psycopg.Error as error:
                # The error came before everything was sent. Raised here, psycopg would log that the rest is skipped.
                failure = error
    except psycopg.Error as error:
        failure = failure or error
    if failure:
        # psycopg does not say whether the commit had been sent.
        if is_lost(failure):
            raise OutcomeLost(str(failure)) from failure
        raise failure
    return [rows_of(cursor) for cursor in cursors]


def rows_of(cursor: psycopg.Cursor[Any]) -> Rows:
    """The rows of a statement that was run; none if it returns no rows."""
    return cursor.fetchall() if cursor.description else []
