"""``dormant_agent``: nothing of an active agent was counted, and none of its credentials used, for ``DORMANT_DAYS``.

It is only listed. If the organization suspends dormant agents (:mod:`agentidp.findings.suspension`), it is a warning
from the announcement of the suspension on.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import instant_in_words
from agentidp.findings.finding import Finding, FindingsQuery, Kind, Severity


def build_call(query: FindingsQuery | None = None) -> Call:
    """Return the statement that reads the agents that are dormant, or are about to be suspended as dormant."""
    days = {"days": thresholds.DORMANT_DAYS, "notice_days": thresholds.SUSPENSION_NOTICE_DAYS}
    return Call("findings/dormant_agent", days | {"max_agents": thresholds.MAX_DORMANT_AGENTS})


def compute_findings(rows: Rows, query: FindingsQuery) -> list[Finding]:
    """Return a finding per dormant agent."""
    return [_make_finding(row, query.at) for row in rows]


def find_dormant_since(row: Any) -> datetime:
    """Return the instant at which a dormant agent was last active, or was registered if it was never active."""
    since: datetime = max(row.created_at, row.last_used_at or row.created_at)
    return since


def _make_finding(row: Any, at: datetime) -> Finding:
    idle_since = find_dormant_since(row)
    last_use = f"none of its credentials has been used since it was registered, at {instant_in_words(row.created_at)}"
    if row.last_used_at is not None:
        last_use = f"a credential of it was last used at {instant_in_words(row.last_used_at)}"
    notice = ""
    next_step = "Ask its owner. If nobody needs it, delete it, or suspend it first: then it can be resumed at once."
    if row.suspends_at is not None:
        suspension_time = instant_in_words(row.suspends_at)
        notice = f" It will be suspended at {suspension_time}, unless it requests a token before then."
        next_step = "If it is needed, let it ask for a token, or change it. If nobody needs it, delete it."
    return Finding(
        kind="dormant_agent",
        severity=Severity.warning if notice else Severity.info,
        agent_id=row.agent_id,
        agent_name=row.agent_name,
        begins=idle_since,
        ends=at,
        unit="days without a token",
        observed=(at - idle_since).days,
        expected=thresholds.DORMANT_DAYS,
        baseline="days without a token after which an active agent is reported",
        summary=f"{row.agent_name} has not asked for a token for {(at - idle_since).days:,} days: {last_use}.{notice}",
        causes="Another agent does its work now, or its work is no longer needed.",
        next_step=next_step,
    )


KIND = Kind(build_call, compute_findings, absorbs=("unused_credential",), reads_registry=True)
