"""The numbers at the top of the overview, each with a comparison with earlier days."""

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
    """A number of the headline, with a note that compares it, and a severity if it is unusually high."""

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

    :param earlier: per day of the period the day to compare with; ``None`` before the first usage, which excludes this
        day of the period from the comparison.
    :param hours: the hours of ``today``, and of the day ``week_ago`` if there was any usage by then.
    """
    complete = period.complete_days
    pairs = [(day, then) for day, then in zip(days[:complete], earlier[:complete], strict=True) if then is not None]
    when = period.earlier if len(pairs) == complete else f"{period.earlier}, over {_days(len(pairs))}"
    figures = [_tokens_today(hours, at)] if period.is_running else []
    for label, name in (("Tokens", "tokens"), ("Requests", "requests"), ("Rejected", "rejected")):
        total = sum(getattr(day, name) for day in days)
        now, before = (sum(getattr(pair[place], name) for pair in pairs) for place in (0, 1))
        # If the whole total is from today, the comparison of the complete days would say that there was none.
        is_compared = pairs and (now or before or not total)
        severity = None
        if name == "rejected" and any(then.requests for _, then in pairs):
            severity = rejected_severity(sum(day.rejected for day in days if day.day >= pairs[0][0].day), before)
        note = change(now, before, when) if is_compared else ""
        figures.append(Figure(f"{label} in {_days(period.days)}", f"{total:,}", note, severity))
    return figures


def _days(number: int) -> str:
    return f"{number} day{'' if number == 1 else 's'}"


def rejected_severity(now: int, before: int) -> Severity | None:
    """Return a warning if the rise in rejected requests exceeds the thresholds for an agent's day."""
    is_far_more = now >= thresholds.MIN_REJECTED and now > thresholds.REJECTED_TIMES * before
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


def change(now: int, before: int, when: str) -> str:
    """Return the difference between *now* and *before*, in words.

    :param when: the end of the sentence "10 % more than …".
    """
    if now == before == 0:
        return f"none {when} either"
    if now == before:
        return f"as many as {when}"
    if before == 0:
        return f"none {when}"
    percent = round(100 * abs(now - before) / before)
    amount = f"{percent:,} %" if percent else "less than 1 %"
    return f"{amount} {'more' if now > before else 'fewer'} than {when}"


def _tokens_today(hours: dict[str, list[HourUsage]], at: datetime) -> Figure:
    # Usage is counted per hour, so both days are compared up to the last complete hour.
    now, earlier = (sum(hour.tokens for hour in hours.get(day, [])[: at.hour]) for day in ("today", "week_ago"))
    week_ago, until = f"on {day_label(at - WEEK, at)}", f"until {at.hour:02}:00"
    if not at.hour:
        note = "the first hour is not over"
    elif "week_ago" not in hours:
        note = ""
    elif now == earlier == 0:
        note = f"none {until}, today or {week_ago}"
    else:
        note = change(now, earlier, f"{week_ago} {until}")
    return Figure("Tokens today", f"{sum(hour.tokens for hour in hours['today']):,}", note)
