"""The numbers at the top of the overview, each compared with earlier days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentidp.dashboard.counts import DayUsage, HourUsage, Pair
from agentidp.dashboard.filters import day_label
from agentidp.dashboard.period import WEEK, Period
from agentidp.findings import thresholds
from agentidp.findings.budget import format_used_percent
from agentidp.findings.finding import Severity
from agentidp.http.text import format_count

COUNTS = ("tokens", "requests", "rejected")
"""The attributes of :class:`DayUsage` that the headline shows."""

MAX_PERCENT = 200
"""Maximum percentage that a comparison of two counts shows. For a greater difference, only the counts are shown."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number in the headline, with a note, a severity if the number is too high, and the path of a page about it."""

    label: str
    value: str
    note: str
    severity: Severity | None = None
    path: str = ""


def pair_days(period: Period, compared_days: list[DayUsage | None], days: list[DayUsage]) -> list[Pair]:
    """Return a pair per complete day of a period: the day, and its earlier day. Leave out days without earlier day."""
    day_count = period.days - period.is_running
    day_pairs = zip(days[:day_count], compared_days[:day_count], strict=True)
    return [(day, earlier_day) for day, earlier_day in day_pairs if earlier_day is not None]


def build_headline(
    period: Period,
    pairs: list[Pair],
    days: list[DayUsage],
    hours: dict[str, list[HourUsage]] | None,
    at: datetime,
    names: Sequence[str] = COUNTS,
) -> list[Figure]:
    """Return the tokens, requests and rejections of the period, preceded by today's tokens if today is included.

    :param pairs: the days to compare (:func:`pair_days`).
    :param hours: the hours per day, by the keys ``today`` and, if that day had usage, ``week_ago``; ``None`` leaves
        out the comparison of today.
    :param names: the attributes of :class:`DayUsage` to show.
    """
    figures = [_build_count_figure(count_name, period, pairs, days) for count_name in names]
    if not period.is_running:
        return figures
    return [_build_today_figure(hours, at) if hours else Figure("Tokens today", f"{days[-1].tokens:,}", ""), *figures]


def _build_count_figure(count_name: str, period: Period, pairs: list[Pair], days: list[DayUsage]) -> Figure:
    total_count = sum(getattr(day, count_name) for day in days)
    compared_count = sum(getattr(day, count_name) for day, _ in pairs)
    earlier_count = sum(getattr(earlier_day, count_name) for _, earlier_day in pairs)
    # Only complete days are compared. If all usage is from today, the comparison would wrongly show no usage.
    is_compared = pairs and (compared_count or earlier_count or not total_count)
    severity = None
    if count_name == "rejected" and any(earlier_day.requests for _, earlier_day in pairs):
        rejected_count = sum(day.rejected for day in days if day.day >= pairs[0][0].day)
        severity = decide_rejected_severity(rejected_count, earlier_count)
    note = compare_counts(compared_count, earlier_count) if is_compared else ""
    return Figure(
        f"{count_name.capitalize()} in {format_count(period.days, 'day')}", f"{total_count:,}", note, severity
    )


def decide_rejected_severity(count: int, earlier_count: int) -> Severity | None:
    """Return a warning if rejected requests exceed the thresholds of findings about agents, otherwise ``None``."""
    is_far_more = count >= thresholds.MIN_REJECTED and count > thresholds.REJECTED_TIMES * earlier_count
    return Severity.warning if is_far_more else None


def build_budget_figure(month: Any, at: datetime) -> Figure:
    """Return the used share of a month's budget, with the forecast. *month* is a row of ``findings/budget``."""
    figure_label, forecast_phrase = f"Budget of {at:%B}", f"forecast {format_count(month.forecast, 'token')}"
    month_path = f"/month?month={at:%Y-%m}"
    if month.budget is None:
        return Figure(figure_label, "none", forecast_phrase, path=month_path)
    severity = None
    if month.tokens > month.budget:
        severity = Severity.critical
    elif month.crosses_on:
        severity = Severity.warning
    return Figure(figure_label, format_used_percent(month), forecast_phrase, severity, month_path)


def compare_counts(count: int, earlier_count: int, suffix: str = "", earlier_suffix: str = "") -> str:
    """Return in words how a count differs from an earlier count: ``110 after 100: 10 % more``.

    :param suffix: the words after the count, such as `` until 12:00``.
    :param earlier_suffix: the words after the earlier count.
    """
    if count == earlier_count:
        earlier_words = earlier_suffix or " then"
        return f"{count:,}{suffix}, as many as{earlier_words}" if count else f"none{suffix}, and none{earlier_words}"
    counts_text = f"{count:,}{suffix} after {earlier_count:,}{earlier_suffix}"
    change_percent = round(100 * abs(count - earlier_count) / earlier_count) if earlier_count else MAX_PERCENT + 1
    if change_percent > MAX_PERCENT:
        return counts_text
    return f"{counts_text}: {change_percent or 'less than 1'} % {'more' if count > earlier_count else 'fewer'}"


def _build_today_figure(hours: dict[str, list[HourUsage]], at: datetime) -> Figure:
    # Usage is counted per hour, so both days are compared up to the last complete hour.
    tokens, earlier_tokens = (
        sum(hour.tokens for hour in hours.get(day, [])[: at.hour]) for day in ("today", "week_ago")
    )
    if not at.hour:
        note = "no complete hour yet"
    elif "week_ago" not in hours:
        note = ""
    else:
        note = compare_counts(tokens, earlier_tokens, f" until {at.hour:02}:00", f" on {day_label(at - WEEK, at)}")
    return Figure("Tokens today", f"{sum(hour.tokens for hour in hours['today']):,}", note)
