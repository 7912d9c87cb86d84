"""The service's connection pool and the errors for its failures, and the operator's connection."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from agentidp.actor import SYSTEM, Actor
from agentidp.config import EXCHANGE_MARGIN, LEEWAY, OLDEST_POSTGRESQL, ConfigurationError, Settings
from agentidp.db.citus import (
    adapt_to_citus,
    enter_organization,
    is_on_citus,
    may_have_committed,
    run_on_citus,
)
from agentidp.db.clock_check import ClockCheck, ClockDiffers, describe_difference, measure_seconds_ahead
from agentidp.db.errors import DatabaseUnavailable, OutcomeUnknown, in_one_line
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.pipeline import OutcomeLost, PipelinedConnection, is_lost
from agentidp.db.pool import NoConnection, Pool
from agentidp.db.sql import Call, Rows, enters_organization, fetch_rows, load_sql, run_statement
from agentidp.metrics import DATABASE_ERRORS

logger = logging.getLogger("agentidp")

SERVICE_ROLE = "agentidp_service"

CONNECT_TIMEOUT = 5
"""Maximum seconds to open the connection of an operator's command."""

MAX_WAITING = 64
"""Maximum number of requests per worker that wait for a connection. Further requests get a 503 at once."""

# SQLSTATEs of failures that our statements do not cause: connection exceptions, insufficient resources, operator
# intervention, a statement timeout, a read-only server, conflicts that a retry resolves, system and internal errors,
# damaged data, and errors that an operator's trigger raises.
_UNAVAILABLE = re.compile(r"08...|53...|57P..|57014|25006|40001|40P01|55P03|58...|XX...|P0001")

RECOVERY_CONFLICTS = ("40001", "40P01")
"""SQLSTATEs of statements that a standby cancels because they block the replay of the primary's log."""

READ_ONLY = "the server is read-only: a standby, or with default_transaction_read_only"
NO_STANDBY = "the server is not a standby"


