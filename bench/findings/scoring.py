"""Which findings are true, which faults were detected, and when. The package's docstring says how it is judged."""

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
    "outage": {"silence", "zero_day"},
    "silence": {"silence"},
    "weekend run": {"weekend"},
    "uncached client": {"uncached_tokens"},
    "always uncached": {"uncached_tokens"},
    "rotated secret": {"rejections"},
    # In situations only.
    "repeated loop": {"spike"},
    "second loop": {"spike"},
    "newcomer's loop": {"spike"},
}
"""Fault -> the kinds of findings that are meant to report it."""

LOOPS = ("retry loop", "repeated loop", "second loop", "newcomer's loop")

ALSO_TRUE = {
    **{fault: {"uncached_tokens", "weekend"} for fault in (*LOOPS, "leak")},
    "weekend run": {"spike"},
    "uncached client": {"spike", "weekend"},
    "rotated secret": {"silence"},
}
"""Fault -> further kinds of which a finding is not false."""

OF_THE_MONTH = {"dominance", "budget", "peak", "quota"}
"""Kinds that are not judged: they describe the month or the week, or read what fleets do not have."""

GRACE = timedelta(days=2)
"""After its end a fault can still be detected, for so long."""


@dataclass
class ReportedFinding:
    """A finding as seen in one look after another; its window is all of theirs. It stands for ``also`` as well."""

    kind: str
    agent_id: UUID | None
    begins: datetime
    ends: datetime
    agent_ids: set[UUID]
    summary: str
    seen_at: datetime
    also: frozenset[str] = frozenset()

    def is_again(self, other: ReportedFinding) -> bool:
        """Whether two sightings are of the same."""
        is_same = (self.kind, self.agent_id) == (other.kind, other.agent_id)
        return is_same and self.begins <= other.ends and other.begins <= self.ends

    def reports(self, fault: Event, fleet: Fleet, kinds: set[str]) -> bool:
        """Whether it is of one of the kinds, overlaps the fault, and names one of its agents.

        A spike of the organization names none, and is one of whatever agent it was.
        """
        overlaps = self.begins < fleet.at(fault.ends) and fleet.at(fault.begins) < self.ends
        if not overlaps or not kinds & {self.kind, *self.also}:
            return False
        names_it = self.agent_ids & {agent.agent_id for agent in fault.agents}
        return bool(names_it) or (self.agent_id is None and (not fault.agents or self.kind == "spike"))


@dataclass
class Score:
    """What was reported of a fleet, by the product or by a rule to compare it with."""

    fleet: Fleet
    reported: list[ReportedFinding] = field(default_factory=list)
    reported_at: dict[Event, datetime] = field(default_factory=dict)

    def see(self, findings: Iterable[ReportedFinding]) -> None:
        """Take in what one look has found."""
        for one in findings:
            known = next((earlier for earlier in reversed(self.reported) if earlier.is_again(one)), None)
            if known is None:
                self.reported.append(known := replace(one))
            known.begins, known.ends = min(known.begins, one.begins), max(known.ends, one.ends)
            known.agent_ids, known.also = known.agent_ids | one.agent_ids, known.also | one.also
            for fault in self.fleet.faults:
                is_late = one.seen_at > self.fleet.at(fault.ends) + GRACE
                names_it = bool(one.agent_ids or not fault.agents)
                if names_it and not is_late and one.reports(fault, self.fleet, MEANT[fault.kind]):
                    self.reported_at.setdefault(fault, one.seen_at)

    def judged(self) -> list[tuple[ReportedFinding, str]]:
        """The findings that are judged, and the verdict; not those about the time before the evaluated span."""
        begins = self.fleet.at(EVALUATED)
        judged = [one for one in self.reported if one.kind not in OF_THE_MONTH and one.ends > begins]
        return [(one, self.verdict(one)) for one in judged]

    def verdict(self, one: ReportedFinding) -> str:
        """``true`` if a fault is behind it, ``benign`` if something unusual is that is no fault, or else ``false``."""
        fleet = self.fleet
        keeping = {agent.agent_id for agent in fleet.agents if agent.style == "keeps"}
        if one.kind == "uncached_tokens" and not one.agent_ids & keeping:
            return "true"
        for fault in fleet.faults:
            if one.reports(fault, fleet, MEANT[fault.kind] | ALSO_TRUE.get(fault.kind, set())):
                return "true"
        for benign in fleet.benign:
            is_at_its_time = one.begins < fleet.at(benign.ends) + GRACE / 2 and fleet.at(benign.begins) < one.ends
            if is_at_its_time and one.agent_ids & {agent.agent_id for agent in benign.agents}:
                return "benign"
        return "false"


