"""``GET /api/v1/analytics/usage/hours`` and ``…/agents/{agentId}/hours``: usage per UTC hour of a period."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response

from agentidp.analytics.period import Period, PeriodArguments
from agentidp.analytics.usage_route import period_schema, respond, usage_route
from agentidp.caller import Caller
from agentidp.db.sql import Rows
from agentidp.http.errors import require_row
from agentidp.http.openapi import Blueprint
from agentidp.http.schemas import timestamp

blueprint = Blueprint("usage-by-hour", __name__, description="Usage per hour")


class HourSchema(ma.Schema):
    """The usage in a UTC hour, which is zero if the hour has not begun. ``hour`` is the beginning of the hour."""

    hour = ma.fields.AwareDateTime(required=True)
    tokens = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    requests = ma.fields.Integer(required=True, validate=ma.validate.Range(0))
    rejected = ma.fields.Integer(required=True, validate=ma.validate.Range(0))


UsageByHourSchema = period_schema("UsageByHour", HourSchema)
AgentUsageByHourSchema = period_schema(
    "AgentUsageByHour",
    HourSchema,
    agentId=ma.fields.UUID(required=True),
    agentName=ma.fields.String(required=True),
)


@usage_route(blueprint, "/usage/hours", UsageByHourSchema, PeriodArguments(default_days=1), tool="usage_by_hour")
def usage_by_hour(caller: Caller, period: Period) -> Response:
    """Tokens, requests and rejected requests in each UTC hour, by default of today, zeros included."""
    hour_rows = caller.read("analytics/usage_by_hour", **period.bounds)
    return respond(caller, period, _list_hours(hour_rows, period), HourSchema)


@usage_route(
    blueprint,
    "/agents/<uuid:agent_id>/hours",
    AgentUsageByHourSchema,
    PeriodArguments(default_days=1),
    tool="agent_usage_by_hour",
)
def agent_usage_by_hour(caller: Caller, period: Period, agent_id: UUID) -> Response:
    """Tokens, requests and failed authentications of an agent in each UTC hour, by default of today, zeros included."""
    hour_rows = read_agent_hours(caller, agent_id, period.first, period.last)
    agent_members = {"agentId": str(agent_id), "agentName": hour_rows[0].agent_name}
    return respond(caller, period, _list_hours(hour_rows, period), HourSchema, **agent_members)


def read_agent_hours(caller: Caller, agent_id: UUID, first: date, last: date) -> Rows:
    """Return one row per hour with usage of an agent, or one row with only the agent's name if it has no usage.

    :raises NotFound: the organization has no such agent.
    """
    rows = caller.read("analytics/agent_usage_by_hour", agent_id=agent_id, first=first, last=last)
    require_row(rows)
    return rows


def _list_hours(rows: Rows, period: Period) -> list[dict[str, Any]]:
    rows_by_hour = {(hour_row.on_day, hour_row.at_hour): hour_row for hour_row in rows}
    midnight = datetime.combine(period.first, time(), UTC)
    hours_json = []
    for hour in (midnight + timedelta(hours=hour_number) for hour_number in range(24 * period.days)):
        hour_row = rows_by_hour.get((hour.date(), hour.hour))
        counts_by_member = {member: getattr(hour_row, member, 0) for member in ("tokens", "requests", "rejected")}
        hours_json.append({"hour": timestamp(hour), **counts_by_member})
    return hours_json
