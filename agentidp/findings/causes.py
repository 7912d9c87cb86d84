"""Merge the findings that have the same cause, and sort findings by urgency.

1. Spikes of ``COMMON_CAUSE_AGENTS`` agents that begin in the same hour are one finding.
2. A finding about an agent absorbs findings about the same agent and time of the kinds that its kind explains
   (``Kind.absorbs``).
3. A spike that begins with a habit of uncached tokens has the cause of this habit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from agentidp.findings import thresholds
from agentidp.findings.finding import Finding, Severity, about_several
from agentidp.findings.kinds import KINDS

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def one_per_cause(findings: list[Finding]) -> list[Finding]:
    """Return the findings with those of the same cause merged."""
    merged = _merge_common_spikes(findings)
    for name, kind in KINDS.items():
        for finding in [finding for finding in merged if finding.kind == name and finding.agent_id]:
            absorbed = [other for other in merged if other.kind in kind.absorbs and _explains(finding, other)]
            if absorbed:
                merged = [other for other in merged if other is not finding and other not in absorbed]
                merged.append(_absorb(finding, absorbed))
    habits = {finding.agent_id: finding for finding in merged if finding.kind == "uncached_tokens"}
    return [_with_cause(finding, habits.get(finding.agent_id)) for finding in merged]


def _explains(finding: Finding, other: Finding) -> bool:
    """Return whether *finding* is the cause of *other*, which is of a kind that it can absorb."""
    if other.agent_id != finding.agent_id or not _overlap(finding, other):
        return False
    if other.kind == "dominance":
        # A spike that has ended, or is only listed, is not the cause of a warning about the month so far.
        is_ongoing = finding.ends > other.ends - DAY
        return finding.excess >= other.excess and is_ongoing and finding.severity >= other.severity
    # A retry loop on a weekend is more than a weekend run.
    return not (finding.kind == "weekend" and other.severity is Severity.critical)


def _overlap(finding: Finding, other: Finding) -> bool:
    return finding.begins <= other.ends and other.begins <= finding.ends


def _absorb(finding: Finding, absorbed: Iterable[Finding]) -> Finding:
    kinds = {*finding.also_seen_as}.union(*({other.kind, *other.also_seen_as} for other in absorbed))
    return replace(
        finding,
        severity=max((finding.severity, *(other.severity for other in absorbed))),
        excess=max(finding.excess, *(other.excess for other in absorbed if other.kind != "dominance"), 0.0),
        also_seen_as=tuple(sorted(kinds - {finding.kind})),
    )


def _with_cause(finding: Finding, habit: Finding | None) -> Finding:
    """Return a spike with the cause of the agent's habit of uncached tokens, if both begin within a day.

    A retry loop, and a spike in the middle of a habit, have another cause.
    """
    is_new_habit = (
        habit is not None
        and finding.kind == "spike"
        and finding.severity is not Severity.critical
        and abs(finding.begins - habit.begins) <= DAY
    )
    return replace(finding, causes=habit.causes, next_step=habit.next_step) if habit and is_new_habit else finding


def _merge_common_spikes(findings: list[Finding]) -> list[Finding]:
    """Return the findings with the spikes of many agents that begin in the same hour as one.

    Weekend runs of these agents that begin within a day of the spikes are part of it.
    """
    spikes = [finding for finding in findings if finding.kind == "spike" and finding.severity >= Severity.warning]
    groups: list[list[Finding]] = []
    for spike in sorted(spikes, key=lambda spike: spike.begins):
        if groups and spike.begins - groups[-1][0].begins <= HOUR:
            groups[-1].append(spike)
        else:
            groups.append([spike])
    for group in groups:
        if len(group) >= thresholds.COMMON_CAUSE_AGENTS:
            agents, begins = {spike.agent_id for spike in group}, group[0].begins
            runs = [
                finding
                for finding in findings
                if finding.kind == "weekend" and finding.agent_id in agents and abs(finding.begins - begins) <= DAY
            ]
            merged = {id(finding) for finding in (*group, *runs)}
            findings = [finding for finding in findings if id(finding) not in merged]
            findings.append(_absorb(_of_several(group), runs))
    return findings


def _of_several(spikes: list[Finding]) -> Finding:
    spike = about_several(spikes, thresholds.MAX_CONTRIBUTORS)
    return replace(
        spike,
        summary=f"{len(spikes):,} agents were issued {spike.observed:,.0f} tokens from the same hour on; typically it "
        f"is {spike.expected:,.0f}.",
        causes="They have a common cause: what they all call fails, or they were changed or restarted together.",
        next_step="Check what they have in common: a service that they call, a deployment, a library.",
    )


def urgency(finding: Finding, at: datetime) -> tuple[Any, ...]:
    """Return a sort key: ongoing findings, ended within a day, older; by severity; newest first. Listed ones last."""
    return (
        finding.severity is Severity.info,
        _age(finding, at),
        -finding.severity,
        -finding.ends.timestamp(),
        -finding.begins.timestamp(),
        finding.kind,
        str(finding.agent_id),
    )


def _age(finding: Finding, at: datetime) -> int:
    """Return 0 while a finding is ongoing, 1 for a day after its end, then 2."""
    if finding.ends > at - HOUR:
        return 0
    return 1 if finding.ends > at - DAY else 2
