"""Coordinates of the charts, and shades of the heatmap, for the templates."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import ceil
from uuid import UUID

from agentidp.dashboard.counts import DayUsage, HourUsage
from agentidp.db.sql import Rows
from agentidp.findings.finding import StoredFinding

STEP = 10
"""Width of a bar and its gap, in units of the drawing."""

HEIGHT = 100
"""Height of the chart's axis, in units of the drawing."""

SHADES = 5
"""Number of shades of the heatmap for hours with requests. An hour without requests has shade 0."""

MAX_FLAGGED = timedelta(days=3)
"""Maximum duration of a finding that has a flag on each of its days. A longer finding is about a period, not a day."""

MAX_HEIGHT = 108
"""Maximum height of a bar or point, in units of the drawing. A bar that is cut off ends above the highest grid line."""

OUTLIER_TIMES = 4
"""Minimum ratio of a count that is cut off to the highest count that is not cut off."""

MIN_UNCUT_COUNTS = 5
"""Minimum number of counts above zero that are not cut off. With fewer counts, the axis reaches the highest count."""

MAX_TICKS = 5
"""Maximum number of dates that a chart shows below its bars."""

MAX_CUT_LABELS = 3
"""Maximum number of counts that a chart shows above bars that are cut off. The highest bars have priority."""

MIN_HEIGHT = 1.5
"""Minimum height of the bar of a count above zero, so that the bar is visible next to a high bar."""

FindingsByDay = dict[date, list[StoredFinding]]
"""The findings about each day, the most severe first."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The bar of a UTC day or hour in a chart.

    :param earlier_count: the count with which ``count`` is compared; ``None`` without a comparison.
    :param is_running: whether the day or hour is not over yet.
    :param is_empty: whether the day or hour is over and its count is zero, although the agent or organization existed.
    :param earlier_findings: the findings about the day with which this day is compared.
    """

    when: date
    count: int
    earlier_count: int | None
    findings: list[StoredFinding]
    x: int
    height: float
    is_running: bool
    is_empty: bool
    earlier_height: float | None
    earlier_findings: list[StoredFinding]


@dataclass(frozen=True, slots=True)
class Layer:
    """A part of a chart's bars: the tokens of one agent or, with an empty label, of all remaining agents.

    :param segments: (position, top, height) per bar with a count above zero.
    """

    label: str
    counts: list[int]
    segments: list[tuple[int, float, float]]

    @property
    def total(self) -> int:
        """The sum of the layer's counts in all bars."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of days or hours, oldest first. Bars above ``top``, the count at the highest grid line, are cut off.

    :param label: the name of the chart for screen readers; empty for ``Tokens issued by day`` or ``by hour``.
    :param unit: the counted items, such as ``rejected requests``.
    :param path: the path of a bar's page, below the dashboard's path. ``{bar}`` stands for the bar's day or hour.
    :param line_label: the words for the counts of the comparison line, such as ``a week earlier``.
    :param sum_since: the words for the first summed day, if each bar is a sum since that day; otherwise empty.
    :param ids_on_page: the findings that have a row on the same page. A finding's flag in the chart links to the row.
    :param has_steps: whether the comparison line is a step per bar, so that the line of a single bar is visible.
    :param shows_empty: whether the chart marks the bars that are empty (:class:`Bar`).
    """

    bars: list[Bar]
    top: int
    layers: Sequence[Layer] = ()
    label: str = ""
    unit: str = "tokens"
    path: str = "/days/{bar}"
    line_label: str = ""
    sum_since: str = ""
    markers: Sequence[ChartMarker] = ()
    ids_on_page: Set[UUID] = frozenset()
    has_steps: bool = False
    shows_empty: bool = False

    def build_path(self, when: date) -> str:
        """Return the path of the page about a day or hour, to which its bar links."""
        bar = f"?hour={when.hour}" if isinstance(when, datetime) else when.isoformat()
        return self.path.replace("{bar}", bar)

    @property
    def step(self) -> str:
        """The unit of a bar: ``day`` or ``hour``."""
        return "hour" if isinstance(self.bars[0].when, datetime) else "day"

    @property
    def earlier_bars(self) -> list[Bar]:
        """The bars for which the comparison line has a point. The line may begin later than the chart."""
        return [bar for bar in self.bars if bar.earlier_height is not None]

    @property
    def cut_bars(self) -> list[Bar]:
        """The bars that are cut off at the top of the chart, the highest first."""
        return sorted((bar for bar in self.bars if bar.count > self.top), key=lambda bar: -bar.count)

    @property
    def cut_labels(self) -> list[tuple[float, Bar]]:
        """The highest of the bars that are cut off, each with its position as a percentage of the chart's width."""
        return [(self._percentage(bar), bar) for bar in self.cut_bars[:MAX_CUT_LABELS]]

    @property
    def ticks(self) -> list[tuple[float, Bar]]:
        """The bars with a date below them, each with its position as a percentage of the chart's width."""
        last_index, gap_count = len(self.bars) - 1, MAX_TICKS - 1
        bar_indexes = sorted({round(tick_number * last_index / gap_count) for tick_number in range(MAX_TICKS)})
        return [(self._percentage(self.bars[bar_index]), self.bars[bar_index]) for bar_index in bar_indexes]

    def _percentage(self, bar: Bar) -> float:
        return round(100 * (bar.x + STEP / 2) / (STEP * len(self.bars)), 2)

    @property
    def total(self) -> int:
        """The sum of the counts of all bars."""
        return sum(bar.count for bar in self.bars)

    @property
    def max_bar(self) -> Bar:
        """The bar with the highest count. If several bars have this count, the latest bar."""
        return max(reversed(self.bars), key=lambda bar: bar.count)

    @property
    def running_bar(self) -> Bar | None:
        """The bar of the day or hour that is not over yet, or ``None`` if the chart ends earlier."""
        return next((bar for bar in self.bars if bar.is_running), None)


