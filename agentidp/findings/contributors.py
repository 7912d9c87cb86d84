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

    :param run: as in :func:`agentidp.findings.compute_findings`. If it fails, budgets and quotas name no agent.
    """
    # Leaves out spikes, because a spike of several agents already names its agents.
    calls = {
        finding_index: _build_contributors_call(finding, query)
        for finding_index, finding in enumerate(findings)
        if is_of_organization(finding) and finding.kind != "spike"
    }
    findings, peaks_by_index = [*findings], dict[int, Peak]()
    if calls:
        with contextlib.suppress(DatabaseUnavailable):
            for finding_index, contributor_rows in zip(calls, run(*calls.values()), strict=True):
                findings[finding_index] = _add_names(
                    replace(findings[finding_index], agents=tuple(map(_contributor, contributor_rows)))
                )
            peaks_by_index = _read_highest_peaks(run, findings, query)
    return [
        _add_cause(
            _add_names(finding) if finding.kind == "spike" else finding, findings, peaks_by_index.get(finding_index)
        )
        if is_of_organization(finding)
        else finding
        for finding_index, finding in enumerate(findings)
    ]


def is_of_organization(finding: Finding) -> bool:
    """Return whether a finding is about the tokens of the whole organization."""
    return finding.agent_id is None and kind_of(finding).names_contributors


def _build_contributors_call(finding: Finding, query: FindingsQuery) -> Call:
    """Return the statement that reads the agents with the most tokens in the finding's month, day or hour."""
    first_day, limit_parameters = finding.begins.date(), {"limit": thresholds.MAX_CONTRIBUTORS}
    duration = finding.ends - finding.begins
    if duration > timedelta(days=1):
        return Call(
            "analytics/agent_usage", {"first": first_day, "last": query.today, "with_names": True} | limit_parameters
        )
    first_hour = finding.begins.hour if duration < timedelta(days=1) else None
    return Call(
        "dashboard/agents_of_the_day",
        {"on_day": first_day, "at_hour": first_hour, "by_rejected": False} | limit_parameters,
    )


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


def _read_highest_peaks(
    run: Callable[..., list[Rows]], findings: list[Finding], query: FindingsQuery
) -> dict[int, Peak]:
    """Return, by the index of each finding about a month, the highest peak of the agents that the finding names."""
    history_calls = {
        finding_index: Call(
            "findings/contributor_days",
            {"agent_ids": finding.agent_ids, "first": finding.begins.date(), "last": query.today},
        )
        for finding_index, finding in enumerate(findings)
        if is_of_organization(finding) and finding.agents and finding.ends - finding.begins > timedelta(days=1)
        if finding.kind != "spike"
    }
    peaks_by_index = {}
    for (finding_index, history_call), history_rows in zip(
        history_calls.items(), run(*history_calls.values()) if history_calls else [], strict=True
    ):
        day_count = (history_call.parameters["last"] - history_call.parameters["first"]).days + 1
        peaks_by_index[finding_index] = max(
            (find_highest_peak(contributor, history_rows, day_count) for contributor in findings[finding_index].agents),
            key=lambda peak: peak.excess,
        )
    return peaks_by_index


def find_highest_peak(contributor: Contributor, history_rows: Rows, day_count: int) -> Peak:
    """Return the day on which an agent was issued the most tokens.

    :param history_rows: rows of ``findings/contributor_days``, also of other agents.
    :param day_count: the number of days of the period.
    """
    tokens_by_day = {
        history_row.on_day: history_row.tokens
        for history_row in history_rows
        if history_row.agent_id == contributor.agent_id
    }
    day, day_tokens = max(tokens_by_day.items(), key=lambda item: item[1], default=(date.min, 0))
    return Peak(
        contributor.agent_name,
        day,
        day_tokens,
        median([*tokens_by_day.values(), *[0] * (day_count - len(tokens_by_day))]),
    )


def _add_names(finding: Finding) -> Finding:
    """Return a finding with a sentence about the agents that caused most of it. A spike keeps its other agents too."""
    min_count = thresholds.MIN_CONTRIBUTOR_PERCENT * finding.observed / 100
    main_contributors = tuple(contributor for contributor in finding.agents if contributor.count >= min_count)
    contributors = finding.agents if finding.kind == "spike" else main_contributors
    if not main_contributors:
        return replace(finding, agents=contributors)
    # The agents' counts were read after the finding and may have grown since, so they are capped.
    count = min(sum(contributor.count for contributor in main_contributors), finding.observed)
    percent_of_tokens = (
        f"{count:,.0f} of the {number_of(finding.observed, 'token')} ({100 * count / finding.observed:.0f} %)"
    )
    names, verb = (
        join_names([contributor.agent_name for contributor in main_contributors]),
        "was" if len(main_contributors) == 1 else "were",
    )
    return replace(
        finding, agents=contributors, summary=f"{finding.summary} {names} {verb} issued {percent_of_tokens}."
    )


def _add_cause(finding: Finding, findings: list[Finding], peak: Peak | None) -> Finding:
    """Return a finding with the causes of most of its tokens: another finding's causes, or a single day of an agent."""
    min_excess = thresholds.MIN_CONTRIBUTOR_PERCENT * finding.observed / 100
    possible_causes = [
        other_finding
        for other_finding in findings
        if kind_of(other_finding).cause_rank
        and other_finding.agent_id in finding.agent_ids
        and other_finding.excess >= min_excess
        and other_finding.begins < finding.ends
        and finding.begins < other_finding.ends
    ]
    most_likely_cause = min(
        possible_causes,
        key=lambda other_finding: (-other_finding.excess, kind_of(other_finding).cause_rank),
        default=None,
    )
    if peak and peak.excess >= min_excess and (most_likely_cause is None or peak.excess > 2 * most_likely_cause.excess):
        causes = (
            f"{peak.agent_name} was issued {number_of(peak.tokens, 'token')} on {day_in_words(peak.day)}; on its "
            f"median day of the month it was issued {peak.usual:,.0f}."
        )
        return replace(finding, causes=causes, next_step="See the hours of that day, and what changed then.")
    return (
        replace(
            finding,
            causes=f"{most_likely_cause.summary} {most_likely_cause.causes}",
            next_step=most_likely_cause.next_step,
        )
        if most_likely_cause
        else finding
    )
