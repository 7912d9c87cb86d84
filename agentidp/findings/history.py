"""Counts by the hour, as plain lists: oldest first, without gaps, from a UTC midnight to the hour that runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from operator import add
from typing import Any

DAY, WEEK = 24, 168


def hourly(days: Iterable[Sequence[Any]] | None, hours: int, unit: int = 1) -> list[int]:
    """The counts of so many hours.

    :param days: day (from 0 on) and the counts of its 24 hours, of one unit or of several; a day may be there several
        times, once a slot.
    :param unit: of which one: the first, or another.
    """
    counts = [0] * (-(-hours // DAY) * DAY)
    seen = set()
    for one in days or ():
        day, of_day = one[0], one[unit]
        begins, ends = day * DAY, (day + 1) * DAY
        # A third of the time of adding to zeros.
        counts[begins:ends] = map(add, counts[begins:ends], of_day) if day in seen else of_day
        seen.add(day)
    return counts[:hours]


def hours_until(at: datetime, first_day: date) -> int:
    """Hours from a day's midnight to the end of the hour that runs."""
    return (at.date() - first_day).days * DAY + at.hour + 1


def instant(first_day: date, hour: int) -> datetime:
    """When the hour of an index begins."""
    return datetime.combine(first_day, time(), UTC) + timedelta(hours=hour)


def first_active_day(counts: Sequence[int]) -> int | None:
    """The index of the midnight of the first day on which anything was counted."""
    first = next((hour for hour, count in enumerate(counts) if count), None)
    return None if first is None else first // DAY * DAY


def daily(counts: Sequence[int]) -> list[int]:
    """The sums of the days; the last one may not be over."""
    return [sum(counts[hour : hour + DAY]) for hour in range(0, len(counts), DAY)]


def runs(hours: Sequence[int], max_gap: int) -> list[list[int]]:
    """The hours in groups within which one follows another by at most *max_gap*."""
    groups: list[list[int]] = []
    for hour in hours:
        if groups and hour - groups[-1][-1] <= max_gap:
            groups[-1].append(hour)
        else:
            groups.append([hour])
    return groups


def median(values: list[float]) -> float:
    """The middle one, or the mean of the middle two; zero of none."""
    return statistics.median(values) if values else 0.0