def stack_bars(chart: Chart, labeled_counts: Sequence[tuple[str, Sequence[int]]]) -> Chart:
    """Return the chart with its bars divided into layers: one per (label, counts), and one for the remaining counts."""
    if not labeled_counts:
        return chart
    remaining_counts, bar_tops = [bar.count for bar in chart.bars], [float(HEIGHT)] * len(chart.bars)
    layers = []
    for label, max_layer_counts in [*labeled_counts, ("", [bar.count for bar in chart.bars])]:
        segments, layer_counts = [], []
        for bar_index, bar in enumerate(chart.bars):
            # Labels' counts are read after the bars' counts, so a label's count can exceed the bar's remaining count.
            layer_count = min(max_layer_counts[bar_index], remaining_counts[bar_index])
            layer_counts.append(layer_count)
            if layer_count:
                remaining_counts[bar_index] -= layer_count
                segment_height = round(bar.height * layer_count / bar.count, 2)
                bar_tops[bar_index] = round(bar_tops[bar_index] - segment_height, 2)
                segments.append((bar.x, bar_tops[bar_index], segment_height))
        layers.append(Layer(label, layer_counts, segments))
    return replace(chart, layers=[layer for layer in layers if layer.segments])


def link_usage_charts(
    tokens_chart: Chart, rejections_chart: Chart, path: str, ids_on_page: Set[UUID], markers: Sequence[ChartMarker]
) -> dict[str, Chart]:
    """Add the labels, links and markers of a page to its charts, and return the charts by template variable."""
    label, unit = f"Rejected requests by {rejections_chart.step}", "rejected requests"
    return {
        "tokens_chart": replace(tokens_chart, path=path, ids_on_page=ids_on_page, markers=markers, shows_empty=True),
        "rejections_chart": replace(rejections_chart, path=path, ids_on_page=ids_on_page, label=label, unit=unit),
    }


@dataclass(frozen=True, slots=True)
class ChartMarker:
    """A marker in a chart: its first and last day, and its position and width in the drawing."""

    kind: str
    first: date
    last: date
    note: str | None
    x: int
    width: int
    marker_id: UUID


