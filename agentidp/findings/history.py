"""Counts by the hour as plain lists: oldest first, without gaps, from a UTC midnight to the current hour."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from operator import add
from typing import Any

DAY, WEEK = 24, 168


def hourly(days: Iterable[Sequence[Any]] | None, hours: int, unit: int = 1) -> list[int]:
    """Return the counts per hour of a history, for the first *hours* hours.

    :param days: one item per counter row: the index of the day, and then a list of the 24 hours' counts for each
        counted unit, for example tokens and requests.
    :param unit: the index in an item of the list to return: 1 for the first unit.
    """
    counts = [0] * (-(-hours // DAY) * DAY)
    filled_days = set()
    for item in days or ():
        day, day_counts = item[0], item[unit]
        begins, ends = day * DAY, (day + 1) * DAY
        # Most days have only one row, and assigning the row takes a third of the time of adding it.
        counts[begins:ends] = map(add, counts[begins:ends], day_counts) if day in filled_days else day_counts
        filled_days.add(day)
    return counts[:hours]


def hours_until(at: datetime, first_day: date) -> int:
    """Return the number of hours from the midnight of *first_day* to the end of the current hour."""
    return (at.date() - first_day).days * DAY + at.hour + 1


def instant(first_day: date, hour: int) -> datetime:
    """Return the instant at which an hour begins. Hours are counted from the midnight of *first_day*."""
    return datetime.combine(first_day, time(), UTC) + timedelta(hours=hour)


def first_active_day(counts: Sequence[int]) -> int | None:
    """Return the index of the first hour of the first day with a count, or ``None`` if there is no count."""
    first = next((hour for hour, count in enumerate(counts) if count), None)
    return None if first is None else first // DAY * DAY


def daily(counts: Sequence[int]) -> list[int]:
    """Return the sum of the hourly counts per day. The last day may be incomplete."""
    return [sum(counts[hour : hour + DAY]) for hour in range(0, len(counts), DAY)]


def runs(hours: Sequence[int], max_gap: int) -> list[list[int]]:
    """Group sorted hours into runs. Within a run, two consecutive hours differ by at most *max_gap*."""
    groups: list[list[int]] = []
    for hour in hours:
        if groups and hour - groups[-1][-1] <= max_gap:
            groups[-1].append(hour)
        else:
            groups.append([hour])
    return groups


def median(values: list[float]) -> float:
    """Return the median, or zero if there are no values."""
    return statistics.median(values) if values else 0.0
