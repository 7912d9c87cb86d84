"""Restores a backup into a database in one transaction.

Only rows are taken from the file. The schema comes from this release's migrations, so the author of the file cannot
make the database execute a statement.
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
from agentidp.db.migrations import migrate, pending_steps, refuse_missing_rights, steps
from agentidp.db.organization import operator_transaction
from agentidp.db.sql import load_sql
from agentidp.jose.key_rotation import ensure_signing_key
from agentidp.jose.key_sealing import KeySealer
from agentidp.jose.sealing import Unreadable
from agentidp.maintenance.archive import Archive
from agentidp.maintenance.backup import Contents, refuse_citus

SESSION_END_TIMEOUT = 2.0
"""Maximum seconds to wait for the end of other sessions."""


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
    """The contents of the database. None if row-level security hides them, or without a complete schema."""

    @property
    def is_empty(self) -> bool:
        """Return whether the database has no tables, views and functions."""
        return not self.drop_statements


def inspect_target(url: str) -> Target:
    """Return the current state of the database into which a backup will be restored.

    :raises ConfigurationError: a backup must not be restored into this database.
    """
    with connect(url) as connection:
        refuse_citus(connection)
        refuse_missing_rights(connection, creates_role=False)
        roles = connection.execute(load_sql("maintenance/service_role")).fetchall()
        [row] = connection.execute(load_sql("maintenance/what_a_role_sees")).fetchall()
        sessions = _other_sessions(connection)
        drop_rows = connection.execute(load_sql("maintenance/statements_that_drop")).fetchall()
        contents = None
        if row.has_schema and row.sees_all:
            # A database with an incomplete schema is a valid target, although its contents cannot be counted.
            with contextlib.suppress(psycopg.errors.UndefinedTable):
                [counts] = connection.execute(load_sql("maintenance/count_contents")).fetchall()
                contents = Contents(*counts)
    if sessions:
        names = ", ".join(f"{row.role_name} ({row.sessions})" for row in sessions)
        raise ConfigurationError(
            f"others are connected to the database {row.database_name}: {names}. "
            "Stop the service and agentidp watch first"
        )
    if row.has_tables and not row.has_schema:
        raise ConfigurationError(
            f"the database {row.database_name} contains tables that are not AgentIdP's: restore into another one"
        )
    return Target(row.database_name, bool(roles), [drop_row.statement for drop_row in drop_rows], contents)


def _other_sessions(connection: psycopg.Connection[Any]) -> list[Any]:
    """Return the other sessions in the database. Wait first for sessions that are ending."""
    deadline = time.monotonic() + SESSION_END_TIMEOUT
    while sessions := connection.execute(load_sql("maintenance/other_sessions")).fetchall():
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    return sessions


def restore(
    settings: Settings,
    archive: Archive,
    target: Target,
    *,
    at: datetime,
    report: Callable[[float], None] | None = None,
) -> Restored:
    """Replace the contents of the database by a backup, and bring the schema up to date.

    The restore is recorded as an audit event after the events of the backup.

    :param settings: settings with the database's URL, as its owner, and the instance secret.
    :param at: the current time.
    :param report: called with the share of the file that was restored, without the indexes that are built afterwards.
    :raises ConfigurationError: the restore failed. Unless the message says that the backup was restored, nothing was
        changed.
    """
    url = str(settings.database_url)
    pending_steps(archive.migrations(), holder="the backup")
    if not target.is_empty:
        _refuse_unreadable_keys(settings, archive)
    contents, left_out = _replace_contents(url, archive, target, report)
    try:
        applied = migrate(url)
        _record(url, archive, contents, at)
        ensure_signing_key(settings, at=at)
    except (ConfigurationError, psycopg.Error) as error:
        raise ConfigurationError(f"the backup was restored ({contents}), but {error}") from None
    return Restored(contents, archive.made_at, applied, left_out)


def _refuse_unreadable_keys(settings: Settings, archive: Archive) -> None:
    """Refuse a backup whose keys the instance secret does not decrypt, before existing data is deleted."""
    sealer = KeySealer(settings)
    for kid, sealed_key in archive.keys().items():
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
    """Create the schema by the migrations that the backup had, and copy its rows into it, in one transaction.

    :returns: what was restored, and the tables whose rows were not restored.
    """
    pending = [step.name for step in pending_steps(archive.migrations())]
    # The role belongs to the whole server: it may exist already, and this login may not be allowed to create it.
    create_role = steps()[0].statements()[0]
    try:
        with connect(url) as connection, connection.transaction():
            connection.execute(load_sql("maintenance/set_no_timeouts"))
            for statement in target.drop_statements:
                connection.execute(statement)
            connection.execute(load_sql("database/create_schema_migrations"))
            for statement in (sql for step in steps() if step.name not in pending for sql in step.statements()):
                if statement != create_role or not target.has_role:
                    connection.execute(statement)
            preparations = connection.execute(load_sql("maintenance/statements_before_rows")).fetchall()
            completions = connection.execute(load_sql("maintenance/statements_after_rows")).fetchall()
            own_tables = {row.name for row in connection.execute(load_sql("maintenance/objects"))}
            for row in preparations:
                connection.execute(row.statement)
            _copy(connection, archive, own_tables, report)
            [counts] = connection.execute(load_sql("maintenance/count_contents")).fetchall()
            for row in completions:
                connection.execute(row.statement)
    except psycopg.Error as error:
        reason = error.diag.message_primary or in_one_line(error)
        raise ConfigurationError(f"the backup was not restored: {reason}") from None
    return Contents(*counts), sorted(archive.tables() - own_tables)


def _copy(
    connection: psycopg.Connection[Any],
    archive: Archive,
    tables: Collection[str],
    report: Callable[[float], None] | None,
) -> None:
    cursor = connection.cursor()
    with contextlib.closing(archive.rows(tables, report)) as row_sets:
        for rows in row_sets:
            connection.execute(load_sql("maintenance/set_encoding"), {"encoding": rows.encoding})
            with cursor.copy(f"copy public.{rows.table} {rows.columns} from stdin".encode()) as copy:
                for piece in rows.pieces:
                    copy.write(piece)


def _record(url: str, archive: Archive, contents: Contents, at: datetime) -> None:
    with connect(url) as connection, operator_transaction(connection, audit.INSTANCE, at) as transaction:
        description: dict[str, Any] = {"madeAt": archive.made_at, **contents._asdict()}
        audit.record(transaction, "instance.restored", archive.file.name, after=description)
