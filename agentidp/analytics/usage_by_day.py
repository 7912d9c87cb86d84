"""``GET /api/v1/analytics/usage``: an organization's tokens, requests and rejected requests per UTC day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import marshmallow as ma
from flask import Response

from agentidp.analytics.day import AgentDaySchema, Day, requested_day
from agentidp.caller import Caller, bearer
from agentidp.db.sql import Call
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import MAX_DAYS_OF_USAGE, WholeNumber

blueprint = Blueprint("usage-by-day", __name__, description="Usage per day")


class UsageByDayArguments(ma.Schema):
    """The query's parameters."""

    days = WholeNumber(1, MAX_DAYS_OF_USAGE, load_default=30)
    to = Day("The last UTC day, for example `2026-03-31`. By default today")


class OrganizationDaySchema(AgentDaySchema):
    """A UTC day of the organization."""

    refused = ma.fields.Integer(
        required=True, validate=ma.validate.Range(0), metadata={"description": "Tokens that a quota has refused"}
    )


class UsageByDaySchema(ma.Schema):
    """Exactly ``days`` items, the last one ``to``."""

    tenantId = ma.fields.String(required=True)
    days = ma.fields.Integer(required=True, validate=ma.validate.Range(1, MAX_DAYS_OF_USAGE))
    to = ma.fields.Date(required=True)
    data = ma.fields.List(ma.fields.Nested(OrganizationDaySchema), required=True)


@blueprint.route("/api/v1/analytics/usage")
@bearer("analytics:read")
@blueprint.tool("usage_by_day")
@blueprint.arguments(UsageByDayArguments(), location="query")
@blueprint.data_response(UsageByDaySchema)
def usage_by_day(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens, requests, rejected requests and tokens refused by quotas per UTC day, zeros included, oldest first."""
    days, last = arguments["days"], requested_day(arguments, "to", caller)
    period = {"first": last - timedelta(days=days - 1), "last": last}
    rows, refusals = caller.read_together(
        Call("analytics/usage_by_day", period), Call("analytics/refusals_by_day", period)
    )
    refused = {row.on_day: row.refused for row in refusals}
    data = [
        {
            "date": row.on_day.isoformat(),
            "tokens": row.tokens,
            "requests": sum(row.requests_by_hour),
            "rejected": row.rejected,
            "refused": refused.get(row.on_day, 0),
        }
        for row in rows
    ]
    return data_response(
        {"tenantId": caller.organization_id, "days": days, "to": last.isoformat(), "data": data}, OrganizationDaySchema
    )
