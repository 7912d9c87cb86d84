"""Name the agents that caused a finding about the whole organization: a budget, a quota, or a spike of several agents.

1. An agent with at least a tenth of its tokens caused it. The summary names up to five such agents, and says how many
   tokens they were issued together.
2. If another finding says that such an agent wasted, or was issued without need, at least a tenth of its tokens, the
   causes and the next step of the other finding apply.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import join_names, number_of
from agentidp.findings.finding import Contributor, Finding, FindingsQuery
from agentidp.findings.kinds import kind_of


def name_contributors(run: Callable[..., list[Rows]], findings: list[Finding], query: FindingsQuery) -> list[Finding]:
    """Return the findings. Those about the whole organization name the agents that caused them.

    :param run: as in :func:`agentidp.findings.findings`. If it fails, budgets and quotas name no agent.
    """
    # A spike of several agents already has its agents.
    calls = {
        index: _call(finding, query)
        for index, finding in enumerate(findings)
        if is_of_organization(finding) and finding.kind != "spike"
    }
    findings = [*findings]
    if calls:
        with contextlib.suppress(DatabaseUnavailable):
            for index, rows in zip(calls, run(*calls.values()), strict=True):
                findings[index] = replace(findings[index], agents=tuple(map(_contributor, rows)))
    return [
        _add_cause(_add_names(finding), findings) if is_of_organization(finding) else finding for finding in findings
    ]


def is_of_organization(finding: Finding) -> bool:
    """Return whether a finding is about the tokens of the whole organization."""
    return finding.agent_id is None and kind_of(finding).names_contributors


def _call(finding: Finding, query: FindingsQuery) -> Call:
    """Return the statement that reads the agents with the most tokens in a window of a month, a day or an hour."""
    first, limit = finding.begins.date(), {"limit": thresholds.MAX_CONTRIBUTORS}
    length = finding.ends - finding.begins
    if length > timedelta(days=1):
        return Call("analytics/agent_usage", {"first": first, "last": query.today, "with_names": True} | limit)
    hour = finding.begins.hour if length < timedelta(days=1) else None
    return Call("dashboard/agents_of_the_day", {"on_day": first, "at_hour": hour, "by_rejected": False} | limit)


def _contributor(row: Any) -> Contributor:
    if hasattr(row, "token_count"):
        return Contributor(agent_id=UUID(row.agent_id), agent_name=row.agent_name, count=row.token_count)
    return Contributor(agent_id=row.agent_id, agent_name=row.name, count=row.tokens)


def _add_names(finding: Finding) -> Finding:
    """Return a finding with a sentence about the agents that caused it. A spike keeps its other agents too."""
    min_count = thresholds.MIN_CONTRIBUTOR_PERCENT * finding.observed / 100
    culprits = tuple(agent for agent in finding.agents if agent.count >= min_count)
    agents = finding.agents if finding.kind == "spike" else culprits
    if not culprits:
        return replace(finding, agents=agents)
    # The agents were read after the finding, and counters grow.
    count = min(sum(agent.count for agent in culprits), finding.observed)
    share = f"{count:,.0f} of the {number_of(finding.observed, 'token')} ({100 * count / finding.observed:.0f} %)"
    names, were = join_names([agent.agent_name for agent in culprits]), "was" if len(culprits) == 1 else "were"
    return replace(finding, agents=agents, summary=f"{finding.summary} {names} {were} issued {share}.")


def _add_cause(finding: Finding, findings: list[Finding]) -> Finding:
    """Return a finding with the causes that another finding has for the tokens of an agent that it names."""
    for other in sorted(findings, key=lambda candidate: kind_of(candidate).cause_rank):
        is_cause = kind_of(other).cause_rank and other.agent_id and other.agent_id in finding.agent_ids
        is_large = 100 * other.excess >= thresholds.MIN_CONTRIBUTOR_PERCENT * finding.observed
        overlaps = other.begins < finding.ends and finding.begins < other.ends
        if is_cause and is_large and overlaps:
            return replace(finding, causes=f"{other.summary} {other.causes}", next_step=other.next_step)
    return finding
