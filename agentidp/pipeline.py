"""Several statements in one message to PostgreSQL and one answer back.

psycopg's own pipeline mode sends and looks for answers at every ``execute``, and parses the query each time. A
request's statements are known beforehand, so here they are prepared once a connection, sent together and read
together. That halves what the database call costs in Python (docs/performance.md).
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import namedtuple
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

_PLACEHOLDER = re.compile(r"%(?:\(([a-z_]+)\)s|%)")


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
    """A connection that runs statements together. It must be in autocommit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._statement_names: dict[Any, bytes] = {}
        self._numbers = itertools.count()

    def run_together(self, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[list[Any]]:
        """Run queries in one implicit transaction.

        :param calls: queries with ``%(name)s`` parameters, and the parameters.
        :returns: the rows of each, as named tuples.
        :raises psycopg.Error: the first statement that failed; then none of them has done anything.
        """
        transformer = Transformer(self)
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
        failed = next((answer for answer in answers if answer.status == ExecStatus.FATAL_ERROR), None)
        if failed is not None:
            raise psycopg.errors.error_from_result(failed, encoding=self.info.encoding)
        results = []
        for answer in answers:
            transformer.set_pgresult(answer)
            make_row = _row_type(tuple(answer.fname(i) for i in range(answer.nfields)))
            results.append(transformer.load_rows(0, answer.ntuples, make_row))
        return results

    def _exchange(self, dumped: Sequence[Any]) -> list[Any]:
        pgconn = self.pgconn
        prepared = self._statement_names
        # What is being prepared, in the place of its answer, and None in that of a statement's.
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
            expected.append(None)
        pgconn.pipeline_sync()
        answers = []
        # The last one answers the sync.
        *received, _ = self.wait(_sent_and_answered(pgconn, len(expected) + 1))
        for key, [answer] in zip(expected, received, strict=True):
            if key is not None and answer.status != ExecStatus.COMMAND_OK:
                del prepared[key]
            if key is None or answer.status == ExecStatus.FATAL_ERROR:
                answers.append(answer)
        pgconn.exit_pipeline_mode()
        return answers


def _sent_and_answered(pgconn: PGconn, answers: int) -> PQGen[list[list[PGresult]]]:
    yield from send(pgconn)
    received = []
    for _ in range(answers):
        received.append((yield from fetch_many(pgconn)))
    return received


@functools.cache
def _row_type(names: tuple[bytes, ...]) -> Any:
    return namedtuple("Row", [name.decode() for name in names])._make  # type: ignore[misc]
