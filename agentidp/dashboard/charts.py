"""What the templates draw: bars of days, shades of hours. Numbers in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any

from agentidp.findings.finding import Finding

STEP = 10
"""Units of a drawing that a day takes."""

HEIGHT = 100
"""Units of a drawing's highest bar."""

SHADES = 5
"""Of the heatmap, beside none for no request."""

LONGEST_MARKED = timedelta(days=3)
"""A finding about a longer time than that is not about the days in it."""


@dataclass(frozen=True, slots=True)
class Day:
    """A UTC day of a chart. ``left`` is where it begins in the drawing, ``height`` that of its bar."""

    day: date
    count: int
    findings: int
    left: int
    height: float


@dataclass(frozen=True, slots=True)
class Bars:
    """A chart of days, oldest first; the last one is not over. ``top`` is what the highest line stands for."""

    days: list[Day]
    top: int

    @property
    def width(self) -> int:
        """Of the drawing."""
        return STEP * len(self.days)

    @property
    def total(self) -> int:
        """Of all days."""
        return sum(day.count for day in self.days)

    @property
    def highest(self) -> Day:
        """The day with most, the latest of several."""
        return max(self.days, key=lambda day: (day.count, day.day))


def bars(trend: list[dict[str, Any]], marked: dict[date, int]) -> Bars:
    """The chart of a trend.

    :param trend: items with ``date`` and ``count``, oldest first.
    :param marked: day -> how many findings it has.
    """
    top = _round_number(max(item["count"] for item in trend))
    days = []
    for index, item in enumerate(trend):
        day, count = date.fromisoformat(item["date"]), item["count"]
        # A bar that would be too low to see is drawn one unit high.
        height = max(1, round(HEIGHT * count / top, 1)) if count else 0
        days.append(Day(day, count, marked.get(day, 0), STEP * index, height))
    return Bars(days, top)


def days_with_findings(found: list[Finding]) -> dict[date, int]:
    """Day -> how many findings there are about it."""
    marked: dict[date, int] = {}
    for finding in found:
        if finding.ends - finding.begins <= LONGEST_MARKED:
            day, last = finding.begins.date(), last_day(finding.ends)
            while day <= last:
                marked[day] = marked.get(day, 0) + 1
                day += timedelta(days=1)
    return marked


def heatmap(cells: list[dict[str, int]]) -> list[list[tuple[int, int]]]:
    """Seven days of 24 hours, from Sunday: the count of each hour, and its shade from 0 to :data:`SHADES`.

    :param cells: with ``dow``, ``hour`` and ``count``, those that are not zero.
    """
    counts = {(cell["dow"], cell["hour"]): cell["count"] for cell in cells}
    most = max(counts.values(), default=1)
    return [
        [(count := counts.get((dow, hour), 0), ceil(SHADES * count / most)) for hour in range(24)] for dow in range(7)
    ]


def _round_number(most: int) -> int:
    """The lowest of 2, 4, 6, 8, 10, 20, 40, … that is not below *most*; half of it is a whole number, too."""
    top = 1
    while True:
        for factor in (2, 4, 6, 8, 10):
            if most <= top * factor:
                return top * factor
        top *= 10


def last_day(ends: datetime) -> date:
    """The day of a window's last instant."""
    return (ends - timedelta(microseconds=1)).date()
