"""Write names, days and instants for the texts of findings. Days and instants are in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

ONE_HOUR, ONE_DAY = timedelta(hours=1), timedelta(days=1)


def day_in_words(day: date) -> str:
    """Return a day in words: ``Wednesday, 15 April 2026``."""
    return f"{day:%A}, {day.day} {day:%B %Y}"


def join_names(names: Sequence[str]) -> str:
    """Return names as a list in words: ``a``, ``a and b`` or ``a, b and c``."""
    *leading_names, last_name = names
    return f"{', '.join(leading_names)} and {last_name}" if leading_names else last_name


def days_in_words(first: date, last: date) -> str:
    """Return days in words: ``on Sunday, 5 April 2026`` or ``from Saturday, 4 April 2026 to Sunday, 5 April 2026``."""
    if first == last:
        return f"on {day_in_words(first)}"
    return f"from {day_in_words(first)} to {day_in_words(last)}"


def instant_in_words(at: datetime) -> str:
    """Return an instant in words: ``08:00 UTC on Wednesday, 15 April 2026``."""
    at = at.astimezone(UTC)
    return f"{at:%H:%M} UTC on {day_in_words(at)}"
