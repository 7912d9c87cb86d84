"""A server for tests, which leaves nothing behind."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentidp.db.embedded_postgres.server import EmbeddedPostgres

MEMORY = "/dev/shm"  # noqa: S108
ENOUGH_MEMORY = 2 << 30  # bytes; in a container it is 64 MB by default


@contextlib.contextmanager
def temporary(*, durable: bool = False, **options: Any) -> Iterator[EmbeddedPostgres]:
    """A running throw-away server without fsync, in memory if possible; afterwards all its data is removed.

    Arguments:
        durable, options: as for EmbeddedPostgres, without `home`.

    Errors: EmbeddedPostgresError, as from `EmbeddedPostgres.start`.
    """
    directory = tempfile.mkdtemp(prefix="agentidp-", dir=_throw_away_directory(durable))
    try:
        with EmbeddedPostgres(Path(directory), durable=durable, **options) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _throw_away_directory(durable: bool) -> str:
    """The parent of a throw-away server's home: short, for the socket's path; in memory if there is enough of it.

    A new database is copied in 8 ms in memory and in 200 ms on a virtual disk, and each test has one. A durable server
    must wait for a disk.
    """
    if not durable:
        with contextlib.suppress(OSError):
            space = os.statvfs(MEMORY)
            if os.access(MEMORY, os.W_OK) and space.f_bavail * space.f_frsize >= ENOUGH_MEMORY:
                return MEMORY
    return "/tmp"  # noqa: S108
