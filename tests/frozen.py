"""A PostgreSQL server that does not run: its sockets are there, and it never replies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentidp.db.embedded_postgres import EmbeddedPostgres


def processes_of(postgres: EmbeddedPostgres) -> list[int]:
    """The process ids of the postmaster, first, and of its children."""
    postmaster = int((postgres.home / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *map(int, children)]


@contextmanager
def frozen(postgres: EmbeddedPostgres) -> Iterator[None]:
    """The processes of the server do not run in the block."""
    # The postmaster first, or it could start another one meanwhile.
    os.kill(processes_of(postgres)[0], signal.SIGSTOP)
    pids = processes_of(postgres)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
