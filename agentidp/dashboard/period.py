"""The days that a page shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from flask import request

from agentidp.analytics import period
from agentidp.dashboard import forms
from agentidp.http.errors import ValidationError
from agentidp.http.schemas import MAX_DAYS

NAMES = ("days", "month", "from", "to")
"""Names of the parameters that choose a period."""

PERIODS = (7, 30, MAX_DAYS)
"""Lengths in days of the offered periods that end today."""

MONTHS = 13
"""Number of months that pages offer as periods: the current month and the twelve before."""

EARLIEST = date(2000, 1, 1)
"""The earliest day of a period."""

DAY, WEEK = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Period(period.Period):
    """The days that a page shows: a period of the API (:mod:`agentidp.analytics.period`), with today and a URL's query.

    :param query: the query of a URL for the same period.
    """

    today: date
    query: str

    @property
    def is_running(self) -> bool:
        """Whether the period includes today, which is not over yet."""
        return self.last == self.today

    @property
    def previous_query(self) -> str:
        """The query of the period of the same length before this period; empty if it would begin before 2000."""
        return self._build_shifted_query(-1)

    @property
    def next_query(self) -> str:
        """The query of the next period of the same length, which ends today at the latest; empty if there is none."""
        return self._build_shifted_query(1)

    def _build_shifted_query(self, direction: int) -> str:
        if self.query.startswith("month="):
            first_day = ((self.first - DAY) if direction < 0 else (self.first + 31 * DAY)).replace(day=1)
            return f"month={first_day:%Y-%m}" if EARLIEST <= first_day <= self.today else ""
        first_day, last_day = (day + direction * self.days * DAY for day in (self.first, self.last))
        if first_day < EARLIEST or (direction > 0 and self.is_running):
            return ""
        if last_day >= self.today:
            first_day, last_day = first_day - (last_day - self.today), self.today
            if self.days <= MAX_DAYS:
                return f"days={self.days}"
        return f"from={first_day}&to={last_day}"

    @property
    def days_ago(self) -> int:
        """The number of days from the period's first day until today, including both."""
        return (self.today - self.first).days + 1


def parse_period(at: datetime) -> Period:
    """Return the period that the request has chosen, or raise :exc:`ValidationError` if the API would refuse it."""
    # Forms also send empty fields, which are ignored.
    arguments = {parameter_name: argument for parameter_name in NAMES if (argument := request.args.get(parameter_name))}
    arguments = arguments or {"days": str(period.DEFAULT_DAYS)}
    try:
        requested_period = period.read_period(forms.load(period.PeriodArguments(), arguments), at)
    except ValidationError as error:
        parameter_errors = [f"{parameter_name} {messages[0]}" for parameter_name, messages in error.details.items()]
        raise ValidationError(f"The period is not valid: {', '.join(parameter_errors)}.") from None
    return Period(requested_period.first, requested_period.last, at.astimezone(UTC).date(), urlencode(arguments))


def build_period_query(at: datetime) -> str:
    """Return ``?`` and the query of the request's period, or ``""`` without a period or for an invalid period."""
    if not any(request.args.get(name) for name in NAMES):
        return ""
    try:
        return f"?{parse_period(at).query}"
    except ValidationError:
        return ""


def list_recent_months(today: date) -> list[date]:
    """Return the first days of the last :data:`MONTHS` months, the latest first."""
    months = [today.replace(day=1)]
    while len(months) < MONTHS:
        months.append((months[-1] - DAY).replace(day=1))
    return months
