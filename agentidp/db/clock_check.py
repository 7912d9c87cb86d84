"""Refuses requests while this server's clock differs from the database's clock.

With a wrong clock, a server would issue tokens that other servers refuse, and count in the wrong hour.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import psycopg

from agentidp.config import LEEWAY
from agentidp.db.sql import run_statement

logger = logging.getLogger("agentidp")

INTERVAL = 15
"""Seconds between two measurements of the clock's difference."""

INTERVAL_WHILE_REFUSING = 1
"""Seconds until the next measurement if the last measurement showed a wrong clock or took too long."""

MAX_ROUND_TRIP = 1
"""Maximum seconds that a measurement may take. A slower measurement is discarded as too inexact."""


def measure_seconds_ahead(connection: psycopg.Connection[Any]) -> float | None:
    """Return the seconds by which this machine's clock is ahead of the database's; ``None`` if measuring took too long.

    :raises psycopg.Error: the database does not answer.
    """
    local_time, began_at = time.time(), time.monotonic()
    [(database_time, *_)] = run_statement(connection, "database/clock")
    round_trip_seconds = time.monotonic() - began_at
    return None if round_trip_seconds > MAX_ROUND_TRIP else local_time + round_trip_seconds / 2 - float(database_time)


def describe_difference(seconds_ahead: float) -> str:
    """Return a phrase such as ``11 seconds behind the database's``; an empty string if the leeway is not exceeded."""
    if abs(seconds_ahead) <= LEEWAY:
        return ""
    return f"{abs(seconds_ahead):.0f} seconds {'ahead of' if seconds_ahead > 0 else 'behind'} the database's"


class ClockDiffers(Exception):
    """This server's clock differs from the database's clock by more than the leeway."""


class ClockCheck:
    """Compares a process's clock with the database's clock at intervals. Uses the connections that requests borrow."""

    def __init__(self) -> None:
        self._next_measurement_at = float("-inf")
        self._boot_time = 0.0
        self._is_wrong = False
        self.seconds_ahead: float | None = None
        """The result of the last usable measurement; ``None`` before the first."""

    def check(self, connection: psycopg.Connection[Any]) -> None:
        """Raise an error if this server's clock is wrong. Measure first if a measurement is due or the clock jumped.

        :raises ClockDiffers: the clock was wrong at the last usable measurement.
        :raises psycopg.Error: the database does not answer.
        """
        now = time.monotonic()
        if now >= self._next_measurement_at or abs(time.time() - now - self._boot_time) > 1:
            self.measure(connection)
        if self._is_wrong:
            raise ClockDiffers("the clock differs from the database's")

    def measure(self, connection: psycopg.Connection[Any]) -> None:
        """Measure the difference of the clocks. Log when this server's clock becomes wrong or right."""
        current_time = time.monotonic()
        self._boot_time = time.time() - current_time
        # The next measurement is scheduled first, so that no other thread measures at the same time.
        self._next_measurement_at = current_time + INTERVAL
        seconds_ahead = measure_seconds_ahead(connection)
        if seconds_ahead is not None:
            self.seconds_ahead = seconds_ahead
            was_wrong, self._is_wrong = self._is_wrong, describe_difference(seconds_ahead) != ""
            log_fields = {"fields": {"seconds_ahead": round(seconds_ahead, 1), "leeway": LEEWAY}}
            if self._is_wrong and not was_wrong:
                logger.error("clock differs from the database's: requests are refused", extra=log_fields)
            elif was_wrong and not self._is_wrong:
                logger.warning("clock agrees with the database's again", extra=log_fields)
        if seconds_ahead is None or self._is_wrong:
            self._next_measurement_at = current_time + INTERVAL_WHILE_REFUSING
