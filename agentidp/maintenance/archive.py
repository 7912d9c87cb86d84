"""Reads backup files with pg_restore."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Collection, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from agentidp.config import ConfigurationError
from agentidp.maintenance.postgres_programs import Installation, complaint

_TABLE = re.compile(r"^\d+; \d+ \d+ TABLE DATA (\S+) (\S+) ", re.MULTILINE)
"""Matches an entry for a table's rows in the table of contents that pg_restore prints."""

_PREAMBLE = re.compile(
    rb"""
    SET[ ]client_encoding[ ]=[ ]'(?P<encoding>\w+)';
    | --.* | SET[ ].*; | SELECT[ ]pg_catalog[.]set_config[(].*; | \\(un)?restrict[ ].* | \s*
    """,
    re.VERBOSE,
)
"""Matches the lines that pg_restore prints between two tables' rows. They are never executed."""

_COPY = re.compile(rb"COPY public[.](?P<table>[a-z0-9_]+) (?P<columns>[(][a-z0-9_, ]+[)]) FROM stdin;\s*")
_END_OF_ROWS = b"\\.\n"

_PIECE = 1 << 16
"""Minimum bytes per piece of a table's rows, except the last piece."""

_NULL = r"\N"
"""The notation of null in COPY's text format."""


class TableRows(NamedTuple):
    """The rows of a table, in the text format of COPY."""

    table: str
    """The table's name. Names of tables and columns contain only a-z, 0-9 and _, so they cannot hide SQL."""

    columns: str
    """The column names, separated by commas, in parentheses."""

    encoding: str
    """PostgreSQL's name of the encoding."""

    pieces: Iterator[bytes]


class Archive(NamedTuple):
    """A backup file, and the PostgreSQL programs that read it."""

    file: Path
    programs: Installation
    made_at: datetime

    def keys(self) -> dict[str, bytes]:
        """Return the backup's encrypted signing keys that are not revoked, by ``kid``."""
        return {
            row["kid"]: bytes.fromhex(row["private_key_encrypted"].removeprefix(r"\\x"))
            for row in self._rows("signing_keys")
            if row["revoked_at"] == _NULL
        }

    def migrations(self) -> list[str]:
        """Return the names of the migrations that the backup's database had, in order.

        :raises ConfigurationError: the backup is not from AgentIdP.
        """
        names = sorted(row["name"] for row in self._rows("schema_migrations"))
        if not names:
            raise ConfigurationError(f"{self.file} is not a backup of AgentIdP: it has no schema_migrations")
        return names

    def _rows(self, table: str) -> list[dict[str, str]]:
        """Return a table's rows as dictionaries of values in COPY's text format. Empty if the table is missing."""
        printed = _run(self.programs, self.file, "--data-only", f"--table={table}", "--file=-")
        copied = re.search(rf"^COPY public\.{table} \((.+)\) FROM stdin;\n((?:.*\n)*?)\\\.$", printed, re.MULTILINE)
        if copied is None:
            return []
        columns = copied[1].split(", ")
        return [dict(zip(columns, line.split("\t"), strict=True)) for line in copied[2].splitlines()]

    def tables(self) -> set[str]:
        """Return the tables whose rows are in the backup, prefixed with their schema unless it is public."""
        found = _TABLE.findall(_run(self.programs, self.file, "--list"))
        return {name if schema == "public" else f"{schema}.{name}" for schema, name in found}

    def rows(
        self, tables: Collection[str], report: Callable[[float], None] | None = None
    ) -> Generator[TableRows, None, None]:
        """Yield the rows of each table in the schema public. Close the iterator if you do not exhaust it.

        pg_restore prints SQL that the author of the file may have manipulated, so only rows are taken from its output.

        :param report: called with the share of the file that was read.
        :raises ConfigurationError: the file cannot be read to its end, or contains anything but rows.
        """
        command = [str(self.programs.directory / "pg_restore"), "--section=data", "--file=-"]
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as wanted:
            for line in _run(self.programs, self.file, "--list").splitlines(keepends=True):
                found = _TABLE.match(line)
                if found and found[1] == "public" and found[2] in tables:
                    wanted.write(line)
            wanted.flush()
            # pg_restore reads standard input, and so shares the file position with this process, which reports it.
            with self.file.open("rb") as file:
                for copied in self._printed([*command, f"--use-list={wanted.name}"], file):
                    yield copied
                    if report:
                        report(os.lseek(file.fileno(), 0, os.SEEK_CUR) / os.fstat(file.fileno()).st_size)

    def _printed(self, command: list[str], file: IO[bytes]) -> Iterator[TableRows]:
        with subprocess.Popen(
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"LC_ALL": "C"}
        ) as process:
            assert process.stdout is not None  # noqa: S101 - asked for
            assert process.stderr is not None  # noqa: S101 - asked for
            try:
                yield from self._parsed(process.stdout)
            except BaseException:
                process.kill()
                raise
            printed = process.stderr.read().decode(errors="replace")
        if process.returncode:
            raise ConfigurationError(f"{self.file} cannot be read: {complaint(printed, process.returncode)}")

    def _parsed(self, printed: IO[bytes]) -> Iterator[TableRows]:
        encoding = "UTF8"
        for line in printed:
            if copied := _COPY.fullmatch(line):
                table, columns = copied["table"].decode(), copied["columns"].decode()
                yield TableRows(table, columns, encoding, _pieces(printed))
            elif preamble := _PREAMBLE.fullmatch(line.rstrip(b"\n")):
                encoding = (preamble["encoding"] or encoding.encode()).decode()
            else:
                raise ConfigurationError(
                    f"{self.file} contains something else than rows, as no backup by agentidp backup does"
                )


def _pieces(printed: IO[bytes]) -> Iterator[bytes]:
    """Yield the rows of one table. If their end mark is missing, the file is truncated, and pg_restore fails."""
    lines: list[bytes] = []
    size = 0
    for line in printed:
        if line == _END_OF_ROWS:
            break
        lines.append(line)
        size += len(line)
        if size >= _PIECE:
            yield b"".join(lines)
            lines, size = [], 0
    yield b"".join(lines)


def read_archive(file: Path, programs: Installation) -> Archive:
    """Read the time of a backup, and return its archive.

    :raises ConfigurationError: *file* is not a backup, or the programs are too old for it.
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
