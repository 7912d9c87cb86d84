"""Coordinates for the charts of the templates: the bars of a chart, the shades of the heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import ceil
from uuid import UUID

from agentidp.dashboard.counts import HourUsage
from agentidp.db.sql import Rows
from agentidp.findings.finding import StoredFinding

STEP = 10
"""Width of a bar with its gap, in units of the drawing."""

HEIGHT = 100
"""Height of the axis, in units of the drawing."""

SHADES = 5
"""Number of shades of the heatmap. An hour without requests has shade 0."""

MAX_MARKED = timedelta(days=3)
"""Maximum length of a finding whose days are all marked. A longer finding is about the period, not about a day."""

MAX_LINE = 108
"""Maximum height of a point of the comparison line: above the axis, and still inside the drawing."""

MIN_HEIGHT = 1.5
"""Minimum height of a bar, so that a low bar beside a high bar is visible."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The bar of a UTC day or hour.

    :param earlier: the count that this count is compared with; ``None`` without a comparison.
    :param findings: the findings about this day, the most severe first.
    :param left: the position of the bar in the drawing.
    :param is_running: whether the day or hour is not over yet.
    :param is_empty: whether the day or hour is over and its count is zero, although the chart's subject existed.
    :param earlier_height: the height of the comparison line at this bar.
    :param earlier_findings: the findings about the day that this day is compared with.
    """

    when: date
    count: int
    earlier: int | None
    findings: list[StoredFinding]
    left: int
    height: float
    is_running: bool
    is_empty: bool
    earlier_height: float | None = None
    earlier_findings: Sequence[StoredFinding] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of days or hours, oldest first. ``top`` is the count at the highest grid line."""

    bars: list[Bar]
    top: int

    @property
    def earlier_bars(self) -> list[Bar]:
        """The bars that have a point of the comparison line. The line may begin later than the chart."""
        return [bar for bar in self.bars if bar.earlier_height is not None]

    @property
    def width(self) -> int:
        """Width of the drawing, in its units."""
        return STEP * len(self.bars)

    @property
    def total(self) -> int:
        """The sum of all bars."""
        return sum(bar.count for bar in self.bars)

    @property
    def max_bar(self) -> Bar:
        """The bar with the highest count; the latest if several have this count."""
        return max(reversed(self.bars), key=lambda bar: bar.count)

    @property
    def running_bar(self) -> Bar | None:
        """The bar of the day or hour that is not over yet; ``None`` if the chart ends earlier."""
        return next((bar for bar in self.bars if bar.is_running), None)


@dataclass(frozen=True, slots=True)
class Marked:
    """A marker in a chart of days: its first and last day, and their position and width in the drawing."""

    kind: str
    first: date
    last: date
    note: str | None
    left: int
    width: int


def day_chart(
    counts: list[tuple[date, int]],
    marked: dict[date, list[StoredFinding]],
    today: date,
    created: date | None = None,
    earlier: Sequence[int | None] = (),
    earlier_marked: Sequence[list[StoredFinding]] = (),
) -> Chart:
    """Return the chart of several days.

    :param counts: day and count, oldest first.
    :param marked: day -> the findings about the day.
    :param created: the day on which the chart's subject was created; no earlier day is empty. ``None`` if unknown.
    :param earlier: per day the count to compare with; ``None`` before the first usage. If no count is above zero, the
        chart has no comparison line. The line does not change the axis, and is cut off at :data:`MAX_LINE`.
    :param earlier_marked: per day the findings about the day to compare with.
    """
    return _chart(counts, marked, today, created, earlier, earlier_marked)


