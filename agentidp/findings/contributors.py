"""Name the agents that caused a finding about the whole organization: a budget, a quota, or a spike of several agents.

1. An agent with at least a tenth of the finding's tokens caused it. The summary names up to five such agents, and says
   how many tokens they were issued together.
2. If a finding about such an agent explains at least a tenth of the tokens, its causes and its next step are used. Of
   several such findings, those of the finding that explains most tokens are used.
3. If a single day of such an agent explains more than twice as many tokens of a month as this finding, the day is the
   cause. The spike of the day may have ended before the evaluated days.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call, Rows
from agentidp.findings import thresholds
from agentidp.findings.dates import day_in_words, join_names, number_of
from agentidp.findings.finding import Contributor, Finding, FindingsQuery
from agentidp.findings.history import median
from agentidp.findings.kinds import kind_of


def name_contributors(run: Callable[..., list[Rows]], findings: list[Finding], query: FindingsQuery) -> list[Finding]:
    """Return the findings, with the names of the agents that caused a finding about the whole organization.

    :param run: as in :func:`agentidp.findings.findings`. If it fails, budgets and quotas name no agent.
    """
    # A spike of several agents already names its agents.
    calls = {
        index: _call(finding, query)
        for index, finding in enumerate(findings)
        if is_of_organization(finding) and finding.kind != "spike"
    }
    findings, peaks = [*findings], dict[int, Peak]()
    if calls:
        with contextlib.suppress(DatabaseUnavailable):
            for index, rows in zip(calls, run(*calls.values()), strict=True):
                findings[index] = _add_names(replace(findings[index], agents=tuple(map(_contributor, rows))))
            peaks = _highest_peaks(run, findings, query)
    return [
        _add_cause(_add_names(finding) if finding.kind == "spike" else finding, findings, peaks.get(index))
        if is_of_organization(finding)
        else finding
        for index, finding in enumerate(findings)
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


@dataclass(frozen=True, slots=True)
class Peak:
    """The day of a month on which an agent was issued far more tokens than on the median day."""

    agent_name: str
    day: date
    tokens: int
    usual: float

    @property
    def excess(self) -> float:
        """The tokens of the day beyond the median."""
        return self.tokens - self.usual


def _highest_peaks(run: Callable[..., list[Rows]], findings: list[Finding], query: FindingsQuery) -> dict[int, Peak]:
    """Return, by the index of each finding about a month, the highest peak of the agents that the finding names."""
    calls = {
        index: Call(
            "findings/contributor_days",
            {"agent_ids": finding.agent_ids, "first": finding.begins.date(), "last": query.today},
        )
        for index, finding in enumerate(findings)
        if is_of_organization(finding) and finding.agents and finding.ends - finding.begins > timedelta(days=1)
        if finding.kind != "spike"
    }
    peaks = {}
    for (index, call), rows in zip(calls.items(), run(*calls.values()) if calls else [], strict=True):
        days = (call.parameters["last"] - call.parameters["first"]).days + 1
        peaks[index] = max(
            (highest_peak(agent, rows, days) for agent in findings[index].agents), key=lambda peak: peak.excess
        )
    return peaks


def highest_peak(agent: Contributor, rows: Rows, days: int) -> Peak:
    """Return the day on which an agent was issued the most tokens.

    :param rows: rows of ``findings/contributor_days``, also of other agents.
    :param days: the number of days of the period.
    """
    by_day = {row.on_day: row.tokens for row in rows if row.agent_id == agent.agent_id}
    day, tokens = max(by_day.items(), key=lambda item: item[1], default=(date.min, 0))
    return Peak(agent.agent_name, day, tokens, median([*by_day.values(), *[0] * (days - len(by_day))]))


def _add_names(finding: Finding) -> Finding:
    """Return a finding with a sentence about the agents that caused most of it. A spike keeps its other agents too."""
    min_count = thresholds.MIN_CONTRIBUTOR_PERCENT * finding.observed / 100
    culprits = tuple(agent for agent in finding.agents if agent.count >= min_count)
    agents = finding.agents if finding.kind == "spike" else culprits
    if not culprits:
        return replace(finding, agents=agents)
    # The agents' counts were read after the finding and may have grown since, so they are capped.
    count = min(sum(agent.count for agent in culprits), finding.observed)
    share = f"{count:,.0f} of the {number_of(finding.observed, 'token')} ({100 * count / finding.observed:.0f} %)"
    names, verb = join_names([agent.agent_name for agent in culprits]), "was" if len(culprits) == 1 else "were"
    return replace(finding, agents=agents, summary=f"{finding.summary} {names} {verb} issued {share}.")


def _add_cause(finding: Finding, findings: list[Finding], peak: Peak | None) -> Finding:
    """Return a finding with the causes of most of its tokens: another finding's causes, or a single day of an agent."""
    min_excess = thresholds.MIN_CONTRIBUTOR_PERCENT * finding.observed / 100
    reasons = [
        other
        for other in findings
        if kind_of(other).cause_rank
        and other.agent_id in finding.agent_ids
        and other.excess >= min_excess
        and other.begins < finding.ends
        and finding.begins < other.ends
    ]
    best = min(reasons, key=lambda other: (-other.excess, kind_of(other).cause_rank), default=None)
    if peak and peak.excess >= min_excess and (best is None or peak.excess > 2 * best.excess):
        causes = (
            f"{peak.agent_name} was issued {number_of(peak.tokens, 'token')} on {day_in_words(peak.day)}; on its "
            f"median day of the month it was issued {peak.usual:,.0f}."
        )
        return replace(finding, causes=causes, next_step="See the hours of that day, and what changed then.")
    return replace(finding, causes=f"{best.summary} {best.causes}", next_step=best.next_step) if best else finding
