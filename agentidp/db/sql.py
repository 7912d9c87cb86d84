"""The statements in ``sql/``: their loader, and a call of one with its parameters."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

from agentidp.paths import shipped_directory

# "for update" locks rows, which is for a transaction as well.
_WRITES = re.compile(r"\b(?:insert|update|delete|merge)\b")
_CALL = re.compile(r"\b([a-z_]+)\(")
_COLUMNS = re.compile(r"\{([a-z_]+)\}")


class Call(NamedTuple):
    """A statement by its name, and its parameters."""

    name: str
    parameters: dict[str, Any]


Rows = list[Any]
"""Named tuples, one a row."""


def sql_directory() -> Path:
    """Where the .sql files are: beside the modules in an installed copy, at the top level in a checkout."""
    return shipped_directory("sql")


@functools.cache
def load_sql(name: str) -> str:
    """The statement in ``sql/<name>.sql``, without its comments: the server would read them each time it is sent.

    :param name: path without ending, for example ``analytics/token_trend``.
    :raises FileNotFoundError: there is no such file.
    """
    lines = (sql_directory() / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return with_columns("\n".join(line for line in lines if not line.lstrip().startswith("--")))


def with_columns(text: str) -> str:
    """A statement with the columns in ``sql/columns/<name>.sql`` in place of each ``{name}``."""
    return _COLUMNS.sub(lambda found: load_sql(f"columns/{found[1]}"), text)


@functools.cache
def only_reads(name: str) -> bool:
    """Whether ``sql/<name>.sql`` neither changes nor locks a row. Functions in PL/pgSQL do."""
    statement = load_sql(name)
    files = (sql_directory() / "functions").glob("*.sql")
    functions = {file.stem for file in files if "language plpgsql" in file.read_text(encoding="utf-8")}
    return _WRITES.search(statement) is None and functions.isdisjoint(_CALL.findall(statement))


@functools.cache
def enters_organization(name: str) -> bool:
    """Whether ``sql/<name>.sql`` opens the transaction's view of an organization by itself. Such a statement has a
    parameter ``durable``, which says how the transaction commits.
    """
    return "%(durable)s" in load_sql(name)
