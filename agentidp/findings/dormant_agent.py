"""``dormant_agent``: an active agent that has not asked for a token for 90 days.

1. Nothing has been counted of it for so long: no token, no request, no failed authentication. None of its credentials
   has been used.
2. It is listed. If the organization lets dormant agents be suspended, it is a warning from two weeks before that on,
   which says when: :mod:`agentidp.findings.suspension` announces it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Severity


def call(query: FindingsQuery | None = None) -> Call:
    """The agents that have been dormant for so long, or will be suspended soon because they are."""
    return Call(
        "findings/dormant_agent",
        {
            "days": thresholds.DORMANT_DAYS,
            "notice_days": thresholds.SUSPENSION_NOTICE_DAYS,
            "max_agents": thresholds.MAX_DORMANT_AGENTS,
        },
    )


def findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """One for each."""
    return [_finding(row, query) for row in rows]


def dormant_since(row: Any) -> datetime:
    """When an agent was last active, or else when it was registered."""
    since: datetime = max(row.created_at, row.last_used_at or row.created_at)
    return since


def suspension_at(row: Any, at: datetime) -> datetime | None:
    """When an agent will be suspended, if it is to be announced by now; at least the days of the notice after it was.

    Whoever changes an agent, or resumes it, lets its time begin again.

    :param row: of the statement.
    """
    if row.suspend_after_days is None:
        return None
    notice = timedelta(days=thresholds.SUSPENSION_NOTICE_DAYS)
    due: datetime = max(dormant_since(row), row.updated_at) + timedelta(days=row.suspend_after_days)
    if due - notice > at:
        return None
    announced: datetime | None = row.suspends_at
    return announced or max(due, at + notice)


def _finding(row: Any, query: FindingsQuery) -> Finding:
    since, suspends_at = dormant_since(row), row.suspends_at
    days = (query.at - since).days
    used = f"none of its credentials has been used since it was registered, at {instant_in_words(row.created_at)}"
    if row.last_used_at is not None:
        used = f"a credential of it was last used at {instant_in_words(row.last_used_at)}"
    summary = f"{row.agent_name} has not asked for a token for {days:,} days: {used}."
    next_step = "Ask its owner. If nobody needs it, delete it, or suspend it first: then it can be resumed at once."
    if suspends_at is not None:
        summary += f" It will be suspended at {instant_in_words(suspends_at)}, unless it asks for one before."
        next_step = "If it is needed, let it ask for a token, or change it. If nobody needs it, delete it."
    return Finding(
        kind="dormant_agent",
        severity=Severity.info if suspends_at is None else Severity.warning,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=since,
        ends=query.at,
        unit="days without a token",
        observed=days,
        expected=thresholds.DORMANT_DAYS,
        baseline="days without a token after which an active agent is reported",
        summary=summary,
        causes="What it did is done by another agent, or by nobody any more.",
        next_step=next_step,
    )
