"""Runs several statements in one round trip to PostgreSQL, with a deadline for every answer.

This module uses private parts of psycopg, so setup.cfg limits the version of psycopg. There are two reasons:

- Here, statements are prepared once per connection, sent together and read together. For the three statements of a
  read, this takes 24 µs of Python instead of 93 µs with psycopg's public pipeline mode.
- No public part of psycopg gives up on a server that does not answer.
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
"""Maximum number of rows that are converted in one call, during which no other thread of the process runs."""

_WAIT_INTERVAL = 0.1
_RUN = None
_Result = TypeVar("_Result")


class OutcomeLost(psycopg.OperationalError):
    """The connection was lost. The commit may have been sent before, so the transaction's outcome is unknown."""


def is_lost(error: psycopg.Error) -> bool:
    """Return whether this error ended the connection. If a commit was sent, its outcome is then unknown."""
    if error.sqlstate is None:
        # An OperationalError that has no SQLSTATE always means a lost connection in psycopg.
        return isinstance(error, psycopg.OperationalError)
    # The server ends the connection after errors of these severities.
    return error.diag.severity_nonlocalized in ("FATAL", "PANIC")


class Statement(NamedTuple):
    """A query with numbered parameters (``$1``), and the names of the parameters in the order of the numbers."""

    query: bytes
    parameters: tuple[str, ...]

    @classmethod
    @functools.cache
    def parse(cls, named_query: str) -> Statement:
        """Return the statement for a query with named parameters (``%(name)s``)."""
        parameters = list(dict.fromkeys(filter(None, _PLACEHOLDER.findall(named_query))))
        query = _PLACEHOLDER.sub(lambda match: f"${parameters.index(match[1]) + 1}" if match[1] else "%", named_query)
        return cls(query.encode(), tuple(parameters))


