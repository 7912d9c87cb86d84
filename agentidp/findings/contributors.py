"""Name the agents that caused a finding about the whole organization: a budget, a quota, or a spike of several agents.

1. An agent with at least a tenth of the finding's tokens caused it. The summary names up to five such agents, and says
   how many tokens they were issued together.
2. If a finding about such an agent explains at least a tenth of the tokens, the causes and the next step of that
   finding are used. If there are several such findings, the finding that explains most tokens is used.
3. If a single day of such an agent explains more than twice as many tokens of a month as this finding, the day is the
   cause. The spike of the day may have ended before the evaluated days.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.sql import Call, Rows, Run
from agentidp.findings import thresholds
from agentidp.findings.dates import ONE_DAY, day_in_words, join_names
from agentidp.findings.finding import Contributor, Finding, FindingsQuery
from agentidp.findings.history import median
from agentidp.findings.kinds import kind_of
from agentidp.http.text import format_count


def name_contributors(run: Run, findings: list[Finding], query: FindingsQuery) -> list[Finding]:
    """Return the findings, with the agents that caused each finding about the whole organization.

    If *run* fails, findings about budgets and quotas name no agent.
    """
    # Findings of the kind spike need no statement, because they already contain their agents.
    calls_by_index = {
        index: _build_contributors_call(finding, query)
        for index, finding in enumerate(findings)
        if is_about_organization(finding) and finding.kind != "spike"
    }
    findings, peaks_by_index = [*findings], dict[int, Peak]()
    if calls_by_index:
        with contextlib.suppress(DatabaseUnavailable):
            for index, agent_rows in zip(calls_by_index, run(*calls_by_index.values()), strict=True):
                agents = tuple(map(_build_contributor, agent_rows))
                findings[index] = _add_names(replace(findings[index], agents=agents))
            peaks_by_index = _read_highest_peaks(run, {index: findings[index] for index in calls_by_index}, query)
    return [
        _add_cause(_add_names(finding) if finding.kind == "spike" else finding, findings, peaks_by_index.get(index))
        if is_about_organization(finding)
        else finding
        for index, finding in enumerate(findings)
    ]


def is_about_organization(finding: Finding) -> bool:
    """Return whether a finding is about the tokens of the whole organization."""
    return finding.agent_id is None and kind_of(finding).names_contributors


def _build_contributors_call(finding: Finding, query: FindingsQuery) -> Call:
    """Return the statement that reads the agents with the most tokens in the finding's month, day or hour."""
    first_day, limit_parameter = finding.begins.date(), {"limit": thresholds.MAX_CONTRIBUTORS}
    duration = finding.ends - finding.begins
    if duration > ONE_DAY:
        month_parameters = {"first": first_day, "last": query.today}
        return Call("analytics/agent_usage", month_parameters | limit_parameter | {"with_names": True})
    first_hour = finding.begins.hour if duration < ONE_DAY else None
    day_parameters = {"on_day": first_day, "at_hour": first_hour}
    return Call("dashboard/agents_of_the_day", day_parameters | limit_parameter | {"by_rejected": False})


def _build_contributor(row: Any) -> Contributor:
    if hasattr(row, "token_count"):
        return Contributor(agent_id=UUID(row.agent_id), agent_name=row.agent_name, count=row.token_count)
    return Contributor(agent_id=row.agent_id, agent_name=row.name, count=row.tokens)


@dataclass(frozen=True, slots=True)
class Peak:
    """The day of a month on which an agent was issued the most tokens."""

    agent_name: str
    day: date
    tokens: int
    usual: float

    @property
    def excess(self) -> float:
        """The number of tokens by which the day exceeds the agent's median day."""
        return self.tokens - self.usual


