"""``/dashboard/usage``: the tokens of a period by owner, by resource, and by delegation. The page of credentials is
:mod:`agentidp.dashboard.credentials`.
"""

from __future__ import annotations

from typing import Any

from flask import Response

from agentidp.analytics import delegations, owner_usage
from agentidp.analytics.attribution import delegations_in, read_attribution
from agentidp.analytics.resource_usage import used_resources
from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.dashboard.agents import PAGE_SIZE, requested_page
from agentidp.dashboard.navigation import AGENTS
from agentidp.dashboard.period import Period, requested_period
from agentidp.db.sql import Call
from agentidp.http.errors import NotFound

blueprint = pages.new_blueprint("dashboard-usage", __name__)


@blueprint.get("/dashboard/usage")
@session.required
def by_owner(caller: Caller) -> Response:
    """Show the tokens of each owner's agents, most tokens first."""
    period = requested_period(caller.at)
    [rows] = caller.read_together(owner_usage.tokens_by_owner(period))
    return _page("owners", period, owner_usage.represent(rows))


@blueprint.get("/dashboard/usage/resources")
@session.required_to(*AGENTS)
def by_resource(caller: Caller) -> Response:
    """Show the tokens for our own API, for each resource server, for deleted ones, and without attribution."""
    period = requested_period(caller.at)
    attribution, [servers] = read_attribution(caller, period, None, Call("oauth/list_resource_servers", {}))
    return _page("resources", period, used_resources(attribution, servers), own_resource=caller.settings.resource)


@blueprint.get("/dashboard/usage/delegations")
@session.required
def by_delegation(caller: Caller) -> Response:
    """Show the acting agents, the agents or issuers for which they acted, and the tokens."""
    period = requested_period(caller.at)
    [rows] = caller.read_together(delegations_in(period, None))
    return _page("delegations", period, delegations.represent(rows, period))


def _page(kind: str, period: Period, items: list[Any], **context: Any) -> Response:
    """Return the page with a table of *items*, which have their tokens as ``tokens``."""
    number = requested_page()
    listed = items[PAGE_SIZE * (number - 1) : PAGE_SIZE * number]
    if not listed and number != 1:
        raise NotFound
    return pages.page(
        "usage.html",
        here=f"usage-{kind}",
        kind=kind,
        period=period,
        items=listed,
        count=len(items),
        tokens=sum(item["tokens"] if isinstance(item, dict) else item.tokens for item in items),
        number=number,
        pages=max(1, -(-len(items) // PAGE_SIZE)),
        **context,
    )
