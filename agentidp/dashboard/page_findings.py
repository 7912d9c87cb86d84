"""The findings that a page shows."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from agentidp.caller import Caller
from agentidp.dashboard.period import Period
from agentidp.db.errors import DatabaseUnavailable
from agentidp.findings.listing import callers_listing, concerns
from agentidp.findings.store import KnownFinding
from agentidp.http.errors import RateLimited
from agentidp.http.schemas import MAX_DAYS

MAX_FINDINGS = 50
"""On a page: the most urgent."""


def page_findings(caller: Caller, period: Period) -> list[KnownFinding] | None:
    """The stored findings about a period, those that are ongoing first, then as the API sorts them.

    :returns: ``None`` if they had to be computed first, and a statement was too slow or too many requests for findings
        were running: then the page is shown without findings.
    """
    if (period.today - period.last).days >= MAX_DAYS:
        return []
    try:
        listing = callers_listing(caller, days=min(period.days_ago, MAX_DAYS))
    except (RateLimited, DatabaseUnavailable):
        return None
    # A page cannot say yet which kinds are missing, and one that shows the others would look complete.
    if listing.evaluation.not_computed:
        return None
    begins = datetime.combine(period.first, time(), UTC)
    ends = datetime.combine(period.last + timedelta(days=1), time(), UTC)
    return [one for one in listing.findings if one.finding.begins < ends and one.finding.ends > begins]


def findings_of_agent(found: list[KnownFinding] | None, agent_id: UUID) -> list[KnownFinding] | None:
    """Those of *found* that name the agent, also as one of several."""
    return None if found is None else [one for one in found if concerns(one.finding, agent_id)]
