"""The home directory of an embedded server: its owner, its lock, its socket, and the state of a running server."""

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be used. The message is one sentence for the operator."""


NAME = "agentidp"  # The name of the superuser and of the database.
PORT = 5432  # The number in the socket's name. The server has no TCP port.


class Postmaster(NamedTuple):
    """The state of a PostgreSQL server. Without a server, the process id is zero and the strings are empty."""

    pid: int = 0
    socket_directory: str = ""
    status: str = ""


def read_postmaster(home: Path) -> Postmaster:
    """Return the server's state from `postmaster.pid`, or an empty state if the file is missing or incomplete."""
    try:
        lines = os.fsdecode((home / "data" / "postmaster.pid").read_bytes()).split("\n")
        return Postmaster(int(lines[0]), lines[4], lines[7].strip())
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
        return Postmaster()


def is_alive(pid: int) -> bool:
    """Return whether a process has the id *pid*."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def server_url(password: str, socket_directory: str) -> str:
    """Return the server's URL, including the password."""
    host = quote(os.fsencode(socket_directory), safe="")
    return f"postgresql://{NAME}:{quote(password, safe='')}@/{NAME}?host={host}&port={PORT}"


def find_url(home: Path) -> str | None:
    """Return the URL of the server that another process runs in `home`, or None if no server accepts connections.

    Errors: EmbeddedPostgresError if this user may not read the server's files.
    """
    home = Path(home).resolve()
    try:
        postmaster = read_postmaster(home)
        if postmaster.status != "ready" or not is_alive(postmaster.pid):
            return None
        password = (home / "password").read_text()
        with socket.socket(socket.AF_UNIX) as probe_socket:
            probe_socket.settimeout(5)
            probe_socket.connect(f"{postmaster.socket_directory}/.s.PGSQL.{PORT}")
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"the user id {os.geteuid()} may not read {error.filename or home}: run this as the user that owns it"
        ) from error
    except OSError:
        return None
    return server_url(password, postmaster.socket_directory)


Account = pwd.struct_passwd


