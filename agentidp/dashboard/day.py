"""``/dashboard/days/{date}``: the usage per hour of the organization or of an agent, and the agents of an hour."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from flask import Response, request

from agentidp.analytics.period import parse_date
from agentidp.analytics.usage_by_hour import read_agent_hours
from agentidp.caller import Caller
from agentidp.dashboard import charts, counts, pages, session
from agentidp.dashboard.agents import PAGE_SIZE
from agentidp.dashboard.period import DAY
from agentidp.db.sql import Call
from agentidp.http.errors import NotFound, ValidationError


@pages.blueprint.get("/dashboard/days/<on_day>")
@session.required
def show_organization_day(caller: Caller, on_day: str) -> Response:
    """Show the hours of a UTC day, and the agents with usage on this day or in the chosen hour."""
    at = caller.at.astimezone(UTC)
    day = parse_past_day(on_day, at)
    agents_call = build_usage_by_agent_call(day, limit=PAGE_SIZE)
    hour_rows, agent_rows = caller.read_together(counts.build_usage_by_hour_call(day), agents_call)
    return pages.page(
        "day.html",
        here="overview",
        hour=agents_call.parameters["at_hour"],
        by_rejected=agents_call.parameters["by_rejected"],
        agents=agent_rows,
        count=agent_rows[0].agents if agent_rows else 0,
        **_context(day, hour_rows, at),
    )


@pages.blueprint.get("/dashboard/agents/<uuid:agent_id>/days/<on_day>")
@session.required
def show_agent_day(caller: Caller, agent_id: UUID, on_day: str) -> Response:
    """Show the hours of a UTC day of an agent."""
    at = caller.at.astimezone(UTC)
    day = parse_past_day(on_day, at)
    hour_rows = read_agent_hours(caller, agent_id, day, day)
    return pages.page(
        "day.html",
        here="agents",
        agent_id=agent_id,
        name=hour_rows[0].agent_name,
        **_context(day, hour_rows, at, hour_rows[0].created_at),
    )


def _context(day: date, by_hour: list[Any], at: datetime, created_at: datetime | None = None) -> dict[str, Any]:
    hours = counts.build_hours(by_hour, day)
    return {
        "day": day,
        "hours": hours,
        "previous": day - DAY,
        "following": day + DAY if day < at.date() else None,
        "tokens_chart": replace(
            charts.draw_hours(day, hours, "tokens", at, created_at=created_at),
            path=f"/days/{day}{{bar}}#agents",
            shows_empty=True,
        ),
        "rejections_chart": replace(
            charts.draw_hours(day, hours, "rejected", at),
            label="Rejected requests by hour",
            unit="rejected requests",
            path=f"/days/{day}{{bar}}&by=rejected#agents",
        ),
    }


def build_usage_by_agent_call(day: date, *, limit: int | None) -> Call:
    """Return the statement that reads the usage per agent on a day, or in the hour that the request names.

    :param limit: the maximum number of agents; ``None`` for all.
    """
    hour_argument, sort_column = request.args.get("hour"), request.args.get("by", "tokens")
    if hour_argument is not None and not re.fullmatch(r"[0-9]|1[0-9]|2[0-3]", hour_argument):
        raise ValidationError("The hour must be a whole number from 0 to 23.")
    if sort_column not in ("tokens", "rejected"):
        raise ValidationError("The agents cannot be sorted by this.")
    hour = None if hour_argument is None else int(hour_argument)
    parameters = {"on_day": day, "at_hour": hour, "by_rejected": sort_column == "rejected", "limit": limit}
    return Call("dashboard/agents_of_the_day", parameters)


def parse_past_day(on_day: str, at: datetime) -> date:
    """Return the day in a path, or raise :exc:`NotFound` if it is not a date or is in the future."""
    day = parse_date(on_day)
    if day is None or day > at.date():
        raise NotFound
    return day
