"""``GET /api/v1/analytics/usage``: an organization's tokens, requests and rejected requests per UTC day."""

from __future__ import annotations

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import AgentDaySchema, Period
from agentidp.analytics.usage_route import period_schema, respond, usage_route
from agentidp.caller import Caller
from agentidp.db.sql import Call
from agentidp.http.openapi import Blueprint
from agentidp.http.schemas import required

blueprint = Blueprint("usage-by-day", __name__, description="Usage per day")


class OrganizationDaySchema(AgentDaySchema):
    """The usage of the organization on a UTC day."""

    refused = ma.fields.Integer(**required("Tokens that a quota refused"), validate=ma.validate.Range(0))


@usage_route(blueprint, "/usage", period_schema("UsageByDay", OrganizationDaySchema), tool="usage_by_day")
def usage_by_day(caller: Caller, period: Period) -> Response:
    """Tokens, requests, rejected requests and tokens refused by quotas per UTC day, zeros included, oldest first."""
    usage_rows, refusal_rows = caller.read_together(
        Call("analytics/usage_by_day", period.bounds), Call("analytics/refusals_by_day", period.bounds)
    )
    refusals_by_day = {refusal_row.on_day: refusal_row.refused for refusal_row in refusal_rows}
    response_rows = [
        (usage.on_day, usage.tokens, sum(usage.requests_by_hour), usage.rejected, refusals_by_day.get(usage.on_day, 0))
        for usage in usage_rows
    ]
    return respond(caller, period, response_rows, OrganizationDaySchema)
