"""Work of the month's end: it has its precedents at the ends of earlier months, and not in the weeks before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from agentidp.findings import thresholds
from agentidp.findings.history import DAY, first_active_day
from agentidp.findings.surprise import UnusualHour


def without_month_ends(hours: list[UnusualHour], counts: Sequence[int], first_day: date) -> list[UnusualHour]:
    """The hours without those within three days of the end of a month that the end of each month before had as well.

    :param counts: by the hour, from the midnight of *first_day* on.
    """
    return [
        one
        for one in hours
        if month_end(one.hour, first_day) is None
        or one.count > thresholds.MIN_TIMES * month_end_precedent(counts, one.hour, first_day)
    ]


def month_end(hour: int, first_day: date) -> date | None:
    """The first of the month that begins within three days of an hour; ``None`` if none does."""
    day = first_day + timedelta(days=hour // DAY + thresholds.MONTH_END_DAYS)
    return day.replace(day=1) if day.day <= 2 * thresholds.MONTH_END_DAYS else None


def month_end_precedent(counts: Sequence[int], hour: int, first_day: date) -> int:
    """The count at this hour of the day, or one beside it, at the end of an earlier month: of the least of them.

    An incident at the end of one month is no precedent if there was none at the end of another.
    """
    highest: dict[date, int] = {}
    for before in range(hour - DAY, first_active_day(counts) or 0, -DAY):
        month = month_end(before, first_day)
        if month is not None and month != month_end(hour, first_day):
            highest[month] = max(highest.get(month, 0), *counts[before - 1 : before + 2])
    return min(highest.values(), default=0)
