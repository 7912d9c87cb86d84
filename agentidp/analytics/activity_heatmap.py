"""``GET /api/v1/analytics/agents/activity``: requests by UTC day of week and hour."""

from __future__ import annotations

from datetime import date
from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.analytics.day import Day, requested_day
from agentidp.caller import Caller, bearer
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import MAX_DAYS, WholeNumber

blueprint = Blueprint("activity-heatmap", __name__, description="Agent activity heatmap")


class ActivityHeatmapArguments(ma.Schema):
    """The query's parameters."""

    days = WholeNumber(1, MAX_DAYS, load_default=MAX_DAYS)
    to = Day("The last UTC day, for example `2026-03-31`. By default today")


class CellSchema(ma.Schema):
    """An hour of the week."""

    dow = ma.fields.Integer(required=True, validate=ma.validate.Range(0, 6), metadata={"description": "0 = Sunday"})
    hour = ma.fields.Integer(required=True, validate=ma.validate.Range(0, 23))
    count = ma.fields.Integer(required=True, validate=ma.validate.Range(1))


class ActivityHeatmapSchema(ma.Schema):
    """The cells that are not zero, by day of week, then hour."""

    tenantId = ma.fields.String(required=True)
    data = ma.fields.List(ma.fields.Nested(CellSchema), required=True)


@blueprint.route("/api/v1/analytics/agents/activity")
@bearer("analytics:read")
@blueprint.tool("activity_heatmap", rows=168)
@blueprint.arguments(ActivityHeatmapArguments(), location="query")
@blueprint.data_response(ActivityHeatmapSchema)
def activity_heatmap(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Requests by day of week (0 = Sunday) and hour in UTC. Only cells that are not zero are listed."""
    last = requested_day(arguments, "to", caller)
    data = requests_by_hour_of_week(caller, arguments["days"], last)
    return data_response({"tenantId": caller.organization_id, "data": data}, CellSchema)


def requests_by_hour_of_week(caller: Caller, days: int, last: date) -> list[tuple[int, int, int]]:
    """The heatmap's cells over *days* up to *last*, those that are not zero: day of week, hour, count."""
    return [
        (dow, hour, count)
        for dow, by_hour in caller.read("analytics/activity_heatmap", days=days, day=last)
        for hour, count in enumerate(by_hour)
        if count
    ]
