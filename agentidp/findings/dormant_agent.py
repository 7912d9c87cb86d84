"""``dormant_agent``: an active agent that has not asked for a token for 90 days.

Nothing has been counted of it for so long: no token, no request, no failed authentication. None of its credentials has
been used.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Severity


def call(query: FindingsQuery) -> Call:
    """The agents that have been dormant for so long."""
    before = query.at - timedelta(days=thresholds.DORMANT_DAYS)
    return Call("findings/dormant_agent", {"before": before, "max_agents": thresholds.MAX_DORMANT_AGENTS})


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each."""
    return [_finding(row, query) for row in rows]


def _finding(row: Any, query: FindingsQuery) -> Finding:
    since = max(row.created_at, row.last_used_at or row.created_at)
    days = (query.at - since).days
    used = f"none of its credentials has been used since it was registered, at {instant_in_words(row.created_at)}"
    if row.last_used_at is not None:
        used = f"a credential of it was last used at {instant_in_words(row.last_used_at)}"
    return Finding(
        kind="dormant_agent",
        severity=Severity.info,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=since,
        ends=query.at,
        unit="days without a token",
        observed=days,
        expected=thresholds.DORMANT_DAYS,
        baseline="days without a token after which an active agent is reported",
        summary=f"{row.agent_name} has not asked for a token for {days:,} days: {used}.",
        causes="What it did is done by another agent, or by nobody any more.",
        next_step="Ask its owner. If nobody needs it, delete it, or suspend it first: then it can be resumed at once.",
    )
