"""``/dashboard/agents``: the organization's agents in the current month."""

from __future__ import annotations

import re

from flask import Response, request

from agentidp.analytics.agent_overview import agents_of_the_month
from agentidp.caller import Caller
from agentidp.dashboard import pages, session
from agentidp.http.errors import NotFound, ValidationError

PAGE_SIZE = 50
"""Agents in a table."""

MAX_PAGE = 100_000

SHARE_LIMIT = 80
"""An agent with a higher percentage of the month's tokens is flagged."""

blueprint = pages.new_blueprint("dashboard-agents", __name__)


@blueprint.get("/dashboard/agents")
@session.required
def agents(caller: Caller) -> Response:
    """All agents, fifty on a page."""
    number = request.args.get("page", "1")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", number) or int(number) > MAX_PAGE:
        raise ValidationError(f"The page must be a whole number from 1 to {MAX_PAGE}.")
    shown = agents_of_the_month(caller, PAGE_SIZE, PAGE_SIZE * (int(number) - 1))
    if not shown.data and number != "1":
        raise NotFound
    return pages.page(
        "agents.html",
        here="agents",
        agents=shown,
        number=int(number),
        pages=max(1, -(-shown.count // PAGE_SIZE)),
        share_limit=SHARE_LIMIT,
    )
