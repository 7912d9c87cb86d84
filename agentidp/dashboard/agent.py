"""``/dashboard/agents/{agentId}``: one agent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response

from agentidp.analytics.agent_activity import activity_by_day
from agentidp.caller import Caller
from agentidp.dashboard import charts, pages, session
from agentidp.dashboard.page_findings import findings_of_agent, page_findings
from agentidp.dashboard.period import PERIODS, requested_days

blueprint = pages.new_blueprint("dashboard-agent", __name__)


@blueprint.get("/dashboard/agents/<uuid:agent_id>")
@session.required
def agent(caller: Caller, agent_id: UUID) -> Response:
    """One agent's usage by day, and the findings that name it."""
    days = requested_days()
    activity = activity_by_day(caller, agent_id, days)

    def slow_part() -> dict[str, Any]:
        found = findings_of_agent(page_findings(caller, days), agent_id)
        marked = charts.days_with_findings(found or [])
        return {
            "found": found,
            "activity": activity,
            "tokens": charts.bars([{"date": day.date, "count": day.tokens} for day in activity], marked),
            "rejections": charts.bars([{"date": day.date, "count": day.rejected} for day in activity], marked),
        }

    return pages.page(
        "agent.html",
        slow_part=slow_part,
        agent_id=agent_id,
        name=activity[0].agent_name,
        agent_status=activity[0].status,
        last_token=activity[0].last_token_hour,
        days=days,
        periods=PERIODS,
        tokens=sum(day.tokens for day in activity),
        requests=sum(day.requests for day in activity),
        rejected=sum(day.rejected for day in activity),
    )
