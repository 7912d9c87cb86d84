"""Migrations: each numbered file of ``sql/migrations/`` once, in order."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any

import psycopg

from agentidp.config import ConfigurationError
from agentidp.db.database import connect
from agentidp.db.sql import load_sql, sql_directory

logger = logging.getLogger("agentidp")

MIGRATION_LOCK = 0x6167656E74  # "agent"; any number that nothing else in the database takes
LOCK_TIMEOUT = "2s"
"""How long a migration waits for a table that is in use. Meanwhile everything else waits behind it."""

LOCK_ATTEMPTS = 30

_SQL_STATEMENT = re.compile(r"""(?:--[^\n]*|'[^']*'|"[^"]*"|\$(\w*)\$.*?\$\1\$|[^;])+""", re.DOTALL)


def migrate(url: str) -> list[str]:
    """Bring the schema up to date: each numbered file once, in order, in a transaction of its own.

    The advisory lock ends with the connection, so a killed process leaves nothing to clean up; a second process
    waits for the first and then finds nothing to do. A migration that does not get a table within two seconds, for
    example because of a long export, lets others go on and tries again. What PostgreSQL warns of is logged.

    :returns: the names of the files applied.
    :raises ConfigurationError: the server does not answer, the role lacks a privilege, a table is in use for a minute
        and a half, or the database has a schema newer than this release.
    """
    try:
        with connect(url) as connection:
            connection.add_notice_handler(_log_warning)
            connection.execute(load_sql("database/lock_migrations"), {"key": MIGRATION_LOCK})
            # A refusal undoes the first statement: a restore wants an empty database.
            with connection.transaction():
                connection.execute(load_sql("database/create_schema_migrations"))
                pending = pending_migrations(connection)
                if migration_files()[0] in pending:
                    refuse_missing_rights(connection, creates_role=True)
            for file in pending:
                _apply(connection, file)
    except psycopg.Error as error:
        reason = error.diag.message_primary or " ".join(str(error).split())
        raise ConfigurationError(f"the database's schema cannot be brought up to date: {reason}") from None
    return [file.stem for file in pending]


def refuse_missing_rights(connection: psycopg.Connection[Any], *, creates_role: bool) -> None:
    """Raise ConfigurationError if the role that has logged in may not make the service's role, or may not use the one
    that another installation has made on the same server.

    :param creates_role: whether it creates the role even if there is one.
    """
    parameters = {"creates_role": creates_role}
    if missing := connection.execute(load_sql("database/missing_rights"), parameters).fetchall():
        statements = "; ".join(row.statement for row in missing)
        raise ConfigurationError(
            f"the role {connection.info.user} may not create or use the role agentidp_service: "
            f"let a superuser of the server run once: {statements}"
        )


def _apply(connection: psycopg.Connection[Any], file: Path) -> None:
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with connection.transaction():
                connection.execute(load_sql("database/set_lock_timeout"), {"timeout": LOCK_TIMEOUT})
                # One execute per statement: Citus forwards the whole text to its workers, which refuse two at once.
                for statement in statements_of(file.read_text(encoding="utf-8")):
                    connection.execute(statement)
                connection.execute(load_sql("database/record_migration"), {"name": file.stem})
            return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if attempt == LOCK_ATTEMPTS:
                raise ConfigurationError(
                    f"migration {file.stem} did not get a table that is in use; "
                    "end the export, backup or query that reads it"
                ) from None
            if attempt == 1:
                logger.warning("migration %s waits for a table that is in use", file.stem)
            # What waited behind the migration has its turn.
            time.sleep(1)


def _log_warning(notice: psycopg.errors.Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        logger.warning(notice.message_primary)


def migration_files() -> list[Path]:
    """All migrations of this release, in order."""
    return sorted((sql_directory() / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))


def pending_migrations(connection: psycopg.Connection[Any]) -> list[Path]:
    """The files that are not applied yet, in order.

    :raises ConfigurationError: the database holds a schema newer than this release.
    """
    files = migration_files()
    applied = {row.name for row in connection.execute(load_sql("database/applied_migrations"))}
    if newer := sorted(applied.difference(file.stem for file in files)):
        raise ConfigurationError(
            f"the database holds migration {newer[-1]}, which this release of AgentIdP does not know"
        )
    return [file for file in files if file.stem not in applied]


def statements_of(text: str) -> list[str]:
    """The statements of a migration, of which none may have a body that begins with ``begin atomic``."""
    found = (match[0].strip() for match in _SQL_STATEMENT.finditer(text))
    return [statement for statement in found if re.sub(r"--[^\n]*|\s", "", statement)]
