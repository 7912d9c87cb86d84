"""The usage that the pages show: statements read it once per page, and Python sums it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

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


def usage_by_day(period: Period) -> Call:
    """Return the statement that reads a period and the days to compare with. Pass its rows to :func:`split`."""
    return Call("analytics/usage_by_day", {"first": period.earlier_first, "last": period.last})


def split(rows: Rows, period: Period, first_used: date | None = None) -> tuple[list[DayUsage | None], list[DayUsage]]:
    """Return the days to compare the period with, one per day of the period, and the days of the period.

    :param first_used: the first day with any usage; ``None`` if there is none. Days to compare with are ``None`` before
        it, because their usage is unknown, not zero.
    """
    days = [DayUsage(*row) for row in rows]
    earlier = [day if first_used and day.day >= first_used else None for day in days[: period.days]]
    return earlier, days[-period.days :]


def usage_by_hour(day: date) -> Call:
    """Return the statement that reads the hours of a day. Pass its rows to :func:`hours_of`."""
    return Call("analytics/usage_by_hour", {"first": day, "last": day})


def hours_of(rows: Rows, day: date) -> list[HourUsage]:
    """Return the 24 hours of a day."""
    found = {
        row.at_hour: HourUsage(row.at_hour, row.tokens, row.requests, row.rejected) for row in rows if row.on_day == day
    }
    return [found.get(hour, HourUsage(hour)) for hour in range(24)]


def heatmap_cells(days: list[DayUsage]) -> list[dict[str, int]]:
    """Return the requests per hour of the week, from Sunday, without hours of zero requests, as the API does."""
    counts = [[0] * 24 for _ in range(7)]
    for day in days:
        for hour, requests in enumerate(day.requests_by_hour):
            counts[day.day.isoweekday() % 7][hour] += requests
    return [
        {"dow": dow, "hour": hour, "count": count}
        for dow, hours in enumerate(counts)
        for hour, count in enumerate(hours)
        if count
    ]


def busiest_hour(days: list[DayUsage]) -> tuple[datetime, int] | None:
    """Return the start of the hour with the most requests, and its number of requests; ``None`` without a request.

    If several hours have this number, the latest hour is returned.
    """
    requests, day, hour = max(
        ((requests, day.day, hour) for day in days for hour, requests in enumerate(day.requests_by_hour)),
        default=(0, date.min, 0),
    )
    return (datetime.combine(day, time(hour), UTC), requests) if requests else None
