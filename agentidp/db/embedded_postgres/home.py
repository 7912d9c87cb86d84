"""The home directory of an embedded server: who may use it, and by which process it is locked."""

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from agentidp.db.embedded_postgres.account import Account, obstacle, service_account
from agentidp.db.embedded_postgres.errors import EmbeddedPostgresError
from agentidp.db.embedded_postgres.postmaster import is_alive, read_postmaster


def prepare_home(home: Path) -> Account | None:
    """Make `home` if it is missing, and make sure that the account the server will run in can reach it.

    Returns: that account; None if the server runs as the current user.

    Errors: EmbeddedPostgresError if another user owns the data, or the account cannot reach `home`.
    """
    root = os.geteuid() == 0
    for directory in reversed([home, *home.parents]):
        if not directory.exists():
            with contextlib.suppress(FileExistsError):
                directory.mkdir(0o700)
                directory.chmod(0o711 if root else 0o700)
    account = service_account() if root else None
    uid = account.pw_uid if account else os.geteuid()
    data = home / "data"
    # Checked before anything is written: a start as the wrong user must leave nothing that the right one cannot use.
    if data.exists() and (owner := data.stat().st_uid) != uid:
        raise EmbeddedPostgresError(
            f"PostgreSQL would run as the user id {uid}, and {data} belongs to {owner}: "
            "start AgentIdP as the user that made it"
        )
    if account is not None:
        _let_in(account, home)
    return account


def _let_in(account: Account, home: Path) -> None:
    status = home.stat()
    if status.st_uid != 0 or status.st_mode & 0o022:
        raise EmbeddedPostgresError(
            f"AgentIdP runs as root, and {home} is not root's or is writable by others: "
            "choose another AGENTIDP_DATA_DIR"
        )
    if closed := obstacle(home.parent, account):
        raise EmbeddedPostgresError(
            f"PostgreSQL runs in the account {account.pw_name}, which may not enter {closed}: "
            "choose another AGENTIDP_DATA_DIR"
        )
    if obstacle(home, account):
        home.chmod(status.st_mode | 0o001)


@contextlib.contextmanager
def locked(home: Path, deadline: float, *, has_run: bool) -> Iterator[int]:
    """Lock `home`; yield the open lock file.

    All processes of PostgreSQL inherit the file and we close ours, so that `home` is locked exactly as long as
    one of them lives. Process ids cannot show this, because they are reused.

    Arguments:
        deadline: of the monotonic clock; until then, wait for a server that is stopping.
        has_run: whether this process ran a server here, which may have left processes behind.

    Errors: EmbeddedPostgresError if another AgentIdP keeps the lock.
    """
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # A server needs a moment to notice that its launcher has died.
        grace = min(time.monotonic() + 0.5, deadline)
        was_interrupted = False
        while not _try_lock(lock):
            launcher, server = int(os.pread(lock, 20, 0) or 0), read_postmaster(home)
            orphaned = not is_alive(launcher)
            # The processes of a killed server, each until it has noticed.
            remains = has_run and launcher == os.getpid()
            stopping = orphaned or remains or server.status == "stopping"
            if orphaned and server.pid and not was_interrupted and sys.platform != "linux":
                os.kill(server.pid, signal.SIGINT)  # Linux itself has sent it
                was_interrupted = True
            if time.monotonic() > (deadline if stopping else grace):
                raise EmbeddedPostgresError(
                    f"the PostgreSQL of an earlier AgentIdP on {home} has not shut down yet"
                    if stopping
                    else f"another AgentIdP already runs on {home} (pid {launcher})"
                )
            time.sleep(0.02)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
