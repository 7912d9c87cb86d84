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

from agentidp.config import ConfigurationError, Settings
from agentidp.maintenance.postgres_programs import Installation, find_first_error, find_restore_programs

_TABLE = re.compile(r"^\d+; \d+ \d+ TABLE DATA (\S+) (\S+) ", re.MULTILINE)
"""Regular expression for a table's entry in the table of contents that pg_restore prints."""

_PREAMBLE = re.compile(
    rb"""
    SET[ ]client_encoding[ ]=[ ]'(?P<encoding>\w+)';
    | --.* | SET[ ].*; | SELECT[ ]pg_catalog[.]set_config[(].*; | \\(un)?restrict[ ].* | \s*
    """,
    re.VERBOSE,
)
"""Regular expression for the lines that pg_restore prints between two tables. These lines are never executed."""

_COPY = re.compile(rb"COPY public[.](?P<table>[a-z0-9_]+) (?P<columns>[(][a-z0-9_, ]+[)]) FROM stdin;\s*")
_END_OF_ROWS = b"\\.\n"

MIN_PIECE_SIZE = 1 << 16
"""Minimum number of bytes per piece of a table's rows, except for the last piece."""

_NULL = r"\N"
"""The representation of null in the text format of COPY."""


class TableRows(NamedTuple):
    """The rows of a table, in the text format of COPY."""

    table: str
    """The table's name. Names of tables and columns contain only a-z, 0-9 and _, so they cannot hide SQL."""

    columns: str
    """The names of the columns in parentheses, separated by commas."""

    encoding: str
    """PostgreSQL's name for the encoding of the rows."""

    pieces: Iterator[bytes]


class Archive(NamedTuple):
    """A backup file, and the PostgreSQL programs that read it."""

    file: Path
    programs: Installation
    made_at: datetime

    def read_keys(self) -> dict[str, bytes]:
        """Return the encrypted signing keys in the backup that are not revoked, by ``kid``."""
        return {
            row["kid"]: bytes.fromhex(row["private_key_encrypted"].removeprefix(r"\\x"))
            for row in self._read_table("signing_keys")
            if row["revoked_at"] == _NULL
        }

    def list_migrations(self) -> list[str]:
        """Return the names of the migrations that the backup's database had, in order.

        :raises ConfigurationError: the backup is not from AgentIdP.
        """
        migration_names = sorted(table_row["name"] for table_row in self._read_table("schema_migrations"))
        if not migration_names:
            raise ConfigurationError(f"{self.file} is not a backup of AgentIdP: it has no schema_migrations")
        return migration_names

    def _read_table(self, table: str) -> list[dict[str, str]]:
        """Return a table's rows, by column name, with values in COPY's text format. A missing table has no rows."""
        output = _run_pg_restore(self.programs, self.file, "--data-only", f"--table={table}", "--file=-")
        copy_match = re.search(rf"^COPY public\.{table} \((.+)\) FROM stdin;\n((?:.*\n)*?)\\\.$", output, re.MULTILINE)
        if copy_match is None:
            return []
        columns = copy_match[1].split(", ")
        return [dict(zip(columns, row_line.split("\t"), strict=True)) for row_line in copy_match[2].splitlines()]

    def list_tables(self) -> set[str]:
        """Return the names of the tables in the backup. Names outside the schema public begin with their schema."""
        schemas_and_tables = _TABLE.findall(_run_pg_restore(self.programs, self.file, "--list"))
        return {
            table_name if schema_name == "public" else f"{schema_name}.{table_name}"
            for schema_name, table_name in schemas_and_tables
        }

    def read_rows(
        self, tables: Collection[str], report: Callable[[float], None] | None = None
    ) -> Generator[TableRows, None, None]:
        """Yield the rows of *tables* in the schema public. To stop pg_restore before the last row, close the iterator.

        :param report: called with the share of the file that was read, from 0 to 1.
        :raises ConfigurationError: the file cannot be read to its end, or contains SQL other than rows.
        """
        command = [str(self.programs.directory / "pg_restore"), "--section=data", "--file=-"]
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as table_list_file:
            for list_line in _run_pg_restore(self.programs, self.file, "--list").splitlines(keepends=True):
                table_entry = _TABLE.match(list_line)
                if table_entry and table_entry[1] == "public" and table_entry[2] in tables:
                    table_list_file.write(list_line)
            table_list_file.flush()
            # pg_restore reads the file from standard input, so that this process can report the position in the file.
            with self.file.open("rb") as backup_file:
                for table_rows in self._run_and_parse([*command, f"--use-list={table_list_file.name}"], backup_file):
                    yield table_rows
                    if report:
                        report(os.lseek(backup_file.fileno(), 0, os.SEEK_CUR) / os.fstat(backup_file.fileno()).st_size)

    def _run_and_parse(self, command: list[str], file: IO[bytes]) -> Iterator[TableRows]:
        with subprocess.Popen(
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"LC_ALL": "C"}
        ) as process:
            assert process.stdout is not None  # noqa: S101 - a pipe was requested
            assert process.stderr is not None  # noqa: S101 - a pipe was requested
            try:
                yield from self._parse_tables(process.stdout)
            except BaseException:
                process.kill()
                raise
            error_output = process.stderr.read().decode(errors="replace")
        if process.returncode:
            raise ConfigurationError(
                f"{self.file} cannot be read: {find_first_error(error_output, process.returncode)}"
            )

    def _parse_tables(self, output: IO[bytes]) -> Iterator[TableRows]:
        encoding = "UTF8"
        for sql_line in output:
            if copy_match := _COPY.fullmatch(sql_line):
                table_name, columns = copy_match["table"].decode(), copy_match["columns"].decode()
                yield TableRows(table_name, columns, encoding, _read_pieces(output))
            elif preamble_match := _PREAMBLE.fullmatch(sql_line.rstrip(b"\n")):
                encoding = (preamble_match["encoding"] or encoding.encode()).decode()
            else:
                # SQL other than rows is refused, because the author of the file may have added harmful statements.
                raise ConfigurationError(
                    f"{self.file} contains SQL other than rows, so it is no unchanged backup by agentidp backup"
                )


