"""Downloads of the charts and tables as CSV, for sessions: ``/dashboard/days.csv`` and others."""

from __future__ import annotations

import inspect
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

import marshmallow as ma
from flask import Response, g, request

from agentidp.analytics import credential_usage, resource_usage
from agentidp.analytics.activity_heatmap import activity_heatmap
from agentidp.analytics.agent_activity import agent_activity
from agentidp.analytics.credential_usage import CredentialUsage, CredentialUsageItemSchema, list_used_credentials
from agentidp.analytics.delegations import DelegationSchema
from agentidp.analytics.owner_usage import OwnerTokensSchema
from agentidp.analytics.period import Period
from agentidp.analytics.resource_usage import ResourceUsageItemSchema
from agentidp.analytics.usage_by_day import usage_by_day
from agentidp.analytics.usage_by_hour import agent_usage_by_hour, usage_by_hour
from agentidp.caller import Caller
from agentidp.dashboard import pages, session, usage
from agentidp.dashboard.agents import LISTED_MEMBERS, build_next_agents_call, count_matches, select_agents
from agentidp.dashboard.day import build_usage_by_agent_call, parse_past_day
from agentidp.dashboard.navigation import AGENTS
from agentidp.dashboard.period import parse_period
from agentidp.dashboard.usage_filter import LABELS, UsageFilter, read_usage_filter
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import ServiceUnavailable
from agentidp.http.responses import data_response, format_csv
from agentidp.http.schemas import timestamp

USAGE = ("tokens", "requests", "rejected")
AGENT_COLUMNS = (
    *("agentId", "name", "status", *USAGE, "lastTokenHour", "lastRequestHour", "lastRejectionHour"),
    *(member.name or "" for member in LISTED_MEMBERS),
)

MAX_AT_ONCE = 10_000
"""Maximum number of matching agents that a single statement reads, in the order of the table."""

MAX_EXAMINED = 1_000
"""Maximum number of agents that each statement reads if more than :data:`MAX_AT_ONCE` agents match the filters. Agents
that do not match are included in this number."""

FILES = (
    ("Usage by day", "days", "/usage", ()),
    ("Requests by weekday and hour", "activity", "/agents/activity", ()),
    ("Agents", "agents", "/agents?include=name", ()),
    ("Tokens by owner", "owners", "/owners", ()),
    ("Tokens by credential", "credentials", "/credentials", AGENTS),
    ("Tokens by resource", "resources", "/resources", AGENTS),
    ("Tokens by delegation: who acted for whom", "delegations", "/delegations", ()),
)
"""For each file: the title of its content, its name, the path of the same content below ``/api/v1/analytics``, and the
scopes of which a session needs at least one."""

_usage = attrgetter(*USAGE)


@pages.blueprint.get("/dashboard/export")
@session.required
def list_files(caller: Caller) -> Response:
    """Show the files with the usage of a period, and the API requests that return the same content."""
    files = [export_file for export_file in FILES if not export_file[3] or any(map(g.viewer.may, export_file[3]))]
    return pages.page("export.html", here="export", period=parse_period(caller.at), files=files)


@pages.blueprint.get("/dashboard/days.csv")
@session.required
def export_days(caller: Caller) -> Response:
    """Return a file with the usage on each day. If there are filters, the file has no column of refused tokens."""
    period = parse_period(caller.at)
    usage_filter = read_usage_filter(caller, period)
    if not usage_filter.values:
        return _export_view(caller, "days", usage_by_day, period)
    days_query = usage_filter.build_days_query(**period.bounds)
    [usage_rows] = caller.read_together(days_query.call)
    usage_columns = ("tokens",) if usage_filter.counts_tokens_only else USAGE
    get_csv_values = attrgetter("day", *usage_columns)
    csv_rows = [list(get_csv_values(day)) for day in days_query.build_days(usage_rows)]
    return _send_csv(f"days-{period.first}-{period.last}", ("date", *usage_columns), csv_rows)


