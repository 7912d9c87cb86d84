"""Suspends agents that are dormant, if their organization has set that, after a notice.

1. ``suspendDormantAfterDays`` of an organization says after how many days. It is off by default.
2. Two weeks before, the suspension is announced: the finding ``dormant_agent`` becomes a warning that says when it will
   be, and is sent as alerts are, also to the agent's owner. Two weeks pass from then on, however long an agent has
   been dormant when somebody sets it.
3. An agent that is active again, or that somebody changes or resumes, has its whole time again.
4. ``agentidp watch`` does this, and no request. Both the announcement and the suspension are in the audit trail.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from agentidp import audit
from agentidp.db.organization import OrganizationDatabase, Transaction
from agentidp.db.sql import Rows
from agentidp.findings import dormant_agent
from agentidp.findings.dormant_agent import dormant_since
from agentidp.findings.thresholds import SUSPENSION_NOTICE_DAYS
from agentidp.registry import quotas
from agentidp.registry.agents import update_agent


def suspend_dormant(database: OrganizationDatabase) -> list[UUID]:
    """Announce which agents of an organization will be suspended, and suspend those whose time has come.

    :param database: the organization, now.
    :returns: the agents that were suspended.
    """
    [organization] = database.fetch("organizations/get_organization")
    if organization.suspend_dormant_after_days is None:
        return []
    with database.transaction() as opened:
        rows = opened.run(dormant_agent.call())
        if _due(opened, rows):
            # No token of the organization is issued until this ends, so none that is getting one is suspended.
            quotas.lock(opened)
            rows = opened.run(dormant_agent.call())
        suspended = _due(opened, rows)
        for row in suspended:
            reason = {"dormantSince": dormant_since(row), "suspendDormantAfterDays": row.suspend_after_days}
            update_agent(opened, row.agent_id, {"status": "suspended"}, reason=reason)
        _announce(opened, [row for row in rows if row not in suspended])
    return [row.agent_id for row in suspended]


def suspension_at(row: Any, at: datetime) -> datetime | None:
    """When an agent will be suspended, if it is to be announced by now; at least the days of the notice after it was.

    Whoever changes an agent, or resumes it, lets its time begin again.

    :param row: of the statement ``dormant_agent``.
    """
    if row.suspend_after_days is None:
        return None
    notice = timedelta(days=SUSPENSION_NOTICE_DAYS)
    due: datetime = max(dormant_since(row), row.updated_at) + timedelta(days=row.suspend_after_days)
    if due - notice > at:
        return None
    announced: datetime | None = row.suspends_at
    return announced or max(due, at + notice)


def _due(opened: Transaction, rows: Rows) -> Rows:
    """Those whose announced time has come, and whose announcement is a finding that goes on."""
    due = [row for row in rows if row.suspends_at and suspension_at(row, opened.at) == row.suspends_at <= opened.at]
    if not due:
        return []
    stored = opened.fetch("finding_state/stored_findings", ended_after=opened.at)
    warned = {
        one.subject for one in stored if one.kind == "dormant_agent" and one.severity != "info" and one.ended_at is None
    }
    return [row for row in due if str(row.agent_id) in warned]


def _announce(opened: Transaction, rows: Rows) -> None:
    """Store and record which further agents will be suspended, and when; withdraw what no longer is so."""
    instants = {row.agent_id: at for row in rows if (at := suspension_at(row, opened.at)) is not None}
    opened.fetch("agents/withdraw_suspensions", agent_ids=list(instants))
    for row in rows:
        if row.agent_id in instants and row.suspends_at is None:
            suspends_at = instants[row.agent_id]
            opened.fetch("agents/announce_suspension", agent_id=row.agent_id, suspends_at=suspends_at)
            audit.record(opened, "agent.suspension_announced", row.agent_id, after={"suspendsAt": suspends_at})
