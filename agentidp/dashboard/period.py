"""Which days a page shows, and which earlier days they are compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flask import request

from agentidp.http.errors import ValidationError
from agentidp.http.schemas import MAX_DAYS, MAX_DAYS_OF_USAGE

PERIODS = (7, 30, MAX_DAYS)
"""Numbers of days that a page offers, the last of them today."""

DEFAULT_PERIOD = 30
MAX_PERIOD_DAYS = MAX_DAYS_OF_USAGE
"""In a period."""

MONTHS = 13
"""Months that a page offers: the current one and a year before."""

DAY, WEEK = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Period:
    """The UTC days from ``first`` to ``last``.

    ``query`` asks for it in an address. It is compared with the same days of the week, so many whole weeks earlier that
    the two do not overlap: a period with five Saturdays is not compared with one that has four.
    """

    first: date
    last: date
    today: date
    query: str

    @property
    def days(self) -> int:
        """The number of days."""
        return (self.last - self.first).days + 1

    @property
    def is_running(self) -> bool:
        """Whether today, which is not over, is in it."""
        return self.last == self.today

    @property
    def complete_days(self) -> int:
        """The number of days that are over."""
        return self.days - self.is_running

    @property
    def weeks_earlier(self) -> int:
        """How many weeks lie between a day and the one that it is compared with."""
        return -(-self.days // 7)

    @property
    def earlier_first(self) -> date:
        """The first day of the days that it is compared with."""
        return self.first - self.weeks_earlier * WEEK

    @property
    def earlier(self) -> str:
        """When those days were, in words: ``5 weeks earlier``."""
        return "a week earlier" if self.weeks_earlier == 1 else f"{self.weeks_earlier} weeks earlier"

    @property
    def days_ago(self) -> int:
        """How many days, today included, reach back to its first."""
        return (self.today - self.first).days + 1


def requested_period(at: datetime) -> Period:
    """The period that the request asks for: ``days``, ``month``, or ``from`` and ``to``.

    :param at: now, aware.
    :raises ValidationError: it is not one of :data:`PERIODS`, it is in the future, or longer than
        :data:`MAX_PERIOD_DAYS`.
    """
    today = at.astimezone(UTC).date()
    if "month" in request.args:
        return _month(request.args["month"], today)
    if "from" in request.args or "to" in request.args:
        return _between(request.args.get("from", ""), request.args.get("to", ""), today)
    days = request.args.get("days", str(DEFAULT_PERIOD))
    if days not in map(str, PERIODS):
        *others, longest = PERIODS
        choice = f"{', '.join(map(str, others))} or {longest}"
        raise ValidationError(f"Choose {choice} days, a month, or a first and a last day.")
    first = today - (int(days) - 1) * DAY
    return Period(first, today, today, f"days={days}")


def recent_months(today: date) -> list[date]:
    """The first days of the current month and those before it, latest first."""
    months = [today.replace(day=1)]
    while len(months) < MONTHS:
        months.append((months[-1] - DAY).replace(day=1))
    return months


def _month(text: str, today: date) -> Period:
    first = parsed_date(f"{text}-01")
    if first is None or first > today:
        raise ValidationError("The month must be a past or the current one, for example 2026-03.")
    last = min((first + 31 * DAY).replace(day=1) - DAY, today)
    return Period(first, last, today, f"month={text}")


def _between(begins: str, ends: str, today: date) -> Period:
    first, last = parsed_date(begins), parsed_date(ends) if ends else today
    if first is None or last is None or not first <= last <= today:
        raise ValidationError("The first and the last day must be past dates, for example 2026-03-31.")
    days = (last - first).days + 1
    if days > MAX_PERIOD_DAYS:
        raise ValidationError(f"A period has at most {MAX_PERIOD_DAYS} days.")
    return Period(first, last, today, f"from={first}&to={last}")


def parsed_date(text: str) -> date | None:
    """A date as ISO 8601 writes it; years before 2000 are mistakes."""
    if not re.fullmatch(r"2[0-9]{3}-[0-9]{2}-[0-9]{2}", text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
