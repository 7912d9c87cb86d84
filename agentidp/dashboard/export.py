"""Downloads of the charts and tables as CSV: ``/dashboard/days.csv`` and others.

The API returns the same data, but needs a bearer token, which a person with a session does not have.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from flask import Response

from agentidp.analytics import credential_usage, owner_usage, resource_usage
from agentidp.analytics.attribution import read_attribution
from agentidp.analytics.usage_by_hour import agent_hours
from agentidp.caller import Caller
from agentidp.dashboard import agents as agent_list
from agentidp.dashboard import counts, credentials, pages, session
from agentidp.dashboard.agents import AgentUsage, agent_of, agent_page, agents_by_id, agents_shown
from agentidp.dashboard.day import agents_of_the_day, past_day
from agentidp.dashboard.period import Period, requested_period
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import NotFound, ServiceUnavailable
from agentidp.http.responses import csv_text
from agentidp.http.schemas import timestamp

USAGE = ("tokens", "requests", "rejected")
LISTED = [member.name or "" for member in agent_list.LISTED]
AGENT = ("agentId", "name", "status", *USAGE, "lastTokenHour", "lastRequestHour", "lastRejectionHour", *LISTED)

AT_ONCE = 10_000
"""Maximum number of agents that a single statement reads."""

PART = 1_000
"""Number of agents, listed or not, that each statement examines if more than :data:`AT_ONCE` agents match."""

blueprint = pages.new_blueprint("dashboard-export", __name__)


@blueprint.get("/dashboard/days.csv")
@session.required
def days(caller: Caller) -> Response:
    """Return the organization's usage per day of the period."""
    period = requested_period(caller.at)
    shown = _days(caller, period)
    return _csv(f"days {_named(period)}", ("date", *USAGE), [[day.day, *_usage(day)] for day in shown])


@blueprint.get("/dashboard/activity.csv")
@session.required
def activity(caller: Caller) -> Response:
    """Return the non-zero request counts of the period by day of week (Sunday is 0) and hour."""
    period = requested_period(caller.at)
    cells = counts.heatmap_cells(_days(caller, period))
    return _csv(f"activity {_named(period)}", ("dow", "hour", "count"), [list(cell.values()) for cell in cells])


@blueprint.get("/dashboard/agents.csv")
@session.required
def agents(caller: Caller) -> Response:
    """Return the agents that the table of agents lists on all its pages.

    Up to :data:`AT_ONCE` agents are in the order of the table. More agents are read and sent in parts, ordered by id,
    so that each agent is included exactly once although its counts change meanwhile.
    """
    period = requested_period(caller.at)
    call, selection, unusual = agents_shown(caller, period, limit=AT_ONCE)
    if selection.unusual and unusual is None:
        # Without the findings, an empty file would suggest that no agent is unusual.
        raise ServiceUnavailable
    [rows] = caller.read_together(call)
    found, name = agent_page(rows), f"agents {_named(period)}"
    if found.count <= AT_ONCE:
        return _csv(name, AGENT, [_agent(one) for one in found.data])
    [first] = caller.read_together(agents_by_id(call, UUID(int=0), PART))
    response = _csv(name, AGENT, [])
    header = response.get_data(as_text=True)
    del response.headers["Content-Length"]
    # The first part was read before the status is sent, so a failure until here gets its own status. A later failure
    # ends the connection before the response is complete.
    response.response = itertools.chain([header], _parts(caller, call, first))
    return response


@blueprint.get("/dashboard/owners.csv")
@session.required
def owners(caller: Caller) -> Response:
    """Return the tokens by owner, as the API does."""
    period = requested_period(caller.at)
    [rows] = caller.read_together(owner_usage.tokens_by_owner(period))
    table = [[*row.values()] for row in owner_usage.represent(rows)]
    return _csv(f"owners {_named(period)}", tuple(owner_usage.OwnerTokensSchema().fields), table)


def _parts(caller: Caller, call: Call, rows: Rows) -> Iterator[str]:
    """Yield the CSV of the agents that *call* lists, ordered by id.

    :param rows: the rows of the first part.
    """
    while rows:
        listed = [_agent(agent_of(row)) for row in rows if row.is_listed]
        if listed:
            yield csv_text(None, listed)
        [rows] = caller.read_together(agents_by_id(call, rows[-1].agent_id, PART))


