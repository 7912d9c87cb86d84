"""How the texts of findings name a number, a day and an instant, always in UTC: ``Wednesday, 15 April 2026``.

Other members of a finding have instants as programs read them (:func:`agentidp.http.schemas.timestamp`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime


def day_in_words(day: date) -> str:
    """``Wednesday, 15 April 2026``."""
    return f"{day:%A}, {day.day} {day:%B %Y}"


def number_of(count: float, noun: str) -> str:
    """``1 token``, ``1,200 tokens``.

    :param noun: in the singular.
    """
    text = f"{count:,.0f}"
    return f"{text} {noun}" if text == "1" else f"{text} {noun}s"


def in_words(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def days_in_words(first: date, last: date) -> str:
    """``on`` the one day, or ``from`` the first ``to`` the last."""
    if first == last:
        return f"on {day_in_words(first)}"
    return f"from {day_in_words(first)} to {day_in_words(last)}"


def instant_in_words(at: datetime) -> str:
    """``08:00 UTC on Wednesday, 15 April 2026``.

    :param at: aware.
    """
    at = at.astimezone(UTC)
    return f"{at:%H:%M} UTC on {day_in_words(at)}"
