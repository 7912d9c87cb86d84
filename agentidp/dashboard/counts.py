"""The organization's usage per day and hour, which each page reads once and sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from agentidp.dashboard.comparison import Comparison
from agentidp.db.sql import Call, Rows


@dataclass(frozen=True, slots=True)
class DayUsage:
    """The usage of an organization, or of some of its agents, on a UTC day.

    :param requests_by_hour: the requests in each of the 24 hours; empty if only their sum is known.
    :param requests_in_unknown_hours: the sum of the requests whose hours are not known.
    """

    day: date
    tokens: int = 0
    rejected: int = 0
    requests_by_hour: list[int] = field(default_factory=list)
    requests_in_unknown_hours: int = 0

    @property
    def requests(self) -> int:
        """The number of requests on the day, in all hours."""
        return sum(self.requests_by_hour) + self.requests_in_unknown_hours


@dataclass(frozen=True, slots=True)
class HourUsage:
    """The usage of an organization or agent in a UTC hour."""

    hour: int
    tokens: int = 0
    requests: int = 0
    rejected: int = 0


Pair = tuple[DayUsage, DayUsage]
"""A complete day of a period, and the earlier day with which it is compared."""


def build_days(rows: Rows) -> list[DayUsage]:
    """Return the days in rows of ``analytics/usage_by_day``."""
    return [DayUsage(row.on_day, row.tokens, row.rejected, requests_by_hour=row.requests_by_hour) for row in rows]


def match_days(days: list[DayUsage], comparison: Comparison, first_usage_day: date | None) -> list[DayUsage | None]:
    """Return the usage on the earlier day of each day of a period; ``None`` if missing or before the first usage."""
    usage_by_day = {usage.day: usage for usage in days if first_usage_day and usage.day >= first_usage_day}
    return [usage_by_day.get(day) if day else None for day in comparison.days]


def build_usage_by_hour_call(day: date) -> Call:
    """Return the statement that reads, for :func:`build_hours`, the usage per hour of a day."""
    return Call("analytics/usage_by_hour", {"first": day, "last": day})


def build_hours(rows: Rows, day: date) -> list[HourUsage]:
    """Return the usage in each of the 24 hours of a day."""
    usage_by_hour = {
        row.at_hour: HourUsage(row.at_hour, row.tokens, row.requests, row.rejected) for row in rows if row.on_day == day
    }
    return [usage_by_hour.get(hour, HourUsage(hour)) for hour in range(24)]
