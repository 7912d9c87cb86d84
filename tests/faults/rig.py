"""A PostgreSQL and servers that the rows of the table share, a load on them, and a fault in the middle of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg

from agentidp.clock import utc_now
from agentidp.db.embedded_postgres import EmbeddedPostgres
from tests.factories import SECRET_KEY, Server, children, wait_until
from tests.faults.bounds import POOL_TIMEOUT, STATEMENT_TIMEOUT
from tests.faults.ledger import Answer, Counts, judge, read_counts
from tests.faults.load import ISSUER, Fleet, Load

TOKENS_BEFORE = 60
"""That clients must have received before the fault begins."""

AFTER = 1.0
"""Seconds for which the load goes on when tokens work again."""

PATIENCE = 20.0
"""Seconds to wait for tokens after the fault; longer than any bound."""


def environment(database_url: str, **changes: str) -> dict[str, str]:
    """Of a server of the rig on the database at *database_url*; on one of its own if that is empty."""
    return {
        "AGENTIDP_DATABASE_URL": database_url,
        "AGENTIDP_SECRET_KEY": SECRET_KEY,
        "AGENTIDP_ISSUER": ISSUER,
        "AGENTIDP_STATEMENT_TIMEOUT": f"{STATEMENT_TIMEOUT:g}",
        "AGENTIDP_POOL_TIMEOUT": f"{POOL_TIMEOUT:g}",
        "WEB_CONCURRENCY": "2",
        **changes,
    }


def postmaster(home: Path) -> int:
    """The process id of the PostgreSQL in *home*."""
    return int((home / "data" / "postmaster.pid").read_text().split("\n")[0])


def kill(home: Path) -> None:
    """End the PostgreSQL in *home* as the kernel does if memory is short."""
    os.kill(postmaster(home), signal.SIGKILL)


@contextlib.contextmanager
def frozen(postgres: EmbeddedPostgres) -> Iterator[None]:
    """Stop all processes of a PostgreSQL as a debugger or a paused machine does."""
    first = postmaster(postgres.home)
    stopped = [first]
    os.kill(first, signal.SIGSTOP)
    try:
        for process in children(first, "postgres"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)
                stopped.append(process)
        yield
    finally:
        for process in reversed(stopped):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def run(
    row: str,
    database_url: str,
    servers: Sequence[Server],
    fault: Callable[[Fleet], None],
) -> list[Answer]:
    """Bring a load on *servers*, cause the fault, and fail unless the row keeps its bounds.

    :param row: of ``BOUNDS``.
    :param fault: causes the fault and returns when it is over.
    :returns: every response.
    """
    fleet = Fleet.make(database_url)
    began_at = utc_now()
    load = Load(fleet, [server.port for server in servers])
    load.start()
    try:
        wait_until(lambda: load.acknowledged() >= TOKENS_BEFORE, PATIENCE)
        begin = time.monotonic()
        fault(fleet)
        end = time.monotonic()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: all(_works_since(end, answers) for answers in load.clients()), PATIENCE)
        time.sleep(AFTER)
    finally:
        answers = load.stop()
    recovery = None
    if all(_works_since(end, own) for own in load.clients()):
        failed = [answer.ended for answer in answers if answer.kind == "token" and answer.status != 200]
        recovery = max(0.0, max(failed, default=end) - end)
    counts = _counts(database_url, fleet.organization_id)
    assert judge(row, answers, counts, began_at=began_at, fault=(begin, end), recovery=recovery) == []
    return answers


def _works_since(instant: float, answers: list[Answer]) -> bool:
    return any(answer.status == 200 and answer.began >= instant for answer in answers)


def _counts(database_url: str, organization_id: str) -> Counts | None:
    try:
        return read_counts(database_url, organization_id)
    except psycopg.Error:
        return None
