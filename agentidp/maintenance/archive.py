"""A backup file, as pg_restore reads it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from agentidp.config import ConfigurationError
from agentidp.db.database import SERVICE_ROLE
from agentidp.maintenance.postgres_programs import Installation, complaint

SECTIONS = ("pre-data", "data", "post-data")
"""The parts of a backup: tables, rows, and then what must wait for the rows."""

_PREAMBLE = re.compile(rb"--|SET |SELECT pg_catalog\.set_config\(|\\restrict|\s*$")
"""How the lines of a section begin before its first object."""

_TRANSACTION_TIMEOUT = b"SET transaction_timeout = 0;"
"""pg_restore 17 and newer print it, and servers before 17 refuse it."""

_OPERATORS_POLICY = re.compile(rb"(CREATE POLICY operator ON .+ TO ).+( USING \(true\);)$")
"""It names the owner of the tables, who may have another name where the backup is restored."""


_NOT_OURS = re.compile(r"\d+; \d+ \d+ (EXTENSION|COMMENT - EXTENSION|DEFAULT ACL|EVENT TRIGGER) ")
"""Entries of the list of an archive that belong to the server's administrator. An owner may not restore them."""

_GRANT_TO_OTHERS = re.compile(rf"(GRANT|REVOKE) .+ (TO|FROM) (?!{SERVICE_ROLE}\b|PUBLIC\b)".encode())
"""Rights of roles that may not exist where the backup is restored."""


_NULL = r"\N"
"""As COPY writes it."""


class Archive(NamedTuple):
    """A backup file, and the programs that read it."""

    file: Path
    programs: Installation
    made_at: datetime

    def keys(self) -> dict[str, bytes]:
        """The encrypted signing keys in the backup that are not revoked, by ``kid``."""
        found: dict[str, bytes] = {}
        for row in self._rows("signing_keys"):
            if row["revoked_at"] == _NULL:
                found[row["kid"]] = bytes.fromhex(row["private_key_encrypted"].removeprefix(r"\\x"))
        return found

    def migrations(self) -> list[str]:
        """The migrations that the backup's database had, in order.

        :raises ConfigurationError: the backup is not one of AgentIdP.
        """
        names = sorted(row["name"] for row in self._rows("schema_migrations"))
        if not names:
            raise ConfigurationError(f"{self.file} is not a backup of AgentIdP: it has no schema_migrations")
        return names

    def _rows(self, table: str) -> list[dict[str, str]]:
        """The rows of a table as COPY writes them, by column; nothing if the table is not there."""
        printed = _run(self.programs, self.file, "--data-only", f"--table={table}", "--file=-")
        copied = re.search(rf"^COPY public\.{table} \((.+)\) FROM stdin;\n((?:.*\n)*?)\\\.$", printed, re.MULTILINE)
        if copied is None:
            return []
        columns = copied[1].split(", ")
        return [dict(zip(columns, line.split("\t"), strict=True)) for line in copied[2].splitlines()]

    def statements(self, section: str, server: int, report: Callable[[float], None] | None = None) -> Iterator[bytes]:
        """The SQL of one of :data:`SECTIONS`, for a server of this major version, in pieces.

        :param report: is called with the share of the file that was read.
        :raises ConfigurationError: the file cannot be read to its end.
        """
        options = ["--no-owner", "--no-tablespaces", f"--section={section}", "--file=-"]
        program = str(self.programs.directory / "pg_restore")
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as wanted:
            printed = _run(self.programs, self.file, "--list")
            wanted.writelines(line for line in printed.splitlines(keepends=True) if not _NOT_OURS.match(line))
            wanted.flush()
            # pg_restore reads standard input if no file is named. It shares the position in the file with this process.
            with self.file.open("rb") as file:
                for piece in self._printed([program, *options, f"--use-list={wanted.name}"], file, section, server):
                    yield piece
                    if report:
                        report(os.lseek(file.fileno(), 0, os.SEEK_CUR) / os.fstat(file.fileno()).st_size)

    def _printed(self, command: list[str], file: IO[bytes], section: str, server: int) -> Iterator[bytes]:
        with subprocess.Popen(
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"LC_ALL": "C"}
        ) as process:
            assert process.stdout is not None  # noqa: S101 - asked for
            assert process.stderr is not None  # noqa: S101 - asked for
            try:
                yield from _adapted(process.stdout, section, server)
            except GeneratorExit:
                process.kill()
                raise
            printed = process.stderr.read().decode(errors="replace")
        if process.returncode:
            raise ConfigurationError(f"{self.file} cannot be read: {complaint(printed, process.returncode)}")


def read_archive(file: Path, programs: Installation) -> Archive:
    """Look into a backup.

    :raises ConfigurationError: it is none, or these programs are too old for it.
    """
    printed = _run(programs, file, "--list")
    made = re.search(r"^; Archive created at (\S+ \S+) UTC$", printed, re.MULTILINE)
    if made is None:
        raise ConfigurationError(f"{file} is not a backup: pg_restore finds no time in it")
    return Archive(file, programs, datetime.fromisoformat(made[1]).replace(tzinfo=UTC))


def _run(programs: Installation, file: Path, *options: str) -> str:
    done = subprocess.run(
        [programs.directory / "pg_restore", *options, file],
        env={"LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = complaint(done.stderr, done.returncode)
        raise ConfigurationError(f"PostgreSQL {programs.major}'s pg_restore cannot read {file}: {reason}")
    return done.stdout


def _adapted(printed: IO[bytes], section: str, server: int) -> Iterator[bytes]:
    """What pg_restore prints, without what this server or its owner's name would not allow."""
    for line in printed:
        if not (server < 17 and line.startswith(_TRANSACTION_TIMEOUT)):
            yield line
        if not _PREAMBLE.match(line):
            break
    if section != "data":
        for line in printed:
            if not _GRANT_TO_OTHERS.match(line):
                yield _OPERATORS_POLICY.sub(rb"\1CURRENT_USER\2", line)
    # Rows are passed on as they are: they may contain any text.
    while piece := printed.read(1 << 16):
        yield piece
