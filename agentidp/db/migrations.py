"""Creates and migrates the schema: ``sql/schema/`` in an empty database, each file of ``sql/migrations/`` once, and
``sql/functions/`` whenever their text changes. The table ``schema_migrations`` has one row per applied step.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import time
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from agentidp.config import ConfigurationError
from agentidp.db.database import connect
from agentidp.db.errors import in_one_line
from agentidp.db.sql import run_statement, sql_directory

logger = logging.getLogger("agentidp")

MIGRATION_LOCK = 0x6167656E74  # "agent" in ASCII; no other advisory lock has this number
LOCK_TIMEOUT = "2s"
"""Maximum time that a migration waits for a table in use. Meanwhile, later statements on the table wait too."""

LOCK_ATTEMPTS = 30

SCHEMA = "0001_release_1.0.0"
"""Name of the step that runs ``sql/schema/``. The first migration after it has the number 0002."""

_FUNCTIONS = re.compile(r"functions_([0-9.]+)\S*_[0-9a-f]{16}")

_SQL_STATEMENT = re.compile(r"""(?:--[^\n]*|'[^']*'|"[^"]*"|\$(\w*)\$.*?\$\1\$|[^;])+""", re.DOTALL)


class NewerSchema(ConfigurationError):
    """The database's schema has a step that only a newer release has."""


class Step(NamedTuple):
    """SQL files that are applied in one transaction, as a step of the schema."""

    name: str
    """The step's name in the table ``schema_migrations``."""

    files: list[Path]

    def statements(self) -> list[str]:
        """Return the statements in the step's files, in order."""
        return [statement for file in self.files for statement in split_statements(file.read_text(encoding="utf-8"))]


@functools.cache
def steps() -> list[Step]:
    """Return the steps that create this release's schema, in order."""
    return read_steps(sql_directory())


def read_steps(directory: Path) -> list[Step]:
    """Return the steps of the release whose SQL is in *directory*: the schema of 1.0.0, the migrations, the functions.

    The name of the functions' step contains the release and a digest of the functions' text.
    """
    schema_files, migration_files, function_files = (
        sorted((directory / directory_name).glob("*.sql")) for directory_name in ("schema", "migrations", "functions")
    )
    functions_sql = "".join(f"{sql_file.name}\n{sql_file.read_text(encoding='utf-8')}" for sql_file in function_files)
    functions_digest = hashlib.sha256(functions_sql.encode()).hexdigest()[:16]
    return [
        Step(SCHEMA, schema_files),
        *(Step(sql_file.stem, [sql_file]) for sql_file in migration_files),
        Step(f"functions_{version('agentidp')}_{functions_digest}", function_files),
    ]


def migrate(url: str, release_steps: Sequence[Step] | None = None) -> list[str]:
    """Bring the schema up to date, each step in a transaction of its own. A second process waits for the first.

    :param release_steps: the steps of a release. Default: this release.
    :returns: the names of the applied steps.
    :raises ConfigurationError: the server does not answer, the role lacks a privilege, a table is in use for a minute
        and a half, or the database has a step that this release does not know.
    """
    release_steps = steps() if release_steps is None else release_steps
    try:
        with connect(url) as connection:
            connection.add_notice_handler(_log_warning)
            run_statement(connection, "database/lock_migrations", key=MIGRATION_LOCK)
            # If a check fails, the rollback leaves the database empty, so that a backup can be restored into it.
            with connection.transaction():
                run_statement(connection, "database/create_schema_migrations")
                pending_steps = list_pending_steps(read_applied_steps(connection), release_steps)
                if release_steps[0] in pending_steps:
                    refuse_missing_rights(connection, creates_role=True)
            for step in pending_steps:
                _apply_step(connection, step)
            # The right to create temporary tables is revoked after every migration, because pg_dump omits privileges on
            # databases, so every role has the right again in a restored database.
            for statement_row in run_statement(connection, "database/temporary_tables"):
                connection.execute(statement_row.statement)
    except psycopg.Error as error:
        reason = error.diag.message_primary or in_one_line(error)
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            reason += ". Set AGENTIDP_DATABASE_URL to the URL of the role that owns the database"
        raise ConfigurationError(f"the database's schema cannot be brought up to date: {reason}") from None
    return [step.name for step in pending_steps]


