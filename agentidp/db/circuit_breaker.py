"""A circuit breaker: while the database is unreachable, requests fail at once and one thread tries to reach it."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("agentidp")

FIRST_PAUSES = (0.0, 0.1, 0.2, 0.4)
PAUSE = 0.8
"""Seconds before each attempt to reach the database after those in :data:`FIRST_PAUSES`."""


class CircuitBreaker:
    """*name* is the database's name in the log; *attempt* raises unless the database is reachable."""

    def __init__(self, name: str, attempt: Callable[[], None]) -> None:
        self._name, self._attempt = name, attempt
        self._lock = threading.Lock()
        self._closing: threading.Event | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests must fail at once."""
        return self._closing is not None

    def open(self, reason: str) -> None:
        """Let requests fail at once, log *reason*, and close the breaker in a thread when an attempt succeeds."""
        with self._lock:
            if self._closing is not None:
                return
            closing = threading.Event()
            # A thread started before a fork would be lost. A daemon thread does not delay the end of the process.
            threading.Thread(target=self._run, args=(closing,), name="circuit-breaker", daemon=True).start()
            self._closing = closing
        logger.error("database unreachable", extra={"fields": {"database": self._name, "reason": reason}})

    def close(self) -> None:
        """Let requests try the database again, and end the thread."""
        with self._lock:
            if self._closing is not None:
                self._closing.set()
                self._closing = None

    def _run(self, closing: threading.Event) -> None:
        began = time.monotonic()
        last_reason = ""
        for pause in itertools.chain(FIRST_PAUSES, itertools.repeat(PAUSE)):
            if closing.wait(pause):
                return
            try:
                self._attempt()
            except Exception as error:  # Any error, because the breaker would stay open for ever without the thread.
                reason = " ".join(str(error).split())
                if reason != last_reason:
                    fields = {"database": self._name, "reason": reason}
                    logger.warning("database still unreachable", extra={"fields": fields})
                last_reason = reason
            else:
                break
        with self._lock:
            if closing.is_set():
                return
            self._closing = None
        seconds = round(time.monotonic() - began, 1)
        logger.warning("database reachable again", extra={"fields": {"database": self._name, "seconds": seconds}})
