"""Reads from a hot standby, unless it is too far behind the primary.

When a caller is admitted, the primary returns its position in its log. With the rows, the standby returns how far it
has replayed this log. If the standby has reached the primary's position, its data is up to date. Otherwise the data is
as old as the last transaction that the standby has replayed, by the primary's clock.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any

import psycopg

from agentidp.config import Settings
from agentidp.db.database import NO_STANDBY, RECOVERY_CONFLICTS, Database
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import OrganizationDatabase
from agentidp.db.sql import Call, Rows
from agentidp.metrics import REPLICA_READS, REPLICA_STALENESS

logger = logging.getLogger("agentidp")

MAX_STALENESS = 10.0
"""Maximum seconds by which the replica may be behind. If it is further behind, the primary serves the reads."""

PAUSE = 1.0
"""Seconds for which a process stops using a replica that was too far behind."""

LAST_CHANGE = Call("audit/get_head", {})
POSITION = [Call("database/primary_position", {}), LAST_CHANGE]
"""Calls on the primary before a replica is read. They return the primary's log position and the last audit event."""


class ReadReplica:
    """A read replica (hot standby) that one process reads from."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.database = Database(url, settings, is_replica=True)
        self._paused_until = float("-inf")
        self._missed_position: int | None = None
        """The primary's position when the current lag began; None if the replica is not behind."""
        self._missed_at = 0.0
        self._lock = threading.Lock()
        self._is_reported = False

    def of(self, primary: OrganizationDatabase) -> ReplicaReads:
        """Return the object that reads from the replica for one request."""
        return ReplicaReads(self, primary)

    def is_usable(self) -> bool:
        """Return whether the replica is reachable, and was not found too far behind in the last second."""
        if self.database.pool.breaker.is_open:
            REPLICA_READS.labels("unreachable").inc()
        elif time.monotonic() < self._paused_until:
            REPLICA_READS.labels("behind").inc()
        else:
            return True
        return False

    def compute_staleness(self, primary_row: Any, replica_row: Any) -> float | None:
        """Return the maximum seconds by which the replica is behind, or ``None`` if it must not be used.

        :param primary_row: the row of ``database/primary_position``.
        :param replica_row: the row of ``database/replica_position``, which was read later.
        """
        if not replica_row.is_standby:
            # The standby has become a primary. The breaker refuses reads until a standby responds.
            self.database.pool.breaker.open(NO_STANDBY)
            REPLICA_READS.labels("unreachable").inc()
            return None
        seconds = math.inf
        if primary_row.position is not None and replica_row.position is not None:
            with self._lock:
                self._log_lag(primary_row.position, replica_row.position)
            if replica_row.position >= primary_row.position:
                seconds = 0.0
            elif replica_row.at:
                seconds = max(0.0, (primary_row.at - replica_row.at).total_seconds())
            REPLICA_STALENESS.set(seconds)
        if seconds > MAX_STALENESS:
            self._paused_until = time.monotonic() + PAUSE
            REPLICA_READS.labels("behind").inc()
            return None
        return seconds

    def _log_lag(self, primary_position: int, replica_position: int) -> None:
        """Log once when the replica is behind for too long, and once when it has caught up. Positions are in bytes.

        The lag is the time since the replica fell behind, by this server's clock. The age of the replica's last
        transaction does not measure the lag, because it includes the time in which the primary had nothing to send.
        """
        if self._missed_position is not None and replica_position >= self._missed_position:
            self._missed_position = None
            if self._is_reported:
                self._is_reported = False
                logger.warning("read replica is up to date again")
        if self._missed_position is None and replica_position < primary_position:
            self._missed_position, self._missed_at = primary_position, time.monotonic()
        if self._missed_position is not None and not self._is_reported:
            lag_seconds = time.monotonic() - self._missed_at
            if lag_seconds > MAX_STALENESS:
                self._is_reported = True
                log_fields = {"fields": {"seconds": round(lag_seconds, 1), "allowed": MAX_STALENESS}}
                logger.error("read replica is behind: the primary serves its reads", extra=log_fields)


class ReplicaReads:
    """Reads rows of an organization from the replica for one request, at the request's instant."""

    def __init__(self, replica: ReadReplica, primary: OrganizationDatabase) -> None:
        self._replica, self._primary = replica, primary
        self._database = replica.database.of(primary.organization_id, primary.at)
        self._position: Any = None
        self._last_change: Rows = []
        self._is_left = False
        self.staleness: float | None = None
        """Seconds by which the data that was read can be older than the primary's; ``None`` if nothing was read."""

    def is_usable(self) -> bool:
        """Return whether the replica is usable, and :meth:`leave` was not called."""
        return not self._is_left and self._replica.is_usable()

    def leave(self) -> None:
        """Stop using the replica for this request, because it is about to write and must then read its own changes."""
        self._is_left = True

    def store_position(self, position: Rows, last_change: Rows) -> None:
        """Store the primary's log position and the last audit event, each as the rows that :data:`POSITION` returns."""
        [self._position], self._last_change = position, last_change

    def read(self, *calls: Call) -> list[Rows] | None:
        """Run reading statements on the replica.

        :returns: the rows of each statement; ``None`` if the primary must run them instead.
        :raises DatabaseUnavailable: the statements took too long, as they would on the primary.
        """
        if self._position is None:
            self.store_position(*self._primary.run(*POSITION))
        try:
            # The replica's position is read first, so the rows that follow are at least as new as the position.
            position_call = Call("database/replica_position", {})
            [replica_position], change_rows, *rows_of_calls = self._database.run(position_call, LAST_CHANGE, *calls)
        except (DatabaseUnavailable, psycopg.Error) as error:
            failure_cause = error.__cause__
            if isinstance(failure_cause, psycopg.errors.QueryCanceled):
                raise
            # The primary runs the statements instead, and reports the error if a statement is faulty.
            is_conflict = isinstance(failure_cause, psycopg.Error) and failure_cause.sqlstate in RECOVERY_CONFLICTS
            REPLICA_READS.labels("conflict" if is_conflict else "unreachable").inc()
            return None
        staleness_seconds = self._replica.compute_staleness(self._position, replica_position)
        if staleness_seconds is None:
            return None
        if _sequence(change_rows) < _sequence(self._last_change):
            # The replica lacks the organization's last change, and the request must see this change.
            REPLICA_READS.labels("lacks a change").inc()
            return None
        REPLICA_READS.labels("served").inc()
        self.staleness = max(staleness_seconds, self.staleness or 0.0)
        return rows_of_calls


def _sequence(last_change: Rows) -> int:
    return last_change[0].sequence if last_change else 0
