"""Restores a backup into a database in one transaction.

Only rows are taken from the file, so the author of the file cannot make the database execute a statement.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from agentidp import audit
from agentidp.config import ConfigurationError, Settings
from agentidp.db.database import connect
from agentidp.db.errors import in_one_line
from agentidp.db.migrations import list_pending_steps, migrate, refuse_missing_rights, steps
from agentidp.db.organization import operator_transaction
from agentidp.db.sql import run_statement
from agentidp.jose.key_rotation import ensure_signing_key
from agentidp.jose.key_sealing import KeySealer
from agentidp.jose.sealing import Unreadable
from agentidp.maintenance.archive import Archive
from agentidp.maintenance.backup import Contents, refuse_citus

SESSION_END_TIMEOUT = 2.0
"""Maximum seconds to wait until other sessions in the database have ended."""


class Restored(NamedTuple):
    """The result of restoring a backup."""

    contents: Contents
    made_at: datetime
    migrations: list[str]
    """The migrations that were applied after the restore because the backup lacked them."""

    left_out: list[str]
    """Tables in the backup that were not restored, because they do not belong to AgentIdP."""


class Target(NamedTuple):
    """The database into which a backup will be restored."""

    name: str
    has_role: bool
    """Whether the server already has the service's role."""

    drop_statements: list[str]
    """The statements that drop everything in the database. Empty if the database is empty."""

    contents: Contents | None
    """The contents of the database. None if row-level security hides rows, or if a table is missing."""

    @property
    def is_empty(self) -> bool:
        """Return whether the database has no tables, views or functions."""
        return not self.drop_statements


def inspect_target(url: str) -> Target:
    """Return the current state of the database into which a backup will be restored.

    :raises ConfigurationError: a backup must not be restored into this database.
    """
    with connect(url) as connection:
        refuse_citus(connection)
        refuse_missing_rights(connection, creates_role=False)
        service_role_rows = run_statement(connection, "maintenance/service_role")
        [role_row] = run_statement(connection, "maintenance/what_a_role_sees")
        session_rows = _wait_for_other_sessions(connection)
        drop_rows = run_statement(connection, "maintenance/statements_that_drop")
        contents = None
        if role_row.has_schema and role_row.sees_all:
            # If a table is missing, the contents cannot be counted, but a backup can still be restored.
            with contextlib.suppress(psycopg.errors.UndefinedTable):
                [contents_row] = run_statement(connection, "maintenance/count_contents")
                contents = Contents(*contents_row)
    if session_rows:
        sessions_phrase = ", ".join(f"{session_row.role_name} ({session_row.sessions})" for session_row in session_rows)
        raise ConfigurationError(
            f"others are connected to the database {role_row.database_name}: {sessions_phrase}. "
            "Stop the service and agentidp watch first"
        )
    if role_row.has_tables and not role_row.has_schema:
        raise ConfigurationError(
            f"the database {role_row.database_name} contains tables that are not AgentIdP's: use another database"
        )
    drop_statements = [drop_row.statement for drop_row in drop_rows]
    return Target(role_row.database_name, bool(service_role_rows), drop_statements, contents)


def _wait_for_other_sessions(connection: psycopg.Connection[Any]) -> list[Any]:
    """Wait for the end of other sessions in the database. Return a row per role whose sessions did not end in time."""
    deadline = time.monotonic() + SESSION_END_TIMEOUT
    while session_rows := run_statement(connection, "maintenance/other_sessions"):
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    return session_rows


