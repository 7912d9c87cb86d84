"""``GET /api/v1/analytics/agents/days``: tokens per agent and UTC day, one row per day with tokens."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.analytics.attribution import MAX_ROWS, TokensOfDaySchema, check_rows
from agentidp.analytics.period import Period
from agentidp.analytics.usage_route import period_schema, respond, usage_route
from agentidp.caller import Caller
from agentidp.db.sql import Call
from agentidp.http.openapi import Blueprint

blueprint = Blueprint("agent-usage-by-day", __name__, description="Tokens by agent and day")


class AgentTokensOfDaySchema(TokensOfDaySchema):
    """The number of an agent's tokens on a UTC day."""

    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)


AgentTokensByDaySchema = period_schema("AgentTokensByDay", AgentTokensOfDaySchema)


@usage_route(blueprint, "/agents/days", AgentTokensByDaySchema)
def agent_tokens_by_day(caller: Caller, period: Period) -> Response:
    """Tokens of all agents per UTC day. Days without tokens have no item."""
    # The names are read after the tokens, so that they include agents that were created in between.
    token_rows, agent_rows = caller.read_together(
        Call("analytics/agent_usage_by_day", period.bounds | {"limit": MAX_ROWS + 1}), Call("analytics/agent_names", {})
    )
    names_by_id = {agent_row.agent_id: agent_row.name for agent_row in agent_rows}

    def represent(usage: Any) -> dict[str, Any]:
        agent_id, agent_name = str(usage.agent_id), names_by_id[usage.agent_id]
        return {"date": usage.on_day.isoformat(), "tokens": usage.tokens, "agentId": agent_id, "agentName": agent_name}

    return respond(caller, period, check_rows(token_rows), AgentTokensOfDaySchema, represent)
