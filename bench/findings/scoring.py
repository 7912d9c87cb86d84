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
    "night loop": {"spike"},
    "newcomer's loop": {"spike"},
}
"""Fault -> the kinds of findings that are meant to report it."""

LOOPS = ("retry loop", "repeated loop", "second loop", "night loop", "newcomer's loop")

ALSO_TRUE = {
    **{fault: {"uncached_tokens", "weekend"} for fault in (*LOOPS, "leak")},
    "weekend run": {"spike"},
    "uncached client": {"spike", "weekend"},
    "rotated secret": {"silence"},
}
"""Fault -> further kinds of which a finding is not false."""

OF_THE_MONTH = {"dominance", "budget", "peak", "quota"}
"""Kinds that are not judged, because no fault shows them: they describe the month or the week, or read what fleets do
not have."""

GRACE = timedelta(days=2)
"""After its end a fault can still be detected, for so long."""


@dataclass
class ReportedFinding:
    """A finding as it was seen in one look after another; its window is all of theirs.

    ``also`` are the kinds that would report the same cause: it stands for them.
    """

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
        if not kinds & {self.kind, *self.also} or not (
            self.begins < fleet.at(fault.ends) and fleet.at(fault.begins) < self.ends
        ):
            return False
        if not fault.agents:
            return self.agent_id is None
        if self.agent_ids & {agent.agent_id for agent in fault.agents}:
            return True
        return self.kind == "spike" and self.agent_id is None


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
        """The findings that are judged, and the verdict: ``true``, ``benign`` or ``false``; not those about the time
        before the evaluated span.
        """
        return [
            (one, self.verdict(one))
            for one in self.reported
            if one.kind not in OF_THE_MONTH and one.ends > self.fleet.at(EVALUATED)
        ]

    def verdict(self, one: ReportedFinding) -> str:
        """``true``, ``false``, or ``benign``."""
        if self.is_true(one):
            return "true"
        return "benign" if self.is_benign(one) else "false"

    def is_true(self, one: ReportedFinding) -> bool:
        """Whether there is something behind it."""
        if one.kind == "uncached_tokens":
            keeping = {agent.agent_id for agent in self.fleet.agents if agent.keeps_tokens}
            if not one.agent_ids & keeping:
                return True
        return any(
            one.reports(fault, self.fleet, MEANT[fault.kind] | ALSO_TRUE.get(fault.kind, set()))
            for fault in self.fleet.faults
        )

    def is_benign(self, one: ReportedFinding) -> bool:
        """Whether something unusual that is no fault is behind it."""
        return any(
            one.begins < self.fleet.at(benign.ends) + GRACE / 2
            and self.fleet.at(benign.begins) < one.ends
            and any(agent.agent_id in one.agent_ids for agent in benign.agents)
            for benign in self.fleet.benign
        )


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
    faults = [(score, fault) for score in scores for fault in score.fleet.faults if fault.kind in kinds]
    return [(score, fault) for score, fault in faults if fault.countable]


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def table_of_faults(scores: list[Score], listed: list[Score]) -> str:
    """A row for each kind of fault, and for all: how many a warning detected and how soon, and how many were at least
    listed.

    :param listed: the same fleets, scored with findings of any severity.
    """
    lines = [
        f"{'fault':<17}{'kind meant for it':<18}{'faults':>6}{'hidden':>7}{'warned of':>11}{'recall':>8}"
        f"{'median h':>9}{'worst h':>8}{'or listed':>11}"
    ]
    for name, kinds in [*((fault, [fault]) for fault in MEANT), ("all", [*MEANT])]:
        faults = countable(scores, kinds)
        there = sum(fault.kind in kinds for score in scores for fault in score.fleet.faults)
        times = [
            (score.reported_at[fault] - score.fleet.at(fault.begins)) / timedelta(hours=1)
            for score, fault in faults
            if fault in score.reported_at
        ]
        median, worst = (f"{pick(times):.1f}" if times else "-" for pick in (statistics.median, max))
        found = sum(fault in score.reported_at for score, fault in countable(listed, kinds))
        if there:
            lines.append(
                f"{name:<17}{', '.join(sorted(MEANT.get(name, ''))):<18}{len(faults):>6}{there - len(faults):>7}"
                f"{len(times):>11}{_ratio(len(times), len(faults)):>8}{median:>9}{worst:>8}{found:>11}"
            )
    return "\n".join(lines)


def table_of_findings(scores: list[Score], listed: list[Score]) -> str:
    """A row for each kind of finding, and for all together: how many warnings were true, false, or about something
    unusual that is no fault, and how many of these an organization has in a week; then also with those that are listed.

    :param listed: the same fleets, scored with findings of any severity.
    """
    weeks = len(scores) * EVALUATED_DAYS / 7
    lines = [
        f"{'finding':<16}{'true':>6}{'false':>7}{'benign':>8}{'precision':>11}{'false/week':>12}{'benign/week':>13}"
        f"{'or listed: false':>19}{'benign/week':>13}"
    ]
    kinds = sorted(set().union(*MEANT.values()))
    for name, of_row in [*((kind, [kind]) for kind in kinds), ("all", kinds)]:
        warned, found = (
            Counter(verdict for score in each for one, verdict in score.judged() if one.kind in of_row)
            for each in (scores, listed)
        )
        lines.append(
            f"{name:<16}{warned['true']:>6}{warned['false']:>7}{warned['benign']:>8}"
            f"{_ratio(warned['true'], warned.total()):>11}{warned['false'] / weeks:>12.3f}"
            f"{warned['benign'] / weeks:>13.3f}{found['false'] / weeks:>19.3f}{found['benign'] / weeks:>13.3f}"
        )
    return "\n".join(lines)
