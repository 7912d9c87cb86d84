"""``GET /api/v1/analytics/agents``: tokens per agent, by default in the current UTC calendar month."""

from __future__ import annotations

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import Period, PeriodArguments
from agentidp.analytics.usage_route import usage_route
from agentidp.caller import Caller
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response

blueprint = Blueprint("agent-usage", __name__, description="Per-agent usage summary")


class AgentUsageArguments(PeriodArguments):
    include = ma.fields.String(
        validate=ma.validate.OneOf(["name"], error="must be a comma-separated list of name"),
        metadata={"description": "A comma-separated list of additional members of each item. Only `name` is supported"},
    )


class AgentTokensSchema(ma.Schema):
    """An agent with at least one token, and its number of tokens."""

    agentId = ma.fields.UUID(required=True)
    tokenCount = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class NamedAgentTokensSchema(AgentTokensSchema):
    """An agent with at least one token, with its name if the request asks for names."""

    agentName = ma.fields.String()


class AgentUsageSchema(ma.Schema):
    """The agents with tokens in a period, most tokens first. The period is ``month``, or ``from`` to ``to``."""

    tenantId = ma.fields.String(required=True)
    month = ma.fields.String(validate=ma.validate.Regexp(r"[0-9]{4}-[0-9]{2}\Z"))
    from_ = ma.fields.Date(data_key="from")
    to = ma.fields.Date()
    data = ma.fields.List(ma.fields.Nested(NamedAgentTokensSchema), required=True)


@usage_route(blueprint, "/agents", AgentUsageSchema, AgentUsageArguments(None), tool="agents_of_the_month")
def agent_usage(caller: Caller, period: Period, include: str | None = None) -> Response:
    """Tokens issued per agent, by default in the current calendar month (UTC) so far."""
    has_names = include is not None
    agent_rows = caller.read("analytics/agent_usage", **period.bounds, with_names=has_names, limit=None)
    period_members = {"month": period.first.strftime("%Y-%m")} if period.is_month else period.described
    if has_names:
        response_rows = [
            {"agentId": agent_row.agent_id, "tokenCount": agent_row.token_count, "agentName": agent_row.agent_name}
            for agent_row in agent_rows
        ]
    else:
        response_rows = [agent_row[:2] for agent_row in agent_rows]
    return data_response(
        {"tenantId": caller.organization_id, **period_members, "data": response_rows},
        NamedAgentTokensSchema if has_names else AgentTokensSchema,
    )
