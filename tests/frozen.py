"""The processes of a PostgreSQL server, and what stops them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agentidp.db.embedded_postgres import EmbeddedPostgres


def postmaster(home: Path) -> int:
    """The process id of the PostgreSQL in *home*."""
    return int((home / "data" / "postmaster.pid").read_text().split("\n")[0])


def kill(home: Path) -> None:
    """End the PostgreSQL in *home* as the kernel does if memory is short."""
    os.kill(postmaster(home), signal.SIGKILL)


def processes_of(postgres: EmbeddedPostgres) -> list[int]:
    """The process ids of the postmaster, first, and of its children."""
    first = postmaster(postgres.home)
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    return [first, *map(int, children)]


@contextmanager
def frozen(postgres: EmbeddedPostgres) -> Iterator[None]:
    """The processes of the server do not run in the block, so that its sockets are there and it never replies."""
    # The postmaster first, or it could start another one meanwhile.
    os.kill(postmaster(postgres.home), signal.SIGSTOP)
    pids = processes_of(postgres)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
