"""The numbers at the top of the overview, each with its change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agentidp.dashboard.filters import day_label
from agentidp.dashboard.period import WEEK, Period
from agentidp.dashboard.usage import DayUsage, HourUsage
from agentidp.findings.budget import BudgetStatus
from agentidp.findings.dates import number_of


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the headline, and how it changed. ``is_alarming`` shows it in the colour of alarms."""

    label: str
    value: str
    note: str
    is_alarming: bool = False


def headline(
    period: Period, before: list[DayUsage], days: list[DayUsage], hours: dict[str, list[HourUsage]], at: datetime
) -> list[Figure]:
    """Tokens today, and the tokens, requests and rejections of the period.

    :param before: the days to compare with the complete days of the period.
    :param hours: those of ``today`` and of the day a ``week_ago``.
    """
    complete = days[: period.complete_days]
    figures = [_tokens_today(hours, at)]
    for label, name in (("Tokens", "tokens"), ("Requests", "requests"), ("Rejected", "rejected")):
        total, now, earlier = (sum(getattr(day, name) for day in some) for some in (days, complete, before))
        note = change(now, earlier, "before") if complete else ""
        figures.append(Figure(f"{label} in {period.days} day{'s' if period.days > 1 else ''}", f"{total:,}", note))
    return figures


def budget_figure(month: BudgetStatus, at: datetime) -> Figure:
    """How much of the month's budget is used, and the forecast for the whole month."""
    label, forecast = f"Budget of {at:%B}", f"forecast {number_of(month.forecast, 'token')}"
    if month.budget is None or month.percent is None:
        return Figure(label, "none", forecast)
    return Figure(label, f"{month.percent:,.15g} %", forecast, is_alarming=month.tokens > month.budget)


def change(now: int, before: int, when: str) -> str:
    """How *now* differs from *before*, in words.

    :param when: ends the sentence "10 % more than …".
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
    # Hours are the finest that is counted, so both days are compared up to the last complete hour.
    now, earlier = (sum(hour.tokens for hour in hours[day][: at.hour]) for day in ("today", "week_ago"))
    week_ago, until = f"on {day_label(at - WEEK, at)}", f"until {at.hour:02}:00"
    if not at.hour:
        note = "the first hour is not over"
    elif now == earlier == 0:
        note = f"none {until}, today or {week_ago}"
    else:
        note = change(now, earlier, f"{week_ago} {until}")
    return Figure("Tokens today", f"{sum(hour.tokens for hour in hours['today']):,}", note)
