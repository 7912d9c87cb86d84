"""Which days a page shows, and which earlier days they are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from flask import request

from agentidp.analytics import period
from agentidp.dashboard import forms
from agentidp.http.errors import ValidationError
from agentidp.http.schemas import MAX_DAYS

PERIODS = (7, 30, MAX_DAYS)
"""Numbers of days that a page offers, the last of them today."""

MONTHS = 13
"""Months that a page offers: the current one and a year before."""

DAY, WEEK = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Period(period.Period):
    """The days that a page shows.

    ``query`` asks for them in an address. They are compared with the same days of the week, so many whole weeks earlier
    that the two do not overlap: a period with five Saturdays is not compared with one that has four.
    """

    today: date
    query: str

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
    """The period that the request asks for, as at the API.

    :param at: now, aware.
    :raises ValidationError: as :func:`agentidp.analytics.period.requested_period`.
    """
    # A form sends a field that is empty.
    asked = {name: value for name in ("days", "month", "from", "to") if (value := request.args.get(name))}
    asked = asked or {"days": str(period.PeriodArguments.default_days)}
    try:
        found = period.requested_period(forms.loaded(period.PeriodArguments(), asked), at)
    except ValidationError as error:
        rules = [f"{name} {rules[0]}" for name, rules in error.details.items()]
        raise ValidationError(f"The period is not valid: {', '.join(rules)}.") from None
    return Period(found.first, found.last, at.astimezone(UTC).date(), urlencode(asked))


def recent_months(today: date) -> list[date]:
    """The first days of the current month and those before it, latest first."""
    months = [today.replace(day=1)]
    while len(months) < MONTHS:
        months.append((months[-1] - DAY).replace(day=1))
    return months
