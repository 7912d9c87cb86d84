"""The usage that the pages show: read once, then summed in Python."""

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
        """The sum of all hours."""
        return sum(self.requests_by_hour)


@dataclass(frozen=True, slots=True)
class HourUsage:
    """Usage in a UTC hour."""

    hour: int
    tokens: int = 0
    requests: int = 0
    rejected: int = 0


def usage_by_day(period: Period) -> Call:
    """The statement that reads a period and the days that it is compared with; :func:`split` takes its rows."""
    return Call("analytics/usage_by_day", {"first": period.earlier_first, "last": period.last})


def split(rows: Rows, period: Period, first_used: date | None = None) -> tuple[list[DayUsage | None], list[DayUsage]]:
    """The days that the period is compared with, one for each of its own, and those of the period.

    :param first_used: the first day on which anything was counted. What is before it is ``None``: no usage is known of
        then, which is not the same as none.
    """
    days = [DayUsage(*row) for row in rows]
    earlier = [day if first_used and day.day >= first_used else None for day in days[: period.days]]
    return earlier, days[-period.days :]


def usage_by_hour(day: date) -> Call:
    """The statement that reads the hours of a day; :func:`hours_of` takes its rows."""
    return Call("analytics/usage_by_hour", {"first": day, "last": day})


def hours_of(rows: Rows, day: date) -> list[HourUsage]:
    """The 24 hours of a day."""
    found = {
        row.at_hour: HourUsage(row.at_hour, row.tokens, row.requests, row.rejected) for row in rows if row.on_day == day
    }
    return [found.get(hour, HourUsage(hour)) for hour in range(24)]


def heatmap_cells(days: list[DayUsage]) -> list[dict[str, int]]:
    """The requests of each hour of the week, from Sunday, as the API returns them."""
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
    """Return when the hour with the most requests begins, and its number of requests. ``None`` without a request.

    Of several such hours, the latest one is returned.
    """
    requests, day, hour = max(
        ((requests, day.day, hour) for day in days for hour, requests in enumerate(day.requests_by_hour)),
        default=(0, date.min, 0),
    )
    return (datetime.combine(day, time(hour), UTC), requests) if requests else None
