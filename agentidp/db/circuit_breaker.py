"""A circuit breaker: while the database is unreachable, requests fail at once and one thread tries to reach it."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable

from agentidp.db.errors import in_one_line

logger = logging.getLogger("agentidp")

FIRST_PAUSES = (0.0, 0.1, 0.2, 0.4)
PAUSE = 0.8
"""Seconds before each further attempt to reach the database, after the pauses in :data:`FIRST_PAUSES`."""


class CircuitBreaker:
    """Refuses requests while a database is unreachable.

    :param name: the name of the database in the log.
    :param attempt: connects to the database, or raises an error.
    """

    def __init__(self, name: str, attempt: Callable[[], None]) -> None:
        self._name, self._attempt = name, attempt
        self._lock = threading.Lock()
        self._closed_event: threading.Event | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests are refused at once."""
        return self._closed_event is not None

    def open(self, reason: str) -> None:
        """Refuse requests at once, and log *reason*. A thread closes the breaker when the database responds again."""
        with self._lock:
            if self._closed_event is not None:
                return
            closed_event = threading.Event()
            # The thread is not started with the process, because a forked process lacks the threads of its parent.
            threading.Thread(
                target=self._try_until_closed, args=(closed_event,), name="circuit-breaker", daemon=True
            ).start()
            self._closed_event = closed_event
        logger.error("database unreachable", extra={"fields": {"database": self._name, "reason": reason}})

    def close(self) -> None:
        """Let requests use the database again, and end the thread that tries to reach it."""
        with self._lock:
            if self._closed_event is not None:
                self._closed_event.set()
                self._closed_event = None

    def _try_until_closed(self, closed_event: threading.Event) -> None:
        opened_at = time.monotonic()
        logged_reason = ""
        for pause_seconds in itertools.chain(FIRST_PAUSES, itertools.repeat(PAUSE)):
            if closed_event.wait(pause_seconds):
                return
            try:
                self._attempt()
            except Exception as error:  # An uncaught error would end the thread, and nothing would close the breaker.
                failure_reason = in_one_line(error)
                if failure_reason != logged_reason:
                    log_fields = {"database": self._name, "reason": failure_reason}
                    logger.warning("database still unreachable", extra={"fields": log_fields})
                logged_reason = failure_reason
            else:
                break
        with self._lock:
            if closed_event.is_set():
                return
            self._closed_event = None
        open_seconds = round(time.monotonic() - opened_at, 1)
        logger.warning("database reachable again", extra={"fields": {"database": self._name, "seconds": open_seconds}})
