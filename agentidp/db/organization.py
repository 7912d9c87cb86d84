"""The database as one organization sees it at one instant.

The service's statements about an organization run here, in a transaction that has entered it: row-level security shows
the transaction the rows of this organization only. The operator's statements run on a connection of its own.

Each statement gets, beside its own parameters, ``organization_id``, ``at`` (the instant), ``day`` (its UTC date) and
``hour`` (its UTC hour, 0 to 23), and ``durable`` (whether the commit waits for the disk).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg

from agentidp.actor import SYSTEM, Actor, operator
from agentidp.db.citus import enter_organization, is_on_citus, rows_of
from agentidp.db.pipeline import PipelinedConnection
from agentidp.db.sql import Call, Rows, load_sql


class Transaction:
    """An open transaction of one organization.

    :param connection: on which the transaction has begun and the organization is entered.
    :param organization_id: the organization.
    :param at: the instant at which it acts, aware.
    :param actor: who makes its changes.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], organization_id: str, at: datetime, actor: Actor = SYSTEM
    ) -> None:
        self.organization_id, self.at, self.actor = organization_id, at, actor
        self._at_end: dict[Callable[[Transaction, list[Any]], None], list[Any]] = {}
        self._connection = connection
        self._common = common_parameters(organization_id, at) | {"durable": True}

    def fetch(self, statement: str, /, **parameters: Any) -> Rows:
        """Run ``sql/<statement>.sql`` and return its rows."""
        connection = self._connection
        parameters = self._common | parameters
        if isinstance(connection, PipelinedConnection) and not is_on_citus(connection):
            # Which plans it once a connection.
            [rows] = connection.run_together([(load_sql(statement), parameters)])
            return rows
        return rows_of(connection.execute(load_sql(statement), parameters))

    def as_of(self, at: datetime) -> Transaction:
        """The same open transaction, at another instant."""
        same = Transaction(self._connection, self.organization_id, at, self.actor)
        same._at_end = self._at_end
        return same

    def before_commit(self, write: Callable[[Transaction, list[Any]], None], item: Any) -> None:
        """Call *write* once before the transaction commits, with all items that were given with it."""
        self._at_end.setdefault(write, []).append(item)

    def complete(self) -> None:
        """Write what :meth:`before_commit` was given. Whoever commits the transaction calls it."""
        for write, items in self._at_end.items():
            write(self, items)

    def run(self, call: Call) -> Rows:
        """Run a call and return its rows."""
        return self.fetch(call.name, **call.parameters)


class Runner(Protocol):
    """What runs statements for an organization: :class:`agentidp.db.database.Database`."""

    actor: Actor

    def run_in(self, organization_id: str, calls: list[Call], *, durable: bool) -> list[Rows]:
        """Run statements in one transaction and one round trip."""

    def connection_in(self, organization_id: str) -> contextlib.AbstractContextManager[psycopg.Connection[Any]]:
        """A connection with an open, durable transaction of the organization."""


class OrganizationDatabase:
    """The database as one organization sees it at one instant. :meth:`Database.of` makes it; it costs nothing.

    Its methods raise what those of :class:`agentidp.db.database.Database` do.

    :param runner: runs the statements.
    :param organization_id: the organization; any other's rows are invisible.
    :param at: the instant at which it acts, aware.
    """

    def __init__(self, runner: Runner, organization_id: str, at: datetime) -> None:
        self.organization_id, self.at = organization_id, at
        self._runner = runner
        self._common = common_parameters(organization_id, at)

    def run(self, *calls: Call, durable: bool = False) -> list[Rows]:
        """Run statements in one transaction and one round trip: all of them take effect, or none.

        :param durable: wait for the commit to be on disk, as everything but a request's count must.
        :returns: the rows of each call.
        """
        common = self._common | {"durable": durable}
        return self._runner.run_in(
            self.organization_id, [Call(call.name, common | call.parameters) for call in calls], durable=durable
        )

    def fetch(self, statement: str, /, **parameters: Any) -> Rows:
        """Run one reading statement, ``sql/<statement>.sql``, and return its rows."""
        [rows] = self.run(Call(statement, parameters))
        return rows

    def fetch_durably(self, statement: str, /, **parameters: Any) -> Rows:
        """Run one writing statement and wait until it is on disk."""
        [rows] = self.run(Call(statement, parameters), durable=True)
        return rows

    @contextlib.contextmanager
    def transaction(self, actor: Actor | None = None) -> Iterator[Transaction]:
        """A durable transaction, for what needs an answer before the next statement.

        It commits at the end of the block and rolls back if the block raises.

        :param actor: who makes its changes. Default: that of the process.
        """
        with self._runner.connection_in(self.organization_id) as connection:
            opened = Transaction(connection, self.organization_id, self.at, actor or self._runner.actor)
            yield opened
            opened.complete()


def common_parameters(organization_id: str, at: datetime) -> dict[str, Any]:
    """What every statement about an organization can use beside its own parameters."""
    in_utc = at.astimezone(UTC)
    return {"organization_id": organization_id, "at": at, "day": in_utc.date(), "hour": in_utc.hour}


@contextlib.contextmanager
def operator_transaction(
    connection: psycopg.Connection[Any], organization_id: str, at: datetime
) -> Iterator[Transaction]:
    """A durable transaction of an organization on a connection of the operator's own, who makes its changes."""
    with connection.transaction():
        enter_organization(connection, organization_id, durable=True)
        opened = Transaction(connection, organization_id, at, operator())
        yield opened
        opened.complete()
