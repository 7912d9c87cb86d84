"""Temporary servers for tests."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentidp.db.embedded_postgres.server import EmbeddedPostgres

MEMORY = "/dev/shm"  # noqa: S108
ENOUGH_MEMORY = 2 << 30  # Minimum free bytes in MEMORY. A container has 64 MB by default.


@contextlib.contextmanager
def temporary(*, durable: bool = False, **options: Any) -> Iterator[EmbeddedPostgres]:
    """Run a temporary server, whose data is removed afterwards. Unless `durable`, it has no fsync and uses memory.

    Options and errors are those of EmbeddedPostgres.
    """
    directory = tempfile.mkdtemp(prefix="agentidp-", dir=_throw_away_directory(durable))
    try:
        with EmbeddedPostgres(Path(directory), durable=durable, **options) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _throw_away_directory(durable: bool) -> str:
    # Creating a test's database takes 8 ms in memory and 200 ms on a virtual disk. The path of a socket must be short.
    if not durable:
        with contextlib.suppress(OSError):
            space = os.statvfs(MEMORY)
            if os.access(MEMORY, os.W_OK) and space.f_bavail * space.f_frsize >= ENOUGH_MEMORY:
                return MEMORY
    return "/tmp"  # noqa: S108