@pages.blueprint.get("/dashboard/activity.csv")
@session.required
def export_activity(caller: Caller) -> Response:
    """Return a file with the non-zero request counts by day of week (Sunday is 0) and hour."""
    period = parse_period(caller.at)
    usage_filter = read_usage_filter(caller, period, ("owner", "agent"))
    if not usage_filter.values:
        return _export_view(caller, "activity", activity_heatmap, period)
    [day_rows] = caller.read_together(usage_filter.build_hours_call(period.bounds))
    request_counts: Counter[tuple[int, int]] = Counter()
    for day_row in day_rows:
        for hour, count in enumerate(day_row.requests_by_hour):
            request_counts[day_row.on_day.isoweekday() % 7, hour] += count
    csv_rows = [[*weekday_and_hour, count] for weekday_and_hour, count in sorted(request_counts.items()) if count]
    return _send_csv(f"activity-{period.first}-{period.last}", ("dow", "hour", "count"), csv_rows)


@pages.blueprint.get("/dashboard/owners.csv")
@session.required
def export_owners(caller: Caller) -> Response:
    """Return a file with the tokens by owner."""
    return _export_items(caller, "owners", usage.list_tokens_by_owner, OwnerTokensSchema)


@pages.blueprint.get("/dashboard/credentials.csv")
@session.required_to(*AGENTS)
def export_credentials(caller: Caller) -> Response:
    """Return a file with the tokens by credential."""
    represent = partial(credential_usage.represent_credential, own_resource=caller.settings.resource)
    return _export_items(caller, "credentials", _read_used_credentials, CredentialUsageItemSchema, represent)


@pages.blueprint.get("/dashboard/resources.csv")
@session.required_to(*AGENTS)
def export_resources(caller: Caller) -> Response:
    """Return a file with the tokens by resource."""
    represent = partial(resource_usage.represent_resource, own_resource=caller.settings.resource)
    return _export_items(caller, "resources", usage.list_tokens_by_resource, ResourceUsageItemSchema, represent)


@pages.blueprint.get("/dashboard/delegations.csv")
@session.required
def export_delegations(caller: Caller) -> Response:
    """Return a file with the tokens by acting agent, subject and resource."""
    return _export_items(caller, "delegations", usage.list_tokens_by_delegation, DelegationSchema)


def _read_used_credentials(caller: Caller, period: Period, usage_filter: UsageFilter) -> list[CredentialUsage]:
    return list_used_credentials(usage_filter.read_attribution(caller, period)[0])


def _export_items(
    caller: Caller,
    name: str,
    read_items: Callable[[Caller, Period, UsageFilter], list[Any]],
    schema: type[ma.Schema],
    represent: Callable[[Any], Any] = lambda item: item,
) -> Response:
    """Return a file with the items that pass the filters, in the API's columns. *represent* returns an item's JSON."""
    period = parse_period(caller.at)
    filter_names = usage.DELEGATION_FILTERS if name == "delegations" else tuple(LABELS)
    exported_items = read_items(caller, period, read_usage_filter(caller, period, filter_names))
    request.environ["HTTP_ACCEPT"] = "text/csv"
    return _download(f"{name}-{period.first}-{period.last}", data_response({"data": exported_items}, schema, represent))


@pages.blueprint.get("/dashboard/agents/<uuid:agent_id>/days.csv")
@session.required
def export_agent_days(caller: Caller, agent_id: UUID) -> Response:
    """Return a file with an agent's usage on each day of the period."""
    return _export_view(caller, f"agent-{agent_id}", agent_activity, parse_period(caller.at), agent_id)


@pages.blueprint.get("/dashboard/days/<on_day>/hours.csv")
@pages.blueprint.get("/dashboard/agents/<uuid:agent_id>/days/<on_day>/hours.csv")
@session.required
def export_hours(caller: Caller, on_day: str, agent_id: UUID | None = None) -> Response:
    """Return a file with the usage of the organization, or of an agent, in each hour of a day."""
    day = parse_past_day(on_day, caller.at.astimezone(UTC))
    if agent_id is None:
        return _export_view(caller, "hours", usage_by_hour, Period(day, day))
    return _export_view(caller, f"agent-{agent_id}-hours", agent_usage_by_hour, Period(day, day), agent_id)


