"""The numbers at the top of the overview, each compared with earlier days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentidp.dashboard.counts import DayUsage, HourUsage
from agentidp.dashboard.filters import day_label
from agentidp.dashboard.period import WEEK, Period
from agentidp.findings import thresholds
from agentidp.findings.budget import used_percent
from agentidp.findings.dates import number_of
from agentidp.findings.finding import Severity


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the headline, with a note that compares the number, and a severity if the number is too high."""

    label: str
    value: str
    note: str
    severity: Severity | None = None


def headline(
    period: Period,
    earlier: list[DayUsage | None],
    days: list[DayUsage],
    hours: dict[str, list[HourUsage]],
    at: datetime,
) -> list[Figure]:
    """Return the tokens, requests and rejections of the period, preceded by today's tokens if today is included.

    :param earlier: per day of the period the day to compare with; ``None`` before the first usage. Days without such a
        day are not compared.
    :param hours: the hours of ``today``, and of the day ``week_ago`` if there was any usage by then.
    """
    complete = period.days - period.is_running
    pairs = [(day, past) for day, past in zip(days[:complete], earlier[:complete], strict=True) if past is not None]
    when = period.earlier if len(pairs) == complete else f"{period.earlier}, over {number_of(len(pairs), 'day')}"
    figures = [_tokens_today(hours, at)] if period.is_running else []
    for label, name in (("Tokens", "tokens"), ("Requests", "requests"), ("Rejected", "rejected")):
        total = sum(getattr(day, name) for day in days)
        compared = sum(getattr(day, name) for day, _ in pairs)
        earlier_count = sum(getattr(past, name) for _, past in pairs)
        # If the whole total is from today, a comparison of the complete days would say that there was nothing.
        is_compared = pairs and (compared or earlier_count or not total)
        severity = None
        if name == "rejected" and any(past.requests for _, past in pairs):
            rejected = sum(day.rejected for day in days if day.day >= pairs[0][0].day)
            severity = rejected_severity(rejected, earlier_count)
        note = change(compared, earlier_count, when) if is_compared else ""
        figures.append(Figure(f"{label} in {number_of(period.days, 'day')}", f"{total:,}", note, severity))
    return figures


def rejected_severity(count: int, earlier_count: int) -> Severity | None:
    """Return a warning if the rise in rejected requests exceeds the thresholds for an agent's day."""
    is_far_more = count >= thresholds.MIN_REJECTED and count > thresholds.REJECTED_TIMES * earlier_count
    return Severity.warning if is_far_more else None


def budget_figure(month: Any, at: datetime) -> Figure:
    """Return the used share of the month's budget, and the forecast for the whole month.

    :param month: the row of ``findings/budget``.
    """
    label, forecast = f"Budget of {at:%B}", f"forecast {number_of(month.forecast, 'token')}"
    if month.budget is None:
        return Figure(label, "none", forecast)
    severity = None
    if month.tokens > month.budget:
        severity = Severity.critical
    elif month.crosses_on:
        severity = Severity.warning
    return Figure(label, used_percent(month), forecast, severity)


def change(count: int, earlier_count: int, when: str) -> str:
    """Return the difference between two counts in words.

    :param when: the end of the sentence "10 % more than …".
    """
    if count == earlier_count == 0:
        return f"none {when} either"
    if count == earlier_count:
        return f"as many as {when}"
    if earlier_count == 0:
        return f"none {when}"
    percent = round(100 * abs(count - earlier_count) / earlier_count)
    amount = f"{percent:,} %" if percent else "less than 1 %"
    return f"{amount} {'more' if count > earlier_count else 'fewer'} than {when}"


def _tokens_today(hours: dict[str, list[HourUsage]], at: datetime) -> Figure:
    # Usage is counted per hour, so both days are compared up to the last complete hour.
    count, earlier_count = (sum(hour.tokens for hour in hours.get(day, [])[: at.hour]) for day in ("today", "week_ago"))
    week_ago, until = f"on {day_label(at - WEEK, at)}", f"until {at.hour:02}:00"
    if not at.hour:
        note = "the first hour is not over"
    elif "week_ago" not in hours:
        note = ""
    elif count == earlier_count == 0:
        note = f"none {until}, today or {week_ago}"
    else:
        note = change(count, earlier_count, f"{week_ago} {until}")
    return Figure("Tokens today", f"{sum(hour.tokens for hour in hours['today']):,}", note)
