"""The organization's usage per day and hour, which each page reads once and sums."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from agentidp.dashboard.period import Period
from agentidp.db.sql import Call, Rows


@dataclass(frozen=True, slots=True)
class DayUsage:
    """An organization's usage on a UTC day."""

    day: date
    tokens: int
    rejected: int
    requests_by_hour: list[int]

    @property
    def requests(self) -> int:
        """The requests of all hours."""
        return sum(self.requests_by_hour)


@dataclass(frozen=True, slots=True)
class HourUsage:
    """Usage in a UTC hour."""

    hour: int
    tokens: int = 0
    requests: int = 0
    rejected: int = 0


def split_periods(rows: Rows, period: Period, first_used: date | None) -> tuple[list[DayUsage | None], list[DayUsage]]:
    """Return the earlier days to compare with, one per day of the period, and the days of the period.

    :param rows: rows of ``analytics/usage_by_day`` from ``period.earlier_first`` to ``period.last``.
    :param first_used: the first day with any usage, or ``None``. Days before it are ``None`` in the first list,
        because their usage is unknown, not zero.
    """
    days = [DayUsage(*row) for row in rows]
    earlier = [day if first_used and day.day >= first_used else None for day in days[: period.days]]
    return earlier, days[-period.days :]


def usage_by_hour_call(day: date) -> Call:
    """Return the statement that reads the hours of a day. Pass its rows to :func:`hours_of_day`."""
    return Call("analytics/usage_by_hour", {"first": day, "last": day})


def hours_of_day(rows: Rows, day: date) -> list[HourUsage]:
    """Return the 24 hours of a day."""
    usage_by_hour = {
        row.at_hour: HourUsage(row.at_hour, row.tokens, row.requests, row.rejected) for row in rows if row.on_day == day
    }
    return [usage_by_hour.get(hour, HourUsage(hour)) for hour in range(24)]