def _export_view(caller: Caller, name: str, view: Callable[..., Response], period: Period, *ids: UUID) -> Response:
    """Return a file with the response of a view of the API. The file's name begins with *name*."""
    request.environ["HTTP_ACCEPT"] = "text/csv"
    # unwrap() returns the view without its decorators, which would demand a token and parse the query.
    response = inspect.unwrap(view)(caller, period, *ids)
    return _download(f"{name}-{period.first}-{period.last}", response)


@pages.blueprint.get("/dashboard/agents.csv")
@session.required
def export_agents(caller: Caller) -> Response:
    """Return a file with the agents that the table of agents lists on all its pages.

    Up to :data:`MAX_AT_ONCE` agents are in the order of the table. More agents are read and sent in several steps,
    ordered by id, so that each agent is included exactly once although its counts change meanwhile.
    """
    period = parse_period(caller.at)
    agents_call, selection, badges_by_agent = select_agents(caller, period, limit=MAX_AT_ONCE)
    if selection.unusual and badges_by_agent is None:
        # The findings could not be computed, and an empty file would say that no agent has findings.
        raise ServiceUnavailable
    [agent_rows] = caller.read_together(agents_call)
    file_name = f"agents-{period.first}-{period.last}"
    if count_matches(agent_rows) <= MAX_AT_ONCE:
        return _send_csv(file_name, AGENT_COLUMNS, [_list_agent_values(agent_row) for agent_row in agent_rows])
    [first_agent_rows] = caller.read_together(build_next_agents_call(agents_call, UUID(int=0), MAX_EXAMINED))
    response = _send_csv(file_name, AGENT_COLUMNS, [])
    csv_header = response.get_data(as_text=True)
    del response.headers["Content-Length"]
    # An error until here has its own HTTP status. A later error can only end the connection, because 200 was sent.
    response.response = itertools.chain([csv_header], _export_further_agents(caller, agents_call, first_agent_rows))
    return response


def _export_further_agents(caller: Caller, agents_call: Call, agent_rows: Rows) -> Iterator[str]:
    """Yield CSV of the agents that *agents_call* selects, ordered by id and beginning with those in *agent_rows*."""
    while agent_rows:
        csv_rows = [_list_agent_values(agent_row) for agent_row in agent_rows if agent_row.is_listed]
        if csv_rows:
            yield format_csv(None, csv_rows)
        [agent_rows] = caller.read_together(build_next_agents_call(agents_call, agent_rows[-1].agent_id, MAX_EXAMINED))


def _list_agent_values(agent: Any) -> list[Any]:
    activity_hours = (timestamp(hour) for hour in (agent.last_token, agent.last_request, agent.last_rejection))
    member_values = (getattr(agent, member.column) for member in LISTED_MEMBERS)
    return [agent.agent_id, agent.name, agent.status, *_usage(agent), *activity_hours, *member_values]


@pages.blueprint.get("/dashboard/days/<on_day>/agents.csv")
@session.required
def export_agents_of_day(caller: Caller, on_day: str) -> Response:
    """Return a file with all agents with usage on a day, or in the chosen hour, in the order of the page's table."""
    day = parse_past_day(on_day, caller.at.astimezone(UTC))
    agents_call = build_usage_by_agent_call(day, limit=None)
    [agent_rows] = caller.read_together(agents_call)
    hour = agents_call.parameters["at_hour"]
    file_name = f"agents-{day}" if hour is None else f"agents-{day}-{hour:02}h"
    return _send_csv(
        file_name, ("agentId", "name", *USAGE), [[row.agent_id, row.name, *_usage(row)] for row in agent_rows]
    )


def _download(name: str, response: Response) -> Response:
    response.headers.update(pages.SECURITY)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _send_csv(name: str, columns: tuple[str, ...], rows: list[list[Any]]) -> Response:
    return _download(name, Response(format_csv(columns, rows), content_type="text/csv; charset=utf-8; header=present"))
