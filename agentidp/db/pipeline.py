"""Several statements in one message to PostgreSQL and one answer back, and a deadline for every answer.

This is all that uses private parts of psycopg, for two reasons:

- psycopg's public pipeline mode sends and looks for answers at every ``execute``, and parses the query each time. A
  request's statements are known beforehand, so here they are prepared once a connection, sent together and read
  together. The three statements of a read take 93 µs of Python with it and 24 here, which is a fifth of a trend. One
  statement takes 21 µs with ``execute`` and 14 here.
- No public part of psycopg gives up on a server that does not answer.

So setup.cfg bounds the version of psycopg, and a test fails if one of these parts is missing.
"""

from __future__ import annotations

import functools
import itertools
import re
import select
import time
from collections import namedtuple
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

_PLACEHOLDER = re.compile(r"%(?:\(([a-z_]+)\)s|%)")
BLOCK = 250
"""Number of rows that are converted in one call. No other thread of the process runs during such a call."""

_WAIT_INTERVAL = 0.1
_RUN = None
_Result = TypeVar("_Result")


class OutcomeLost(psycopg.OperationalError):
    """The connection was lost when a transaction may have been committed: nobody here knows whether it was."""


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection ended with this error. Then a commit that was sent may have happened or not."""
    if error.sqlstate is None:
        # libpq noticed, not the server; or a parameter cannot be sent, which is another type.
        return isinstance(error, psycopg.OperationalError)
    # The server's last words on a connection.
    return error.diag.severity_nonlocalized in ("FATAL", "PANIC")


class Statement(NamedTuple):
    """A query with numbered parameters, and their names in that order."""

    query: bytes
    parameters: tuple[str, ...]

    @classmethod
    @functools.cache
    def of(cls, text: str) -> Statement:
        """From a query with ``%(name)s`` parameters."""
        names = list(dict.fromkeys(filter(None, _PLACEHOLDER.findall(text))))
        query = _PLACEHOLDER.sub(lambda found: f"${names.index(found[1]) + 1}" if found[1] else "%", text)
        return cls(query.encode(), tuple(names))


class PipelinedConnection(psycopg.Connection[Any]):
    """A connection that runs statements together, and gives up on a server that does not answer.

    It must be in autocommit.
    """

    patience: float | None = None
    """Seconds after which the server is asked to cancel what it is doing; ``None`` waits for ever."""

    grace = 0.5
    """Seconds that the server then has to say how it ended, before the connection is closed."""

    is_unanswered = False
    """Whether it was closed because the server did not answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._statement_names: dict[Any, bytes] = {}
        self._numbers = itertools.count()
        # One, because it remembers how to convert each type.
        self._transformer = Transformer(self)
        self._row_types: dict[tuple[bytes, Any], Any] = {}
        self._poll = select.poll()
        self._poll.register(self.fileno(), select.POLLIN)

    def has_ended(self) -> bool:
        """Whether the server has closed the connection, which is open here, while it was idle.

        A server that ends a connection says so and closes it, so an idle socket with something to read is a dead
        connection. That costs 2 µs where ``ConnectionPool.check_connection`` costs a round trip, 76 µs.
        """
        return bool(self._poll.poll(0))

    def wait(self, gen: PQGen[_Result], interval: float = _WAIT_INTERVAL, timeout: float | None = None) -> _Result:
        """Run a generator of psycopg's to its end, which every exchange with the server does.

        The server's own statement_timeout is for one statement; this also bounds several that are sent together, and
        a server that is stopped, or behind a dead network. Cancelling first makes the outcome certain if it can be.

        :raises psycopg.OperationalError: no answer within ``patience`` and ``grace``; the connection is closed.
        """
        if self.patience is None or timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except psycopg.errors._WaitTimeout:
            return self._cancelled(gen, time.monotonic() + self.grace)

    def _cancelled(self, gen: PQGen[_Result], deadline: float) -> _Result:
        try:
            # Older libraries can cancel as well, and wait for the server without end.
            if psycopg.capabilities.has_cancel_safe():
                self.cancel_safe(timeout=self.grace)
        except psycopg.OperationalError:
            deadline = 0
        try:
            return super().wait(gen, _WAIT_INTERVAL, max(0, deadline - time.monotonic()))
        except psycopg.errors._WaitTimeout:
            self.is_unanswered = True
            self.close()
            raise psycopg.OperationalError("the server does not answer") from None

    def run_together(self, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[list[Any]]:
        """Run queries in one implicit transaction.

        :param calls: queries with ``%(name)s`` parameters, and the parameters.
        :returns: the rows of each, as named tuples.
        :raises OutcomeLost: the connection was lost; whether the transaction was committed is unknown.
        :raises psycopg.Error: any other is the first statement that failed; then none of them has done anything.
        """
        transformer = self._transformer
        dumped = []
        for text, parameters in calls:
            statement = Statement.of(text)
            values = transformer.dump_sequence(
                [parameters[name] for name in statement.parameters], [PyFormat.AUTO] * len(statement.parameters)
            )
            dumped.append((statement.query, values, transformer.types, transformer.formats))
        try:
            answers = self._exchange(dumped)
        except BaseException:
            # Answers may still be under way: nobody else may meet them.
            self.close()
            raise
        results = []
        # Not strict, since a statement that could not be prepared has two answers. The loop ends at the first of them.
        for answer, (query, _, types, _) in zip(answers, dumped, strict=False):
            if answer.status == ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(answer, encoding=self.info.encoding)
            transformer.set_pgresult(answer)
            make_row = self._row_types.get((query, types))
            if make_row is None:
                # The columns of a prepared statement never change.
                make_row = _row_type(tuple(answer.fname(i) for i in range(answer.nfields)))
                self._row_types[query, types] = make_row
            rows: list[Any] = []
            for first in range(0, answer.ntuples, BLOCK):
                rows += transformer.load_rows(first, min(first + BLOCK, answer.ntuples), make_row)
            results.append(rows)
        transformer.set_pgresult(None)
        return results

    def _exchange(self, dumped: Sequence[Any]) -> list[Any]:
        # In one piece, because each function more would be called for each exchange.
        pgconn = self.pgconn
        prepared = self._statement_names
        # For each answer, in order: the key of the statement that was prepared, or _RUN if one was run.
        expected: list[Any] = []
        pgconn.enter_pipeline_mode()
        for query, values, types, formats in dumped:
            key = query, types
            if key not in prepared:
                # A name is never used again: a failure leaves open whether the server knows it.
                prepared[key] = b"agentidp_%d" % next(self._numbers)
                pgconn.send_prepare(prepared[key], query, types)
                expected.append(key)
            pgconn.send_query_prepared(prepared[key], values, formats)
            expected.append(_RUN)
        pgconn.pipeline_sync()
        received: list[list[PGresult]] = []
        try:
            self.wait(_sent_and_answered(pgconn, len(expected), received))
        except psycopg.OperationalError as lost:
            # The commit comes after the last statement's answer. One that failed before has undone them all.
            # The first result of each list, since the loss of the connection may have added another.
            failed = next((a for [a, *_] in received if a.status == ExecStatus.FATAL_ERROR), None)
            if failed is None:
                raise OutcomeLost(str(lost)) from lost
            raise psycopg.errors.error_from_result(failed, encoding=self.info.encoding) from None
        *received, [synced] = received
        if synced.status != ExecStatus.PIPELINE_SYNC:
            # The commit failed. If that also ended the connection, it may be the end of one that had committed.
            error = psycopg.errors.error_from_result(synced, encoding=self.info.encoding)
            if is_lost(error):
                raise OutcomeLost(str(error)) from error
            raise error
        answers = []
        for key, [answer] in zip(expected, received, strict=True):
            if key is _RUN:
                answers.append(answer)
            elif answer.status != ExecStatus.COMMAND_OK:
                del prepared[key]
                # If it was not skipped but failed, this is what is raised; the server has skipped the run after it.
                if answer.status == ExecStatus.FATAL_ERROR:
                    answers.append(answer)
        pgconn.exit_pipeline_mode()
        return answers


def _sent_and_answered(pgconn: PGconn, statements: int, received: list[list[PGresult]]) -> PQGen[None]:
    """Send, and append the answers to *received*: one of each statement, and one of the sync."""
    yield from send(pgconn)
    for _ in range(statements + 1):
        received.append((yield from fetch_many(pgconn)))


@functools.cache
def _row_type(names: tuple[bytes, ...]) -> Any:
    row = namedtuple("Row", [name.decode() for name in names])  # type: ignore[misc]
    # As its _make, without a call of Python's and a look at the length for each row.
    return functools.partial(tuple.__new__, row)
