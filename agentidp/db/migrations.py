"""The steps that make the schema: ``sql/schema/`` in an empty database, each file of ``sql/migrations/`` once, and
``sql/functions/`` whenever their text has changed. The table ``schema_migrations`` has a row for each.
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
from agentidp.db.sql import load_sql, sql_directory

logger = logging.getLogger("agentidp")

MIGRATION_LOCK = 0x6167656E74  # "agent"; any number that nothing else in the database takes
LOCK_TIMEOUT = "2s"
"""How long a migration waits for a table that is in use. Meanwhile everything else waits behind it."""

LOCK_ATTEMPTS = 30

SCHEMA = "0001_release_1.0.0"
"""The step that makes ``sql/schema/``. The first migration after it has the number 0002."""

_FUNCTIONS = re.compile(r"functions_([0-9.]+)\S*_[0-9a-f]{16}")

_SQL_STATEMENT = re.compile(r"""(?:--[^\n]*|'[^']*'|"[^"]*"|\$(\w*)\$.*?\$\1\$|[^;])+""", re.DOTALL)


class NewerSchema(ConfigurationError):
    """The database has a step of a newer release."""


class Step(NamedTuple):
    """Files that are applied in one transaction."""

    name: str
    """As ``schema_migrations`` has it."""

    files: list[Path]

    def statements(self) -> list[str]:
        """The statements of its files, in order."""
        return [statement for file in self.files for statement in statements_of(file.read_text(encoding="utf-8"))]


@functools.cache
def steps() -> list[Step]:
    """The steps of this release, in order."""
    return steps_of(sql_directory())


def steps_of(directory: Path) -> list[Step]:
    """The steps of the release whose SQL is in *directory*: the schema of 1.0.0, the migrations after it, and the
    functions.

    The functions come last because they may use everything else. Their step has the release and a digest of their text
    in its name.
    """
    schema, migrations, functions = (
        sorted((directory / name).glob("*.sql")) for name in ("schema", "migrations", "functions")
    )
    text = "".join(f"{file.name}\n{file.read_text(encoding='utf-8')}" for file in functions)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return [
        Step(SCHEMA, schema),
        *(Step(file.stem, [file]) for file in migrations),
        Step(f"functions_{version('agentidp')}_{digest}", functions),
    ]


def migrate(url: str, release: Sequence[Step] | None = None) -> list[str]:
    """Bring the schema up to date: each step in a transaction of its own.

    The advisory lock ends with the connection, so a killed process leaves nothing to clean up; a second process
    waits for the first and then finds nothing to do. A migration that does not get a table within two seconds, for
    example because of a long export, lets others go on and tries again. What PostgreSQL warns of is logged.

    :param release: the steps of a release; of this one by default.
    :returns: the names of the steps applied.
    :raises ConfigurationError: the server does not answer, the role lacks a privilege, a table is in use for a minute
        and a half, or the database has a step that this release does not know.
    """
    release = steps() if release is None else release
    try:
        with connect(url) as connection:
            connection.add_notice_handler(_log_warning)
            connection.execute(load_sql("database/lock_migrations"), {"key": MIGRATION_LOCK})
            # A refusal undoes the first statement: a restore wants an empty database.
            with connection.transaction():
                connection.execute(load_sql("database/create_schema_migrations"))
                pending = pending_steps(applied_steps(connection), release)
                if release[0] in pending:
                    refuse_missing_rights(connection, creates_role=True)
            for step in pending:
                _apply(connection, step)
            # No step, because it is about the database, which a backup does not contain.
            for row in connection.execute(load_sql("database/temporary_tables")).fetchall():
                connection.execute(row.statement)
    except psycopg.Error as error:
        reason = error.diag.message_primary or " ".join(str(error).split())
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            reason += ". Set AGENTIDP_DATABASE_URL to the URL of the role that owns the database"
        raise ConfigurationError(f"the database's schema cannot be brought up to date: {reason}") from None
    return [step.name for step in pending]


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


def _apply(connection: psycopg.Connection[Any], step: Step) -> None:
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            with connection.transaction():
                connection.execute(load_sql("database/set_lock_timeout"), {"timeout": LOCK_TIMEOUT})
                # One execute per statement: Citus forwards the whole text to its workers, which refuse two at once.
                for statement in step.statements():
                    connection.execute(statement)
                if _FUNCTIONS.fullmatch(step.name):
                    connection.execute(load_sql("database/forget_functions"))
                connection.execute(load_sql("database/record_migration"), {"name": step.name})
            return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if attempt == LOCK_ATTEMPTS:
                raise ConfigurationError(
                    f"migration {step.name} did not get a table that is in use; "
                    "end the export, backup or query that reads it"
                ) from None
            if attempt == 1:
                logger.warning("migration %s waits for a table that is in use", step.name)
            # What waited behind the migration has its turn.
            time.sleep(1)


def _log_warning(notice: psycopg.errors.Diagnostic) -> None:
    # Citus says of each view that its table is not distributed yet, which comes next.
    is_of_citus = "not in Citus' metadata" in (notice.message_primary or "")
    if notice.severity_nonlocalized == "WARNING" and not is_of_citus:
        logger.warning(notice.message_primary)


def applied_steps(connection: psycopg.Connection[Any]) -> list[str]:
    """What ``schema_migrations`` has."""
    return [row.name for row in connection.execute(load_sql("database/applied_migrations"))]


def pending_steps(
    applied: Collection[str], release: Sequence[Step] | None = None, *, holder: str = "the database"
) -> list[Step]:
    """The steps that a database lacks, in order.

    :param applied: what its ``schema_migrations`` has.
    :param release: the steps of a release; of this one by default.
    :param holder: what has them, for the error.
    :raises NewerSchema: it has a step that this release does not know. If these are the functions of a newer release,
        those of this one must not replace them: the newer servers need what they decide.
    """
    release = steps() if release is None else release
    known, own = {step.name for step in release}, _release_of(release[-1].name)
    newer = [
        name
        for name in sorted(applied)
        if (_release_of(name) > own if _FUNCTIONS.fullmatch(name) else name not in known)
    ]
    if newer:
        raise NewerSchema(
            f"{holder} holds migration {newer[-1]}, which this release of AgentIdP does not know: "
            "install the release that applied it, or a newer one"
        )
    return [step for step in release if step.name not in applied]


def _release_of(name: str) -> tuple[int, ...]:
    """The release whose functions a step has made, or an empty tuple if it is another step."""
    found = _FUNCTIONS.fullmatch(name)
    return tuple(int(part) for part in found[1].split(".") if part) if found else ()


def statements_of(text: str) -> list[str]:
    """The statements of a file, of which none may have a body that begins with ``begin atomic``."""
    found = (match[0].strip() for match in _SQL_STATEMENT.finditer(text))
    return [statement for statement in found if re.sub(r"--[^\n]*|\s", "", statement)]
