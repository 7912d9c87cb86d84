"""Counts by the hour as plain lists: oldest first, without gaps, from a UTC midnight to the current hour."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from operator import add
from typing import Any

DAY, WEEK = 24, 168


def expand_to_hours(day_rows: Iterable[Sequence[Any]] | None, hour_count: int, unit_index: int = 1) -> list[int]:
    """Return the counts of the first *hour_count* hours of a history.

    :param day_rows: rows of a day's index and, per unit such as tokens, a list of 24 counts; ``None``: no rows.
    :param unit_index: the index of the unit's list in a row; 1 for the first unit.
    """
    counts_by_hour = [0] * (-(-hour_count // DAY) * DAY)
    filled_days = set()
    for day_row in day_rows or ():
        day_number, day_counts = day_row[0], day_row[unit_index]
        begin_hour, end_hour = day_number * DAY, (day_number + 1) * DAY
        # Most days have a single row. Its counts are assigned, because adding them to zeros takes three times as long.
        counts_by_hour[begin_hour:end_hour] = (
            map(add, counts_by_hour[begin_hour:end_hour], day_counts) if day_number in filled_days else day_counts
        )
        filled_days.add(day_number)
    return counts_by_hour[:hour_count]


def hours_until(at: datetime, first_day: date) -> int:
    """Return the number of hours from the midnight of *first_day* to the end of the hour that contains *at*."""
    return (at.date() - first_day).days * DAY + at.hour + 1


def instant(first_day: date, hour: int) -> datetime:
    """Return the instant at which an hour begins. Hours are counted from the midnight of *first_day*."""
    return datetime.combine(first_day, time(), UTC) + timedelta(hours=hour)


def find_first_midnight(counts_by_hour: Sequence[int]) -> int | None:
    """Return the index of the first hour of the first day with usage, or ``None`` if all counts are zero."""
    first_active_hour = next((hour for hour, count in enumerate(counts_by_hour) if count), None)
    return None if first_active_hour is None else first_active_hour // DAY * DAY


def sum_by_day(counts: Sequence[int]) -> list[int]:
    """Return the sum of the hourly counts per day. The last day may be incomplete."""
    return [sum(counts[hour : hour + DAY]) for hour in range(0, len(counts), DAY)]


def group_adjacent(numbers: Sequence[int], max_gap: int) -> list[list[int]]:
    """Group sorted numbers, such as hours, into runs. Neighbours in a run differ by at most *max_gap*."""
    number_groups: list[list[int]] = []
    for number in numbers:
        if number_groups and number - number_groups[-1][-1] <= max_gap:
            number_groups[-1].append(number)
        else:
            number_groups.append([number])
    return number_groups


def median(values: list[float]) -> float:
    """Return the median, or zero if there are no values."""
    return statistics.median(values) if values else 0.0