def _read_pieces(output: IO[bytes]) -> Iterator[bytes]:
    """Yield the rows of one table in pieces, up to the end mark or, if pg_restore fails, the end of *output*."""
    row_lines: list[bytes] = []
    piece_size = 0
    for row_line in output:
        if row_line == _END_OF_ROWS:
            break
        row_lines.append(row_line)
        piece_size += len(row_line)
        if piece_size >= MIN_PIECE_SIZE:
            yield b"".join(row_lines)
            row_lines, piece_size = [], 0
    yield b"".join(row_lines)


def open_archive(file: Path, *, bindir: Path | None, settings: Settings) -> Archive:
    """Return the archive of a backup file. The newest installed pg_restore will read the file.

    :raises ConfigurationError: *file* is not a backup, or the programs are too old for it.
    """
    programs = find_restore_programs(bindir, settings)
    table_of_contents = _run_pg_restore(programs, file, "--list")
    time_match = re.search(r"^; Archive created at (\S+ \S+) UTC$", table_of_contents, re.MULTILINE)
    if time_match is None:
        raise ConfigurationError(f"{file} is not a backup: pg_restore finds no time in it")
    return Archive(file, programs, datetime.fromisoformat(time_match[1]).replace(tzinfo=UTC))


def _run_pg_restore(programs: Installation, file: Path, *options: str) -> str:
    process = subprocess.run(
        [programs.directory / "pg_restore", *options, file],
        env={"LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if process.returncode:
        reason = find_first_error(process.stderr, process.returncode)
        raise ConfigurationError(f"PostgreSQL {programs.major}'s pg_restore cannot read {file}: {reason}")
    return process.stdout
