"""The earlier days that a period is compared with: as many days, in the order of the period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from flask import request

from agentidp.dashboard.period import DAY, WEEK, Period
from agentidp.http.errors import ValidationError

YEAR = 52 * WEEK
"""A year ago the weekdays differ, and 52 weeks ago they are the same."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The days that a period is compared with.

    :param name: the value of the parameter ``compare``.
    """

    period: Period
    name: str

    @property
    def choices(self) -> dict[str, str]:
        """The offered comparisons: value of the parameter ``compare`` -> words."""
        weeks, days = self._weeks, self.period.days
        choices = {"weeks": "a week earlier" if weeks == 1 else f"{weeks} weeks earlier"}
        if days % WEEK.days:
            choices["days"] = "a day earlier" if days == 1 else f"{days} days earlier"
        return choices | {"month": "a month earlier", "year": "52 weeks earlier"}

    @property
    def words(self) -> str:
        """The distance of the two periods, such as ``5 weeks earlier``."""
        return self.choices[self.name]

    @property
    def days(self) -> list[date | None]:
        """The earlier days, one per day of the period. ``None`` for 31 March if February has no such day."""
        return [self._earlier(self.period.first + number * DAY) for number in range(self.period.days)]

    @property
    def bounds(self) -> dict[str, date]:
        """The parameters of statements about the earlier days."""
        days = [day for day in self.days if day is not None]
        # A period whose only day is the 31st may have no earlier day.
        return {"first": min(days, default=self.period.first), "last": max(days, default=self.period.first)}

    @property
    def _weeks(self) -> int:
        """The minimum number of weeks between the two periods without an overlap."""
        return -(-self.period.days // WEEK.days)

    def _earlier(self, day: date) -> date | None:
        if self.name == "month":
            month = day.replace(day=1) - DAY
            return month.replace(day=day.day) if day.day <= month.day else None
        distances: dict[str, timedelta] = {"weeks": self._weeks * WEEK, "days": self.period.days * DAY, "year": YEAR}
        return day - distances[self.name]


def requested_comparison(period: Period) -> Comparison:
    """Return the comparison that the request asks for, by default with the same weekdays.

    :raises ValidationError: the comparison is not offered for the period.
    """
    comparison = Comparison(period, request.args.get("compare") or "weeks")
    if comparison.name not in comparison.choices:
        raise ValidationError(f"compare must be one of {', '.join(comparison.choices)}.")
    return comparison
