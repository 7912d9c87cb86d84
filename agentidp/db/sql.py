"""Loads the statements in ``sql/``."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from agentidp.paths import shipped_directory

# The pattern also matches "for update", because locking rows needs a transaction too.
_WRITES = re.compile(r"\b(?:insert|update|delete|merge)\b")
_CALL = re.compile(r"\b([a-z_]+)\(")
_COLUMNS = re.compile(r"\{([a-z_]+)\}")


class Call(NamedTuple):
    """A statement's name and its parameters. The statement ignores parameters that it does not name."""

    name: str
    parameters: dict[str, Any]


Rows = list[Any]
"""The rows of a statement, as named tuples."""

Run = Callable[..., list[Rows]]
"""A function that runs an organization's calls in one round trip, and returns the rows of each call."""


def sql_directory() -> Path:
    """Return the directory that contains the .sql files."""
    return shipped_directory("sql")


@functools.cache
def load_sql(name: str) -> str:
    """Return the statement in ``sql/<name>.sql`` without its comment lines, which need not be sent.

    :param name: the path without the suffix, for example ``analytics/token_trend``.
    """
    sql_lines = (sql_directory() / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return insert_columns("\n".join(sql_line for sql_line in sql_lines if not sql_line.lstrip().startswith("--")))


def run_statement(connection: psycopg.Connection[Any], name: str, /, **parameters: Any) -> Rows:
    """Run ``sql/<name>.sql`` on an operator's connection, and return its rows."""
    return fetch_rows(connection.execute(load_sql(name), parameters or None))


def fetch_rows(cursor: psycopg.Cursor[Any]) -> Rows:
    """Return the rows of a statement that has run, or an empty list if the statement returns no rows."""
    return cursor.fetchall() if cursor.description else []


def insert_columns(statement: str) -> str:
    """Return a statement in which each ``{name}`` is replaced by the columns in ``sql/columns/<name>.sql``."""
    return _COLUMNS.sub(lambda match: load_sql(f"columns/{match[1]}"), statement)


@functools.cache
def only_reads(name: str) -> bool:
    """Return whether ``sql/<name>.sql`` neither changes nor locks rows, and calls no PL/pgSQL function."""
    statement_text = load_sql(name)
    function_files = (sql_directory() / "functions").glob("*.sql")
    plpgsql_functions = {file.stem for file in function_files if "language plpgsql" in file.read_text(encoding="utf-8")}
    return _WRITES.search(statement_text) is None and plpgsql_functions.isdisjoint(_CALL.findall(statement_text))


@functools.cache
def enters_organization(name: str) -> bool:
    """Return whether ``sql/<name>.sql`` sets the organization. Only such a statement has the parameter ``durable``."""
    return "%(durable)s" in load_sql(name)
