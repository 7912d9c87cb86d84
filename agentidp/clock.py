"""The clock of a process, which whoever starts it passes on: everything below gets its instant as an argument."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """This machine's time, aware, in UTC."""
    return datetime.now(UTC)
