"""The clock of a process. Only entry points use this clock. All other code gets a clock or the time as an argument."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the current time in UTC, with a time zone."""
    return datetime.now(UTC)
