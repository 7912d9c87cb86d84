"""``GET /api/v1/analytics/usage``: an organization's tokens, requests and rejected requests per UTC day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.analytics.day import AgentDaySchema, Day, requested_day
from agentidp.caller import Caller, bearer
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import MAX_DAYS_OF_USAGE, WholeNumber

blueprint = Blueprint("usage-by-day", __name__, description="Usage per day")


class UsageByDayArguments(ma.Schema):
    """The query's parameters."""

    days = WholeNumber(1, MAX_DAYS_OF_USAGE, load_default=30)
    to = Day("The last UTC day, for example `2026-03-31`. By default today")


class UsageByDaySchema(ma.Schema):
    """Exactly ``days`` items, the last one ``to``."""

    tenantId = ma.fields.String(required=True)
    days = ma.fields.Integer(required=True, validate=ma.validate.Range(1, MAX_DAYS_OF_USAGE))
    to = ma.fields.Date(required=True)
    data = ma.fields.List(ma.fields.Nested(AgentDaySchema), required=True)


@blueprint.route("/api/v1/analytics/usage")
@bearer("analytics:read")
@blueprint.arguments(UsageByDayArguments(), location="query")
@blueprint.data_response(UsageByDaySchema)
def usage_by_day(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens, requests and rejected requests of the organization per UTC day, zeros included, oldest first."""
    days, last = arguments["days"], requested_day(arguments, "to", caller)
    rows = caller.read("analytics/usage_by_day", first=last - timedelta(days=days - 1), last=last)
    data = [
        {
            "date": row.on_day.isoformat(),
            "tokens": row.tokens,
            "requests": sum(row.requests_by_hour),
            "rejected": row.rejected,
        }
        for row in rows
    ]
    return data_response(
        {"tenantId": caller.organization_id, "days": days, "to": last.isoformat(), "data": data}, AgentDaySchema
    )
