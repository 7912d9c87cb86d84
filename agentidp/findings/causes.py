"""One cause is one finding: what several kinds or agents report of the same cause is merged; the most urgent first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from agentidp.findings import thresholds
from agentidp.findings.finding import Contributor, Finding, Severity
from agentidp.findings.kinds import KINDS

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

COMMON_HABITS = ("uncached_tokens", "weekend")
"""What a spike of several agents explains of them."""


def one_per_cause(found: list[Finding]) -> list[Finding]:
    """The findings with those of one cause merged."""
    merged = _merge_common_spikes(found)
    # In this order, so that what a spike explains is also explained by the habit that explains the spike.
    for name, kind in KINDS.items():
        for one in [one for one in merged if one.kind == name and (one.agent_id or name == "silence")]:
            absorbed: list[Finding] = [
                other for other in merged if other.kind in kind.absorbs and _explains(one, other)
            ]
            if absorbed:
                merged = [other for other in merged if other is not one and other not in absorbed]
                merged.append(_absorb(one, absorbed))
    return merged


def _explains(one: Finding, other: Finding) -> bool:
    """Whether *other*, of the same agent, is because of *one*."""
    if other.agent_id != one.agent_id or not _overlap(one, other):
        return False
    if other.kind == "zero_day":
        return not one.is_of_part and one.begins < other.begins + DAY and other.ends - DAY < one.ends
    if other.kind == "dominance":
        # What has ended, or is only listed, explains no warning about the month so far.
        goes_on = one.ends > other.ends - DAY
        return one.excess >= other.excess and goes_on and one.severity >= other.severity
    if one.kind == "uncached_tokens":
        # A loop amid a new habit, and any spike in the middle of an old one, have another cause.
        is_of_new_habit = one.severity is Severity.warning and other.severity is not Severity.critical
        return one.begins - DAY <= other.begins and (is_of_new_habit or other.begins <= one.begins + DAY)
    # A loop at the weekend is more than a run at the weekend.
    return not (one.kind == "weekend" and other.severity is Severity.critical)


def _overlap(one: Finding, other: Finding) -> bool:
    return one.begins <= other.ends and other.begins <= one.ends


def _absorb(one: Finding, absorbed: Iterable[Finding]) -> Finding:
    kinds = {*one.also_seen_as}.union(*({other.kind, *other.also_seen_as} for other in absorbed))
    return replace(
        one,
        severity=max((one.severity, *(other.severity for other in absorbed))),
        excess=max(one.excess, *(other.excess for other in absorbed if other.kind != "dominance"), 0.0),
        also_seen_as=tuple(sorted(kinds - {one.kind})),
    )


def _merge_common_spikes(found: list[Finding]) -> list[Finding]:
    """Spikes of many agents from the same hour on are one of the organization."""
    spikes = sorted(
        (one for one in found if one.kind == "spike" and one.agent_id and one.severity >= Severity.warning),
        key=lambda one: one.begins,
    )
    groups: list[list[Finding]] = []
    for one in spikes:
        if groups and one.begins - groups[-1][0].begins <= HOUR:
            groups[-1].append(one)
        else:
            groups.append([one])
    common = [_of_several(group, found) for group in groups if len(group) >= thresholds.COMMON_CAUSE_AGENTS]
    gone = {id(one) for _, explained in common for one in explained}
    kept = [
        one
        for one in found
        if id(one) not in gone
        and not (one.kind == "spike" and one.agent_id is None and any(_overlap(one, several) for several, _ in common))
    ]
    return kept + [several for several, _ in common]


def _of_several(group: list[Finding], found: list[Finding]) -> tuple[Finding, list[Finding]]:
    """The finding about several agents, and those that it explains: their spikes, and habits that begin with these."""
    agents, begins = {one.agent_id for one in group}, min(one.begins for one in group)
    habits = [
        one
        for one in found
        if one.kind in COMMON_HABITS and one.agent_id in agents and begins - DAY <= one.begins <= begins + DAY
    ]
    return _absorb(_sum(group), habits), [*group, *habits]


def _sum(group: list[Finding]) -> Finding:
    group = sorted(group, key=lambda one: (-one.observed, str(one.agent_id)))
    observed, expected = sum(one.observed for one in group), sum(one.expected for one in group)
    return replace(
        group[0],
        agent_id=None,
        agent_name=None,
        severity=max(one.severity for one in group),
        begins=min(one.begins for one in group),
        ends=max(one.ends for one in group),
        observed=observed,
        expected=expected,
        excess=sum(one.excess for one in group),
        agent_count=len(group),
        agents=tuple(
            Contributor(agent_id=one.agent_id, agent_name=one.agent_name or "", count=round(one.observed))
            for one in group[: thresholds.MAX_CONTRIBUTORS]
            if one.agent_id
        ),
        summary=f"{len(group):,} agents were issued {observed:,.0f} tokens from the same hour on; typically it is "
        f"{expected:,.0f}.",
        causes="They have a common cause: what they all call fails, or they were changed or restarted together.",
        next_step="Check what they have in common: a service that they call, a deployment, a library.",
    )


def urgency(one: Finding, at: datetime) -> tuple[Any, ...]:
    """Sorts findings: what goes on first, then what ended within a day, then by severity, then the newest."""
    return (
        one.severity is Severity.info,
        _age(one, at),
        -one.severity,
        -one.ends.timestamp(),
        -one.begins.timestamp(),
        one.kind,
        str(one.agent_id),
    )


def _age(one: Finding, at: datetime) -> int:
    """0 while it goes on, 1 for a day after its end, then 2."""
    if one.ends > at - HOUR:
        return 0
    return 1 if one.ends > at - DAY else 2
