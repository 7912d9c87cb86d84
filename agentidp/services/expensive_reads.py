"""A limit on the reads that take long, so that a process always has threads left for tokens."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from agentidp.http.errors import RateLimited

PER_ORGANIZATION = 1
"""Expensive reads of one organization that run at the same time in a process."""

IN_ALL = 2
"""Of all organizations together: most of gunicorn's threads stay free."""

RETRY_AFTER = 1
"""Seconds that a client is asked to wait; findings of 1,000 agents take about a quarter of one."""


class ExpensiveReads:
    """The expensive reads that are running in this process.

    Further ones are refused, because they would wait in a thread.

    :param per_organization: how many of one organization may run at the same time.
    :param in_all: how many of all organizations together.
    """

    def __init__(self, per_organization: int = PER_ORGANIZATION, in_all: int = IN_ALL) -> None:
        self._per_organization, self._in_all = per_organization, in_all
        self._lock = threading.Lock()
        self._running: list[str] = []

    @contextlib.contextmanager
    def running(self, organization_id: str) -> Iterator[None]:
        """Run an expensive read of an organization in this block.

        :raises RateLimited: as many as may are running, of the organization or in all.
        """
        with self._lock:
            if self._running.count(organization_id) >= self._per_organization or len(self._running) >= self._in_all:
                raise RateLimited(
                    "Other requests for findings are running; try again.",
                    headers={"Retry-After": str(RETRY_AFTER)},
                )
            self._running.append(organization_id)
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(organization_id)
