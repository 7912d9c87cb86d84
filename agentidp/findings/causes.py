"""Merge the findings that have the same cause, and sort findings by urgency.

1. Spikes of ``COMMON_CAUSE_AGENTS`` agents that begin within an hour are one finding.
2. A finding about an agent absorbs findings about the same agent and time, if its kind explains their kinds
   (``Kind.absorbs``).
3. A spike that begins within a day of a finding about the agent's uncached tokens has the causes of that finding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from agentidp.findings import thresholds
from agentidp.findings.dates import ONE_DAY, ONE_HOUR
from agentidp.findings.finding import Finding, Severity, sum_findings
from agentidp.findings.kinds import KINDS


def merge_same_causes(findings: list[Finding]) -> list[Finding]:
    """Merge findings that have the same cause, and return one finding per cause."""
    findings = _merge_common_spikes(findings)
    for kind_name, kind in KINDS.items():
        for finding in [finding for finding in findings if finding.kind == kind_name and finding.agent_id]:
            effects = [effect for effect in findings if effect.kind in kind.absorbs and _explains(finding, effect)]
            if effects:
                findings = [
                    candidate for candidate in findings if candidate is not finding and candidate not in effects
                ]
                findings.append(_absorb(finding, effects))
    uncached_by_agent = {finding.agent_id: finding for finding in findings if finding.kind == "uncached_tokens"}
    return [_copy_causes(uncached_by_agent.get(finding.agent_id), finding) for finding in findings]


def _explains(finding: Finding, effect: Finding) -> bool:
    """Return whether *finding* is the cause of *effect*, so that a single finding can stand for both."""
    is_same_time = finding.begins <= effect.ends and effect.begins <= finding.ends
    if effect.agent_id != finding.agent_id or not is_same_time:
        return False
    if effect.kind == "dominance":
        # ``dominance`` covers the month so far, so only a spike that is ongoing and at least as severe explains it.
        is_ongoing = finding.ends > effect.ends - ONE_DAY
        return finding.excess >= effect.excess and is_ongoing and finding.severity >= effect.severity
    # A critical spike is a retry loop, which work on a weekend does not explain.
    return not (finding.kind == "weekend" and effect.severity is Severity.critical)


def _absorb(finding: Finding, effects: Iterable[Finding]) -> Finding:
    merged_kinds = {*finding.also_seen_as}.union(*({effect.kind, *effect.also_seen_as} for effect in effects))
    return replace(
        finding,
        severity=max((finding.severity, *(effect.severity for effect in effects))),
        excess=max(finding.excess, *(effect.excess for effect in effects if effect.kind != "dominance"), 0.0),
        also_seen_as=tuple(sorted(merged_kinds - {finding.kind})),
    )


def _copy_causes(uncached_finding: Finding | None, finding: Finding) -> Finding:
    """Return *finding*. If it is a spike within a day of *uncached_finding*, copy the causes of *uncached_finding*.

    A critical spike keeps its own causes, because it is a retry loop.
    """
    is_minor_spike = finding.kind == "spike" and finding.severity is not Severity.critical
    if uncached_finding and is_minor_spike and abs(finding.begins - uncached_finding.begins) <= ONE_DAY:
        return replace(finding, causes=uncached_finding.causes, next_step=uncached_finding.next_step)
    return finding


def _merge_common_spikes(findings: list[Finding]) -> list[Finding]:
    """Return the findings, with a single finding for spikes of many agents that begin at about the same hour.

    The single finding also replaces ``weekend`` findings of these agents that begin within a day of the spikes.
    """
    spikes = [finding for finding in findings if finding.kind == "spike" and finding.severity >= Severity.warning]
    spike_groups: list[list[Finding]] = []
    for spike in sorted(spikes, key=lambda spike: spike.begins):
        if spike_groups and spike.begins - spike_groups[-1][0].begins <= ONE_HOUR:
            spike_groups[-1].append(spike)
        else:
            spike_groups.append([spike])
    for spike_group in spike_groups:
        if len(spike_group) >= thresholds.COMMON_CAUSE_AGENTS:
            agent_ids, begins_at = {spike.agent_id for spike in spike_group}, spike_group[0].begins
            weekend_findings = [
                weekend_finding
                for weekend_finding in findings
                if weekend_finding.kind == "weekend" and weekend_finding.agent_id in agent_ids
                if abs(weekend_finding.begins - begins_at) <= ONE_DAY
            ]
            merged_object_ids = {id(finding) for finding in (*spike_group, *weekend_findings)}
            findings = [finding for finding in findings if id(finding) not in merged_object_ids]
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


def compute_urgency(finding: Finding, at: datetime) -> tuple[Any, ...]:
    """Return a sort key that puts ``info`` findings last, and within both groups puts ongoing findings first."""
    age = 0 if finding.ends > at - ONE_HOUR else 1 if finding.ends > at - ONE_DAY else 2
    return (
        finding.severity is Severity.info,
        age,
        -finding.severity,
        -finding.ends.timestamp(),
        -finding.begins.timestamp(),
        finding.kind,
        str(finding.agent_id),
    )
