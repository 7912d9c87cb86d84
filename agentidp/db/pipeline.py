"""Runs several statements in one round trip to PostgreSQL, with a deadline for every answer.

Only this module uses private parts of psycopg, for two reasons:

- psycopg's public pipeline mode sends, looks for answers and parses the query at every ``execute``. Here, statements
  are prepared once per connection, sent together and read together. For the three statements of a read, this takes
  24 µs of Python instead of 93 µs, which saves a fifth of a token trend. For one statement it takes 14 µs instead of
  21 µs with ``execute``.
- No public part of psycopg gives up on a server that does not answer.

Therefore setup.cfg limits the version of psycopg, and a test fails if one of these parts is missing.
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
"""Maximum number of rows that are converted in one call. No other thread of the process runs during such a call."""

_WAIT_INTERVAL = 0.1
_RUN = None
_Result = TypeVar("_Result")


class OutcomeLost(psycopg.OperationalError):
    """The connection was lost while the transaction may have been committed, so that its outcome is unknown."""


def is_lost(error: psycopg.Error) -> bool:
    """Return whether the connection ended with this error, so that the outcome of a commit that was sent is unknown."""
    if error.sqlstate is None:
        # Without a SQLSTATE, libpq noticed the loss itself. If a parameter cannot be sent, the error has another type.
        return isinstance(error, psycopg.OperationalError)
    # After an error of these severities the server ends the connection.
    return error.diag.severity_nonlocalized in ("FATAL", "PANIC")


class Statement(NamedTuple):
    """A query with numbered parameters, and the names of the parameters in this order."""

    query: bytes
    parameters: tuple[str, ...]

    @classmethod
    @functools.cache
    def of(cls, named_query: str) -> Statement:
        """Return the statement for a query with ``%(name)s`` parameters."""
        names = list(dict.fromkeys(filter(None, _PLACEHOLDER.findall(named_query))))
        query = _PLACEHOLDER.sub(lambda match: f"${names.index(match[1]) + 1}" if match[1] else "%", named_query)
        return cls(query.encode(), tuple(names))


class PipelinedConnection(psycopg.Connection[Any]):
    """A connection in autocommit that runs statements together, and gives up on a server that does not answer."""

    patience: float | None = None
    """Seconds after which the server is asked to cancel the current statement; ``None`` means no limit."""

    grace = 0.5
    """Seconds from the request to cancel until the connection is closed if the server does not answer."""

    is_unanswered = False
    """Whether the connection was closed because the server did not answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._statement_names: dict[Any, bytes] = {}
        self._numbers = itertools.count()
        # Reused, because it caches how to convert each type.
        self._transformer = Transformer(self)
        self._row_types: dict[tuple[bytes, Any], Any] = {}
        self._poll = select.poll()
        self._poll.register(self.fileno(), select.POLLIN)

    def has_ended(self) -> bool:
        """Return whether the server has closed the connection while it was idle.

        A server sends a message before it closes a connection, so if an idle socket has something to read, the
        connection has ended. This takes 2 µs, and the round trip of ``ConnectionPool.check_connection`` takes 76 µs.
        """
        return bool(self._poll.poll(0))

    def wait(self, gen: PQGen[_Result], interval: float = _WAIT_INTERVAL, timeout: float | None = None) -> _Result:
        """Run a generator of psycopg to its end, as every exchange with the server does, but with a deadline.

        The server's statement_timeout limits one statement. This deadline also limits several statements that are sent
        together, and works if the server is stopped or unreachable. The statement is cancelled before the connection is
        closed, so that the outcome is known if the server still answers.

        :raises psycopg.OperationalError: no answer within ``patience`` and ``grace``. The connection is closed.
        """
        if self.patience is None or timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except psycopg.errors._WaitTimeout:
            return self._cancel(gen, time.monotonic() + self.grace)

    def _cancel(self, gen: PQGen[_Result], deadline: float) -> _Result:
        try:
            # Older versions of libpq can also cancel, but wait for the server without a limit.
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

        :param calls: queries with ``%(name)s`` parameters, each with its parameters.
        :returns: the rows of each query, as named tuples.
        :raises OutcomeLost: the connection was lost, and it is unknown whether the transaction was committed.
        :raises psycopg.Error: the error of the first statement that failed. None of the statements took effect.
        """
        transformer = self._transformer
        encoded_calls = []
        for query_text, parameters in calls:
            statement = Statement.of(query_text)
            values = transformer.dump_sequence(
                [parameters[name] for name in statement.parameters], [PyFormat.AUTO] * len(statement.parameters)
            )
            encoded_calls.append((statement.query, values, transformer.types, transformer.formats))
        try:
            answers = self._exchange(encoded_calls)
        except BaseException:
            # The next user of the connection must not receive answers that are still to come.
            self.close()
            raise
        results = []
        # Not strict, because a statement that cannot be prepared has two answers. The first of them ends the loop.
        for answer, (query, _, types, _) in zip(answers, encoded_calls, strict=False):
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

    def _exchange(self, encoded_calls: Sequence[Any]) -> list[Any]:
        # One long function, because function calls would slow down every exchange.
        pgconn = self.pgconn
        prepared = self._statement_names
        # Per expected answer: the key of the statement that is prepared, or _RUN for a statement that is run.
        expected: list[Any] = []
        pgconn.enter_pipeline_mode()
        for query, values, types, formats in encoded_calls:
            key = query, types
            if key not in prepared:
                # Names are never reused, because after a failure it is unknown whether the server has the statement.
                prepared[key] = b"agentidp_%d" % next(self._numbers)
                pgconn.send_prepare(prepared[key], query, types)
                expected.append(key)
            pgconn.send_query_prepared(prepared[key], values, formats)
            expected.append(_RUN)
        pgconn.pipeline_sync()
        received: list[list[PGresult]] = []
        try:
            self.wait(_send_and_fetch(pgconn, len(expected), received))
        except psycopg.OperationalError as lost:
            # The commit follows the last statement. If a statement failed before it, all were rolled back.
            # Only the first result of each list is its answer. The loss of the connection may have added another.
            failed_answer = next((a for [a, *_] in received if a.status == ExecStatus.FATAL_ERROR), None)
            if failed_answer is None:
                raise OutcomeLost(str(lost)) from lost
            raise psycopg.errors.error_from_result(failed_answer, encoding=self.info.encoding) from None
        *received, [sync_result] = received
        if sync_result.status != ExecStatus.PIPELINE_SYNC:
            # The commit failed. If the error also ended the connection, the transaction may have been committed before.
            error = psycopg.errors.error_from_result(sync_result, encoding=self.info.encoding)
            if is_lost(error):
                raise OutcomeLost(str(error)) from error
            raise error
        answers = []
        for key, [answer] in zip(expected, received, strict=True):
            if key is _RUN:
                answers.append(answer)
            elif answer.status != ExecStatus.COMMAND_OK:
                del prepared[key]
                # A statement that failed to be prepared is the error to raise. The server skips what follows it.
                if answer.status == ExecStatus.FATAL_ERROR:
                    answers.append(answer)
        pgconn.exit_pipeline_mode()
        return answers


def _send_and_fetch(pgconn: PGconn, statements: int, received: list[list[PGresult]]) -> PQGen[None]:
    """Send everything, and append to *received* one answer per statement and one for the sync."""
    yield from send(pgconn)
    for _ in range(statements + 1):
        received.append((yield from fetch_many(pgconn)))


@functools.cache
def _row_type(names: tuple[bytes, ...]) -> Any:
    row = namedtuple("Row", [name.decode() for name in names])  # type: ignore[misc]
    # Does the same as the row's _make, which for each row calls a Python function and checks the length.
    return functools.partial(tuple.__new__, row)
