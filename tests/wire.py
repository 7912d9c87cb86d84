"""What a request says to the database, as libpq sends it: no wrapper that the code could go around."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from agentidp.db.database import Database
from agentidp.db.pipeline import Statement
from agentidp.db.sql import load_sql, sql_directory

_BIND = re.compile(r'^F\t\d+\tBind\t "" "([^"]*)"', re.MULTILINE)
_UNNAMED = re.compile(r'^F\t\d+\tParse\t "" "(.*?)" \d+$', re.MULTILINE | re.DOTALL)
_ROUND_TRIP = re.compile(r"^F\t\d+\t(?:Sync|Query)\b", re.MULTILINE)


@dataclass
class Conversation:
    """The statements in order, by the names of their files, and the number of round trips."""

    statements: list[str] = field(default_factory=list)
    round_trips: int = 0


@contextmanager
def overheard(database: Database) -> Iterator[Conversation]:
    """Record the statements that are sent to *database* in the ``with`` block, which must use a single connection.

    A statement that is not from a file is in ``statements`` with its text.
    """
    conversation = Conversation()
    pool = database.pool
    # This statement compares the clocks now, so that none is compared in the block.
    database.fetch_unscoped("database/applied_migrations")
    with tempfile.TemporaryFile("w+") as file:
        with pool.connection() as connection:
            connection.pgconn.trace(file.fileno())
            connection.pgconn.set_trace_flags(psycopg.pq.Trace.SUPPRESS_TIMESTAMPS)
        try:
            yield conversation
        finally:
            with pool.connection() as again:
                again.pgconn.untrace()
                assert again is connection, "the block used another connection"
                assert pool.statistics()["pool_size"] == 1, "the block used more than one connection"
                prepared = {
                    row.name: _names().get(row.statement, row.statement)
                    for row in again.execute("select name, statement from pg_prepared_statements")
                }
        file.seek(0)
        log = file.read()
    conversation.round_trips = len(_ROUND_TRIP.findall(log))
    unnamed = iter(_UNNAMED.findall(log))
    conversation.statements += [
        prepared.get(name, "not prepared") if name else next(unnamed) for name in _BIND.findall(log)
    ] + re.findall(r'^F\t\d+\tQuery\t "(.*)"$', log, re.MULTILINE)


@functools.cache
def _names() -> dict[str, str]:
    """Return the names of the files, by statement."""
    names = (str(path.relative_to(sql_directory()).with_suffix("")) for path in sql_directory().rglob("*.sql"))
    return {Statement.parse(load_sql(name)).query.decode(): name for name in names}
