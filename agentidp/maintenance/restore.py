"""Restore a backup into a database: all of it in one transaction, or nothing.

Only rows are taken from the file. The schema is the one that this release makes: whoever wrote the file cannot have a
statement run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from agentidp import audit
from agentidp.config import ConfigurationError, Settings
from agentidp.db.database import connect
from agentidp.db.migrations import migrate, pending_steps, refuse_missing_rights, steps
from agentidp.db.organization import operator_transaction
from agentidp.db.sql import load_sql
from agentidp.jose.key_rotation import ensure_signing_key
from agentidp.jose.key_sealing import KeySealer, UnreadableKey
from agentidp.maintenance.archive import Archive, read_archive
from agentidp.maintenance.backup import Contents, refuse_citus
from agentidp.maintenance.postgres_programs import for_restore

ENDING = 2.0
"""Seconds for which a session may still be there after its client has closed it."""


class Restored(NamedTuple):
    """What was restored."""

    contents: Contents
    made_at: datetime
    migrations: list[str]
    """Those that the backup lacked, and that were applied afterwards."""

    left_out: list[str]
    """Tables whose rows are in the backup and were not restored, because AgentIdP has no such table."""


class Target(NamedTuple):
    """The database into which a backup is restored."""

    name: str
    has_role: bool
    """Whether the server has the service's role."""

    drops: list[str]
    """The statements that empty it; none if it is empty."""

    contents: Contents | None
    """What is counted in it; ``None`` if row-level security hides that from the role, or it is empty."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self.drops


def look_at_target(url: str) -> Target:
    """The database as it is now.

    :raises ConfigurationError: nothing may be restored into it.
    """
    with connect(url) as connection:
        refuse_citus(connection)
        refuse_missing_rights(connection, creates_role=False)
        roles = connection.execute(load_sql("maintenance/service_role")).fetchall()
        [row] = connection.execute(load_sql("maintenance/what_a_role_sees")).fetchall()
        others = _other_sessions(connection)
        drops = connection.execute(load_sql("maintenance/statements_that_drop")).fetchall()
        contents = None
        if row.has_schema and row.sees_all:
            # A schema that is not complete is deleted as well.
            with contextlib.suppress(psycopg.errors.UndefinedTable):
                [counts] = connection.execute(load_sql("maintenance/count_contents")).fetchall()
                contents = Contents(*counts)
    if others:
        names = ", ".join(f"{one.role_name} ({one.sessions})" for one in others)
        raise ConfigurationError(
            f"others are connected to the database {row.database_name}: {names}. "
            "Stop the service and agentidp watch first"
        )
    if row.has_tables and not row.has_schema:
        raise ConfigurationError(
            f"the database {row.database_name} contains tables that are not AgentIdP's: restore into another one"
        )
    return Target(row.database_name, bool(roles), [drop.statement for drop in drops], contents)


def _other_sessions(connection: psycopg.Connection[Any]) -> list[Any]:
    """Who else is connected. A session that is just ending is given some time."""
    until = time.monotonic() + ENDING
    while others := connection.execute(load_sql("maintenance/other_sessions")).fetchall():
        if time.monotonic() >= until:
            break
        time.sleep(0.1)
    return others


def restore(
    settings: Settings,
    archive: Archive,
    target: Target,
    *,
    at: datetime,
    report: Callable[[float], None] | None = None,
) -> Restored:
    """Restore a backup, and bring its schema up to date. What the database contained before is gone.

    The event that records it is the first one after those of the backup.

    :param settings: with the URL of the owner, and the instance secret.
    :param at: now.
    :param report: is called with the share of the rows that was restored. The indexes that follow are not counted.
    :raises ConfigurationError: with one sentence for the operator. Unless the sentence says otherwise, nothing was
        changed.
    """
    url = str(settings.database_url)
    pending_steps(archive.migrations(), holder="the backup")
    if not target.is_empty:
        _refuse_unreadable_keys(settings, archive)
    contents, left_out = _run(url, archive, target, report)
    try:
        applied = migrate(url)
        _record(url, archive, contents, at)
        ensure_signing_key(settings, at=at)
    except (ConfigurationError, psycopg.Error) as error:
        raise ConfigurationError(f"the backup was restored ({contents}), but {error}") from None
    return Restored(contents, archive.made_at, applied, left_out)


def open_archive(file: Path, *, bindir: Path | None, settings: Settings) -> Archive:
    """A backup file, and the newest programs that there are to read it.

    :raises ConfigurationError: it cannot be read.
    """
    return read_archive(file, for_restore(bindir, settings))


def _refuse_unreadable_keys(settings: Settings, archive: Archive) -> None:
    """What the database contains is not deleted for a backup that nobody can use."""
    sealer = KeySealer(settings)
    for kid, sealed in archive.keys().items():
        try:
            sealer.open(kid, sealed)
        except UnreadableKey:
            raise ConfigurationError(
                f"the instance secret does not decrypt the backup's signing key {kid}: set the secret with which the "
                "backup was made; nothing was changed"
            ) from None


def _run(
    url: str, archive: Archive, target: Target, report: Callable[[float], None] | None
) -> tuple[Contents, list[str]]:
    """Make the schema that the backup's database had, and copy its rows into it, in one transaction.

    :returns: what was restored, and the tables whose rows were not.
    """
    pending = [step.name for step in pending_steps(archive.migrations())]
    # The role belongs to the server. Whoever may use it need not be able to create it.
    create_role = steps()[0].statements()[0]
    try:
        with connect(url) as connection, connection.transaction():
            connection.execute(load_sql("maintenance/set_no_timeouts"))
            for drop in target.drops:
                connection.execute(drop)
            connection.execute(load_sql("database/create_schema_migrations"))
            for statement in (one for step in steps() if step.name not in pending for one in step.statements()):
                if statement != create_role or not target.has_role:
                    connection.execute(statement)
            before = connection.execute(load_sql("maintenance/statements_before_rows")).fetchall()
            after = connection.execute(load_sql("maintenance/statements_after_rows")).fetchall()
            ours = {row.name for row in connection.execute(load_sql("maintenance/objects"))}
            for row in before:
                connection.execute(row.statement)
            _copy(connection, archive, ours, report)
            [counts] = connection.execute(load_sql("maintenance/count_contents")).fetchall()
            for row in after:
                connection.execute(row.statement)
    except psycopg.Error as error:
        reason = error.diag.message_primary or " ".join(str(error).split())
        raise ConfigurationError(f"the backup was not restored: {reason}") from None
    return Contents(*counts), sorted(archive.tables() - ours)


def _copy(
    connection: psycopg.Connection[Any],
    archive: Archive,
    tables: Collection[str],
    report: Callable[[float], None] | None,
) -> None:
    cursor = connection.cursor()
    with contextlib.closing(archive.rows(tables, report)) as copied:
        for rows in copied:
            connection.execute(load_sql("maintenance/set_encoding"), {"encoding": rows.encoding})
            with cursor.copy(f"copy public.{rows.table} {rows.columns} from stdin".encode()) as copy:
                for piece in rows.pieces:
                    copy.write(piece)


def _record(url: str, archive: Archive, contents: Contents, at: datetime) -> None:
    with connect(url) as connection, operator_transaction(connection, audit.INSTANCE, at) as opened:
        after: dict[str, Any] = {"madeAt": archive.made_at, **contents._asdict()}
        audit.record(opened, "instance.restored", archive.file.name, after=after)
