"""Restarts the embedded PostgreSQL if it ends unexpectedly, a limited number of times."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from agentidp.config import ConfigurationError
from agentidp.db.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

logger = logging.getLogger("agentidp")

MAX_RESTARTS = 5
WINDOW = 600.0
"""Seconds in which at most ``MAX_RESTARTS`` restarts are allowed."""


class Supervisor:
    """Restarts an embedded PostgreSQL, which was already started, if it ends.

    :param clock: returns a time in seconds.
    """

    def __init__(self, server: EmbeddedPostgres, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._server, self._clock = server, clock
        self._restarts: list[float] = []

    def keep_running(self) -> None:
        """Start PostgreSQL again if it has ended. Call this often: it returns at once while PostgreSQL runs.

        :raises ConfigurationError: PostgreSQL has ended more often than the maximum.
        """
        if self._server.is_running():
            return
        now = self._clock()
        self._restarts = [restarted_at for restarted_at in self._restarts if now - restarted_at < WINDOW]
        if len(self._restarts) >= MAX_RESTARTS:
            raise ConfigurationError("the embedded PostgreSQL has ended; see postgres/server.log in the data directory")
        # The delays between restarts grow (2, 4, 8 seconds), so that a lack of disk space or memory can end meanwhile.
        if self._restarts and now < self._restarts[-1] + 2 ** len(self._restarts):
            return
        self._restarts.append(now)
        log_fields = {"restart": len(self._restarts), "of": MAX_RESTARTS}
        logger.error("the embedded PostgreSQL has ended and is started again", extra={"fields": log_fields})
        try:
            self._server.start()
        except EmbeddedPostgresError as error:
            logger.error("the embedded PostgreSQL could not be started", extra={"fields": {"reason": str(error)}})
        else:
            elapsed_seconds = round(self._clock() - now, 1)
            logger.warning("the embedded PostgreSQL runs again", extra={"fields": {"seconds": elapsed_seconds}})
