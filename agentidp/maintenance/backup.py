"""Backs up the whole database with pg_dump. Only a complete backup gets its final file name."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from agentidp.config import ConfigurationError, Settings
from agentidp.db.citus import is_on_citus
from agentidp.db.database import connect
from agentidp.db.sql import run_statement
from agentidp.http.text import format_count
from agentidp.maintenance.postgres_programs import build_connection_arguments, find_backup_programs, find_first_error
from agentidp.paths import sync_directory

FIRST_BYTES = b"PGDMP"
"""The first bytes of files in pg_dump's custom format."""

POLL_SECONDS = 0.2
"""Seconds between two queries of pg_dump's progress."""


class Contents(NamedTuple):
    """The numbers of organizations, agents and tokens in a database or backup."""

    organizations: int
    agents: int
    tokens: int

    def __str__(self) -> str:
        """Return a phrase such as ``1 organization, 2 agents and 3 tokens``."""
        organization_phrase = format_count(self.organizations, "organization")
        return f"{organization_phrase}, {format_count(self.agents, 'agent')} and {format_count(self.tokens, 'token')}"


def back_up(
    url: str,
    file: Path,
    *,
    bindir: Path | None,
    settings: Settings,
    report: Callable[[float], None] | None = None,
) -> Contents:
    """Write a backup of the database to *file*, in pg_dump's custom format, readable only by this account.

    :param url: the database's URL, with a role that bypasses row-level security.
    :param bindir: the directory of pg_dump. None means to search for a suitable version.
    :param report: called with the completed share, from 0 to 1, estimated from PostgreSQL's statistics.
    :raises ConfigurationError: the backup failed, and *file* is unchanged.
    """
    if file.exists() and not file.is_file():
        raise ConfigurationError(f"{file} is no regular file, and a backup would replace it")
    with connect(url) as connection:
        _refuse_incomplete_backup(connection)
        programs = find_backup_programs(connection.info.server_version // 10_000, bindir, settings)
        connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
        with connection.transaction():
            [snapshot_row] = run_statement(connection, "maintenance/export_snapshot")
            [contents_row] = run_statement(connection, "maintenance/count_contents")
            try:
                _run_pg_dump(programs.directory / "pg_dump", url, snapshot_row.snapshot, file, report)
            except OSError as error:
                raise ConfigurationError(f"the backup {file} cannot be written: {error.strerror}") from None
    return Contents(*contents_row)


def refuse_citus(connection: psycopg.Connection[Any]) -> None:
    """Raise ConfigurationError if the database is distributed over several servers by Citus."""
    if is_on_citus(connection):
        raise ConfigurationError(
            "the database is on Citus, where one program cannot see all servers at one point in time: "
            "take base backups of every server"
        )


def _refuse_incomplete_backup(connection: psycopg.Connection[Any]) -> None:
    """Raise ConfigurationError if the connection's role does not see all rows, or the database is not AgentIdP's."""
    refuse_citus(connection)
    [row] = run_statement(connection, "maintenance/what_a_role_sees")
    if not row.sees_all:
        raise ConfigurationError(
            f"row-level security hides rows from the role {row.role_name}, so its backup would lack them: let "
            "AGENTIDP_DATABASE_URL name a role with BYPASSRLS that is a member of pg_read_all_data, for this "
            "command only"
        )
    if not row.has_schema:
        raise ConfigurationError(
            f"the database {row.database_name} is not one of AgentIdP: it has no schema_migrations"
        )


def _run_pg_dump(pg_dump: Path, url: str, snapshot: str, file: Path, report: Callable[[float], None] | None) -> None:
    connection_arguments, environment = build_connection_arguments(url)
    # The draft is in the directory of the final file, because files can only be renamed within a file system.
    with tempfile.NamedTemporaryFile(dir=file.absolute().parent, prefix=f".{file.name}.", delete=False) as draft_file:
        try:
            dump_options = ["--format=custom", f"--snapshot={snapshot}", "--no-publications", "--no-subscriptions"]
            command = [str(pg_dump), *connection_arguments, *dump_options, f"--file={draft_file.name}"]
            with subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            ) as process:
                try:
                    error_output = _wait_for_pg_dump(process, url, report)
                except BaseException:
                    process.kill()
                    raise
            if process.returncode:
                raise ConfigurationError(f"pg_dump failed: {find_first_error(error_output, process.returncode)}")
            os.fsync(draft_file.fileno())
            Path(draft_file.name).replace(file)
        except BaseException:
            Path(draft_file.name).unlink(missing_ok=True)
            raise
    sync_directory(file.absolute().parent)


def _wait_for_pg_dump(process: subprocess.Popen[str], url: str, report: Callable[[float], None] | None) -> str:
    """Wait for pg_dump, report its progress, and return its error output."""
    if report is None:
        return process.communicate()[1]
    copied_rows_by_table: dict[int, int] = {}
    # The transaction with the snapshot would not see the current progress, so a second connection reads it.
    with connect(url) as connection:
        [estimate_row] = run_statement(connection, "maintenance/estimate_rows")
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=POLL_SECONDS)[1]
            copied_rows_by_table |= dict(run_statement(connection, "maintenance/rows_copied"))
            report(sum(copied_rows_by_table.values()) / max(estimate_row.rows, 1))