def draw_chart(
    counts: Sequence[tuple[date, int]],
    findings: FindingsByDay,
    running: date,
    *,
    created: date | None = None,
    earlier_counts: Sequence[int | None] = (),
    earlier_findings: Sequence[list[StoredFinding]] = (),
    line_label: str = "",
) -> Chart:
    """Return the chart of several days or hours.

    :param counts: pairs of a day, or the beginning of an hour, and its count, oldest first.
    :param running: the current day or hour, which is not over.
    :param created: the first day or hour that could have usage; ``None`` if before the first bar.
    :param earlier_counts: the count to compare with, per bar; ``None`` before the first usage. Empty: no comparison.
    :param earlier_findings: the findings about the day to compare with, per bar.
    :param line_label: the words for the earlier counts.
    """
    # Imported usage can be older than the agent. The agent then counts as existing since its first usage.
    first_usage_time = next((day_or_hour for day_or_hour, count in counts if count), running)
    existing_since = counts[0][0] if created is None else min(created, first_usage_time)
    has_comparison_line = any(earlier_counts)
    axis_top = _round_up(_find_maximum([*(count for _, count in counts), *(count or 0 for count in earlier_counts)]))
    bars = []
    for bar_index, (day_or_hour, count) in enumerate(counts):
        earlier_count = earlier_counts[bar_index] if has_comparison_line else None
        bars.append(
            Bar(
                day_or_hour,
                count,
                earlier_count,
                findings.get(day_or_hour, []),
                x=STEP * bar_index,
                height=max(MIN_HEIGHT, _scale(count, axis_top)) if count else 0,
                is_running=day_or_hour == running,
                is_empty=count == 0 and existing_since <= day_or_hour < running,
                earlier_height=None if earlier_count is None else _scale(earlier_count, axis_top),
                earlier_findings=earlier_findings[bar_index] if earlier_count is not None and earlier_findings else [],
            )
        )
    return Chart(bars, axis_top, line_label=line_label)


def _scale(count: int, axis_top: int) -> float:
    return min(MAX_HEIGHT, round(HEIGHT * count / axis_top, 1))


def draw_hours(
    day: date,
    hours: list[HourUsage],
    name: str,
    at: datetime,
    *,
    created_at: datetime | None = None,
    expected: Sequence[int | None] = (),
) -> Chart:
    """Return the chart of the hours of a day.

    :param name: the attribute of :class:`HourUsage` to draw.
    :param created_at: when the chart's agent was created; ``None`` for the organization.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=at.tzinfo)
    hour_counts = [(midnight + timedelta(hours=hour.hour), getattr(hour, name)) for hour in hours]
    creation_hour = created_at and _hour(created_at.astimezone(UTC))
    return draw_chart(hour_counts, {}, _hour(at), created=creation_hour, earlier_counts=expected)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def group_by_day(findings: list[StoredFinding]) -> tuple[FindingsByDay, FindingsByDay]:
    """Return the findings per day for the chart of tokens, and for the chart of rejected requests.

    A finding that lasts at most :data:`MAX_FLAGGED` is on all its days. A longer finding is on the day of its
    ``since``, such as the day on which a budget was exceeded. A longer finding that begins at ``since`` is on no day.
    """
    token_findings: FindingsByDay = {}
    rejection_findings: FindingsByDay = {}
    for finding in sorted(findings, key=lambda finding: -finding.severity):
        findings_by_day = rejection_findings if finding.kind == "rejections" else token_findings
        if finding.ends - finding.begins <= MAX_FLAGGED:
            day, last_finding_day = finding.begins.date(), last_day(finding.ends)
            while day <= last_finding_day:
                findings_by_day.setdefault(day, []).append(finding)
                day += timedelta(days=1)
        elif finding.since and finding.since != finding.begins:
            findings_by_day.setdefault(finding.since.date(), []).append(finding)
    return token_findings, rejection_findings


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Average requests per hour of the week.

    :param cells: per weekday, from Sunday, and hour: the average, and the shade from 0 to :data:`SHADES`. The average
        is ``None`` if this hour is not yet over on any such weekday of the period.
    :param busiest: the weekday (0 = Sunday) and the hour with the greatest average; ``None`` without a request.
    """

    cells: list[list[tuple[float | None, int]]]
    busiest: tuple[int, int] | None


