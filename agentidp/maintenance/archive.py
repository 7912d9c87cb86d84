"""A backup file, as pg_restore reads it."""

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
"""How the list of an archive names the rows of a table."""

_PREAMBLE = re.compile(
    rb"""
    SET[ ]client_encoding[ ]=[ ]'(?P<encoding>\w+)';
    | --.* | SET[ ].*; | SELECT[ ]pg_catalog[.]set_config[(].*; | \\(un)?restrict[ ].* | \s*
    """,
    re.VERBOSE,
)
"""The lines between the rows of two tables. None of them is run."""

_COPY = re.compile(rb"COPY public[.](?P<table>[a-z0-9_]+) (?P<columns>[(][a-z0-9_, ]+[)]) FROM stdin;\s*")
_END_OF_ROWS = b"\\.\n"

_PIECE = 1 << 16
"""Bytes that are passed on together."""

_NULL = r"\N"
"""As COPY writes it."""


class TableRows(NamedTuple):
    """The rows of a table, in the text format of COPY."""

    table: str
    """Its name, and those of the columns, consist of a-z, 0-9 and _, so no statement can be hidden in them."""

    columns: str
    """Names in parentheses."""

    encoding: str
    """PostgreSQL's name of it."""

    pieces: Iterator[bytes]


class Archive(NamedTuple):
    """A backup file, and the programs that read it."""

    file: Path
    programs: Installation
    made_at: datetime

    def keys(self) -> dict[str, bytes]:
        """The encrypted signing keys in the backup that are not revoked, by ``kid``."""
        return {
            row["kid"]: bytes.fromhex(row["private_key_encrypted"].removeprefix(r"\\x"))
            for row in self._rows("signing_keys")
            if row["revoked_at"] == _NULL
        }

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

    def tables(self) -> set[str]:
        """The tables of which there are rows; with their schema, if it is another than public."""
        found = _TABLE.findall(_run(self.programs, self.file, "--list"))
        return {name if schema == "public" else f"{schema}.{name}" for schema, name in found}

    def rows(
        self, tables: Collection[str], report: Callable[[float], None] | None = None
    ) -> Generator[TableRows, None, None]:
        """The rows of tables in the schema public, one table after the other. Close the iterator if you leave it early.

        What pg_restore prints is SQL that whoever made the file may have written, so nothing else is taken from it.

        :param report: is called with the share of the file that was read.
        :raises ConfigurationError: the file cannot be read to its end, or contains something else.
        """
        command = [str(self.programs.directory / "pg_restore"), "--section=data", "--file=-"]
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as wanted:
            for line in _run(self.programs, self.file, "--list").splitlines(keepends=True):
                found = _TABLE.match(line)
                if found and found[1] == "public" and found[2] in tables:
                    wanted.write(line)
            wanted.flush()
            # pg_restore reads standard input if no file is named. It shares the position in the file with this process.
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
    """The rows of one table. If they have no end, neither has the file, which pg_restore complains about."""
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
