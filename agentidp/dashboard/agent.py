"""``/dashboard/agents/{agentId}``: the page of an agent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date
from typing import Any
from uuid import UUID

from flask import Response

from agentidp.analytics import delegations
from agentidp.analytics.agent_rejections import NEXT_STEPS, build_rejections_call
from agentidp.analytics.attribution import RESOURCE_SERVERS, build_delegations_call, read_attribution
from agentidp.analytics.resource_usage import list_used_resources
from agentidp.caller import Caller
from agentidp.dashboard import charts, forms, pages, session
from agentidp.dashboard.credentials import list_credential_usages
from agentidp.dashboard.page_findings import read_page_findings
from agentidp.dashboard.period import Period, parse_period
from agentidp.dashboard.quotas import compute_used_quotas, find_windows_without
from agentidp.db.sql import Call, Rows
from agentidp.registry.agents import AgentChangeSchema
from agentidp.registry.markers import MAX_LISTED
from agentidp.registry.quotas import build_usage_call
from agentidp.scopes import SCOPES

SHOWN = forms.members(AgentChangeSchema(exclude=("name", "description", "scopes", "status")))
"""Members of an agent that have a line of their own on the agent's page."""

MAX_DELEGATIONS = 50
"""Maximum number of rows in each of two tables: subjects for whom the agent acts, and agents that act for the agent."""

MAX_REJECTIONS = 20
"""Maximum number of rows in the table of reasons and networks of rejected requests."""


@pages.blueprint.get("/dashboard/agents/<uuid:agent_id>")
@session.required
def show_agent(caller: Caller, agent_id: UUID) -> Response:
    """Show an agent's usage by day, and the findings about the agent."""
    period = parse_period(caller.at)
    calls_by_name = _build_calls(agent_id, period)
    attribution, row_lists = read_attribution(caller, period, agent_id, *calls_by_name.values())
    rows_by_name = dict(zip(calls_by_name, row_lists, strict=True))
    activity_rows, agent = rows_by_name["activity"], rows_by_name["agent"][0] if rows_by_name["agent"] else None
    agent_delegations = delegations.represent_delegations(rows_by_name["delegations"], period)
    quotas = compute_used_quotas([*rows_by_name["own_quotas"], *rows_by_name["shared_quotas"]], caller.at)
    return pages.page(
        "agent.html",
        here="agents",
        slow_part=lambda: _read_slow_part(caller, period, agent_id, rows_by_name),
        agent_id=agent_id,
        registered=agent,
        members=SHOWN,
        scopes=_group_scopes_by_api(agent.scopes if agent else [], rows_by_name["servers"]),
        quotas=quotas,
        unset=find_windows_without(quotas, agent_id),
        # The credentials are listed first, because list_used_resources() empties the list attribution.rows.
        credentials=[usage for usage in list_credential_usages(attribution) if not usage.revoked_at],
        issuers={row.credential_id: row.trust["issuer"] for row in rows_by_name["credentials"] if row.trust},
        resources=[usage for usage in list_used_resources(attribution, rows_by_name["servers"]) if usage.tokens],
        acts_for=[delegation for delegation in agent_delegations if delegation["agentId"] == str(agent_id)],
        acted_for_by=[delegation for delegation in agent_delegations if delegation["agentId"] != str(agent_id)],
        max_delegations=MAX_DELEGATIONS,
        own_resource=caller.settings.resource,
        name=activity_rows[0].agent_name,
        agent_status=activity_rows[0].status,
        last_token=activity_rows[0].last_token_hour,
        period=period,
        tokens=sum(day_row.tokens for day_row in activity_rows),
        requests=sum(day_row.requests for day_row in activity_rows),
        rejected=sum(day_row.rejected for day_row in activity_rows),
    )


def _build_calls(agent_id: UUID, period: Period) -> dict[str, Call]:
    return {
        "activity": Call("analytics/agent_activity", {"agent_id": agent_id, **period.bounds}),
        "credentials": Call("agents/list_credentials", {"agent_id": agent_id}),
        "agent": Call("agents/get_agent", {"agent_id": agent_id}),
        "markers": Call("markers/list_markers", {"limit": MAX_LISTED}),
        "servers": RESOURCE_SERVERS,
        "own_quotas": build_usage_call(agent_id),
        "shared_quotas": build_usage_call(None),
        "delegations": build_delegations_call(period, agent_id),
        "rejections": build_rejections_call(agent_id, period),
    }


def _group_scopes_by_api(agent_scopes: list[str], servers: Rows) -> list[tuple[Any, list[str]]]:
    """Return (API, scopes) pairs. The API is a resource server, ``None`` for our API, or ``""`` for unknown scopes."""
    api_scope_pairs: list[tuple[Any, list[str]]] = [
        (server, [scope for scope in agent_scopes if scope in api_scopes])
        for server, api_scopes in [(None, SCOPES), *((server, server.scopes) for server in servers)]
    ]
    known_scopes = {scope for _, scopes_at_api in api_scope_pairs for scope in scopes_at_api}
    api_scope_pairs.append(("", [scope for scope in agent_scopes if scope not in known_scopes]))
    return [(server, scopes_at_api) for server, scopes_at_api in api_scope_pairs if scopes_at_api]


def _read_slow_part(caller: Caller, period: Period, agent_id: UUID, rows_by_name: Mapping[str, Rows]) -> dict[str, Any]:
    page_findings = read_page_findings(caller, period, {agent_id})
    token_findings, rejection_findings = charts.group_by_day(page_findings.listed)
    created_on = rows_by_name["activity"][0].created_at.astimezone(UTC).date()
    dated_rows = [(date.fromisoformat(day_row.date), day_row) for day_row in rows_by_name["activity"]]
    daily_tokens = [(day, day_row.tokens) for day, day_row in dated_rows]
    daily_rejections = [(day, day_row.rejected) for day, day_row in dated_rows]
    usage_charts = charts.link_usage_charts(
        charts.draw_chart(daily_tokens, token_findings, period.today, created=created_on),
        charts.draw_chart(daily_rejections, rejection_findings, period.today),
        path=f"/agents/{agent_id}/days/{{bar}}",
        ids_on_page={finding.finding_id for finding in page_findings.listed},
        markers=charts.place_markers(rows_by_name["markers"], period.first, period.last, {agent_id}),
    )
    return {
        **usage_charts,
        "page_findings": page_findings,
        "max_findings": len(page_findings.listed),
        "days_newest_first": [
            (day, day_row, [*token_findings.get(day, []), *rejection_findings.get(day, [])])
            for day, day_row in reversed(dated_rows)
        ],
        "rejection_sources": [(row, NEXT_STEPS.get(row.reason, "")) for row in rows_by_name["rejections"] if row.date],
        "max_rejection_sources": MAX_REJECTIONS,
    }