class PipelinedConnection(psycopg.Connection[Any]):
    """A connection in autocommit that runs statements together, and gives up on a server that does not answer."""

    patience: float | None = None
    """Seconds after which the server is asked to cancel the current statement; ``None`` for no limit."""

    grace = 0.5
    """Seconds after the cancel request until the connection is closed if the server still does not answer."""

    is_unanswered = False
    """Whether the connection was closed because the server did not answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._statement_names: dict[Any, bytes] = {}
        self._numbers = itertools.count()
        # Each connection has one transformer, because a transformer caches the conversion of each type.
        self._transformer = Transformer(self)
        self._row_types: dict[tuple[bytes, Any], Any] = {}
        self._poll = select.poll()
        self._poll.register(self.fileno(), select.POLLIN)

    def has_ended(self) -> bool:
        """Return whether the server has closed the connection while it was idle.

        This takes 2 µs; ``ConnectionPool.check_connection`` takes 76 µs.
        """
        # A server sends a message before it closes a connection, so the socket then has something to read.
        return bool(self._poll.poll(0))

    def wait(self, gen: PQGen[_Result], interval: float = _WAIT_INTERVAL, timeout: float | None = None) -> _Result:
        """Run one of psycopg's generators to its end. psycopg calls this method for every exchange with the server.

        Unlike the server's ``statement_timeout``, the time limits ``patience`` and ``grace`` also work if the server is
        stopped or unreachable.

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
            # If the server answers the cancel request, the statement's outcome is known. With an older libpq, no
            # request is sent, because libpq could wait for the server without a time limit.
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
        encoded_calls = self._encode_calls(calls)
        try:
            answers = self._run_calls(encoded_calls)
        except BaseException:
            # Answers may still arrive, and the next user of the connection must not receive them.
            self.close()
            raise
        rows_of_calls = []
        # There may be more answers than calls, because a failed preparation adds an answer, whose error ends the loop.
        for answer, (query, _, parameter_types, _) in zip(answers, encoded_calls, strict=False):
            if answer.status == ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(answer, encoding=self.info.encoding)
            rows_of_calls.append(self._load_rows(answer, (query, parameter_types)))
        self._transformer.set_pgresult(None)
        return rows_of_calls

    def _encode_calls(self, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
        transformer = self._transformer
        encoded_calls = []
        for query, parameters in calls:
            statement = Statement.parse(query)
            encoded_values = transformer.dump_sequence(
                [parameters[parameter_name] for parameter_name in statement.parameters],
                [PyFormat.AUTO] * len(statement.parameters),
            )
            encoded_calls.append((statement.query, encoded_values, transformer.types, transformer.formats))
        return encoded_calls

    def _load_rows(self, answer: PGresult, statement_key: tuple[bytes, Any]) -> list[Any]:
        self._transformer.set_pgresult(answer)
        make_row = self._row_types.get(statement_key)
        if make_row is None:
            # The columns of a prepared statement never change, so the row's type is cached.
            make_row = _make_row_type(tuple(answer.fname(column_index) for column_index in range(answer.nfields)))
            self._row_types[statement_key] = make_row
        rows: list[Any] = []
        for first_row_index in range(0, answer.ntuples, BLOCK):
            rows += self._transformer.load_rows(first_row_index, min(first_row_index + BLOCK, answer.ntuples), make_row)
        return rows

    def _run_calls(self, encoded_calls: Sequence[Any]) -> list[Any]:
        # This function is long because function calls would slow down every exchange.
        pgconn = self.pgconn
        prepared_names = self._statement_names
        # The list has an entry per expected answer: the statement's key for a preparation, _RUN for an execution.
        answer_keys: list[Any] = []
        pgconn.enter_pipeline_mode()
        for query, encoded_values, parameter_types, parameter_formats in encoded_calls:
            statement_key = query, parameter_types
            if statement_key not in prepared_names:
                # A name is not used again after a failure, because the server may have prepared the statement under it.
                prepared_names[statement_key] = b"agentidp_%d" % next(self._numbers)
                pgconn.send_prepare(prepared_names[statement_key], query, parameter_types)
                answer_keys.append(statement_key)
            pgconn.send_query_prepared(prepared_names[statement_key], encoded_values, parameter_formats)
            answer_keys.append(_RUN)
        pgconn.pipeline_sync()
        results_per_answer: list[list[PGresult]] = []
        try:
            self.wait(_send_and_fetch(pgconn, len(answer_keys), results_per_answer))
        except psycopg.OperationalError as lost:
            # Only the first result per answer is checked, because a lost connection may have added a second result.
            for answer, *_ in results_per_answer:
                if answer.status == ExecStatus.FATAL_ERROR:
                    # The server commits nothing if a statement failed.
                    raise psycopg.errors.error_from_result(answer, encoding=self.info.encoding) from None
            raise OutcomeLost(str(lost)) from lost
        *results_per_answer, [sync_result] = results_per_answer
        if sync_result.status != ExecStatus.PIPELINE_SYNC:
            # The commit failed. If the error also ended the connection, the server may still have committed.
            sync_error = psycopg.errors.error_from_result(sync_result, encoding=self.info.encoding)
            if is_lost(sync_error):
                raise OutcomeLost(str(sync_error)) from sync_error
            raise sync_error
        answers = []
        for answer_key, [answer] in zip(answer_keys, results_per_answer, strict=True):
            if answer_key is _RUN:
                answers.append(answer)
            elif answer.status != ExecStatus.COMMAND_OK:
                del prepared_names[answer_key]
                # The error of a failed preparation must be raised, because the server skips all later statements.
                if answer.status == ExecStatus.FATAL_ERROR:
                    answers.append(answer)
        pgconn.exit_pipeline_mode()
        return answers


def _send_and_fetch(pgconn: PGconn, statement_count: int, results_per_answer: list[list[PGresult]]) -> PQGen[None]:
    """Send all statements. Append the results of each statement, and then of the sync, to *results_per_answer*."""
    yield from send(pgconn)
    for _ in range(statement_count + 1):
        results_per_answer.append((yield from fetch_many(pgconn)))


@functools.cache
def _make_row_type(names: tuple[bytes, ...]) -> Any:
    row_class = namedtuple("Row", [column_name.decode() for column_name in names])  # type: ignore[misc]
    # tuple.__new__ is faster than the class method _make, which calls a Python function and checks each row's length.
    return functools.partial(tuple.__new__, row_class)
