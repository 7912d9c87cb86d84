"""``GET /api/v1/analytics/agents/{agentId}``: usage of one agent per UTC day."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import AgentDaySchema, PeriodArguments, PeriodSchema, read_period
from agentidp.caller import Caller, bearer
from agentidp.http.errors import NotFound
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import MAX_DAYS, required, timestamp

blueprint = Blueprint("agent-activity", __name__, description="Activity of one agent")

STATUSES_OF_USAGE = ("active", "suspended", "deleted")
"""The statuses of an agent in analytics, which also has the usage of deleted agents."""


class AgentActivitySchema(PeriodSchema):
    """The usage of an agent in a period, with one item per day."""

    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)
    status = ma.fields.String(required=True, validate=ma.validate.OneOf(STATUSES_OF_USAGE))
    lastTokenHour = ma.fields.AwareDateTime(
        **required(f"The UTC hour of the last token until `to`; null without any in {MAX_DAYS} days", nullable=True)
    )
    data = ma.fields.List(ma.fields.Nested(AgentDaySchema), required=True)


@blueprint.route("/api/v1/analytics/agents/<uuid:agent_id>")
@bearer("analytics:read")
@blueprint.tool("agent_activity")
@blueprint.arguments(PeriodArguments(), location="query")
@blueprint.data_response(AgentActivitySchema)
def agent_activity(caller: Caller, arguments: dict[str, Any], agent_id: UUID) -> Response:
    """Tokens, requests and failed authentications of an agent per UTC day, zeros included, oldest first."""
    period = read_period(arguments, caller.at)
    day_rows = caller.read("analytics/agent_activity", agent_id=agent_id, **period.bounds)
    if not day_rows:
        raise NotFound
    return data_response(
        {
            "tenantId": caller.organization_id,
            "agentId": str(agent_id),
            "agentName": day_rows[0].agent_name,
            "status": day_rows[0].status,
            **period.described,
            "lastTokenHour": timestamp(day_rows[0].last_token_hour),
            "data": [
                {"date": row.date, "tokens": row.tokens, "requests": row.requests, "rejected": row.rejected}
                for row in day_rows
            ],
        },
        AgentDaySchema,
    )