def _read_highest_peaks(run: Run, findings_by_index: dict[int, Finding], query: FindingsQuery) -> dict[int, Peak]:
    """Return the highest peak among the agents of each finding about a month, by the index of the finding."""
    month_findings_by_index = {
        index: finding
        for index, finding in findings_by_index.items()
        if finding.agents and finding.ends - finding.begins > ONE_DAY
    }
    calls = [
        Call(
            "findings/contributor_days",
            {"agent_ids": finding.agent_ids, "first": finding.begins.date(), "last": query.today},
        )
        for finding in month_findings_by_index.values()
    ]
    peaks_by_index = {}
    for (index, finding), day_rows in zip(month_findings_by_index.items(), run(*calls) if calls else [], strict=True):
        day_count = (query.today - finding.begins.date()).days + 1
        agent_peaks = [find_highest_peak(agent, day_rows, day_count) for agent in finding.agents]
        peaks_by_index[index] = max(agent_peaks, key=lambda peak: peak.excess)
    return peaks_by_index


def find_highest_peak(contributor: Contributor, day_rows: Rows, day_count: int) -> Peak:
    """Return the day on which an agent was issued the most tokens.

    :param day_rows: rows of ``findings/contributor_days``, also of other agents, for *day_count* days.
    """
    tokens_by_day = {day_row.on_day: day_row.tokens for day_row in day_rows if day_row.agent_id == contributor.agent_id}
    peak_day, peak_tokens = max(tokens_by_day.items(), key=lambda item: item[1], default=(date.min, 0))
    usual_tokens = median([*tokens_by_day.values(), *[0] * (day_count - len(tokens_by_day))])
    return Peak(contributor.agent_name, peak_day, peak_tokens, usual_tokens)


def _add_names(finding: Finding) -> Finding:
    """Return the finding with a summary that names the agents with at least a tenth of the finding's tokens.

    The other agents are removed from the finding, unless it is a spike.
    """
    min_tokens = thresholds.MIN_CONTRIBUTOR_PERCENT * finding.observed / 100
    main_contributors = tuple(contributor for contributor in finding.agents if contributor.count >= min_tokens)
    contributors = finding.agents if finding.kind == "spike" else main_contributors
    if not main_contributors:
        return replace(finding, agents=contributors)
    # The agents' tokens are read later than the finding's tokens, so the sum is limited to the finding's tokens.
    named_tokens = min(sum(contributor.count for contributor in main_contributors), finding.observed)
    total_words = f"{format_count(finding.observed, 'token')} ({100 * named_tokens / finding.observed:.0f} %)"
    agent_names = join_names([contributor.agent_name for contributor in main_contributors])
    verb = "was" if len(main_contributors) == 1 else "were"
    summary = f"{finding.summary} {agent_names} {verb} issued {named_tokens:,.0f} of the {total_words}."
    return replace(finding, agents=contributors, summary=summary)


def _add_cause(finding: Finding, findings: list[Finding], peak: Peak | None) -> Finding:
    """Return the finding, explained by another finding about one of its agents, or by the busiest day of an agent."""
    min_excess = thresholds.MIN_CONTRIBUTOR_PERCENT * finding.observed / 100
    possible_causes = [
        candidate
        for candidate in findings
        if kind_of(candidate).cause_rank
        and candidate.agent_id in finding.agent_ids
        and candidate.excess >= min_excess
        and candidate.overlaps(finding)
    ]
    cause = min(possible_causes, key=lambda candidate: (-candidate.excess, kind_of(candidate).cause_rank), default=None)
    if peak and peak.excess >= min_excess and (cause is None or peak.excess > 2 * cause.excess):
        cause_sentence = (
            f"{peak.agent_name} was issued {format_count(peak.tokens, 'token')} on {day_in_words(peak.day)}; on its "
            f"median day of the month it was issued {peak.usual:,.0f}."
        )
        return replace(finding, causes=cause_sentence, next_step="See the hours of that day, and what changed then.")
    if cause is None:
        return finding
    return replace(finding, causes=f"{cause.summary} {cause.causes}", next_step=cause.next_step)
