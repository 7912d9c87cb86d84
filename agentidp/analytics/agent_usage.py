"""``GET /api/v1/analytics/agents``: tokens per agent in the current UTC calendar month."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.caller import Caller, bearer
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import answer

blueprint = Blueprint("agent-usage", __name__, description="Per-agent usage summary")

INCLUDED = ("name",)


class AgentUsageArguments(ma.Schema):
    """The query's parameters."""

    include = ma.fields.String(
        load_default="",
        validate=ma.validate.OneOf(INCLUDED, error="must be a comma-separated list of " + ", ".join(INCLUDED)),
        metadata={"description": "A comma-separated list of additional members of each item. Only `name` is supported"},
    )


class AgentTokensSchema(ma.Schema):
    """An agent with at least one token."""

    agentId = ma.fields.UUID(required=True)
    tokenCount = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class NamedAgentTokensSchema(AgentTokensSchema):
    """An agent with at least one token, and its name if the request asks for it."""

    agentName = ma.fields.String()


class AgentUsageSchema(ma.Schema):
    """The month so far, most tokens first."""

    tenantId = ma.fields.String(required=True)
    month = ma.fields.String(required=True, validate=ma.validate.Regexp(r"[0-9]{4}-[0-9]{2}\Z"))
    data = ma.fields.List(ma.fields.Nested(NamedAgentTokensSchema), required=True)


@blueprint.route("/api/v1/analytics/agents")
@bearer("analytics:read")
@blueprint.arguments(AgentUsageArguments(), location="query")
@blueprint.answers(AgentUsageSchema)
def agent_usage(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens issued per agent in the current calendar month (UTC)."""
    named = bool(arguments["include"])
    data = tokens_by_named_agent(caller) if named else tokens_by_agent(caller)
    return answer(
        {"tenantId": caller.organization_id, "month": caller.at.strftime("%Y-%m"), "data": data},
        NamedAgentTokensSchema if named else AgentTokensSchema,
    )


def tokens_by_agent(caller: Caller) -> list[dict[str, Any]]:
    """The items, most tokens first."""
    return [
        {"agentId": str(row.agent_id), "tokenCount": row.token_count} for row in caller.read("analytics/agent_usage")
    ]


def tokens_by_named_agent(caller: Caller) -> list[dict[str, Any]]:
    """The items with the agents' names, most tokens first."""
    return [
        {"agentId": str(row.agent_id), "tokenCount": row.token_count, "agentName": row.agent_name}
        for row in caller.read("analytics/agent_usage_with_names")
    ]
