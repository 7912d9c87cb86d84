"""Several statements in one round trip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from agentidp.db.pipeline import PipelinedConnection, Statement


@pytest.fixture
def connection(database_url: str) -> Iterator[PipelinedConnection]:
    with PipelinedConnection.connect(database_url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("create table notes (id integer primary key, text text)")
        yield connection


INSERT = "insert into notes values (%(id)s::integer, %(text)s::text)"
COUNT = "select count(*) as notes from notes"


def test_numbers_the_parameters_by_first_appearance_and_keeps_a_percent_sign() -> None:
    assert Statement.parse("select %(b)s, %(a)s, %(b)s, 5 %% 2") == Statement(b"select $1, $2, $1, 5 % 2", ("b", "a"))


def test_returns_the_rows_of_each_statement(connection: PipelinedConnection) -> None:
    inserted, counted, none = connection.run_together(
        [(INSERT, {"id": 1, "text": "ü"}), (COUNT, {}), ("select text from notes where id = %(id)s", {"id": 2})]
    )
    assert inserted == [] == none
    assert [row.notes for row in counted] == [1]


def test_a_statement_that_did_not_prepare_is_prepared_when_it_can_be(connection: PipelinedConnection) -> None:
    late = "select count(*) as n from late"
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.run_together([(late, {}), (COUNT, {})])
    connection.execute("create table late ()")
    [[row], _] = connection.run_together([(late, {}), (COUNT, {})])
    assert row.n == 0


def test_prepares_a_statement_once(connection: PipelinedConnection) -> None:
    for number in range(3):
        connection.run_together([(INSERT, {"id": number, "text": "x"}), (COUNT, {})])
    prepared = connection.execute("select count(*) from pg_prepared_statements").fetchone()
    assert prepared == (2,)


@pytest.mark.parametrize(
    ("calls", "timeout", "error"),
    [
        ([(INSERT, {"id": 1, "text": "a"}), (INSERT, {"id": 1, "text": "b"})], "0", psycopg.errors.UniqueViolation),
        # The error of the first statement that failed is raised.
        ([("select 1 / 0 as n", {}), ("select nothing from nowhere", {})], "0", psycopg.errors.DivisionByZero),
        ([(INSERT, {"id": 1, "text": "x"}), (INSERT, {"id": 2, "text": "NUL \0"})], "0", psycopg.DataError),
        ([(INSERT, {"id": 1, "text": "x"}), ("select pg_sleep(10)", {})], "50ms", psycopg.errors.QueryCanceled),
    ],
    ids=["the last one", "several", "a parameter that cannot be sent", "no time"],
)
def test_a_statement_that_fails_leaves_the_connection_and_the_data_as_they_were(
    connection: PipelinedConnection, calls: list[tuple[str, dict[str, Any]]], timeout: str, error: type[Exception]
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("insert into notes values (1, 'x')")
    for _ in range(2):
        connection.execute(f"set statement_timeout = '{timeout}'")
        with pytest.raises(error):
            connection.run_together([*calls, (COUNT, {})])
        connection.execute("reset statement_timeout")
        [[row]] = connection.run_together([(COUNT, {})])
        assert row.notes == 0


def test_a_connection_that_was_ended_says_so_and_is_closed(connection: PipelinedConnection, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s::integer, 5000)", [connection.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        connection.run_together([(COUNT, {})])
    assert connection.closed
