"""Restore a backup into a database: all of it in one transaction, or nothing."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from agentidp import audit
from agentidp.config import ConfigurationError, Settings
from agentidp.db.database import connect
from agentidp.db.migrations import migrate, pending_steps, refuse_missing_rights, statements_of, steps
from agentidp.db.organization import operator_transaction
from agentidp.db.sql import load_sql
from agentidp.jose.key_rotation import ensure_signing_key
from agentidp.jose.key_sealing import KeySealer, UnreadableKey
from agentidp.maintenance.archive import SECTIONS, Archive, read_archive
from agentidp.maintenance.backup import Contents, refuse_citus
from agentidp.maintenance.postgres_programs import complaint, connection_arguments, for_restore

ENDING = 2.0
"""Seconds for which a session may still be there after its client has closed it."""


class Restored(NamedTuple):
    """What was restored."""

    contents: Contents
    made_at: datetime
    migrations: list[str]
    """Those that the backup lacked, and that were applied afterwards."""


class Target(NamedTuple):
    """The database into which a backup is restored."""

    name: str
    server: int
    """The major version."""

    has_role: bool
    """Whether the server has the role that the backup grants rights to."""

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
        server = connection.info.server_version // 10_000
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
    return Target(row.database_name, server, bool(roles), [drop.statement for drop in drops], contents)


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
    pending_steps(archive.migrations(), "the backup", "restore the backup with it")
    if not target.is_empty:
        _refuse_unreadable_keys(settings, archive)
    contents = _run(url, archive, target, report)
    try:
        applied = migrate(url)
        _record(url, archive, contents, at)
        ensure_signing_key(settings, at=at)
    except (ConfigurationError, psycopg.Error) as error:
        raise ConfigurationError(f"the backup was restored ({contents}), but {error}") from None
    return Restored(contents, archive.made_at, applied)


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


def _run(url: str, archive: Archive, target: Target, report: Callable[[float], None] | None) -> Contents:
    """Run the backup's statements in one transaction by psql, which commits only if all of them were read and run."""
    arguments, environment = connection_arguments(url)
    options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--file=-"]
    command = [str(archive.programs.directory / "psql"), *arguments, *options]
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=printed, stderr=complaints
        ) as psql:
            assert psql.stdin is not None  # noqa: S101 - asked for
            # If psql gives up early, its own sentence says why.
            with contextlib.suppress(BrokenPipeError), psql.stdin as statements:
                for piece in _script(archive, target, report):
                    statements.write(piece)
        complaints.seek(0)
        if psql.returncode:
            reason = complaint(complaints.read().decode(errors="replace"), psql.returncode)
            raise ConfigurationError(f"the backup was not restored: {reason}")
        printed.seek(0)
        [counts] = [line for line in printed.read().decode().splitlines() if line.count("|") == 2]
    return Contents(*map(int, counts.split("|")))


def _script(archive: Archive, target: Target, report: Callable[[float], None] | None) -> Iterator[bytes]:
    # Everything but the final line does nothing by itself: what ends before it is rolled back.
    yield b"begin;\n"
    yield from (f"{drop};\n".encode() for drop in target.drops)
    # The role that the backup grants rights to belongs to the server, and so is in no backup.
    create_role, grant_role, *_ = statements_of(steps()[0].files[0].read_text(encoding="utf-8"))
    for statement in [grant_role] if target.has_role else [create_role, grant_role]:
        yield f"{statement};\n".encode()
    yield from archive.statements(SECTIONS[0], target.server)
    yield from archive.statements(SECTIONS[1], target.server, report)
    # Row-level security begins in the last section.
    yield b"set search_path = public;\n" + _statement("maintenance/count_contents")
    yield from archive.statements(SECTIONS[2], target.server)
    yield b"commit;\n"


def _statement(name: str) -> bytes:
    return f"{load_sql(name)};\n".encode()


def _record(url: str, archive: Archive, contents: Contents, at: datetime) -> None:
    with connect(url) as connection, operator_transaction(connection, audit.INSTANCE, at) as opened:
        after: dict[str, Any] = {"madeAt": archive.made_at, **contents._asdict()}
        audit.record(opened, "instance.restored", archive.file.name, after=after)
