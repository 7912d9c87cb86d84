"""psycopg's pool, except that requests do not wait for a database that is unreachable.

psycopg_pool opens connections in threads of its own, so a waiting request does not learn that opening fails. Here a
circuit breaker opens if the server does not respond in time, or if it twice refuses a pool that has no connection.
While the breaker is open, the pool is closed and all requests fail at once. Then the next request opens a new pool.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from agentidp.db.circuit_breaker import CircuitBreaker
from agentidp.db.errors import in_one_line
from agentidp.db.pipeline import PipelinedConnection

RECONNECT_TIMEOUT = 0.05
"""Maximum seconds for which psycopg_pool repeats a failed attempt to connect. psycopg_pool's default is 300."""

SECONDS_PER_WAIT = 1.0
"""Seconds after which a waiting request checks again whether the pool was closed."""

Configure = Callable[[PipelinedConnection], None]


class NoConnection(Exception):
    """The pool has no connection for a request. If ``is_logged``, the circuit breaker has logged the reason."""

    def __init__(self, reason: str, *, is_logged: bool = False) -> None:
        super().__init__(reason)
        self.is_logged = is_logged


class Pool:
    """A pool of connections. Each process opens the pool at its first use, and therefore after a fork.

    :param arguments: arguments of :meth:`psycopg.Connection.connect`.
    :param configure: prepares a new connection for statements, or raises an error.
    :param name: the name of the database in the log.
    :param timeout: seconds that a request waits for a connection if all *max_size* connections are in use.
    """

    def __init__(
        self,
        url: str,
        arguments: dict[str, Any],
        configure: Configure,
        *,
        name: str,
        max_size: int,
        timeout: float,
        max_waiting: int,
    ) -> None:
        self._url, self._arguments, self._configure = url, arguments, configure
        self.name, self._timeout = name, timeout
        self._sizes: dict[str, Any] = {"min_size": 0, "max_size": max_size, "max_waiting": max_waiting}
        self._lock = threading.Lock()
        self._pool: ConnectionPool[PipelinedConnection] | None = None
        self._reason = ""
        self.breaker = CircuitBreaker(name, self._test_connection)

    def connection(self) -> _BorrowedConnection:
        """Return a context manager that borrows a connection, or raises ``NoConnection`` when it is entered."""
        return _BorrowedConnection(self)

    def statistics(self) -> dict[str, int]:
        """Return the statistics of psycopg_pool, for example ``pool_size`` and ``requests_waiting``."""
        return self._pool.get_stats() if self._pool is not None else {"pool_size": 0, "requests_waiting": 0}

    def close(self) -> None:
        """Close the pool's connections. The next use opens a new pool."""
        self.breaker.close()
        self._discard()

    def _discard(self, **options: float) -> None:
        atexit.unregister(self.close)
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close(**options)

    def _get_connection(self, pool: ConnectionPool[PipelinedConnection]) -> PipelinedConnection:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                connection = pool.getconn(timeout=min(deadline - time.monotonic(), SECONDS_PER_WAIT))
            except (PoolTimeout, PoolClosed):
                if pool.closed:
                    raise NoConnection("database unreachable", is_logged=True) from None
                if time.monotonic() < deadline:
                    continue
                raise NoConnection("all connections stayed in use") from None
            except TooManyRequests:
                raise NoConnection("too many requests wait for a connection") from None
            if not connection.has_ended():
                return connection
            connection.close()
            pool.putconn(connection)

    def _open(self) -> ConnectionPool[PipelinedConnection]:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._url,
                    connection_class=_connection_class(self._note_failure),
                    kwargs=self._arguments,
                    configure=self._configure_or_close,
                    reconnect_timeout=RECONNECT_TIMEOUT,
                    reconnect_failed=self._open_breaker_if_empty,
                    open=True,
                    name=f"agentidp {self.name}",
                    **self._sizes,
                )
                # From Python 3.13 on, an open pool would delay the end of the process by 20 seconds.
                atexit.register(self.close)
            return self._pool

    def _configure_or_close(self, connection: PipelinedConnection) -> None:
        try:
            self._configure(connection)
        except psycopg.Error as error:
            self._reason = in_one_line(error)
            connection.close()
            raise

    def _note_failure(self, error: psycopg.Error) -> None:
        self._reason = in_one_line(error)
        # If the attempt to connect took the whole timeout, requests should not wait for another attempt.
        if isinstance(error, psycopg.errors.ConnectionTimeout):
            self.breaker.open(self._reason)

    def _open_breaker_if_empty(self, pool: ConnectionPool[Any]) -> None:
        # The breaker opens only if the pool is empty, because requests can use the connections that are still open.
        if pool.get_stats()["pool_size"] == 0:
            self.breaker.open(self._reason)

    def _test_connection(self) -> None:
        # A pool that a request has opened just before the breaker opened is discarded.
        self._discard(timeout=0)
        with PipelinedConnection.connect(self._url, **self._arguments) as connection:
            self._configure(connection)


class _BorrowedConnection:
    """Borrows a connection from a pool, in half of the time that ``contextlib.contextmanager`` would take."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __enter__(self) -> PipelinedConnection:
        pool = self._pool
        if pool.breaker.is_open:
            raise NoConnection("database unreachable", is_logged=True)
        self._queue = pool._pool or pool._open()
        self._connection = pool._get_connection(self._queue)
        return self._connection

    def __exit__(self, *_: object) -> None:
        connection = self._connection
        if connection.is_unanswered:
            self._pool.breaker.open("no answer in time")
        if connection.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            with contextlib.suppress(psycopg.Error):
                connection.rollback()
        self._queue.putconn(connection)


def _connection_class(on_failure: Callable[[psycopg.Error], None]) -> type[PipelinedConnection]:
    """Return a connection class whose ``connect`` calls *on_failure* with the error if it fails."""

    class WatchedConnection(PipelinedConnection):
        @classmethod
        def connect(cls, *arguments: Any, **keywords: Any) -> WatchedConnection:
            try:
                return super().connect(*arguments, **keywords)
            except psycopg.Error as error:
                on_failure(error)
                raise

    return WatchedConnection