class Database:
    """A database, and a pool of connections with the service's role.

    Every method raises ``DatabaseUnavailable``, and changes nothing, if the database is unreachable, exhausted or too
    slow, or if this server's clock is wrong. It raises ``OutcomeUnknown`` if the connection was lost during the commit.

    :param is_replica: whether the server must be a standby; otherwise it must accept writes.
    :param actor: the default actor of transactions.
    """

    def __init__(self, url: str, settings: Settings, *, is_replica: bool = False, actor: Actor = SYSTEM) -> None:
        self._settings, self.actor, self._is_replica = settings, actor, is_replica
        self._clock = None if is_replica else ClockCheck()
        max_exchange_seconds = math.ceil(settings.statement_timeout + EXCHANGE_MARGIN)
        connect_arguments = {
            "autocommit": True,
            # psycopg prepares no statements, because after a rollback it would deallocate those of pipeline.py too.
            "prepare_threshold": None,
            "connect_timeout": max_exchange_seconds,
            # These settings make TCP give up on a host that has vanished, even if the connection is idle.
            "tcp_user_timeout": max_exchange_seconds * 1000,
            "keepalives": 1,
            "keepalives_idle": max_exchange_seconds,
            "keepalives_interval": max_exchange_seconds,
            "keepalives_count": 2,
            "application_name": "agentidp",
        }
        self.pool = Pool(
            url,
            connect_arguments,
            self._configure,
            name="read replica" if is_replica else "primary",
            max_size=settings.pool_max_size,
            timeout=settings.pool_timeout,
            max_waiting=MAX_WAITING,
        )

    def of(self, organization_id: str, at: datetime) -> OrganizationDatabase:
        """Return an object that reads and writes an organization's rows. *at* is the current time in its statements."""
        return OrganizationDatabase(self, organization_id, at)

    def run_for_organization(self, organization_id: str, calls: list[Call], *, durable: bool) -> list[Rows]:
        """Run an organization's statements in one transaction and one round trip, for :class:`OrganizationDatabase`."""
        with _Connection(self, organization_id) as connection:
            if is_on_citus(connection):
                return run_on_citus(connection, organization_id, calls, durable=durable)
            enter_call = Call("database/enter_organization", {"organization_id": organization_id, "durable": durable})
            # A pipeline in autocommit mode is one transaction. The first call sets the organization of the transaction.
            all_calls = calls if enters_organization(calls[0].name) else [enter_call, *calls]
            rows_of_calls = connection.run_together([(load_sql(call.name), call.parameters) for call in all_calls])
        return rows_of_calls[-len(calls) :]

    @contextlib.contextmanager
    def open_transaction(self, organization_id: str) -> Iterator[psycopg.Connection[Any]]:
        """Open a transaction of an organization, for :class:`OrganizationDatabase`. The commit waits for the disk."""
        is_committing = False
        with _Connection(self, organization_id) as connection:
            try:
                with connection.transaction():
                    enter_organization(connection, organization_id, durable=True)
                    yield connection
                    is_committing = True
            except psycopg.Error as error:
                if is_committing and (is_lost(error) or (is_on_citus(connection) and may_have_committed(error))):
                    raise OutcomeLost(str(error)) from error
                if isinstance(error, OutcomeLost):
                    # The connection was lost before the commit was sent, so nothing was committed.
                    raise psycopg.OperationalError(str(error)) from error
                raise

    def fetch_unscoped(self, statement: str, /, **parameters: Any) -> Rows:
        """Return the rows of a statement that reads data of the whole instance, for example the signing keys."""
        with _Connection(self, None) as connection:
            if is_on_citus(connection):
                return fetch_rows(connection.execute(load_sql(statement), parameters))
            try:
                [rows] = connection.run_together([(load_sql(statement), parameters)])
            except OutcomeLost as error:
                # A read commits nothing, so the outcome is known even if the connection is lost.
                raise psycopg.OperationalError(str(error)) from error
        return rows

    def _raise_unavailable(self, error: BaseException | None, organization_id: str | None) -> None:
        """Raise ``DatabaseUnavailable`` if *error* has a cause other than the statement. Otherwise return."""
        match error:
            case NoConnection():
                if not error.is_logged:
                    log_fields = {"reason": str(error), "organization": organization_id}
                    logger.warning("no database connection", extra={"fields": log_fields})
                self._count_error("no connection")
                raise DatabaseUnavailable(str(error)) from error
            case ClockDiffers():
                self._count_error("clock")
                raise DatabaseUnavailable(str(error)) from error
            case OutcomeLost():
                if self._is_replica:
                    self._count_error("connection lost")
                    raise DatabaseUnavailable(in_one_line(error)) from error
                log_fields = {"reason": in_one_line(error), "organization": organization_id}
                logger.warning("outcome of a transaction unknown", extra={"fields": log_fields})
                self._count_error("outcome unknown")
                raise OutcomeUnknown(in_one_line(error)) from error
            case psycopg.Error() if is_lost(error) or _UNAVAILABLE.fullmatch(error.sqlstate or ""):
                # Only the primary message is logged, because an error's details can contain values of the statement.
                reason = error.diag.message_primary or in_one_line(error)
                if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
                    # The server has become a standby. The breaker refuses requests until a primary responds.
                    self.pool.breaker.open(READ_ONLY)
                elif not self._is_replica or not (is_lost(error) or error.sqlstate in RECOVERY_CONFLICTS):
                    log_fields = {"reason": reason, "sqlstate": error.sqlstate, "organization": organization_id}
                    logger.warning("database unavailable", extra={"fields": log_fields})
                self._count_error("refused or too slow" if error.sqlstate else "connection lost")
                raise DatabaseUnavailable(reason) from error

    def _configure(self, connection: PipelinedConnection) -> None:
        settings = self._settings
        connection.patience = settings.statement_timeout + EXCHANGE_MARGIN - connection.grace
        statement_timeout = f"{int(settings.statement_timeout * 1000)}ms"
        [(*_, is_standby, is_read_only)] = run_statement(
            connection, "database/configure_connection", role=SERVICE_ROLE, statement_timeout=statement_timeout
        )
        if self._is_replica and not is_standby:
            raise psycopg.OperationalError(NO_STANDBY)
        if not self._is_replica and is_read_only:
            raise psycopg.OperationalError(READ_ONLY)
        connection.row_factory = namedtuple_row
        adapt_to_citus(connection)
        if self._clock is not None:
            self._clock.measure(connection)

    @property
    def seconds_ahead(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the database's; ``None`` before the first measurement."""
        return self._clock.seconds_ahead if self._clock is not None else None

    def _count_error(self, cause: str) -> None:
        DATABASE_ERRORS.labels(self.pool.name, cause).inc()

    def close(self) -> None:
        """Close the pool's connections. The next use opens new connections."""
        self.pool.close()


class _Connection:
    """Borrows a connection and translates errors, in half of the time that ``contextlib.contextmanager`` would take."""

    def __init__(self, database: Database, organization_id: str | None) -> None:
        self._database, self._organization_id = database, organization_id
        self._borrowed = database.pool.connection()

    def __enter__(self) -> PipelinedConnection:
        try:
            connection = self._borrowed.__enter__()
            try:
                if self._database._clock is not None:
                    self._database._clock.check(connection)
            except BaseException:
                self._borrowed.__exit__()
                raise
        except Exception as error:
            self._database._raise_unavailable(error, self._organization_id)
            raise
        return connection

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._borrowed.__exit__()
        if error is not None:
            self._database._raise_unavailable(error, self._organization_id)


def connect(url: str) -> psycopg.Connection[Any]:
    """Return a connection with the role in *url*, for an operator's command such as migrations.

    :raises ConfigurationError: the server does not answer or is too old, or this machine's clock is wrong.
    """
    connection = connect_unchecked(url)
    if connection.info.server_version < OLDEST_POSTGRESQL * 10_000:
        connection.close()
        raise ConfigurationError(
            f"PostgreSQL {OLDEST_POSTGRESQL} or newer is needed, "
            f"not {connection.info.parameter_status('server_version')}"
        )
    if clock_difference := describe_difference(measure_seconds_ahead(connection) or 0):
        connection.close()
        raise ConfigurationError(f"this machine's clock is {clock_difference}; at most {LEEWAY} seconds are allowed")
    configure_operator(connection)
    return connection


def connect_unchecked(url: str, setting: str = "AGENTIDP_DATABASE_URL") -> psycopg.Connection[Any]:
    """Return a connection without checking the server or setting anything.

    :param setting: the name of the setting with the URL, for the error.
    :raises ConfigurationError: the server does not answer or *url* is not valid.
    """
    try:
        return psycopg.connect(
            url, autocommit=True, connect_timeout=CONNECT_TIMEOUT, application_name="agentidp operator"
        )
    except psycopg.OperationalError as error:
        reason = in_one_line(error) or "no answer"
        raise ConfigurationError(f"the database of {setting} does not answer: {reason}") from None
    except psycopg.ProgrammingError:
        raise ConfigurationError(f"{setting} is not a valid connection URL") from None


def configure_operator(connection: psycopg.Connection[Any]) -> None:
    """Set the session's parameters on an operator's connection, whose rows become named tuples."""
    connection.row_factory = namedtuple_row
    run_statement(connection, "database/configure_operator")
    adapt_to_citus(connection)
