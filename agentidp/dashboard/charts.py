"""What the templates draw, as numbers: the bars of a chart, the shades of the heatmap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any

from agentidp.findings.finding import Finding

STEP = 10
"""Width of a day in a drawing, in its units."""

HEIGHT = 100
"""Height of a drawing's axis, in its units."""

SHADES = 5
"""Of the heatmap; an hour without a request has none."""

MAX_MARKED = timedelta(days=3)
"""The days of a finding with a longer window are not marked: it is about the whole period."""


@dataclass(frozen=True, slots=True)
class Day:
    """A UTC day of a chart. ``left`` is its position in the drawing, ``height`` the height of its bar."""

    day: date
    count: int
    findings: int
    left: int
    height: float


@dataclass(frozen=True, slots=True)
class Bars:
    """A chart of days, oldest first; the last one is not over. ``top`` is the value of the highest grid line."""

    days: list[Day]
    top: int

    @property
    def width(self) -> int:
        """Of the drawing, in its units."""
        return STEP * len(self.days)

    @property
    def total(self) -> int:
        """The sum of all days."""
        return sum(day.count for day in self.days)

    @property
    def max_day(self) -> Day:
        """The day with the highest count, the latest of several."""
        return max(self.days, key=lambda day: (day.count, day.day))


def bars(trend: list[dict[str, Any]], marked: dict[date, int]) -> Bars:
    """The chart of a trend.

    :param trend: items with ``date`` and ``count``, oldest first.
    :param marked: day -> its number of findings.
    """
    top = _round_number(max(item["count"] for item in trend))
    days = []
    for index, item in enumerate(trend):
        day, count = date.fromisoformat(item["date"]), item["count"]
        # A bar must be high enough to see.
        height = max(1, round(HEIGHT * count / top, 1)) if count else 0
        days.append(Day(day, count, marked.get(day, 0), STEP * index, height))
    return Bars(days, top)


def days_with_findings(found: list[Finding]) -> dict[date, int]:
    """Day -> the number of findings whose window contains it."""
    marked: dict[date, int] = {}
    for finding in found:
        if finding.ends - finding.begins <= MAX_MARKED:
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
    max_count = max(counts.values(), default=1)
    return [
        [(count := counts.get((dow, hour), 0), ceil(SHADES * count / max_count)) for hour in range(24)]
        for dow in range(7)
    ]


def _round_number(count: int) -> int:
    """The lowest of 2, 4, 6, 8, 10, 20, 40, … that is not below *count*; half of it is also a whole number."""
    top = 1
    while True:
        for factor in (2, 4, 6, 8, 10):
            if count <= top * factor:
                return top * factor
        top *= 10


def last_day(ends: datetime) -> date:
    """The day of the last instant before *ends*."""
    return (ends - timedelta(microseconds=1)).date()