def refuse_missing_rights(connection: psycopg.Connection[Any], *, creates_role: bool) -> None:
    """Raise an error if the connection's role lacks a right to create the service's role, or to use the existing one.

    :param creates_role: whether the right to create roles is needed even if the service's role exists.
    :raises ConfigurationError: a right is missing. The message has the statements that grant it.
    """
    if missing_rights := run_statement(connection, "database/missing_rights", creates_role=creates_role):
        grant_statements = "; ".join(missing_right.statement for missing_right in missing_rights)
        raise ConfigurationError(
            f"the role {connection.info.user} may not create or use the role agentidp_service: "
            f"let a superuser of the server run once: {grant_statements}"
        )


def _apply_step(connection: psycopg.Connection[Any], step: Step) -> None:
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with connection.transaction():
                run_statement(connection, "database/set_lock_timeout", timeout=LOCK_TIMEOUT)
                # Each statement runs alone, because Citus's workers refuse a string with two statements.
                for statement in step.statements():
                    connection.execute(statement)
                if _FUNCTIONS.fullmatch(step.name):
                    run_statement(connection, "database/forget_functions")
                run_statement(connection, "database/record_migration", name=step.name)
            return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if attempt == LOCK_ATTEMPTS:
                raise ConfigurationError(
                    f"migration {step.name} did not get a table that is in use; "
                    "end the export, backup or query that reads it"
                ) from None
            if attempt == 1:
                logger.warning("migration %s waits for a table that is in use", step.name)
            # The pause lets the statements run that waited behind this migration's lock.
            time.sleep(1)


def _log_warning(notice: psycopg.errors.Diagnostic) -> None:
    # Citus warns about each view, as expected, because the operator distributes the tables only after the migration.
    is_from_citus = "not in Citus' metadata" in (notice.message_primary or "")
    if notice.severity_nonlocalized == "WARNING" and not is_from_citus:
        logger.warning(notice.message_primary)


def read_applied_steps(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the names of the steps in the table ``schema_migrations``."""
    return [row.name for row in run_statement(connection, "database/applied_migrations")]


def list_pending_steps(
    applied: Collection[str], release_steps: Sequence[Step] | None = None, *, holder: str = "the database"
) -> list[Step]:
    """Return the steps that a database lacks, in order.

    :param applied: the names of the steps in the database's ``schema_migrations``.
    :param release_steps: the steps of a release. Default: this release.
    :param holder: the noun for the database or backup in the error.
    :raises NewerSchema: *applied* has a step of a newer release, even if that step has only functions.
    """
    release_steps = steps() if release_steps is None else release_steps
    release_names, release_number = {step.name for step in release_steps}, _parse_release_number(release_steps[-1].name)
    newer_step_names = [
        step_name
        for step_name in sorted(applied)
        if (
            _parse_release_number(step_name) > release_number
            if _FUNCTIONS.fullmatch(step_name)
            else step_name not in release_names
        )
    ]
    if newer_step_names:
        raise NewerSchema(
            f"{holder} holds migration {newer_step_names[-1]}, which this release of AgentIdP does not know: "
            "install the release that applied it, or a newer one"
        )
    return [step for step in release_steps if step.name not in applied]


def _parse_release_number(name: str) -> tuple[int, ...]:
    """Return the release in the name of a functions step, as numbers; an empty tuple for other steps."""
    name_match = _FUNCTIONS.fullmatch(name)
    return tuple(int(number_text) for number_text in name_match[1].split(".") if number_text) if name_match else ()


def split_statements(sql: str) -> list[str]:
    """Return the statements of a SQL file. Function bodies in ``begin atomic`` are not supported."""
    statements = (statement_match[0].strip() for statement_match in _SQL_STATEMENT.finditer(sql))
    return [statement for statement in statements if re.sub(r"--[^\n]*|\s", "", statement)]
