"""``/dashboard/agents/{agentId}``: the page of an agent."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date
from typing import Any
from uuid import UUID

from flask import Response

from agentidp.analytics import delegations
from agentidp.analytics.attribution import add_tokens, delegations_in
from agentidp.caller import Caller
from agentidp.dashboard import charts, forms, pages, session
from agentidp.dashboard.page_findings import page_findings
from agentidp.dashboard.period import Period, requested_period
from agentidp.dashboard.quotas import used_quotas, windows_without
from agentidp.db.sql import Call, Rows
from agentidp.http.errors import NotFound
from agentidp.registry.agents import AgentChangeSchema
from agentidp.registry.markers import MAX_LISTED
from agentidp.registry.quotas import usage_of
from agentidp.scopes import SCOPES

SHOWN = forms.members(AgentChangeSchema(exclude=("name", "description", "scopes", "status")))
"""Members that have their own line on the page."""

MAX_DELEGATIONS = 50
"""Maximum number of rows per table: subjects for whom the agent acts, and agents that act on behalf of the agent."""

blueprint = pages.new_blueprint("dashboard-agent", __name__)


@blueprint.get("/dashboard/agents/<uuid:agent_id>")
@session.required
def agent(caller: Caller, agent_id: UUID) -> Response:
    """Show an agent's usage by day, and the findings that name the agent."""
    period = requested_period(caller.at)
    activity, credentials, registered, markers, servers, own_quotas, shared_quotas, used, acted = caller.read_together(
        Call("analytics/agent_activity", {"agent_id": agent_id, **period.bounds}),
        Call("agents/list_credentials", {"agent_id": agent_id}),
        Call("agents/get_agent", {"agent_id": agent_id}),
        Call("markers/list_markers", {"limit": MAX_LISTED}),
        Call("oauth/list_resource_servers", {}),
        usage_of(agent_id),
        usage_of(None),
        Call("analytics/agent_tokens_by_credential", {"agent_id": agent_id, **period.bounds}),
        delegations_in(period, agent_id),
    )
    if not activity:
        raise NotFound
    delegated = delegations.represent(acted, period)
    quotas = used_quotas([*own_quotas, *shared_quotas], caller.at)
    return pages.page(
        "agent.html",
        here="agents",
        slow_part=lambda: _findings_and_charts(caller, period, agent_id, activity, markers),
        agent_id=agent_id,
        registered=registered[0] if registered else None,
        members=SHOWN,
        scopes=_scopes_by_api(registered[0].scopes if registered else [], servers),
        quotas=quotas,
        unset=windows_without(quotas, agent_id),
        credentials=[row for row in credentials if row.credential_id is not None],
        tokens_of=_by_day(used, "credential_id", period),
        tokens_for=sorted(_by_day(used, "resource", period).items(), key=lambda pair: (-sum(pair[1]), pair[0] or "")),
        not_attributed=_not_attributed(used, period),
        acts_for=[one for one in delegated if one["agentId"] == str(agent_id)],
        acted_for_by=[one for one in delegated if one["agentId"] != str(agent_id)],
        max_delegations=MAX_DELEGATIONS,
        own_resource=caller.settings.resource,
        name=activity[0].agent_name,
        agent_status=activity[0].status,
        last_token=activity[0].last_token_hour,
        period=period,
        tokens=sum(row.tokens for row in activity),
        requests=sum(row.requests for row in activity),
        rejected=sum(row.rejected for row in activity),
    )


def _by_day(rows: Rows, member: str, period: Period) -> dict[Any, list[int]]:
    """Return the attributed tokens per day of the period, grouped by a column.

    :param rows: rows of ``analytics/agent_tokens_by_credential``.
    :param member: the column, ``credential_id`` or ``resource``.
    """
    found: dict[Any, list[int]] = {}
    for row in rows:
        if row.credential_id is not None:
            add_tokens(found.setdefault(getattr(row, member), [0] * period.days), row)
    return found


def _not_attributed(rows: Rows, period: Period) -> list[int]:
    """Return the tokens per day that are not attributed to any credential."""
    rest = [0] * period.days
    for row in rows:
        add_tokens(rest, row, 1 if row.credential_id is None else -1)
    return rest


def _scopes_by_api(scopes: list[str], servers: Rows) -> list[tuple[Any, list[str]]]:
    """Return an agent's scopes grouped by API, as (row of the resource server, scopes).

    The row is ``None`` for our own API and ``""`` for scopes that no longer belong to any API. A scope of two resource
    servers is in both groups.
    """
    apis: list[tuple[Any, Collection[str]]] = [(None, SCOPES), *((server, server.scopes) for server in servers)]
    known = {scope for _, theirs in apis for scope in theirs}
    apis.append(("", [scope for scope in scopes if scope not in known]))
    found = [(api, [scope for scope in scopes if scope in theirs]) for api, theirs in apis]
    return [(api, held) for api, held in found if held]


def _findings_and_charts(
    caller: Caller, period: Period, agent_id: UUID, activity: list[Any], markers: list[Any]
) -> dict[str, Any]:
    """Return the context of the slow part of the page."""
    found = page_findings(caller, period, agent_id)
    marked = {of: charts.days_with_findings(found.listed, of_rejections=of) for of in (False, True)}
    created = activity[0].created_at.astimezone(UTC).date()
    days = [(date.fromisoformat(row.date), row) for row in activity]
    return {
        "found": found,
        "marked": charts.marked_days(markers, period.first, period.last, agent_id),
        "max_findings": len(found.listed),
        "days_newest_first": [
            (day, row, [*marked[False].get(day, []), *marked[True].get(day, [])]) for day, row in reversed(days)
        ],
        "tokens": charts.day_chart([(day, row.tokens) for day, row in days], marked[False], period.today, created),
        "rejections": charts.day_chart([(day, row.rejected) for day, row in days], marked[True], period.today),
    }
