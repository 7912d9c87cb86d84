"""Suspend dormant agents after ``suspendDormantAfterDays`` of their organization. By default, no agent is suspended.

1. The suspension is announced at least two weeks before: the finding ``dormant_agent`` becomes a warning with the time
   of the suspension, and alerts are sent.
2. If the agent is active again, or somebody changes or resumes it, the days are counted anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from agentidp import audit
from agentidp.db.organization import OrganizationDatabase, Transaction
from agentidp.db.sql import Rows
from agentidp.findings import dormant_agent
from agentidp.findings.dormant_agent import find_dormant_since
from agentidp.findings.thresholds import SUSPENSION_NOTICE_DAYS
from agentidp.registry import quotas
from agentidp.registry.agents import update_agent


def suspend_dormant(database: OrganizationDatabase) -> list[UUID]:
    """Announce suspensions of dormant agents, suspend those whose announced time has come, and return their ids."""
    [organization_row] = database.fetch("organizations/get_organization")
    if organization_row.suspend_dormant_after_days is None:
        return []
    with database.transaction() as transaction:
        dormant_rows = transaction.run(dormant_agent.build_call())
        if _select_due_rows(transaction, dormant_rows):
            # Under this lock the organization is issued no token, so no agent gets a token while it is being suspended.
            quotas.lock(transaction)
            dormant_rows = transaction.run(dormant_agent.build_call())
        suspended_rows = _select_due_rows(transaction, dormant_rows)
        for agent in suspended_rows:
            reason = {"dormantSince": find_dormant_since(agent), "suspendDormantAfterDays": agent.suspend_after_days}
            update_agent(transaction, agent.agent_id, {"status": "suspended"}, reason=reason)
        _announce_suspensions(transaction, [agent for agent in dormant_rows if agent not in suspended_rows])
    return [agent.agent_id for agent in suspended_rows]


def find_suspension_time(row: Any, at: datetime) -> datetime | None:
    """Return when a dormant agent will be suspended, or ``None`` if no announcement of the suspension is due yet."""
    if row.suspend_after_days is None:
        return None
    notice_period = timedelta(days=SUSPENSION_NOTICE_DAYS)
    due_at: datetime = max(find_dormant_since(row), row.updated_at) + timedelta(days=row.suspend_after_days)
    if due_at - notice_period > at:
        return None
    announced_at: datetime | None = row.suspends_at
    return announced_at or max(due_at, at + notice_period)


def _select_due_rows(transaction: Transaction, dormant_rows: Rows) -> Rows:
    """Return the rows of agents whose announced time has passed, if the finding that announced it is ongoing."""
    due_rows = [
        agent
        for agent in dormant_rows
        if agent.suspends_at and find_suspension_time(agent, transaction.at) == agent.suspends_at <= transaction.at
    ]
    if not due_rows:
        return []
    stored_findings = transaction.fetch("finding_state/stored_findings", ended_after=transaction.at)
    announced_ids = {
        finding.subject
        for finding in stored_findings
        if finding.kind == "dormant_agent" and finding.severity != "info" and finding.ended_at is None
    }
    return [agent for agent in due_rows if str(agent.agent_id) in announced_ids]


def _announce_suspensions(transaction: Transaction, dormant_rows: Rows) -> None:
    """Announce suspensions of dormant agents, and withdraw all announcements that no longer apply."""
    suspension_times_by_id = {
        agent.agent_id: suspends_at
        for agent in dormant_rows
        if (suspends_at := find_suspension_time(agent, transaction.at)) is not None
    }
    transaction.fetch("agents/withdraw_suspensions", agent_ids=list(suspension_times_by_id))
    for agent in dormant_rows:
        if agent.agent_id in suspension_times_by_id and agent.suspends_at is None:
            suspends_at = suspension_times_by_id[agent.agent_id]
            transaction.fetch("agents/announce_suspension", agent_id=agent.agent_id, suspends_at=suspends_at)
            audit.record(transaction, "agent.suspension_announced", agent.agent_id, after={"suspendsAt": suspends_at})
