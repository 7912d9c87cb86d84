"""The earlier days that a period is compared with: as many days, in the order of the period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from flask import request

from agentidp.dashboard.period import DAY, WEEK, Period
from agentidp.http.errors import ValidationError

YEAR = 52 * WEEK
"""Length of a year in comparisons: 52 weeks, because 365 days earlier the weekdays would differ."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The earlier days with which a period is compared. *name* is the value of the parameter ``compare``."""

    period: Period
    name: str

    @property
    def choices(self) -> dict[str, str]:
        """The words for each comparison that the page offers, by value of the parameter ``compare``."""
        weeks, days = self._weeks, self.period.days
        words_by_choice = {"weeks": "a week earlier" if weeks == 1 else f"{weeks} weeks earlier"}
        if days % WEEK.days:
            words_by_choice["days"] = "a day earlier" if days == 1 else f"{days} days earlier"
        return words_by_choice | {"month": "a month earlier", "year": "52 weeks earlier"}

    @property
    def words(self) -> str:
        """The time to go back to the earlier days, in words such as ``5 weeks earlier``."""
        return self.choices[self.name]

    @property
    def days(self) -> list[date | None]:
        """The earlier day for each day of the period; ``None`` if the earlier month is too short, as for 31 March."""
        return [self._find_earlier_day(self.period.first + number * DAY) for number in range(self.period.days)]

    @property
    def bounds(self) -> dict[str, date]:
        """The first and last earlier day, as parameters of a statement."""
        days = [day for day in self.days if day is not None]
        # No earlier day exists if the period is a single day, such as the 31st, that the earlier month lacks.
        return {"first": min(days, default=self.period.first), "last": max(days, default=self.period.first)}

    @property
    def _weeks(self) -> int:
        """The minimum number of weeks to go back, so that the earlier days do not overlap the period."""
        return -(-self.period.days // WEEK.days)

    def _find_earlier_day(self, day: date) -> date | None:
        if self.name == "month":
            last_earlier_day = day.replace(day=1) - DAY
            return last_earlier_day.replace(day=day.day) if day.day <= last_earlier_day.day else None
        distances: dict[str, timedelta] = {"weeks": self._weeks * WEEK, "days": self.period.days * DAY, "year": YEAR}
        return day - distances[self.name]


def read_comparison(period: Period) -> Comparison:
    """Return the comparison that the request has chosen, by default ``weeks``, or raise :exc:`ValidationError`."""
    comparison = Comparison(period, request.args.get("compare") or "weeks")
    if comparison.name not in comparison.choices:
        raise ValidationError(f"compare must be one of {', '.join(comparison.choices)}.")
    return comparison
