"""``GET /api/v1/analytics/agents``: tokens per agent in a UTC calendar month."""

from __future__ import annotations

import re
from datetime import UTC, date, timedelta
from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.caller import Caller, bearer
from agentidp.http.errors import ValidationError
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response

blueprint = Blueprint("agent-usage", __name__, description="Per-agent usage summary")

INCLUDED = ("name",)
MONTH = "2[0-9]{3}-(?:0[1-9]|1[0-2])"
MONTH_RULE = "must be a month as YYYY-MM, from 2000-01 to the current one in UTC"


class Month(ma.fields.Field[date]):
    """A calendar month as ISO 8601 writes it, loaded as its first day."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        if not isinstance(value, str) or not re.fullmatch(MONTH, value):
            raise ma.ValidationError(MONTH_RULE)
        return date.fromisoformat(f"{value}-01")


class AgentUsageArguments(ma.Schema):
    """The query's parameters."""

    include = ma.fields.String(
        load_default="",
        validate=ma.validate.OneOf(INCLUDED, error="must be a comma-separated list of " + ", ".join(INCLUDED)),
        metadata={"description": "A comma-separated list of additional members of each item. Only `name` is supported"},
    )
    month = Month(
        metadata={
            "type": "string",
            "pattern": f"^{MONTH}$",
            "description": "A UTC calendar month, for example `2026-03`. By default the current one",
        },
    )


class AgentTokensSchema(ma.Schema):
    """An agent with at least one token."""

    agentId = ma.fields.UUID(required=True)
    tokenCount = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class NamedAgentTokensSchema(AgentTokensSchema):
    """An agent with at least one token, and its name if the request asks for it."""

    agentName = ma.fields.String()


class AgentUsageSchema(ma.Schema):
    """The month, or what there is of it so far, most tokens first."""

    tenantId = ma.fields.String(required=True)
    month = ma.fields.String(required=True, validate=ma.validate.Regexp(r"[0-9]{4}-[0-9]{2}\Z"))
    data = ma.fields.List(ma.fields.Nested(NamedAgentTokensSchema), required=True)


@blueprint.route("/api/v1/analytics/agents")
@bearer("analytics:read")
@blueprint.tool("agents_of_the_month")
@blueprint.arguments(AgentUsageArguments(), location="query")
@blueprint.data_response(AgentUsageSchema)
def agent_usage(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens issued per agent in a calendar month (UTC), by default the current one so far."""
    today = caller.at.astimezone(UTC).date()
    month = arguments.get("month") or today.replace(day=1)
    if month > today:
        raise ValidationError(details={"month": [MONTH_RULE]})
    with_names = bool(arguments["include"])
    next_month = (month + timedelta(days=31)).replace(day=1)
    data = tokens_by_agent(caller, month, min(next_month, today + timedelta(days=1)), with_names)
    return data_response(
        {"tenantId": caller.organization_id, "month": month.strftime("%Y-%m"), "data": data},
        NamedAgentTokensSchema if with_names else AgentTokensSchema,
    )


def tokens_by_agent(caller: Caller, first_day: date, until: date, with_names: bool) -> list[Any]:
    """The items, most tokens first.

    :param first_day: of the month.
    :param until: the day after the last.
    """
    days = {"first_day": first_day, "until": until}
    rows = caller.read("analytics/agent_usage", **days, with_names=with_names, limit=None)
    if with_names:
        return [{"agentId": row.agent_id, "tokenCount": row.token_count, "agentName": row.agent_name} for row in rows]
    return [row[:2] for row in rows]
