"""The findings that a page shows."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from agentidp.caller import Caller
from agentidp.dashboard.period import Period
from agentidp.db.errors import DatabaseUnavailable
from agentidp.findings import callers_findings
from agentidp.findings.finding import Finding
from agentidp.http.errors import RateLimited
from agentidp.http.schemas import MAX_DAYS

MAX_FINDINGS = 50
"""On a page: the most urgent."""

HOUR = timedelta(hours=1)


def page_findings(caller: Caller, period: Period) -> list[Finding] | None:
    """The findings about a period, those that are ongoing first, then as the API sorts them.

    :returns: ``None`` if a statement is too slow or too many requests for findings are running: then the page is shown
        without findings.
    """
    if (period.today - period.last).days >= MAX_DAYS:
        return []
    try:
        found = callers_findings(caller, days=min(period.days_ago, MAX_DAYS))
    except (RateLimited, DatabaseUnavailable):
        return None
    # A page cannot say yet which kinds are missing, and one that shows the others would look complete.
    if found.not_computed:
        return None
    begins = datetime.combine(period.first, time(), UTC)
    ends = datetime.combine(period.last + timedelta(days=1), time(), UTC)
    about = [one for one in found.findings if one.begins < ends and one.ends > begins]
    return sorted(about, key=lambda one: not is_ongoing(one, caller.at))


def is_ongoing(finding: Finding, at: datetime) -> bool:
    """Whether a finding's window reaches into the last complete hour or beyond."""
    return finding.ends > at - HOUR


def findings_of_agent(found: list[Finding] | None, agent_id: UUID) -> list[Finding] | None:
    """Those of *found* that name the agent, also as one of several."""
    if found is None:
        return None
    return [one for one in found if agent_id in (one.agent_id, *(agent.agent_id for agent in one.agents))]
