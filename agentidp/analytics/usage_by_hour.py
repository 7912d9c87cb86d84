"""``GET /api/v1/analytics/usage/hours`` and ``…/agents/{agentId}/hours``: usage per UTC hour of a period."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import Period, PeriodArguments, PeriodSchema, read_period
from agentidp.caller import Caller, bearer
from agentidp.db.sql import Rows
from agentidp.http.errors import NotFound
from agentidp.http.openapi import Blueprint
from agentidp.http.responses import data_response
from agentidp.http.schemas import timestamp

blueprint = Blueprint("usage-by-hour", __name__, description="Usage per hour")


class UsageByHourArguments(PeriodArguments):
    default_days = 1


class HourSchema(ma.Schema):
    """The usage in a UTC hour. ``hour`` is the instant at which it begins."""

    hour = ma.fields.AwareDateTime(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    requests = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    rejected = ma.fields.Integer(required=True, validate=ma.validate.Range(0))


class UsageByHourSchema(PeriodSchema):
    """The usage of the organization in a period, with 24 items per day. Hours that have not begun are zero."""

    data = ma.fields.List(ma.fields.Nested(HourSchema), required=True)


class AgentUsageByHourSchema(UsageByHourSchema):
    """The usage of one agent in a period, with 24 items per day."""

    agentId = ma.fields.UUID(required=True)
    agentName = ma.fields.String(required=True)


@blueprint.route("/api/v1/analytics/usage/hours")
@bearer("analytics:read")
@blueprint.tool("usage_by_hour")
@blueprint.arguments(UsageByHourArguments(), location="query")
@blueprint.data_response(UsageByHourSchema)
def usage_by_hour(caller: Caller, arguments: dict[str, Any]) -> Response:
    """Tokens, requests and rejected requests of the organization in each UTC hour, by default of today, zeros
    included.
    """
    period = read_period(arguments, caller.at)
    hour_rows = caller.read("analytics/usage_by_hour", **period.bounds)
    return data_response(
        {"tenantId": caller.organization_id, **period.described, "data": _list_hours(hour_rows, period)}, HourSchema
    )


@blueprint.route("/api/v1/analytics/agents/<uuid:agent_id>/hours")
@bearer("analytics:read")
@blueprint.tool("agent_usage_by_hour")
@blueprint.arguments(UsageByHourArguments(), location="query")
@blueprint.data_response(AgentUsageByHourSchema)
def agent_usage_by_hour(caller: Caller, arguments: dict[str, Any], agent_id: UUID) -> Response:
    """Tokens, requests and failed authentications of an agent in each UTC hour, by default of today, zeros included."""
    period = read_period(arguments, caller.at)
    hour_rows = read_agent_hours(caller, agent_id, period.first, period.last)
    return data_response(
        {
            "tenantId": caller.organization_id,
            "agentId": str(agent_id),
            "agentName": hour_rows[0].agent_name,
            **period.described,
            "data": _list_hours(hour_rows, period),
        },
        HourSchema,
    )


def read_agent_hours(caller: Caller, agent_id: UUID, first: date, last: date) -> Rows:
    """Return one row per hour with usage of an agent, or one row without an hour if the agent has no usage.

    Each row contains the agent's name.

    :raises NotFound: the organization has no such agent.
    """
    rows = caller.read("analytics/agent_usage_by_hour", agent_id=agent_id, first=first, last=last)
    if not rows:
        raise NotFound
    return rows


def _list_hours(rows: Rows, period: Period) -> list[dict[str, Any]]:
    rows_by_hour = {(hour_row.on_day, hour_row.at_hour): hour_row for hour_row in rows}
    midnight = datetime.combine(period.first, time(), UTC)
    hours_json = []
    for hour in (midnight + timedelta(hours=hour_number) for hour_number in range(24 * period.days)):
        hour_row = rows_by_hour.get((hour.date(), hour.hour))
        counts = {count_name: getattr(hour_row, count_name, 0) for count_name in ("tokens", "requests", "rejected")}
        hours_json.append({"hour": timestamp(hour), **counts})
    return hours_json
