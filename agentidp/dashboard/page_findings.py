"""The findings that a page shows."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from agentidp.caller import Caller
from agentidp.dashboard.period import Period
from agentidp.db.errors import DatabaseUnavailable
from agentidp.findings.listing import callers_listing, concerns
from agentidp.findings.store import KnownFinding, Listing
from agentidp.http.errors import RateLimited
from agentidp.http.schemas import MAX_DAYS

MAX_FINDINGS = 50
"""On a page: the most urgent."""


def page_findings(caller: Caller, period: Period) -> tuple[list[KnownFinding] | None, tuple[str, ...]]:
    """The stored findings about a period, those that are ongoing first, then as the API sorts them; and the kinds that
    could not be computed last time, of which the findings from before are among them.

    :returns: ``None`` and no kinds if they had to be computed first, and all statements were too slow or too many
        requests for findings were running: then the page is shown without findings.
    """
    if (period.today - period.last).days >= MAX_DAYS:
        return [], ()
    listing = _listing(caller, min(period.days_ago, MAX_DAYS))
    if listing is None:
        return None, ()
    begins = datetime.combine(period.first, time(), UTC)
    ends = datetime.combine(period.last + timedelta(days=1), time(), UTC)
    found = [one for one in listing.findings if one.finding.begins < ends and one.finding.ends > begins]
    return found, listing.evaluation.not_computed


def unusual_agents(caller: Caller) -> set[UUID] | None:
    """The agents that ongoing findings name, also as one of several; ``None`` as in :func:`page_findings`."""
    listing = _listing(caller, 1)
    if listing is None:
        return None
    ongoing = [one.finding for one in listing.findings if one.is_ongoing]
    named = {finding.agent_id for finding in ongoing if finding.agent_id}
    return named | {agent.agent_id for finding in ongoing for agent in finding.agents}


def _listing(caller: Caller, days: int) -> Listing | None:
    try:
        return callers_listing(caller, days=days)
    except (RateLimited, DatabaseUnavailable):
        return None


def findings_of_agent(found: list[KnownFinding] | None, agent_id: UUID) -> list[KnownFinding] | None:
    """Those of *found* that name the agent, also as one of several."""
    return None if found is None else [one for one in found if concerns(one.finding, agent_id)]