def find_service_account() -> Account:
    """Return the user account for a server that root starts. Raise EmbeddedPostgresError if none is suitable."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedPostgresError("PostgreSQL refuses to run as root, and there is no account postgres or nobody")


def find_closed_directory(path: Path, account: Account) -> Path | None:
    """Return the topmost part of `path` that `account` may not enter or execute. None if there is no such part."""
    for directory in [*reversed(path.parents), path]:
        directory_status = directory.stat()
        is_owner, is_in_group = directory_status.st_uid == account.pw_uid, directory_status.st_gid == account.pw_gid
        if not directory_status.st_mode & (0o100 if is_owner else 0o010 if is_in_group else 0o001):
            return directory
    return None


def change_owner(account: Account | None, path: Path | str) -> None:
    """Make `account` the owner of `path`. Do nothing if `account` is None."""
    if account:
        os.chown(path, account.pw_uid, account.pw_gid)


def prepare_home(home: Path) -> Account | None:
    """Create the directory `home` if it is missing, and check that the server's account can reach it.

    Returns: the account of the server; None if the server runs as the current user.

    Errors: EmbeddedPostgresError if another user owns the data, or the account cannot reach `home`.
    """
    is_root = os.geteuid() == 0
    for directory in reversed([home, *home.parents]):
        if not directory.exists():
            with contextlib.suppress(FileExistsError):
                directory.mkdir(0o700)
                directory.chmod(0o711 if is_root else 0o700)
    account = find_service_account() if is_root else None
    process_uid = account.pw_uid if account else os.geteuid()
    data_directory = home / "data"
    # The user is checked before any file is written, because the owner of the data could not open another user's files.
    if data_directory.exists() and (owner_id := data_directory.stat().st_uid) != process_uid:
        raise EmbeddedPostgresError(
            f"PostgreSQL would run as the user id {process_uid}, and {data_directory} belongs to {owner_id}: "
            "start AgentIdP as the user that made it"
        )
    if account is not None:
        _give_account_access(account, home)
    return account


def _give_account_access(account: Account, home: Path) -> None:
    home_status = home.stat()
    if home_status.st_uid != 0 or home_status.st_mode & 0o022:
        raise EmbeddedPostgresError(
            f"AgentIdP runs as root, and {home} is not root's or is writable by others: "
            "choose another AGENTIDP_DATA_DIR"
        )
    if inaccessible_directory := find_closed_directory(home.parent, account):
        raise EmbeddedPostgresError(
            f"PostgreSQL runs in the account {account.pw_name}, which may not enter {inaccessible_directory}: "
            "choose another AGENTIDP_DATA_DIR"
        )
    if find_closed_directory(home, account):
        home.chmod(home_status.st_mode | 0o001)


@contextlib.contextmanager
def lock_home(home: Path, deadline: float, *, has_run_server: bool) -> Iterator[int]:
    """Lock the directory `home`, and yield the open lock file.

    PostgreSQL's processes inherit the open file, so `home` stays locked as long as one of them lives.

    Arguments:
        deadline: the monotonic time until which to wait for a server that is stopping.
        has_run_server: whether this process ran a server here, which may have left processes behind.

    Errors: EmbeddedPostgresError if another AgentIdP has the lock.
    """
    lock_file = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # PostgreSQL needs a moment to notice that its AgentIdP has died. So this process retries for half a second
        # before it reports that another AgentIdP runs.
        grace_deadline = min(time.monotonic() + 0.5, deadline)
        was_interrupted = False
        while not _lock_file(lock_file):
            launcher_pid, postmaster = int(os.pread(lock_file, 20, 0) or 0), read_postmaster(home)
            is_orphaned = not is_alive(launcher_pid)
            # Processes of a killed server hold the lock for a moment, until they notice that the server has ended.
            has_own_processes = has_run_server and launcher_pid == os.getpid()
            is_stopping = is_orphaned or has_own_processes or postmaster.status == "stopping"
            if is_orphaned and postmaster.pid and not was_interrupted and sys.platform != "linux":
                os.kill(postmaster.pid, signal.SIGINT)  # On Linux, the kernel sends this signal.
                was_interrupted = True
            if time.monotonic() > (deadline if is_stopping else grace_deadline):
                raise EmbeddedPostgresError(
                    f"the PostgreSQL of an earlier AgentIdP on {home} has not shut down yet"
                    if is_stopping
                    else f"another AgentIdP already runs on {home} (pid {launcher_pid})"
                )
            time.sleep(0.02)
        os.ftruncate(lock_file, 0)
        os.pwrite(lock_file, str(os.getpid()).encode(), 0)
        yield lock_file
    finally:
        os.close(lock_file)


def _lock_file(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


MAX_SOCKET_PATH = 103  # Maximum bytes of a socket's path on macOS. Linux allows 107.


class SocketDirectory:
    """The directory of the server's socket: `socket` in `home`, or a directory in /tmp to which `socket` links."""

    def __init__(self, home: Path) -> None:
        self._path = home / "socket"
        self._temporary: str | None = None

    def create(self, account: Account | None) -> str:
        """Create an empty private directory for the socket, and return its path."""
        if self._temporary:
            for leftover_file in Path(self._temporary).iterdir():
                leftover_file.unlink()
            return self._temporary
        preferred_path = self._path
        if preferred_path.is_symlink():
            shutil.rmtree(preferred_path.readlink(), ignore_errors=True)
            preferred_path.unlink()
        elif preferred_path.exists():
            shutil.rmtree(preferred_path)
        # The path must not contain a comma, because libpq reads a comma in a URL as the separator of two hosts.
        if len(os.fsencode(preferred_path / f".s.PGSQL.{PORT}")) <= MAX_SOCKET_PATH and "," not in str(preferred_path):
            preferred_path.mkdir(0o700)
            socket_directory = str(preferred_path)
        else:
            self._temporary = socket_directory = tempfile.mkdtemp(prefix="agentidp-", dir="/tmp")
            preferred_path.symlink_to(socket_directory)  # The link leads the next start here if this process is killed.
        change_owner(account, socket_directory)
        return socket_directory

    def remove(self) -> None:
        """Remove the socket's directory in /tmp, if there is one."""
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