def restore_archive(
    settings: Settings,
    archive: Archive,
    target: Target,
    *,
    at: datetime,
    report: Callable[[float], None] | None = None,
) -> Restored:
    """Replace the contents of the database by a backup, and bring the schema up to date.

    :param settings: the settings including the database's URL, with its owner's role, and the instance secret.
    :param report: called with the share of the file whose rows were copied, from 0 to 1.
    :raises ConfigurationError: the restore failed. Unless the message says that the backup was restored, nothing was
        changed.
    """
    database_url = str(settings.database_url)
    list_pending_steps(archive.list_migrations(), holder="the backup")
    if not target.is_empty:
        _refuse_unreadable_keys(settings, archive)
    contents, omitted_tables = _replace_contents(database_url, archive, target, report)
    try:
        applied_migrations = migrate(database_url)
        with connect(database_url) as connection, operator_transaction(connection, audit.INSTANCE, at) as transaction:
            recorded_values: dict[str, Any] = {"madeAt": archive.made_at, **contents._asdict()}
            audit.record(transaction, "instance.restored", archive.file.name, after=recorded_values)
        ensure_signing_key(settings, at=at)
    except (ConfigurationError, psycopg.Error) as error:
        raise ConfigurationError(f"the backup was restored ({contents}), but {error}") from None
    return Restored(contents, archive.made_at, applied_migrations, omitted_tables)


def _refuse_unreadable_keys(settings: Settings, archive: Archive) -> None:
    """Raise ConfigurationError if the instance secret does not decrypt the signing keys in the backup."""
    sealer = KeySealer(settings)
    for kid, sealed_key in archive.read_keys().items():
        try:
            sealer.open_key(kid, sealed_key)
        except Unreadable:
            raise ConfigurationError(
                f"the instance secret does not decrypt the backup's signing key {kid}: set the secret with which the "
                "backup was made; nothing was changed"
            ) from None


def _replace_contents(
    url: str, archive: Archive, target: Target, report: Callable[[float], None] | None
) -> tuple[Contents, list[str]]:
    """Replace the database's contents by the backup's. Return the restored contents and the names of omitted tables."""
    pending_step_names = [step.name for step in list_pending_steps(archive.list_migrations())]
    # If the service's role exists, this statement is skipped, because the owner may lack the right to create roles.
    create_role_statement = steps()[0].statements()[0]
    try:
        with connect(url) as connection, connection.transaction():
            run_statement(connection, "maintenance/set_no_timeouts")
            for statement in target.drop_statements:
                connection.execute(statement)
            run_statement(connection, "database/create_schema_migrations")
            applied_steps = [step for step in steps() if step.name not in pending_step_names]
            for statement in (statement for step in applied_steps for statement in step.statements()):
                if statement != create_role_statement or not target.has_role:
                    connection.execute(statement)
            # The statements that create the foreign keys again must be read before the foreign keys are dropped.
            statement_rows_after_copy = run_statement(connection, "maintenance/statements_after_rows")
            for statement_row in run_statement(connection, "maintenance/statements_before_rows"):
                connection.execute(statement_row.statement)
            own_table_names = {object_row.name for object_row in run_statement(connection, "maintenance/objects")}
            _copy_rows(connection, archive, own_table_names, report)
            [contents_row] = run_statement(connection, "maintenance/count_contents")
            for statement_row in statement_rows_after_copy:
                connection.execute(statement_row.statement)
    except psycopg.Error as error:
        reason = error.diag.message_primary or in_one_line(error)
        raise ConfigurationError(f"the backup was not restored: {reason}") from None
    return Contents(*contents_row), sorted(archive.list_tables() - own_table_names)


def _copy_rows(
    connection: psycopg.Connection[Any],
    archive: Archive,
    tables: Collection[str],
    report: Callable[[float], None] | None,
) -> None:
    cursor = connection.cursor()
    with contextlib.closing(archive.read_rows(tables, report)) as table_rows_iterator:
        for table_rows in table_rows_iterator:
            run_statement(connection, "maintenance/set_encoding", encoding=table_rows.encoding)
            with cursor.copy(f"copy public.{table_rows.table} {table_rows.columns} from stdin".encode()) as copy_stream:
                for data_piece in table_rows.pieces:
                    copy_stream.write(data_piece)
