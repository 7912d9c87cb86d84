"""What the templates draw, as numbers: the bars of a chart, the shades of the heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import ceil
from uuid import UUID

from agentidp.dashboard.counts import HourUsage
from agentidp.db.sql import Rows
from agentidp.findings.finding import KnownFinding

STEP = 10
"""Width of a bar and the gap beside it in a drawing, in its units."""

HEIGHT = 100
"""Height of a drawing's axis, in its units."""

SHADES = 5
"""Of the heatmap; an hour without a request has none."""

MAX_MARKED = timedelta(days=3)
"""Not all days of a finding with a longer window are marked: it is about the whole period."""

MAX_LINE = 108
"""Height of a point of the line that is above the axis: outside of it, and still in the drawing."""

MIN_HEIGHT = 1.5
"""Of a bar, so that a low one beside a high one can be seen."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A UTC day or hour of a chart.

    ``earlier`` is the count that it is compared with, if it is, ``earlier_height`` where the line of these is, and
    ``earlier_findings`` are about that day. ``findings`` are those about it, the most severe first. ``left`` is its
    position in the drawing and ``height`` the height of its bar. A day or hour that ``is_running`` is not over; one
    that ``is_empty`` is over and counted nothing, though its subject existed.
    """

    when: date
    count: int
    earlier: int | None
    findings: list[KnownFinding]
    left: int
    height: float
    is_running: bool
    is_empty: bool
    earlier_height: float | None = None
    earlier_findings: Sequence[KnownFinding] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of days or hours, oldest first. ``top`` is the value of the highest grid line."""

    bars: list[Bar]
    top: int

    @property
    def earlier_bars(self) -> list[Bar]:
        """Those through which the line of what they are compared with goes. It may begin later than the chart."""
        return [bar for bar in self.bars if bar.earlier_height is not None]

    @property
    def width(self) -> int:
        """Of the drawing, in its units."""
        return STEP * len(self.bars)

    @property
    def total(self) -> int:
        """The sum of all bars."""
        return sum(bar.count for bar in self.bars)

    @property
    def max_bar(self) -> Bar:
        """The bar with the highest count, the latest of several."""
        return max(reversed(self.bars), key=lambda bar: bar.count)

    @property
    def running_bar(self) -> Bar | None:
        """The bar of the day or hour that is not over, if it is shown."""
        return next((bar for bar in self.bars if bar.is_running), None)


@dataclass(frozen=True, slots=True)
class Marked:
    """A marker in a chart of days: the days that it covers, and where they are in the drawing."""

    kind: str
    first: date
    last: date
    note: str | None
    left: int
    width: int


def day_chart(
    counts: list[tuple[date, int]],
    marked: dict[date, list[KnownFinding]],
    today: date,
    created: date | None = None,
    earlier: Sequence[int | None] = (),
    earlier_marked: Sequence[list[KnownFinding]] = (),
) -> Chart:
    """The chart of some days.

    :param counts: day and count, oldest first.
    :param marked: day -> the findings about it.
    :param created: since when the subject of the chart exists, if that is known; no day before that is empty.
    :param earlier: the counts that they are compared with, ``None`` before there were any. Without any above zero there
        is no line. The axis is that of *counts*: where the line is higher, it leaves the drawing.
    :param earlier_marked: the findings about each of the days that they are compared with.
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
    """The chart of a day's hours up to the hour of *at*.

    :param name: of the count in :class:`HourUsage`.
    :param created_at: when the agent was created whose chart it is; no hour before that is empty.
    :param expected: of each hour, as the counts that it is compared with.
    """
    begins = datetime(day.year, day.month, day.day, tzinfo=at.tzinfo)
    counts = [(begins + timedelta(hours=hour.hour), getattr(hour, name)) for hour in hours]
    created = created_at and _hour(created_at.astimezone(UTC))
    return _chart(counts, {}, _hour(at), created, expected)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _chart(
    counts: Sequence[tuple[date, int]],
    marked: dict[date, list[KnownFinding]],
    running: date,
    created: date | None,
    earlier: Sequence[int | None] = (),
    earlier_marked: Sequence[list[KnownFinding]] = (),
) -> Chart:
    # Usage that was imported can be older than the agent.
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


def days_with_findings(found: list[KnownFinding], *, of_rejections: bool) -> dict[date, list[KnownFinding]]:
    """Day -> the findings about it, the most severe first: those of at most three days, and those of a longer time that
    are so since a day within it, such as a budget since it was exceeded.

    :param of_rejections: those about rejected requests, which are marked on the chart of these; else all others.
    """
    marked: dict[date, list[KnownFinding]] = {}
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
    """Seven days of 24 hours, from Sunday: the count of each hour, and its shade from 0 to :data:`SHADES`.

    :param cells: with ``dow``, ``hour`` and ``count``, those that are not zero.
    """
    counts = {(cell["dow"], cell["hour"]): cell["count"] for cell in cells}
    max_count = max(counts.values(), default=1)
    return [
        [(count := counts.get((dow, hour), 0), ceil(SHADES * count / max_count)) for hour in range(24)]
        for dow in range(7)
    ]


def marked_days(markers: Rows, first: date, last: date, agent_id: UUID | None = None) -> list[Marked]:
    """The markers on the days of a chart, the earliest first.

    :param markers: rows of ``markers/list_markers``.
    :param agent_id: whose chart it is; on the organization's are the markers of every agent.
    """
    found = []
    for marker in markers:
        begins = marker.starts_at.astimezone(UTC).date()
        # A deployment may be at an instant.
        ends = max(begins, last_day(marker.ends_at.astimezone(UTC)))
        if begins <= last and ends >= first and (agent_id is None or marker.agent_id in (None, agent_id)):
            begins, ends = max(begins, first), min(ends, last)
            left, width = STEP * (begins - first).days, STEP * ((ends - begins).days + 1)
            found.append(Marked(marker.kind, begins, ends, marker.note, left, width))
    return sorted(found, key=lambda one: (one.first, one.last))


def last_day(ends: datetime) -> date:
    """The day of the last instant before *ends*."""
    return (ends - timedelta(microseconds=1)).date()


def _round_number(count: int) -> int:
    """The lowest of 2, 4, 6, … 18, 20, 24, 30, 40, 50, 60, 80, 100, 120, … that is not below *count*; half of it is a
    whole number too.
    """
    if count <= 10:
        return max(2, count + count % 2)
    top = 1
    while True:
        for factor in (12, 14, 16, 18, 20, 24, 30, 40, 50, 60, 80, 100):
            if count <= top * factor:
                return top * factor
        top *= 10
