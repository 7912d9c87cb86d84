"""Scores the findings of a fleet against its faults. The package's docstring defines the terms."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from agentidp.findings.finding import Finding, Severity
from bench.findings.fleets import EVALUATED, EVALUATED_DAYS, Event, Fleet

MEANT = {
    "retry loop": {"spike"},
    "leak": {"spike"},
    "outage": {"silence"},
    "silence": {"silence"},
    "weekend run": {"weekend"},
    "uncached client": {"uncached_tokens"},
    "always uncached": {"uncached_tokens"},
    "rotated secret": {"rejections"},
}
"""Fault -> the kinds of findings that are meant to detect it."""

ALSO_TRUE = {
    "retry loop": {"uncached_tokens", "weekend"},
    "leak": {"uncached_tokens", "weekend"},
    "weekend run": {"spike"},
    "uncached client": {"spike", "weekend"},
    "rotated secret": {"silence"},
}
"""Fault -> further kinds of findings that are true during it."""

NOT_JUDGED = {"dominance", "budget", "quota"}
"""Kinds that describe the month or the week, or read what fleets do not have."""

INFORMATION = {"uncached_tokens"}
"""Kinds that are judged although they are only ``info``. Findings of other kinds must be warnings."""

GRACE = timedelta(days=2)
"""Maximum time after a fault's end in which it can still be detected."""


@dataclass
class ReportedFinding:
    """A finding across the evaluations that reported it. Its window covers the windows of all of them.

    :param also: further kinds that the finding stands for.
    """

    kind: str
    agent_id: UUID | None
    begins: datetime
    ends: datetime
    agent_ids: set[UUID]
    summary: str
    seen_at: datetime
    also: frozenset[str] = frozenset()

    def is_same_as(self, other: ReportedFinding) -> bool:
        """Return whether two reports are of one finding: their kind and agent are equal, and their windows touch."""
        is_same = (self.kind, self.agent_id) == (other.kind, other.agent_id)
        return is_same and self.begins <= other.ends and other.begins <= self.ends

    def reports(self, fault: Event, fleet: Fleet, kinds: set[str]) -> bool:
        """Return whether the finding is of one of the kinds, overlaps the fault, and names one of its agents.

        A spike of the organization names no agent and counts for the spikes of all agents.
        """
        overlaps = self.begins < fleet.at(fault.ends) and fleet.at(fault.begins) < self.ends
        if not overlaps or not kinds & {self.kind, *self.also}:
            return False
        names_agent = self.agent_ids & {agent.agent_id for agent in fault.agents}
        return bool(names_agent) or (self.agent_id is None and (not fault.agents or self.kind == "spike"))


@dataclass
class Score:
    """The findings that evaluations reported for a fleet, and the faults that these detected."""

    fleet: Fleet
    findings: list[ReportedFinding] = field(default_factory=list)
    detected_at: dict[Event, datetime] = field(default_factory=dict)

    def add(self, findings: Iterable[ReportedFinding]) -> None:
        """Add the findings of one evaluation."""
        for finding in findings:
            earlier = next((earlier for earlier in reversed(self.findings) if earlier.is_same_as(finding)), None)
            if earlier is None:
                self.findings.append(earlier := replace(finding))
            earlier.begins, earlier.ends = min(earlier.begins, finding.begins), max(earlier.ends, finding.ends)
            earlier.agent_ids, earlier.also = earlier.agent_ids | finding.agent_ids, earlier.also | finding.also
            for fault in self.fleet.faults:
                is_late = finding.seen_at > self.fleet.at(fault.ends) + GRACE
                names_agents = bool(finding.agent_ids or not fault.agents)
                if names_agents and not is_late and finding.reports(fault, self.fleet, MEANT[fault.kind]):
                    self.detected_at.setdefault(fault, finding.seen_at)

    def judged(self) -> list[tuple[ReportedFinding, bool]]:
        """Return the findings whose window reaches into the evaluated span, each with whether it is true."""
        begins = self.fleet.at(EVALUATED)
        judged = [finding for finding in self.findings if finding.kind not in NOT_JUDGED and finding.ends > begins]
        return [(finding, self.is_true(finding)) for finding in judged]

    def is_true(self, finding: ReportedFinding) -> bool:
        """Return whether a fault explains the finding, or an agent that was generated to request a token per call."""
        caching_ids = {agent.agent_id for agent in self.fleet.agents if agent.style == "keeps"}
        if finding.kind == "uncached_tokens" and not finding.agent_ids & caching_ids:
            return True
        return any(
            finding.reports(fault, self.fleet, MEANT[fault.kind] | ALSO_TRUE.get(fault.kind, set()))
            for fault in self.fleet.faults
        )


def reported(findings: Iterable[Finding], at: datetime) -> list[ReportedFinding]:
    """Return the findings of an evaluation at *at* that are judged."""
    return [
        ReportedFinding(
            finding.kind,
            finding.agent_id,
            finding.begins,
            finding.ends,
            {agent.agent_id for agent in finding.agents} | ({finding.agent_id} if finding.agent_id else set()),
            finding.summary,
            at,
            frozenset(finding.also_seen_as),
        )
        for finding in findings
        if finding.severity >= Severity.warning or finding.kind in INFORMATION
    ]


def table_of_faults(scores: list[Score]) -> str:
    """Return a table with a row per kind of fault: how many were detected, and how soon."""
    row = "{:<17}{:<18}{:>6}{:>7}{:>10}{:>8}{:>9}{:>8}".format
    lines = [row("fault", "kind", "faults", "hidden", "detected", "recall", "median h", "worst h")]
    for name, kinds in [*((fault, [fault]) for fault in MEANT), ("all", [*MEANT])]:
        pairs = [(score, fault) for score in scores for fault in score.fleet.faults if fault.kind in kinds]
        if not pairs:
            continue
        faults = [(score, fault) for score, fault in pairs if fault.countable]
        hours = [
            (score.detected_at[fault] - score.fleet.at(fault.begins)) / timedelta(hours=1)
            for score, fault in faults
            if fault in score.detected_at
        ]
        median, worst = (f"{pick(hours):.1f}" if hours else "-" for pick in (statistics.median, max))
        recall = f"{len(hours) / len(faults):.3f}" if faults else "-"
        meant, hidden = ", ".join(sorted(MEANT.get(name, ()))), len(pairs) - len(faults)
        lines.append(row(name, meant, len(faults), hidden, len(hours), recall, median, worst))
    return "\n".join(lines)


def table_of_findings(scores: list[Score]) -> str:
    """Return a table with a row per kind of finding: true and false findings, and false findings per week."""
    row = "{:<16}{:>6}{:>7}{:>11}{:>12}".format
    lines = [row("finding", "true", "false", "precision", "false/week")]
    all_kinds = sorted(set().union(*MEANT.values()))
    weeks = len(scores) * EVALUATED_DAYS / 7
    for name, kinds in [*((kind, [kind]) for kind in all_kinds), ("all", all_kinds)]:
        counts = Counter(is_true for score in scores for finding, is_true in score.judged() if finding.kind in kinds)
        precision = f"{counts[True] / counts.total():.3f}" if counts else "-"
        lines.append(row(name, counts[True], counts[False], precision, f"{counts[False] / weeks:.3f}"))
    return "\n".join(lines)