def sightings(findings: Iterable[Finding], at: datetime, least: Severity = Severity.warning) -> list[ReportedFinding]:
    """What is kept of the findings that are severe enough to be judged."""
    return [
        ReportedFinding(
            one.kind,
            one.agent_id,
            one.begins,
            one.ends,
            {agent.agent_id for agent in one.agents} | ({one.agent_id} if one.agent_id else set()),
            one.summary,
            at,
            frozenset(one.also_seen_as),
        )
        for one in findings
        if one.severity >= least
    ]


def countable(scores: list[Score], kinds: Iterable[str]) -> list[tuple[Score, Event]]:
    """The countable faults of some kinds, each with the score of its fleet."""
    faults = ((score, fault) for score in scores for fault in score.fleet.faults)
    return [(score, fault) for score, fault in faults if fault.kind in kinds and fault.countable]


def table_of_faults(scores: list[Score], listed: list[Score]) -> str:
    """A row for each kind of fault, and for all: how many a warning detected and how soon, and how many were at least
    listed.

    :param listed: the same fleets, scored with findings of any severity.
    """
    row = "{:<17}{:<18}{:>6}{:>7}{:>11}{:>8}{:>9}{:>8}{:>11}".format
    lines = [row("fault", "kind", "faults", "hidden", "warned of", "recall", "median h", "worst h", "listed")]
    for name, kinds in [*((fault, [fault]) for fault in MEANT), ("all", [*MEANT])]:
        there = sum(fault.kind in kinds for score in scores for fault in score.fleet.faults)
        if not there:
            continue
        faults = countable(scores, kinds)
        hours = [
            (score.reported_at[fault] - score.fleet.at(fault.begins)) / timedelta(hours=1)
            for score, fault in faults
            if fault in score.reported_at
        ]
        found = sum(fault in score.reported_at for score, fault in countable(listed, kinds))
        median, worst = (f"{pick(hours):.1f}" if hours else "-" for pick in (statistics.median, max))
        recall = f"{len(hours) / len(faults):.3f}" if faults else "-"
        meant = ", ".join(sorted(MEANT.get(name, ())))
        lines.append(row(name, meant, len(faults), there - len(faults), len(hours), recall, median, worst, found))
    return "\n".join(lines)


def table_of_findings(scores: list[Score], listed: list[Score]) -> str:
    """A row for each kind of finding, and for all together: how many warnings were true, false, or about something
    unusual that is no fault, and how many of these an organization has in a week; then also with those that are listed.

    :param listed: the same fleets, scored with findings of any severity.
    """
    row = "{:<16}{:>6}{:>7}{:>8}{:>11}{:>12}{:>13}{:>19}{:>13}".format
    a_week = ("false/week", "benign/week", "or listed: false", "benign/week")
    lines = [row("finding", "true", "false", "benign", "precision", *a_week)]
    kinds = sorted(set().union(*MEANT.values()))
    for name, of_row in [*((kind, [kind]) for kind in kinds), ("all", kinds)]:
        warned, found = (
            Counter(verdict for score in each for one, verdict in score.judged() if one.kind in of_row)
            for each in (scores, listed)
        )
        weeks = len(scores) * EVALUATED_DAYS / 7
        rates = (f"{each[verdict] / weeks:.3f}" for each in (warned, found) for verdict in ("false", "benign"))
        precision = f"{warned['true'] / warned.total():.3f}" if warned else "-"
        lines.append(row(name, warned["true"], warned["false"], warned["benign"], precision, *rates))
    return "\n".join(lines)
