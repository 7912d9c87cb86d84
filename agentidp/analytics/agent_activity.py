"""``GET /api/v1/analytics/agents/{agentId}``: usage of one agent per UTC day."""

from __future__ import annotations

from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import AgentDaySchema, Period, PeriodSchema
from agentidp.analytics.usage_route import respond, usage_route
from agentidp.caller import Caller
from agentidp.http.errors import require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.schemas import MAX_DAYS, required, timestamp

blueprint = Blueprint("agent-activity", __name__, description="Activity of one agent")

STATUSES_OF_USAGE = ("active", "suspended", "deleted")
"""The statuses of an agent in analytics. Deleted agents are among them, because their usage is kept."""


class AgentActivitySchema(PeriodSchema):
    """The usage of an agent in a period, with one item per day."""

    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)
    status = ma.fields.String(required=True, validate=ma.validate.OneOf(STATUSES_OF_USAGE))
    lastTokenHour = ma.fields.AwareDateTime(
        **required(f"The UTC hour of the last token until `to`; null without any in {MAX_DAYS} days", nullable=True)
    )
    data = ma.fields.List(ma.fields.Nested(AgentDaySchema), required=True)


@usage_route(blueprint, "/agents/<uuid:agent_id>", AgentActivitySchema, tool="agent_activity")
def agent_activity(caller: Caller, period: Period, agent_id: UUID) -> Response:
    """Tokens, requests and failed authentications of an agent per UTC day, zeros included, oldest first."""
    day_rows = caller.read("analytics/agent_activity", agent_id=agent_id, **period.bounds)
    first_row = require_row(day_rows)
    return respond(
        caller,
        period,
        [(day_row.date, day_row.tokens, day_row.requests, day_row.rejected) for day_row in day_rows],
        AgentDaySchema,
        agentId=str(agent_id),
        agentName=first_row.agent_name,
        status=first_row.status,
        lastTokenHour=timestamp(first_row.last_token_hour),
    )
