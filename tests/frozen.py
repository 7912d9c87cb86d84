"""The processes of a PostgreSQL server, and what stops them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agentidp.db.embedded_postgres import EmbeddedPostgres


def postmaster(home: Path) -> int:
    """Return the process ID of the PostgreSQL server in *home*."""
    return int((home / "data" / "postmaster.pid").read_text().split("\n")[0])


def kill(home: Path) -> None:
    """Kill the PostgreSQL server in *home*, as the kernel does if memory runs out."""
    os.kill(postmaster(home), signal.SIGKILL)


def processes_of(postgres: EmbeddedPostgres) -> list[int]:
    """Return the process IDs of the postmaster and then of its children."""
    first = postmaster(postgres.home)
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    return [first, *map(int, children)]


@contextmanager
def frozen(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Stop the processes of the server during the ``with`` block, so that its sockets exist but it never replies."""
    # The postmaster is stopped first, because it could otherwise start another process meanwhile.
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
