"""The findings that a page shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from agentidp.caller import Caller
from agentidp.dashboard.period import Period
from agentidp.db.errors import DatabaseUnavailable
from agentidp.findings.finding import Severity
from agentidp.findings.listing import callers_listing, concerns
from agentidp.findings.store import KnownFinding, Listing
from agentidp.http.errors import RateLimited
from agentidp.http.schemas import MAX_DAYS

MAX_FINDINGS = 50
"""On a page: the most urgent."""


@dataclass(frozen=True, slots=True)
class PageFindings:
    """The findings of a page: those that are ``listed``, all that are ``ongoing``, and how many of these are
    ``outside`` the period; and the kinds that could not be computed last time, of which the findings from before are
    among them.

    ``listed`` is ``None`` if the findings had to be computed first, and all statements were too slow or too many
    requests for findings were running: then the page is shown without findings.
    """

    listed: list[KnownFinding] | None
    ongoing: list[KnownFinding]
    outside: int
    not_computed: tuple[str, ...]


def page_findings(caller: Caller, period: Period, agent_id: UUID | None = None) -> PageFindings:
    """The stored findings about a period, those that are ongoing first, then as the API sorts them. Critical ones that
    are ongoing are listed on the page of any period, and all that are ongoing are counted.

    :param agent_id: only those that name this agent, also as one of several.
    """
    days = period.days_ago if (period.today - period.last).days < MAX_DAYS else 1
    listing = _listing(caller, min(days, MAX_DAYS))
    if listing is None:
        return PageFindings(None, [], 0, ())
    begins = datetime.combine(period.first, time(), UTC)
    ends = datetime.combine(period.last + timedelta(days=1), time(), UTC)
    known = [one for one in listing.findings if concerns(one.finding, agent_id)]
    inside = {one.finding_id for one in known if one.finding.begins < ends and one.finding.ends > begins}
    ongoing = [one for one in known if one.is_ongoing]
    outside = [one for one in ongoing if one.finding_id not in inside]
    listed_too = inside.union(one.finding_id for one in outside if one.finding.severity is Severity.critical)
    listed = [one for one in known if one.finding_id in listed_too]
    return PageFindings(listed, ongoing, len(outside), listing.evaluation.not_computed)


def unusual_agents(caller: Caller) -> set[UUID] | None:
    """The agents that ongoing findings name, also as one of several; ``None`` as in :class:`PageFindings`."""
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
