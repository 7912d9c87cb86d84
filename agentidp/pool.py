"""A pool of database connections that the requests themselves open, check and return.

psycopg_pool opens connections in threads of its own: the request that waits learns neither that nor why it failed, and
the next attempt comes a second later or more. Here the request that needs a connection opens it, so a failure is known
at once, with its cause; docs/decisions.md says what that is worth.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from .circuit_breaker import CircuitBreaker
from .pipeline import PipelinedConnection

MAXIMUM_AGE = 3600
"""Seconds after which a connection is replaced: its backend's memory grows with the plans that it keeps."""

MAXIMUM_IDLE = 600
"""Seconds after which a connection that nobody needed is closed, unless it is one of the fewest to keep."""


class NoConnection(Exception):
    """The pool has no connection to give; its text is the reason, for the log.

    ``is_known`` says that the breaker has logged why.
    """

    def __init__(self, reason: str, *, is_known: bool = False) -> None:
        super().__init__(reason)
        self.is_known = is_known


class Pool:
    """At most *max_size* connections, the one used last first.

    :param connect: opens a connection that is ready for statements, or raises :class:`psycopg.Error`.
    :param name: of the database, for the log.
    :param min_size: how many to keep however long nobody needs them.
    :param timeout: seconds to wait for a connection if all are in use.
    :param max_waiting: how many requests may wait; further ones are refused.
    """

    def __init__(
        self,
        connect: Callable[[], PipelinedConnection],
        *,
        name: str,
        min_size: int,
        max_size: int,
        timeout: float,
        max_waiting: int,
    ) -> None:
        self._connect = connect
        self._min_size, self._max_size = min_size, max_size
        self._timeout, self._max_waiting = timeout, max_waiting
        self._changed = threading.Condition(threading.Lock())
        self._idle: list[tuple[float, PipelinedConnection]] = []
        self.size = 0
        """Connections that are idle, in use or being opened."""
        self.waiting = 0
        """Requests that wait for a connection."""
        self.breaker = CircuitBreaker(name, self._reach)

    @contextlib.contextmanager
    def connection(self) -> Iterator[PipelinedConnection]:
        """A connection for the block. It is thrown away if the block leaves it unusable.

        :raises NoConnection: the database is unreachable, or all connections stayed in use.
        """
        connection = self._acquire()
        try:
            yield connection
        finally:
            self._release(connection)

    def close(self) -> None:
        """Close the connections that are idle. The pool remains usable."""
        self.breaker.close()
        self._clear()

    def _acquire(self) -> PipelinedConnection:
        deadline = None
        with self._changed:
            while True:
                if self.breaker.is_open:
                    raise NoConnection("database unreachable", is_known=True)
                connection = self._pop_idle()
                if connection is not None:
                    return connection
                if self.size < self._max_size:
                    self.size += 1
                    break
                now = time.monotonic()
                if deadline is None:
                    if self.waiting >= self._max_waiting:
                        raise NoConnection("too many requests wait for a connection")
                    deadline = now + self._timeout
                elif now >= deadline:
                    raise NoConnection("all connections stayed in use")
                self.waiting += 1
                try:
                    self._changed.wait(deadline - now)
                finally:
                    self.waiting -= 1
        try:
            return self._connect()
        except BaseException as error:
            self._forget(error if isinstance(error, psycopg.Error) else None)
            if isinstance(error, psycopg.Error):
                raise NoConnection(one_line(error)) from error
            raise

    def _pop_idle(self) -> PipelinedConnection | None:
        while self._idle:
            _, connection = self._idle.pop()
            if not self._is_dropped(connection):
                return connection
        return None

    def _is_dropped(self, connection: PipelinedConnection) -> bool:
        dropped = is_dead(connection)
        if dropped:
            connection.close()
            self.size -= 1
        return dropped

    def _forget(self, error: psycopg.Error | None = None) -> None:
        """Make room for another connection; *error* is why this one could not be opened."""
        with self._changed:
            self.size -= 1
            self._idle = [entry for entry in self._idle if not self._is_dropped(entry[1])]
            # A server that is full refuses a further connection, and those that are there go on.
            is_unreachable = self.size == 0 or isinstance(error, psycopg.errors.ConnectionTimeout)
            self._changed.notify()
        if error is not None and is_unreachable:
            self._open_breaker(one_line(error))

    def _release(self, connection: PipelinedConnection) -> None:
        if connection.pgconn.transaction_status != TransactionStatus.IDLE:
            _roll_back(connection)
        if connection.is_unanswered:
            self._open_breaker("no answer in time")
        now = time.monotonic()
        if connection.closed or now - connection.opened_at > MAXIMUM_AGE:
            connection.close()
            self._forget()
            return
        unneeded = None
        with self._changed:
            self._idle.append((now, connection))
            if now - self._idle[0][0] > MAXIMUM_IDLE and self.size > self._min_size:
                _, unneeded = self._idle.pop(0)
                self.size -= 1
            self._changed.notify()
        if unneeded is not None:
            unneeded.close()

    def _open_breaker(self, reason: str) -> None:
        self.breaker.open(reason)
        self._clear()

    def _clear(self) -> None:
        with self._changed:
            idle, self._idle = self._idle, []
            self.size -= len(idle)
            self._changed.notify_all()
        for _, connection in idle:
            connection.close()

    def _reach(self) -> None:
        """Open a connection for the first request that comes then."""
        connection = self._connect()
        with self._changed:
            self.size += 1
            self._idle.append((time.monotonic(), connection))


def _roll_back(connection: PipelinedConnection) -> None:
    if connection.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        with contextlib.suppress(psycopg.Error):
            connection.rollback()
    if connection.pgconn.transaction_status != TransactionStatus.IDLE:
        connection.close()


def one_line(error: psycopg.Error) -> str:
    """An error's text for the log."""
    return " ".join(str(error).split())


def is_dead(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has closed an idle connection.

    A server that ends a connection says so and closes it, so an idle socket with something to read is a dead
    connection. That costs 2 µs where a round trip costs 76.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
