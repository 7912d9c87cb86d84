"""The period of UTC days in a request (``days``, ``month``, or ``from`` and ``to``) and in a response."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import marshmallow as ma

from agentidp.http.errors import ValidationError
from agentidp.http.schemas import MAX_DAYS, WholeNumber, required

DEFAULT_DAYS = 30  # number of days of a request that defines no period
MAX_PERIOD_DAYS = 92  # maximum number of days in a period, the length of the longest quarter

MONTH_PATTERN = "2[0-9]{3}-(?:0[1-9]|1[0-2])"
MONTH_RULE = "must be a month as YYYY-MM, from 2000-01 to the current one in UTC"
DAY_PATTERN = f"{MONTH_PATTERN}-(?:0[1-9]|[12][0-9]|3[01])"
DAY_RULE = "must be a day as YYYY-MM-DD, from 2000-01-01 to today in UTC"

PARAMETER_SETS = (("days",), ("month",), ("from", "to"))  # the alternative sets of arguments that define a period


@dataclass(frozen=True, slots=True)
class Period:
    """A period of UTC days from ``first`` to ``last``, both included."""

    first: date
    last: date
    is_month: bool = field(default=False, kw_only=True, compare=False)  # whether the period was requested as a month

    @staticmethod
    def of(days: int, at: datetime) -> Period:
        """Return the period of the last *days* days, including today."""
        last = at.astimezone(UTC).date()
        return Period(last - timedelta(days=days - 1), last)

    @property
    def days(self) -> int:
        """The number of days in the period."""
        return (self.last - self.first).days + 1

    @property
    def bounds(self) -> dict[str, date]:
        """The first and the last day, as the parameters ``first`` and ``last`` of a statement."""
        return {"first": self.first, "last": self.last}

    @property
    def described(self) -> dict[str, str]:
        """The first and the last day, as the members ``from`` and ``to`` of a response."""
        return {"from": self.first.isoformat(), "to": self.last.isoformat()}


def parse_date(text: str) -> date | None:
    """Return the day of an ISO 8601 date, or ``None`` if *text* is no date or a date before 2000."""
    try:
        return date.fromisoformat(text) if re.fullmatch(DAY_PATTERN, text) else None
    except ValueError:
        return None


class _Day(ma.fields.Field[date]):
    """A field for a day, or for a month, which is loaded as its first day. :func:`read_period` refuses future days."""

    def __init__(self, description: str, *, is_month: bool = False, **kwargs: Any) -> None:
        self._is_month = is_month
        pattern = f"^{MONTH_PATTERN if is_month else DAY_PATTERN}$"
        super().__init__(**kwargs, metadata={"type": "string", "pattern": pattern, "description": description})

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        day = parse_date(f"{value}-01" if self._is_month else f"{value}")
        if day is None:
            raise ma.ValidationError(MONTH_RULE if self._is_month else DAY_RULE)
        return day


class PeriodArguments(ma.Schema):
    """The arguments by which a request chooses a period. :func:`read_period` interprets them.

    :param default_days: the number of days if the query defines no period; ``None`` for the current month.
    """

    days = WholeNumber(1, MAX_DAYS, metadata={"description": "The number of UTC days, today included"})
    month = _Day("A UTC calendar month, for example `2026-03`, until today if it is the current one", is_month=True)
    from_ = _Day(
        f"The first UTC day, for example `2026-03-01`, of at most {MAX_PERIOD_DAYS}", data_key="from", attribute="from"
    )
    to = _Day("The last UTC day. By default today")

    def __init__(self, default_days: int | None = DEFAULT_DAYS) -> None:
        self.default_days = default_days
        super().__init__()

    def on_bind_field(self, field_name: str, field_obj: ma.fields.Field[Any]) -> None:
        """Add the default period to a field's description. :class:`ma.Schema` calls this method for each field."""
        if field_name == "days":
            # The schema has no default, because generated clients would send the default in addition to another period.
            default_period = "the current month" if self.default_days is None else f"`days={self.default_days}`"
            description = f"{field_obj.metadata['description']}. A request without a period means {default_period}"
            field_obj.metadata = {**field_obj.metadata, "description": description}

    @ma.post_load
    def add_default(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add the default number of days to a query that defines no period."""
        if self.default_days is not None and not _list_used_sets(data):
            data["days"] = self.default_days
        return data


class PeriodSchema(ma.Schema):
    """The organization and the period of a response. The schemas of usage extend this schema."""

    tenantId = ma.fields.String(required=True)
    from_ = ma.fields.Date(required=True, data_key="from", metadata={"description": "The first UTC day"})
    to = ma.fields.Date(**required("The last UTC day"))


class AgentDaySchema(ma.Schema):
    """The usage of an agent, or of its organization, on a UTC day."""

    date = ma.fields.Date(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    requests = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    rejected = ma.fields.Integer(required=True, validate=ma.validate.Range(0))


def read_period(arguments: Mapping[str, Any], at: datetime) -> Period:
    """Return the period that a request has chosen by *arguments*, which :class:`PeriodArguments` has loaded.

    :raises ValidationError: the arguments contradict each other, or the period is in the future, ends before it begins,
        or has more than :data:`MAX_PERIOD_DAYS` days.
    """
    used_set, *superfluous_sets = _list_used_sets(arguments) or [("month",)]
    superfluous_names = [name for parameter_set in superfluous_sets for name in parameter_set if name in arguments]
    if superfluous_names:
        raise _build_error(f"must not be given with {used_set[0]}", *superfluous_names)
    if used_set == ("days",):
        return Period.of(arguments["days"], at)
    today = at.astimezone(UTC).date()
    if used_set == ("month",):
        return _build_month(arguments.get("month", today.replace(day=1)), today)
    if "from" not in arguments:
        raise _build_error("must not be given without from", "to")
    period = Period(arguments["from"], arguments.get("to", today))
    future_names = [name for name in used_set if arguments.get(name, today) > today]
    if future_names:
        raise _build_error(DAY_RULE, *future_names)
    if period.first > period.last:
        raise _build_error("must not be after to", "from")
    if period.days > MAX_PERIOD_DAYS:
        raise _build_error(f"must not begin a period of more than {MAX_PERIOD_DAYS} days", "from")
    return period


def _build_month(first_day: date, today: date) -> Period:
    """Return the month that begins on *first_day*, until today if it is the current month."""
    if first_day > today:
        raise _build_error(MONTH_RULE, "month")
    next_month = (first_day + timedelta(days=31)).replace(day=1)
    return Period(first_day, min(next_month - timedelta(days=1), today), is_month=True)


def _list_used_sets(arguments: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [parameter_set for parameter_set in PARAMETER_SETS if any(name in arguments for name in parameter_set)]


def _build_error(rule: str, *names: str) -> ValidationError:
    return ValidationError(details={name: [rule] for name in names})
