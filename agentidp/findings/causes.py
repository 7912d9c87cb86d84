"""Merge the findings that have the same cause, and sort findings by urgency.

1. Spikes of ``COMMON_CAUSE_AGENTS`` agents that begin in the same hour are one finding.
2. A finding about an agent absorbs findings about the same agent and time, if its kind explains their kinds
   (``Kind.absorbs``).
3. A spike that begins within a day of a finding about the agent's uncached tokens has the causes of that finding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from agentidp.findings import thresholds
from agentidp.findings.finding import Finding, Severity, sum_findings
from agentidp.findings.kinds import KINDS

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def merge_same_causes(findings: list[Finding]) -> list[Finding]:
    """Merge findings that have the same cause, and return one finding per cause."""
    merged_findings = _merge_common_spikes(findings)
    for finding_kind, kind in KINDS.items():
        for finding in [finding for finding in merged_findings if finding.kind == finding_kind and finding.agent_id]:
            absorbed_findings = [
                other_finding
                for other_finding in merged_findings
                if other_finding.kind in kind.absorbs and _explains(finding, other_finding)
            ]
            if absorbed_findings:
                merged_findings = [
                    other_finding
                    for other_finding in merged_findings
                    if other_finding is not finding and other_finding not in absorbed_findings
                ]
                merged_findings.append(_absorb(finding, absorbed_findings))
    habit_findings = {finding.agent_id: finding for finding in merged_findings if finding.kind == "uncached_tokens"}
    return [_explain_by_habit(finding, habit_findings.get(finding.agent_id)) for finding in merged_findings]


def _explains(finding: Finding, other: Finding) -> bool:
    """Return whether *finding* explains *other*, whose kind can be merged into it."""
    overlaps = finding.begins <= other.ends and other.begins <= finding.ends
    if other.agent_id != finding.agent_id or not overlaps:
        return False
    if other.kind == "dominance":
        # ``dominance`` is about the month so far, so only an ongoing spike that is at least as severe explains it.
        is_ongoing = finding.ends > other.ends - DAY
        return finding.excess >= other.excess and is_ongoing and finding.severity >= other.severity
    # ``weekend`` does not explain a critical spike, because a retry loop is more than work on a weekend.
    return not (finding.kind == "weekend" and other.severity is Severity.critical)


def _absorb(finding: Finding, absorbed: Iterable[Finding]) -> Finding:
    kinds = {*finding.also_seen_as}.union(*({other.kind, *other.also_seen_as} for other in absorbed))
    return replace(
        finding,
        severity=max((finding.severity, *(other.severity for other in absorbed))),
        excess=max(finding.excess, *(other.excess for other in absorbed if other.kind != "dominance"), 0.0),
        also_seen_as=tuple(sorted(kinds - {finding.kind})),
    )


def _explain_by_habit(finding: Finding, habit: Finding | None) -> Finding:
    """Return a spike with the causes of *habit*, a finding about uncached tokens, if both begin within a day.

    A retry loop has another cause, and so has a spike that begins long after the agent has stopped caching its tokens.
    """
    is_new_habit = (
        habit is not None
        and finding.kind == "spike"
        and finding.severity is not Severity.critical
        and abs(finding.begins - habit.begins) <= DAY
    )
    return replace(finding, causes=habit.causes, next_step=habit.next_step) if habit and is_new_habit else finding


def _merge_common_spikes(findings: list[Finding]) -> list[Finding]:
    """Return the findings, with a single finding for the spikes of many agents that begin at about the same hour.

    The single finding also replaces weekend runs of these agents that begin within a day of the spikes.
    """
    spikes = [finding for finding in findings if finding.kind == "spike" and finding.severity >= Severity.warning]
    spike_groups: list[list[Finding]] = []
    for spike in sorted(spikes, key=lambda spike: spike.begins):
        if spike_groups and spike.begins - spike_groups[-1][0].begins <= HOUR:
            spike_groups[-1].append(spike)
        else:
            spike_groups.append([spike])
    for spike_group in spike_groups:
        if len(spike_group) >= thresholds.COMMON_CAUSE_AGENTS:
            agent_ids, begin = {spike.agent_id for spike in spike_group}, spike_group[0].begins
            weekend_findings = [
                finding
                for finding in findings
                if finding.kind == "weekend" and finding.agent_id in agent_ids and abs(finding.begins - begin) <= DAY
            ]
            merged_ids = {id(finding) for finding in (*spike_group, *weekend_findings)}
            findings = [finding for finding in findings if id(finding) not in merged_ids]
            findings.append(_absorb(_common_spike(spike_group), weekend_findings))
    return findings


def _common_spike(spikes: list[Finding]) -> Finding:
    spike = sum_findings(spikes, thresholds.MAX_CONTRIBUTORS)
    return replace(
        spike,
        summary=f"{len(spikes):,} agents were issued {spike.observed:,.0f} tokens from the same hour on; typically it "
        f"is {spike.expected:,.0f}.",
        causes="They have a common cause: what they all call fails, or they were changed or restarted together.",
        next_step="Check what they have in common: a service that they call, a deployment, a library.",
    )


def urgency(finding: Finding, at: datetime) -> tuple[Any, ...]:
    """Return a key that sorts findings by urgency.

    Warnings come before findings that are only listed. Within each group, ongoing findings come first, then findings
    that ended within a day, then older findings. The most severe and newest come first within these.
    """
    age = 0 if finding.ends > at - HOUR else 1 if finding.ends > at - DAY else 2
    return (
        finding.severity is Severity.info,
        age,
        -finding.severity,
        -finding.ends.timestamp(),
        -finding.begins.timestamp(),
        finding.kind,
        str(finding.agent_id),
    )
