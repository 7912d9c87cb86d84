"""``/dashboard/usage``: the tokens of a period by owner, by resource, and by delegation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from flask import Response

from agentidp.analytics import delegations, owner_usage
from agentidp.analytics.attribution import RESOURCE_SERVERS, build_delegations_call
from agentidp.analytics.period import Period
from agentidp.analytics.resource_usage import ResourceUsage, list_used_resources
from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.dashboard.agents import read_page_number, select_page
from agentidp.dashboard.navigation import AGENTS
from agentidp.dashboard.period import parse_period
from agentidp.dashboard.usage_filter import LABELS, UsageFilter, read_usage_filter
from agentidp.db.sql import Call

DELEGATION_FILTERS = ("owner", "agent", "resource")
"""The filters of the page of delegations. Delegated tokens are not counted per credential, so the page has no filter
by credential."""


@pages.blueprint.get("/dashboard/usage")
@session.required
def by_owner(caller: Caller) -> Response:
    """Show the number of tokens by owner of the agents, most tokens first."""
    return _show_usage("owners", caller, list_tokens_by_owner)


@pages.blueprint.get("/dashboard/usage/resources")
@session.required_to(*AGENTS)
def by_resource(caller: Caller) -> Response:
    """Show the tokens for our own API, for each resource server, even a deleted one, and for unknown resources."""
    return _show_usage("resources", caller, list_tokens_by_resource)


@pages.blueprint.get("/dashboard/usage/delegations")
@session.required
def by_delegation(caller: Caller) -> Response:
    """Show the tokens per pair of an acting agent and its subject, which is an agent or the people of an issuer."""
    return _show_usage("delegations", caller, list_tokens_by_delegation, DELEGATION_FILTERS)


def list_tokens_by_owner(caller: Caller, period: Period, usage_filter: UsageFilter) -> list[dict[str, Any]]:
    """Return, as the API's JSON, the tokens that pass the filters, by owner of the agents."""
    if not usage_filter.counts_tokens_only and "agent" not in usage_filter.values:
        [owner_rows] = caller.read_together(owner_usage.build_owner_usage_call(period))
        owner = usage_filter.values.get("owner")
        return [
            owner_json
            for owner_json in owner_usage.represent_owners(owner_rows)
            if owner in (None, owner_json["owner"])
        ]
    tokens_by_agent = _read_tokens_by_agent(caller, period, usage_filter)
    [agent_rows] = caller.read_together(Call("audit/agent_names", {"agent_ids": list(tokens_by_agent)}))
    counts_by_owner: dict[str, Counter[str]] = {}
    for agent in agent_rows:
        counts_by_owner.setdefault(agent.owner, Counter()).update(agents=1, tokens=tokens_by_agent[agent.agent_id])
    owners_and_counts = sorted(
        counts_by_owner.items(),
        key=lambda owner_and_counts: (not owner_and_counts[0], -owner_and_counts[1]["tokens"], owner_and_counts[0]),
    )
    return [{"owner": owner or None, **owner_counts} for owner, owner_counts in owners_and_counts]


def _read_tokens_by_agent(caller: Caller, period: Period, usage_filter: UsageFilter) -> Counter[UUID]:
    """Return the tokens that pass the filters, by agent, without agents that got none."""
    if usage_filter.counts_tokens_only:
        daily_tokens_by_agent = usage_filter.read_tokens_by_agent(caller, period)
        return +Counter({agent_id: sum(daily_tokens) for agent_id, daily_tokens in daily_tokens_by_agent.items()})
    tokens_by_agent: Counter[UUID] = Counter()
    agent_ids = list(usage_filter.agent_ids or ())
    for day_row in caller.read("findings/contributor_days", **period.bounds, agent_ids=agent_ids):
        tokens_by_agent[day_row.agent_id] += day_row.tokens
    return +tokens_by_agent


def list_tokens_by_resource(caller: Caller, period: Period, usage_filter: UsageFilter) -> list[ResourceUsage]:
    """Return the tokens that pass the filters, by resource. With filters, only resources with tokens are returned."""
    attribution, [servers] = usage_filter.read_attribution(caller, period, RESOURCE_SERVERS)
    resource_usages = list_used_resources(attribution, servers)
    return [usage for usage in resource_usages if usage.tokens] if usage_filter.values else resource_usages


def list_tokens_by_delegation(caller: Caller, period: Period, usage_filter: UsageFilter) -> list[dict[str, Any]]:
    """Return, as the API's JSON, the delegations whose resource, and actor or subject, pass the filters."""
    [delegation_rows] = caller.read_together(build_delegations_call(period, usage_filter.agent_id))
    agent_ids, resource = usage_filter.agent_ids, usage_filter.resource
    return delegations.represent_delegations(
        [
            delegation
            for delegation in delegation_rows
            if (agent_ids is None or delegation.agent_id in agent_ids or delegation.subject_agent_id in agent_ids)
            and resource in (None, delegation.resource)
        ],
        period,
    )


def _show_usage(
    kind: str,
    caller: Caller,
    read_items: Callable[[Caller, Period, UsageFilter], list[Any]],
    filters: Iterable[str] = LABELS,
) -> Response:
    """Return a page, whose table is sent last. *read_items* returns the table's rows."""
    period, requested_page = parse_period(caller.at), read_page_number()
    usage_filter = read_usage_filter(caller, period, filters)

    def read_usage_table() -> dict[str, Any]:
        usage_items = read_items(caller, period, usage_filter)
        token_count = sum(item["tokens"] if isinstance(item, dict) else item.tokens for item in usage_items)
        items_on_page, page_links = select_page(usage_items, requested_page)
        url_query = usage_filter.add_to_query(period.query)
        return {"items": items_on_page, "tokens": token_count, "query": url_query, **page_links}

    return pages.page(
        "usage.html",
        slow_part=read_usage_table,
        here=f"usage-{kind}",
        kind=kind,
        period=period,
        usage_filter=usage_filter,
        own_resource=caller.settings.resource,
    )
