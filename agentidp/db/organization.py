"""The database as one organization sees it at one instant.

Each statement runs in a transaction in which row-level security shows only the organization's rows. In addition to its
own parameters, each statement gets ``organization_id``, ``at`` (the instant), ``day`` (its UTC date), ``hour`` (its UTC
hour, 0 to 23), and ``durable`` (whether the commit waits for the disk).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg

from agentidp.actor import SYSTEM, Actor, find_operator
from agentidp.db.citus import enter_organization, is_on_citus
from agentidp.db.pipeline import PipelinedConnection
from agentidp.db.sql import Call, Rows, fetch_rows, load_sql

if TYPE_CHECKING:
    from agentidp.db.database import Database


class Transaction:
    """An open transaction that is restricted to the rows of one organization.

    :param at: the time of the changes, with a time zone.
    :param actor: the actor to whom the audit trail attributes the changes.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], organization_id: str, at: datetime, actor: Actor = SYSTEM
    ) -> None:
        self.organization_id, self.at, self.actor = organization_id, at, actor
        self._writes_before_commit: dict[Callable[[Transaction, list[Any]], None], list[Any]] = {}
        self._connection = connection
        self._common = common_parameters(organization_id, at) | {"durable": True}

    def fetch(self, statement: str, /, **parameters: Any) -> Rows:
        """Run ``sql/<statement>.sql`` and return its rows."""
        connection = self._connection
        parameters = self._common | parameters
        if isinstance(connection, PipelinedConnection) and not is_on_citus(connection):
            # run_together() is faster than execute(), because it plans each statement only once per connection.
            [rows] = connection.run_together([(load_sql(statement), parameters)])
            return rows
        return fetch_rows(connection.execute(load_sql(statement), parameters))

    def as_of(self, at: datetime, actor: Actor | None = None) -> Transaction:
        """Return an object for this transaction with another current time and, unless None, another actor."""
        copy = Transaction(self._connection, self.organization_id, at, actor or self.actor)
        copy._writes_before_commit = self._writes_before_commit
        return copy

    def before_commit(self, write: Callable[[Transaction, list[Any]], None], item: Any) -> None:
        """Register *item*. Before the commit, *write* is called once with all items that were registered with it."""
        self._writes_before_commit.setdefault(write, []).append(item)

    def write_before_commit(self) -> None:
        """Call the functions that :meth:`before_commit` has registered. Must be called before the commit."""
        for write_function, collected_items in self._writes_before_commit.items():
            write_function(self, collected_items)

    def run(self, call: Call) -> Rows:
        """Run the statement that a call names, with the call's parameters, and return its rows."""
        return self.fetch(call.name, **call.parameters)


class OrganizationDatabase:
    """Access to one organization's rows at one instant. Its methods raise the errors of :class:`Database`.

    :param at: the time of the statements, with a time zone.
    """

    def __init__(self, database: Database, organization_id: str, at: datetime) -> None:
        self.organization_id, self.at = organization_id, at
        self._database = database
        self._common = common_parameters(organization_id, at)

    def run(self, *calls: Call, durable: bool = False) -> list[Rows]:
        """Run statements in one transaction and one round trip: all of them take effect, or none.

        :param durable: whether the commit waits for the disk. Reads and the count of a request need not wait.
        """
        common_values = self._common | {"durable": durable}
        return self._database.run_for_organization(
            self.organization_id, [Call(call.name, common_values | call.parameters) for call in calls], durable=durable
        )

    def fetch(self, statement: str, /, **parameters: Any) -> Rows:
        """Run one statement that only reads, ``sql/<statement>.sql``, and return its rows."""
        [rows] = self.run(Call(statement, parameters))
        return rows

    def fetch_durably(self, statement: str, /, **parameters: Any) -> Rows:
        """Run one statement that writes, wait until its changes are on disk, and return its rows."""
        [rows] = self.run(Call(statement, parameters), durable=True)
        return rows

    @contextlib.contextmanager
    def transaction(self, actor: Actor | None = None) -> Iterator[Transaction]:
        """Open a transaction for statements that depend on earlier results. The commit waits for the disk.

        :param actor: the actor of the changes. Default: the process's actor.
        """
        with self._database.open_transaction(self.organization_id) as connection:
            transaction = Transaction(connection, self.organization_id, self.at, actor or self._database.actor)
            yield transaction
            transaction.write_before_commit()


def common_parameters(organization_id: str, at: datetime) -> dict[str, Any]:
    """Return the parameters that every statement about an organization gets in addition to its own parameters."""
    utc_time = at.astimezone(UTC)
    return {"organization_id": organization_id, "at": at, "day": utc_time.date(), "hour": utc_time.hour}


@contextlib.contextmanager
def operator_transaction(
    connection: psycopg.Connection[Any], organization_id: str, at: datetime
) -> Iterator[Transaction]:
    """Open a transaction of an organization on the operator's connection, with the operator as the actor."""
    with connection.transaction():
        enter_organization(connection, organization_id, durable=True)
        transaction = Transaction(connection, organization_id, at, find_operator())
        yield transaction
        transaction.write_before_commit()
