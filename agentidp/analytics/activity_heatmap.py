"""``GET /api/v1/analytics/agents/activity``: requests by UTC day of week and hour."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import PeriodArguments, read_period
from agentidp.caller import Caller, bearer
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import MAX_DAYS, required

blueprint = Blueprint("activity-heatmap", __name__, description="Agent activity heatmap")


class ActivityHeatmapArguments(PeriodArguments):
    default_days = MAX_DAYS


class CellSchema(ma.Schema):
    """The number of requests in an hour of the week."""

    dow = ma.fields.Integer(**required("0 = Sunday"), validate=ma.validate.Range(0, 6))
    hour = ma.fields.Integer(required=True, validate=ma.validate.Range(0, 23))
    count = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class ActivityHeatmapSchema(ma.Schema):
    """The hours of the week that had requests, sorted by day of the week and hour."""

    tenantId = ma.fields.String(required=True)
    data = ma.fields.List(ma.fields.Nested(CellSchema), required=True)


@blueprint.route("/api/v1/analytics/agents/activity")
@bearer("analytics:read")
@blueprint.tool("activity_heatmap", rows=168)
@blueprint.arguments(ActivityHeatmapArguments(), location="query")
@blueprint.data_response(ActivityHeatmapSchema)
def activity_heatmap(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Requests by day of week (0 = Sunday) and hour in UTC. Only hours with requests are listed."""
    period = read_period(arguments, caller.at)
    response_rows = [
        (weekday, hour, request_count)
        for weekday, requests_by_hour in caller.read("analytics/activity_heatmap", **period.bounds)
        for hour, request_count in enumerate(requests_by_hour)
        if request_count
    ]
    return data_response({"tenantId": caller.organization_id, "data": response_rows}, CellSchema)
