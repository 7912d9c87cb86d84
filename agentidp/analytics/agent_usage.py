"""``GET /api/v1/analytics/agents``: tokens per agent in the current UTC calendar month."""

from __future__ import annotations

import marshmallow as ma
from flask import Response, g

from ..authentication import bearer, read
from ..contract import Blueprint, json_response

blueprint = Blueprint("agent-usage", __name__, description="Per-agent usage summary")


class AgentTokensSchema(ma.Schema):
    """An agent with at least one token."""

    agentId = ma.fields.UUID(required=True)
    tokenCount = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class AgentUsageSchema(ma.Schema):
    """The month so far, most tokens first."""

    tenantId = ma.fields.String(required=True)
    month = ma.fields.String(required=True, validate=ma.validate.Regexp(r"[0-9]{4}-[0-9]{2}\Z"))
    data = ma.fields.List(ma.fields.Nested(AgentTokensSchema), required=True)


@blueprint.route("/api/v1/analytics/agents")
@bearer("analytics:read")
@blueprint.response(200, AgentUsageSchema)
def agent_usage() -> Response:
    """Tokens issued per agent in the current calendar month (UTC)."""
    rows = read("analytics/agent_usage")
    return json_response(
        {
            "tenantId": g.caller.organization_id,
            "month": g.at.strftime("%Y-%m"),
            "data": [{"agentId": str(row.agent_id), "tokenCount": row.token_count} for row in rows],
        }
    )
