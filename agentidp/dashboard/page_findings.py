"""The findings that a page shows."""

from __future__ import annotations

from uuid import UUID

from agentidp.caller import Caller
from agentidp.db.errors import DatabaseUnavailable
from agentidp.findings import FindingsArguments, callers_findings
from agentidp.findings.finding import Finding
from agentidp.http.errors import RateLimited

MAX_FINDINGS = 50
"""On a page: the most urgent."""


def page_findings(caller: Caller, days: int) -> list[Finding] | None:
    """The findings that the API returns by default.

    :returns: ``None`` if a statement is too slow or too many requests for findings are running: then the page is shown
        without findings.
    """
    arguments = FindingsArguments().load({"days": str(days)})
    try:
        return callers_findings(caller, **arguments)
    except (RateLimited, DatabaseUnavailable):
        return None


def findings_of_agent(found: list[Finding] | None, agent_id: UUID) -> list[Finding] | None:
    """Those of *found* that name the agent, also as one of several."""
    if found is None:
        return None
    return [one for one in found if agent_id in (one.agent_id, *(agent.agent_id for agent in one.agents))]
