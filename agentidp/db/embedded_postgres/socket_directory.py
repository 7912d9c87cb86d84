"""The directory of the server's UNIX socket."""

import os
import shutil
import tempfile
from pathlib import Path

from agentidp.db.embedded_postgres.account import Account, give_to
from agentidp.db.embedded_postgres.postmaster import PORT

LONGEST_SOCKET_PATH = 103  # bytes; sockaddr_un holds 107 on Linux, 103 on macOS


class SocketDirectory:
    """`socket` below `home`; or a directory in /tmp, if that path is too long, to which `socket` is then a link."""

    def __init__(self, home: Path) -> None:
        self._path = home / "socket"
        self._temporary: str | None = None

    def make(self, account: Account | None) -> str:
        """Make an empty private directory and remove what a killed server left; return its path.

        The path does not change until `remove` is called, so that a server that is started again keeps its URL.
        """
        if self._temporary:
            for left in Path(self._temporary).iterdir():
                left.unlink()
            return self._temporary
        path = self._path
        if path.is_symlink():
            shutil.rmtree(path.readlink(), ignore_errors=True)
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
        # libpq reads a comma in a URL as the end of a host.
        if len(os.fsencode(path / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET_PATH and "," not in str(path):
            path.mkdir(0o700)
            directory = str(path)
        else:
            self._temporary = directory = tempfile.mkdtemp(prefix="agentidp-", dir="/tmp")
            path.symlink_to(directory)  # with which the next start finds it, if this process is killed
        give_to(account, directory)
        return directory

    def forget(self) -> None:
        """Leave the directory to the process that made it: this one is its fork."""
        self._temporary = None

    def remove(self) -> None:
        """Remove a directory in /tmp."""
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