def _agent(one: AgentUsage) -> list[Any]:
    last = (timestamp(at) for at in (one.last_token, one.last_request, one.last_rejection))
    return [one.agent_id, one.name, one.status, *_usage(one), *last, *one.listed.values()]


@blueprint.get("/dashboard/agents/<uuid:agent_id>/days.csv")
@session.required
def agent_days(caller: Caller, agent_id: UUID) -> Response:
    """Return an agent's usage per day of the period."""
    period = requested_period(caller.at)
    [rows] = caller.read_together(Call("analytics/agent_activity", {"agent_id": agent_id, **period.bounds}))
    if not rows:
        raise NotFound
    name = f"agent {agent_id} {_named(period)}"
    return _csv(name, ("date", *USAGE), [[row.date, *_usage(row)] for row in rows])


@blueprint.get("/dashboard/days/<on_day>/hours.csv")
@session.required
def hours(caller: Caller, on_day: str) -> Response:
    """Return the organization's usage per hour of a day."""
    day = past_day(on_day, caller.at.astimezone(UTC))
    [rows] = caller.read_together(counts.usage_by_hour(day))
    return _hours(f"hours {day}", rows, day)


@blueprint.get("/dashboard/days/<on_day>/agents.csv")
@session.required
def agents_of_a_day(caller: Caller, on_day: str) -> Response:
    """Return all agents with usage on a day, or in the requested hour of the day, in the order of the page's table."""
    day = past_day(on_day, caller.at.astimezone(UTC))
    call = agents_of_the_day(day, limit=None)
    [rows] = caller.read_together(call)
    hour = call.parameters["at_hour"]
    name = f"agents {day}" if hour is None else f"agents {day} {hour:02}h"
    return _csv(name, ("agentId", "name", *USAGE), [[row.agent_id, row.name, *_usage(row)] for row in rows])


@blueprint.get("/dashboard/agents/<uuid:agent_id>/days/<on_day>/hours.csv")
@session.required
def hours_of_agent(caller: Caller, agent_id: UUID, on_day: str) -> Response:
    """Return an agent's usage per hour of a day."""
    day = past_day(on_day, caller.at.astimezone(UTC))
    return _hours(f"agent {agent_id} {day}", agent_hours(caller, agent_id, day, day), day)


@blueprint.get("/dashboard/credentials.csv")
@session.required_to(*credentials.READERS)
def tokens_by_credential(caller: Caller) -> Response:
    """Return the tokens by credential, as the API does."""
    period = requested_period(caller.at)
    found, _ = read_attribution(caller, period, None)
    own_resource = caller.settings.resource
    rows = [credential_usage.represent(used, own_resource) for used in credential_usage.used_credentials(found)]
    name = f"credentials {_named(period)}"
    return _csv(name, tuple(credential_usage.CredentialUsageItemSchema().fields), [[*row.values()] for row in rows])


@blueprint.get("/dashboard/resources.csv")
@session.required_to(*credentials.READERS)
def tokens_by_resource(caller: Caller) -> Response:
    """Return the tokens by resource, as the API does."""
    period = requested_period(caller.at)
    found, [servers] = read_attribution(caller, period, None, resource_usage.RESOURCE_SERVERS)
    own_resource = caller.settings.resource
    rows = [resource_usage.represent(used, own_resource) for used in resource_usage.used_resources(found, servers)]
    name = f"resources {_named(period)}"
    return _csv(name, tuple(resource_usage.ResourceUsageItemSchema().fields), [[*row.values()] for row in rows])


def _days(caller: Caller, period: Period) -> list[counts.DayUsage]:
    [rows] = caller.read_together(counts.usage_by_day(period))
    return counts.split(rows, period)[1]


def _hours(name: str, rows: Rows, day: date) -> Response:
    hours_of_day = counts.hours_of(rows, day)
    table = [[timestamp(datetime.combine(day, time(hour.hour), UTC)), *_usage(hour)] for hour in hours_of_day]
    return _csv(name, ("hour", *USAGE), table)


def _usage(one: Any) -> list[int]:
    return [getattr(one, name) for name in USAGE]


def _named(period: Period) -> str:
    return f"{period.first} {period.last}"


def _csv(name: str, columns: tuple[str, ...], rows: list[list[Any]]) -> Response:
    response = Response(csv_text(columns, rows), headers=pages.SECURITY, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name.replace(" ", "-")}.csv"'
    response.headers["Cache-Control"] = "no-store"
    return response
