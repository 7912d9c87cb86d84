"""The keys in the opening comment of each statement in ``sql/``, which only tests read: lines ``-- key: value`` in the
last paragraph. docs/contributing/statement.md explains the keys.
"""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

from agentidp.db.sql import insert_columns, sql_directory
from tests.factories import NOON

NAMES = sorted(
    str(file.relative_to(sql_directory()).with_suffix(""))
    for file in sql_directory().rglob("*.sql")
    if file.parent.name not in ("columns", "functions", "migrations", "schema")
)
FEW = 100
"""Maximum number of pages that a statement may read, unless its header names another maximum."""

RUN_BY = ("service", "operator", "connection")
OPERATOR_FOLDERS = ("demo", "distribution", "maintenance")
"""Folders whose statements the operator runs."""


@dataclass
class Header:
    """A statement and the contents of its opening comment."""

    comment: str
    """The part of the opening comment that people read."""

    text: str
    """The text of the statement without the opening comment."""

    run_by: str = "service"
    pages: int = FEW
    fleet_pages: int = FEW
    no_shard: bool = False
    in_steps: bool = False
    examples: list[dict[str, str]] | None = None


@functools.cache
def header(name: str) -> Header:
    """Return the header of ``sql/<name>.sql``.

    :raises ValueError: a line of the header has an unknown key or value.
    """
    lines = (sql_directory() / f"{name}.sql").read_text(encoding="utf-8").splitlines(keepends=True)
    opening = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
    comment, _, marks = "".join(lines[:opening]).rpartition("\n--\n")
    if not re.match(r"-- (for|max-pages-read|max-pages-read-with-1000-agents|citus|example): ", marks):
        comment, marks = "".join(lines[:opening]), ""
    parsed = Header(comment, insert_columns("".join(lines[opening:])))
    if name.partition("/")[0] in OPERATOR_FOLDERS:
        parsed.run_by = "operator"
    # A line that is indented continues the previous line.
    for line in marks.replace("\n--   ", " ").splitlines():
        key, _, value = line.removeprefix("-- ").partition(": ")
        match key:
            case "for" if value in RUN_BY:
                parsed.run_by = value
            # The value is a number, and optionally a comma and the reason.
            case "max-pages-read" if re.match(r"\d+(,|$)", value):
                parsed.pages = int(value.partition(",")[0])
            case "max-pages-read-with-1000-agents" if value.isdecimal():
                parsed.fleet_pages = int(value)
            case "citus" if value == "runs in several steps":
                parsed.in_steps = True
            case "citus" if value.startswith("no shard, because "):
                parsed.no_shard = True
            case "example":
                pairs = [pair.partition("=") for pair in value.split("; ")]
                parsed.examples = [*(parsed.examples or []), {parameter: text for parameter, _, text in pairs}]
            case _:
                raise ValueError(f'sql/{name}.sql: "{line}" is no line of a header: see docs/contributing/statement.md')
    return parsed


def run_by(*who: str) -> list[str]:
    return [name for name in NAMES if header(name).run_by in who]


def parameters_of(name: str) -> list[str]:
    """Return the parameters of a statement, in the order of their first use."""
    return list(dict.fromkeys(re.findall(r"%\((\w+)\)s", header(name).text)))


def numbered(name: str) -> str:
    """Return a statement with ``$1`` in place of its first parameter, in the syntax of ``prepare``."""
    statement = header(name).text
    for place, parameter in enumerate(parameters_of(name), 1):
        statement = statement.replace(f"%({parameter})s", f"${place}")
    return statement.replace("%%", "%")


def values_of(
    connection: psycopg.Connection[Any], name: str, ids: Mapping[str, Any], example: int = 0
) -> dict[str, Any]:
    """Return a value per parameter: the value in the statement's example, in *ids*, or a default value of the type.

    :param ids: ids of existing objects, by the name of the parameter.
    """
    examples = header(name).examples or [{}]
    example_values = examples[example]
    values = {}
    for parameter, type_ in _types(connection, name).items():
        if (text := example_values.get(parameter)) is not None:
            values[parameter] = None if text == "null" else _value(type_, text)
        else:
            values[parameter] = ids.get(parameter, _BY_TYPE.get(type_))
    assert set(example_values) <= set(values), f"the example of {name} has parameters that it does not"
    return values


def _types(connection: psycopg.Connection[Any], name: str) -> dict[str, str]:
    """Return the parameters and their types, as PostgreSQL infers them."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(f"prepare to_ask as {numbered(name)}".encode())
        try:
            cursor.execute("select parameter_types::text[] from pg_prepared_statements where name = 'to_ask'")
            row = cursor.fetchone()
        finally:
            cursor.execute("deallocate to_ask")
    assert row is not None
    return dict(zip(parameters_of(name), row[0], strict=True))


def _value(type_: str, text: str) -> Any:
    if type_.endswith("[]"):
        return [_value(type_.removesuffix("[]"), item) for item in text.strip("{}").split(",") if item]
    return _OF_TEXT.get(type_, str)(text)


_OF_TEXT: dict[str, Callable[[str], Any]] = {
    "bigint": int,
    "boolean": lambda text: {"true": True, "false": False}[text],
    "date": date.fromisoformat,
    "integer": int,
    "timestamp with time zone": lambda text: text if "infinity" in text else datetime.fromisoformat(text),
    "uuid": uuid.UUID,
}

_BY_TYPE: dict[str, Any] = {
    "bigint": 3,
    "boolean": True,
    "bytea": bytes(32),
    "date": NOON.date(),
    "date[]": [NOON.date()],
    "double precision": 0.5,
    "integer": 3,
    "integer[]": [3],
    "interval": timedelta(days=3),
    "interval[]": [timedelta(days=3)],
    "jsonb": Jsonb({}),
    "text": "changed",
    "text[]": ["changed"],
    "timestamp with time zone": NOON,
    "timestamp with time zone[]": [NOON],
    "uuid": uuid.UUID("0a1b2c3d-0000-4000-8000-000000000009"),
}
"""A value per type that no row of the tests has."""
