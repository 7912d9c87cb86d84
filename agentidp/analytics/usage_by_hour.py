"""``GET /api/v1/analytics/usage/hours`` and ``…/agents/{agentId}/hours``: usage in each UTC hour of a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.day import Day, requested_day
from agentidp.caller import Caller, bearer
from agentidp.db.sql import Rows
from agentidp.http.errors import NotFound
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import timestamp

blueprint = Blueprint("usage-by-hour", __name__, description="Usage per hour of a day")


class UsageByHourArguments(ma.Schema):
    """The query's parameters."""

    date = Day("The UTC day, for example `2026-03-31`. By default today")


class HourSchema(ma.Schema):
    """A UTC hour, by its first instant."""

    hour = ma.fields.AwareDateTime(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    requests = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    rejected = ma.fields.Integer(required=True, validate=ma.validate.Range(0))


class UsageByHourSchema(ma.Schema):
    """Exactly 24 items; those of hours that have not begun are zero."""

    tenantId = ma.fields.String(required=True)
    date = ma.fields.Date(required=True)
    data = ma.fields.List(ma.fields.Nested(HourSchema), required=True)


class AgentUsageByHourSchema(UsageByHourSchema):
    """The same of one agent."""

    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)


@blueprint.route("/api/v1/analytics/usage/hours")
@bearer("analytics:read")
@blueprint.tool("usage_by_hour")
@blueprint.arguments(UsageByHourArguments(), location="query")
@blueprint.data_response(UsageByHourSchema)
def usage_by_hour(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens, requests and rejected requests of the organization in each UTC hour of a day, zeros included."""
    day = requested_day(arguments, "date", caller)
    rows = caller.read("analytics/usage_by_hour", days=[day])
    return data_response(
        {"tenantId": caller.organization_id, "date": day.isoformat(), "data": _hours(rows, day)}, HourSchema
    )


@blueprint.route("/api/v1/analytics/agents/<uuid:agent_id>/hours")
@bearer("analytics:read")
@blueprint.tool("agent_usage_by_hour")
@blueprint.arguments(UsageByHourArguments(), location="query")
@blueprint.data_response(AgentUsageByHourSchema)
def agent_usage_by_hour(caller: Caller, arguments: dict[str, Any], agent_id: UUID) -> Response:
    """Tokens, requests and failed authentications of an agent in each UTC hour of a day, zeros included."""
    day = requested_day(arguments, "date", caller)
    rows = agent_hours(caller, agent_id, day)
    return data_response(
        {
            "tenantId": caller.organization_id,
            "agentId": str(agent_id),
            "agentName": rows[0].agent_name,
            "date": day.isoformat(),
            "data": _hours(rows, day),
        },
        HourSchema,
    )


def agent_hours(caller: Caller, agent_id: UUID, day: date) -> Rows:
    """The hours of an agent's day that have usage, each with its name; one row without an hour if there is none.

    :raises NotFound: there is no such agent.
    """
    rows = caller.read("analytics/agent_usage_by_hour", agent_id=agent_id, on_day=day)
    if not rows:
        raise NotFound
    return rows


def _hours(rows: Rows, day: date) -> list[dict[str, Any]]:
    used = {row.at_hour: row for row in rows if row.on_day == day}
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [
        {
            "hour": timestamp(begins + timedelta(hours=hour)),
            **{name: getattr(used.get(hour), name, 0) for name in ("tokens", "requests", "rejected")},
        }
        for hour in range(24)
    ]
