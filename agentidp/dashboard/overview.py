"""``/dashboard``: the organization's usage on one page, findings first."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from agentidp.analytics.activity_heatmap import requests_by_hour_of_week
from agentidp.analytics.agent_overview import agents_of_the_month
from agentidp.analytics.rejection_trend import rejections_by_day
from agentidp.analytics.token_trend import tokens_by_day
from agentidp.caller import Caller
from agentidp.dashboard import charts, pages, session
from agentidp.dashboard.agents import PAGE_SIZE, SHARE_LIMIT
from agentidp.dashboard.page_findings import MAX_FINDINGS, page_findings
from agentidp.dashboard.period import PERIODS, requested_days
from agentidp.findings import budget

FEW_TOKENS = 10
"""An organization with one agent and at most so many tokens is shown the first steps."""

blueprint = pages.new_blueprint("dashboard-overview", __name__)


@blueprint.get("/dashboard", strict_slashes=False)
@session.required
def overview(caller: Caller) -> Response:
    """The organization's usage on one page, findings first; the first steps if there is hardly any usage."""
    days = requested_days()
    trend = tokens_by_day(caller, max(PERIODS))
    agents = agents_of_the_month(caller, PAGE_SIZE)
    issued = sum(day["count"] for day in trend)
    has_usage = issued > FEW_TOKENS or (issued > 0 and agents.count > 1)
    if not has_usage and "days" not in request.args:
        return pages.page("first_steps.html", here="overview", issued=issued)
    rejections = rejections_by_day(caller, days)
    week = charts.heatmap(requests_by_hour_of_week(caller, max(PERIODS)))
    month = budget.status(caller.read_together, caller.at)

    def slow_part() -> dict[str, Any]:
        found = page_findings(caller, days)
        marked = charts.days_with_findings(found or [])
        return {
            "found": found,
            "max_findings": MAX_FINDINGS,
            "tokens": charts.bars(trend[-days:], marked),
            "rejections": charts.bars(rejections, marked),
            "week": week,
            "agents": agents,
            "budget": month,
            "share_limit": SHARE_LIMIT,
            "page_size": PAGE_SIZE,
        }

    return pages.page("overview.html", slow_part=slow_part, here="overview", days=days, periods=PERIODS)
