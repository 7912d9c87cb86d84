"""``GET /api/v1/analytics/agents/activity``: requests by UTC day of week and hour."""

from __future__ import annotations

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import Period, PeriodArguments
from agentidp.analytics.usage_route import usage_route
from agentidp.caller import Caller
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import MAX_DAYS, required

blueprint = Blueprint("activity-heatmap", __name__, description="Agent activity heatmap")


class CellSchema(ma.Schema):
    """The number of requests in an hour of the week."""

    dow = ma.fields.Integer(**required("0 = Sunday"), validate=ma.validate.Range(0, 6))
    hour = ma.fields.Integer(required=True, validate=ma.validate.Range(0, 23))
    count = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class ActivityHeatmapSchema(ma.Schema):
    """The hours of the week that had requests, sorted by day of the week and hour."""

    tenantId = ma.fields.String(required=True)
    data = ma.fields.List(ma.fields.Nested(CellSchema), required=True)


@usage_route(
    blueprint,
    "/agents/activity",
    ActivityHeatmapSchema,
    PeriodArguments(default_days=MAX_DAYS),
    tool="activity_heatmap",
    max_tool_rows=168,
)
def activity_heatmap(caller: Caller, period: Period) -> Response:
    """Requests by day of week (0 = Sunday) and hour in UTC. Only hours with requests are listed."""
    response_rows = [
        (weekday, hour, request_count)
        for weekday, requests_by_hour in caller.read("analytics/activity_heatmap", **period.bounds)
        for hour, request_count in enumerate(requests_by_hour)
        if request_count
    ]
    return data_response({"tenantId": caller.organization_id, "data": response_rows}, CellSchema)
