"""What a running server says about itself in `postmaster.pid`, and the URL at which it takes connections."""

import os
import socket
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from agentidp.db.embedded_postgres.errors import EmbeddedPostgresError

NAME = "agentidp"  # of the superuser and of the database
PORT = 5432  # only a part of the socket's name


class Postmaster(NamedTuple):
    """The server's process id, and the directory of its socket; zero and empty if there is no server."""

    pid: int = 0
    socket_directory: str = ""
    status: str = ""


def read_postmaster(home: Path) -> Postmaster:
    """What `postmaster.pid` says; zeros if there is none, or it is still being written."""
    try:
        lines = os.fsdecode((home / "data" / "postmaster.pid").read_bytes()).split("\n")
        return Postmaster(int(lines[0]), lines[4], lines[7].strip())
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
        return Postmaster()


def is_alive(pid: int) -> bool:
    """Whether a process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def server_url(password: str, socket_directory: str) -> str:
    """The URL of the server, with its password."""
    host = quote(os.fsencode(socket_directory), safe="")
    return f"postgresql://{NAME}:{quote(password, safe='')}@/{NAME}?host={host}&port={PORT}"


def running_url(home: Path) -> str | None:
    """The URL of the server that another process runs on `home`; None if none there takes connections.

    Arguments:
        home: as for EmbeddedPostgres.

    Errors: EmbeddedPostgresError if this user may not read what is there.
    """
    home = Path(home).resolve()
    try:
        server = read_postmaster(home)
        if server.status != "ready" or not is_alive(server.pid):
            return None
        password = (home / "password").read_text()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(f"{server.socket_directory}/.s.PGSQL.{PORT}")
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"the user id {os.geteuid()} may not read {error.filename or home}: be the user that started it"
        ) from error
    except OSError:
        return None
    return server_url(password, server.socket_directory)
