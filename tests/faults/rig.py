"""A PostgreSQL and servers that the rows of the table share, a load on them, and a fault in the middle of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

import psycopg

from agentidp.clock import utc_now
from tests.factories import SECRET_KEY, Server, wait_until
from tests.faults.bounds import CLIENTS, POOL_TIMEOUT, STATEMENT_TIMEOUT
from tests.faults.ledger import Answer, judge, read_counts
from tests.faults.load import ISSUER, Fleet, Load

TOKENS_BEFORE = 60
"""Number of tokens that clients must receive before the fault begins."""

AFTER = 1.0
"""Seconds for which the load continues after tokens are issued again."""

WAIT = 20.0
"""Maximum seconds to wait for tokens after the fault, longer than any bound."""


def environment(database_url: str, **changes: str) -> dict[str, str]:
    """Return the environment of a server of the rig on the database at *database_url*, or on its own if empty."""
    return {
        "AGENTIDP_DATABASE_URL": database_url,
        "AGENTIDP_SECRET_KEY": SECRET_KEY,
        "AGENTIDP_ISSUER": ISSUER,
        "AGENTIDP_STATEMENT_TIMEOUT": f"{STATEMENT_TIMEOUT:g}",
        "AGENTIDP_POOL_TIMEOUT": f"{POOL_TIMEOUT:g}",
        "WEB_CONCURRENCY": "2",
        **changes,
    }


def run(row: str, database_url: str, servers: Sequence[Server], fault: Callable[[Fleet], None]) -> list[Answer]:
    """Put load of an organization on *servers*, cause the fault, and fail unless the row keeps its bounds.

    :param row: the key in ``BOUNDS``.
    :param fault: causes the fault and returns when it is over.
    :returns: every response.
    """
    fleet = Fleet.make(database_url)
    [answers] = run_rows([(row, fleet)], database_url, servers, lambda: fault(fleet))
    return answers


def run_rows(
    rows: Sequence[tuple[str, Fleet]],
    database_url: str,
    servers: Sequence[Server],
    fault: Callable[[], None],
    clients: int = CLIENTS,
) -> list[list[Answer]]:
    """Do the same as :func:`run` with several organizations, each of which has a row of its own.

    :param clients: the number of clients per organization.
    """
    began_at = utc_now()
    loads = [Load(fleet, [server.port for server in servers], clients) for _, fleet in rows]
    for load in loads:
        load.start()
    try:
        wait_until(lambda: all(load.acknowledged() >= TOKENS_BEFORE for load in loads))
        begin = time.monotonic()
        fault()
        end = time.monotonic()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: all(_works_since(end, own) for load in loads for own in load.clients()), WAIT)
        time.sleep(AFTER)
    finally:
        received = [load.stop() for load in loads]
    wrong = []
    for (row, fleet), load, answers in zip(rows, loads, received, strict=True):
        recovery = None
        if all(_works_since(end, own) for own in load.clients()):
            failed = [answer.ended for answer in answers if answer.kind == "token" and answer.status != 200]
            recovery = max(0.0, max(failed, default=end) - end)
        counts = None
        with contextlib.suppress(psycopg.Error):
            counts = read_counts(database_url, fleet.organization_id)
        wrong += judge(row, answers, counts, began_at=began_at, fault=(begin, end), recovery=recovery)
    assert wrong == [], wrong
    return received


def _works_since(instant: float, answers: list[Answer]) -> bool:
    return any(answer.status == 200 and answer.began >= instant for answer in answers)