def build_heatmap(days: list[DayUsage], at: datetime, first_usage_day: date | None = None) -> Heatmap:
    """Return the averages per hour of the week. Leave out hours that are not over, and days before the first usage."""
    counts_by_weekday: list[list[list[int]]] = [[[] for _ in range(24)] for _ in range(7)]
    for day_usage in days:
        complete_hour_count = 24 if day_usage.day < at.date() else at.hour
        if first_usage_day is None or day_usage.day >= first_usage_day:
            for hour, request_count in enumerate(day_usage.requests_by_hour[:complete_hour_count]):
                counts_by_weekday[day_usage.day.isoweekday() % 7][hour].append(request_count)
    averages = [[_mean(counts) if counts else None for counts in day_counts] for day_counts in counts_by_weekday]
    max_average, weekday, hour = max(
        (average or 0, weekday, hour) for weekday, row in enumerate(averages) for hour, average in enumerate(row)
    )
    cells = [[(average, ceil(SHADES * (average or 0) / (max_average or 1))) for average in row] for row in averages]
    return Heatmap(cells, (weekday, hour) if max_average else None)


def _mean(counts: list[int]) -> float:
    """Return the mean of counts, rounded to one decimal place, as an integer if it is a whole number."""
    mean = round(sum(counts) / len(counts), 1)
    return int(mean) if mean.is_integer() else mean


def place_markers(rows: Rows, first: date, last: date, agent_ids: Set[UUID] | None = None) -> list[ChartMarker]:
    """Return the markers on a chart's days, earliest first. *agent_ids* are the chart's agents; ``None`` means all."""
    markers = []
    for row in rows:
        first_marked_day = row.starts_at.astimezone(UTC).date()
        # last_day() returns the previous day for a marker that is a single instant at midnight, such as a deployment.
        last_marked_day = max(first_marked_day, last_day(row.ends_at.astimezone(UTC)))
        is_for_chart_agents = agent_ids is None or row.agent_id is None or row.agent_id in agent_ids
        if first_marked_day <= last and last_marked_day >= first and is_for_chart_agents:
            first_marked_day, last_marked_day = max(first_marked_day, first), min(last_marked_day, last)
            x, width = STEP * (first_marked_day - first).days, STEP * ((last_marked_day - first_marked_day).days + 1)
            markers.append(ChartMarker(row.kind, first_marked_day, last_marked_day, row.note, x, width, row.marker_id))
    return sorted(markers, key=lambda marker: (marker.first, marker.last))


def last_day(ends: datetime) -> date:
    """Return the day that contains the last instant before *ends*."""
    return (ends - timedelta(microseconds=1)).date()


def _find_maximum(counts: list[int]) -> int:
    """Return the highest count that is not cut off. At most a tenth of the counts, or a single count, is cut off."""
    sorted_counts = sorted((count for count in counts if count), reverse=True)
    for outlier_count in range(max(1, len(sorted_counts) // 10), 0, -1):
        axis_counts = sorted_counts[outlier_count:]
        if len(axis_counts) >= MIN_UNCUT_COUNTS and sorted_counts[outlier_count - 1] >= OUTLIER_TIMES * axis_counts[0]:
            return axis_counts[0]
    return sorted_counts[0] if sorted_counts else 0


def _round_up(count: int) -> int:
    """Return the first of 2, 4, … 20, 24, 30, 40, … that is at least *count*. Half of the result is a whole number."""
    if count <= 10:
        return max(2, count + count % 2)
    round_numbers = (12, 14, 16, 18, 20, 24, 30, 40, 50, 60, 80, 100)
    power_of_ten: int = 10 ** (len(str(count - 1)) - 2)
    return next(power_of_ten * round_number for round_number in round_numbers if count <= power_of_ten * round_number)