def hour_chart(
    day: date,
    hours: list[HourUsage],
    name: str,
    at: datetime,
    created_at: datetime | None = None,
    expected: Sequence[int | None] = (),
) -> Chart:
    """Return the chart of the hours of a day.

    :param name: the attribute of :class:`HourUsage` to draw.
    :param at: the current time; its hour is drawn as running.
    :param created_at: when the chart's agent was created; no earlier hour is empty. ``None`` for the organization.
    :param expected: per hour the count to compare with.
    """
    begins = datetime(day.year, day.month, day.day, tzinfo=at.tzinfo)
    counts = [(begins + timedelta(hours=hour.hour), getattr(hour, name)) for hour in hours]
    created = created_at and _hour(created_at.astimezone(UTC))
    return _chart(counts, {}, _hour(at), created, expected)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _chart(
    counts: Sequence[tuple[date, int]],
    marked: dict[date, list[StoredFinding]],
    running: date,
    created: date | None,
    earlier: Sequence[int | None] = (),
    earlier_marked: Sequence[list[StoredFinding]] = (),
) -> Chart:
    # Imported usage can be older than the agent.
    first_used = next((when for when, count in counts if count), running)
    begins = counts[0][0] if created is None else min(created, first_used)
    top = _round_number(max(count for _, count in counts))
    has_line = any(earlier)
    bars = []
    for index, (when, count) in enumerate(counts):
        height = max(MIN_HEIGHT, round(HEIGHT * count / top, 1)) if count else 0
        before = earlier[index] if has_line else None
        line = None if before is None else min(MAX_LINE, round(HEIGHT * before / top, 1))
        about_then = earlier_marked[index] if line is not None and earlier_marked else ()
        is_empty = count == 0 and begins <= when < running
        about = marked.get(when, [])
        left = STEP * index
        bars.append(Bar(when, count, before, about, left, height, when == running, is_empty, line, about_then))
    return Chart(bars, top)


def days_with_findings(found: list[StoredFinding], *, of_rejections: bool) -> dict[date, list[StoredFinding]]:
    """Return the findings about each day, the most severe first.

    A finding of at most :data:`MAX_MARKED` is on all its days. A longer finding is on the day of its ``since``, such as
    the day on which a budget was exceeded, and on no day if it has been so from its beginning.

    :param of_rejections: return the findings about rejected requests, which have their own chart; otherwise all others.
    """
    marked: dict[date, list[StoredFinding]] = {}
    for known in sorted(found, key=lambda one: -one.severity):
        if (known.kind == "rejections") != of_rejections:
            continue
        if known.ends - known.begins <= MAX_MARKED:
            day, last = known.begins.date(), last_day(known.ends)
            while day <= last:
                marked.setdefault(day, []).append(known)
                day += timedelta(days=1)
        elif known.since and known.since != known.begins:
            marked.setdefault(known.since.date(), []).append(known)
    return marked


def heatmap(cells: list[dict[str, int]]) -> list[list[tuple[int, int]]]:
    """Return seven days from Sunday, each of 24 hours: the count of the hour, and its shade from 0 to :data:`SHADES`.

    :param cells: the hours whose ``count`` is not zero, with ``dow`` and ``hour``.
    """
    counts = {(cell["dow"], cell["hour"]): cell["count"] for cell in cells}
    max_count = max(counts.values(), default=1)
    return [
        [(count := counts.get((dow, hour), 0), ceil(SHADES * count / max_count)) for hour in range(24)]
        for dow in range(7)
    ]


def marked_days(markers: Rows, first: date, last: date, agent_id: UUID | None = None) -> list[Marked]:
    """Return the markers on the days of a chart, the earliest first.

    :param markers: rows of ``markers/list_markers``.
    :param agent_id: the chart's agent; ``None`` for the organization's chart, which has the markers of all agents.
    """
    found = []
    for marker in markers:
        begins = marker.starts_at.astimezone(UTC).date()
        # A marker of a single instant, such as a deployment at midnight, would otherwise end on the day before.
        ends = max(begins, last_day(marker.ends_at.astimezone(UTC)))
        if begins <= last and ends >= first and (agent_id is None or marker.agent_id in (None, agent_id)):
            begins, ends = max(begins, first), min(ends, last)
            left, width = STEP * (begins - first).days, STEP * ((ends - begins).days + 1)
            found.append(Marked(marker.kind, begins, ends, marker.note, left, width))
    return sorted(found, key=lambda one: (one.first, one.last))


def last_day(ends: datetime) -> date:
    """Return the day of the last instant before *ends*."""
    return (ends - timedelta(microseconds=1)).date()


def _round_number(count: int) -> int:
    """Return the smallest of 2, 4, 6, … 18, 20, 24, 30, 40, 50, 60, 80, 100, 120, … that is at least *count*.

    Half of each of these numbers is a whole number, too.
    """
    if count <= 10:
        return max(2, count + count % 2)
    top = 1
    while True:
        for factor in (12, 14, 16, 18, 20, 24, 30, 40, 50, 60, 80, 100):
            if count <= top * factor:
                return top * factor
        top *= 10
