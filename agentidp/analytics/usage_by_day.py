"""``GET /api/v1/analytics/usage``: an organization's tokens, requests and rejected requests per UTC day."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import AgentDaySchema, PeriodArguments, PeriodSchema, read_period
from agentidp.caller import Caller, bearer
from agentidp.db.sql import Call
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import required

blueprint = Blueprint("usage-by-day", __name__, description="Usage per day")


class OrganizationDaySchema(AgentDaySchema):
    """The usage of the organization on a UTC day."""

    refused = ma.fields.Integer(**required("Tokens that a quota refused"), validate=ma.validate.Range(0))


class UsageByDaySchema(PeriodSchema):
    """The usage of the organization in a period, with one item per day."""

    data = ma.fields.List(ma.fields.Nested(OrganizationDaySchema), required=True)


@blueprint.route("/api/v1/analytics/usage")
@bearer("analytics:read")
@blueprint.tool("usage_by_day")
@blueprint.arguments(PeriodArguments(), location="query")
@blueprint.data_response(UsageByDaySchema)
def usage_by_day(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens, requests, rejected requests and tokens refused by quotas per UTC day, zeros included, oldest first."""
    period = read_period(arguments, caller.at)
    day_rows, refusal_rows = caller.read_together(
        Call("analytics/usage_by_day", period.bounds), Call("analytics/refusals_by_day", period.bounds)
    )
    refused_by_day = {row.on_day: row.refused for row in refusal_rows}
    response_rows = [
        {
            "date": row.on_day.isoformat(),
            "tokens": row.tokens,
            "requests": sum(row.requests_by_hour),
            "rejected": row.rejected,
            "refused": refused_by_day.get(row.on_day, 0),
        }
        for row in day_rows
    ]
    return data_response(
        {"tenantId": caller.organization_id, **period.described, "data": response_rows}, OrganizationDaySchema
    )
