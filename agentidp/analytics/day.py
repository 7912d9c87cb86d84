"""A UTC day in the analytics endpoints: in a query, and with its counts in a response."""

from __future__ import annotations

import re
from datetime import UTC, date
from typing import Any

import marshmallow as ma

from agentidp.caller import Caller
from agentidp.http.errors import ValidationError

DAY_PATTERN = "2[0-9]{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
DAY_RULE = "must be a day as YYYY-MM-DD, from 2000-01-01 to today in UTC"


class Day(ma.fields.Field[date]):
    """A day as ISO 8601 writes it. :func:`requested_day` reads it, because only the view knows what today is."""

    def __init__(self, description: str) -> None:
        super().__init__(
            metadata={"type": "string", "format": "date", "pattern": f"^{DAY_PATTERN}$", "description": description}
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        if not isinstance(value, str) or not re.fullmatch(DAY_PATTERN, value):
            raise ma.ValidationError(DAY_RULE)
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ma.ValidationError(DAY_RULE) from None


class AgentDaySchema(ma.Schema):
    """A UTC day of an agent, or of its organization."""

    date = ma.fields.Date(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    requests = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    rejected = ma.fields.Integer(required=True, validate=ma.validate.Range(0))


def requested_day(arguments: dict[str, Any], name: str, caller: Caller) -> date:
    """The day in the query, or today.

    :param name: of the parameter.
    :raises ValidationError: it is in the future.
    """
    today = caller.at.astimezone(UTC).date()
    day: date = arguments.get(name, today)
    if day > today:
        raise ValidationError(details={name: [DAY_RULE]})
    return day
