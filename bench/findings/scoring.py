"""Which findings are true, which faults were detected, and when. The package's docstring says how it is judged."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from agentidp.findings.finding import Finding, Severity
from bench.findings.fleets import EVALUATED, EVALUATED_DAYS, Fault, Fleet

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
    "backoff loop": {"spike"},
    "doubled tokens": {"spike"},
    "partial silence": {"silence"},
}
"""Fault -> the kinds of findings that are meant to report it."""

LOOPS = ("retry loop", "repeated loop", "second loop", "night loop", "newcomer's loop", "backoff loop")

ALSO_TRUE = {
    **{fault: {"uncached_tokens", "weekend"} for fault in (*LOOPS, "leak", "doubled tokens")},
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

    def reports(self, fault: Fault, fleet: Fleet, kinds: set[str]) -> bool:
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
    reported_at: dict[Fault, datetime] = field(default_factory=dict)
    noticed_at: dict[Fault, datetime] = field(default_factory=dict)
    """When the first finding of any kind was seen that is true because of it."""

    def see(self, findings: Iterable[ReportedFinding], meant: dict[str, set[str]] = MEANT) -> None:
        """Take in what one look has found.

        :param meant: fault -> the kinds of findings that should report it.
        """
        for one in findings:
            known = next((earlier for earlier in reversed(self.reported) if earlier.is_again(one)), None)
            if known is None:
                self.reported.append(known := replace(one))
            known.begins, known.ends = min(known.begins, one.begins), max(known.ends, one.ends)
            known.agent_ids, known.also = known.agent_ids | one.agent_ids, known.also | one.also
            for fault in self.fleet.faults:
                is_late = one.seen_at > self.fleet.at(fault.ends) + GRACE
                names_it = bool(one.agent_ids or not fault.agents)
                if is_late or not names_it:
                    continue
                kinds = meant.get(fault.kind, set())
                if one.reports(fault, self.fleet, kinds):
                    self.reported_at.setdefault(fault, one.seen_at)
                if one.reports(fault, self.fleet, kinds | ALSO_TRUE.get(fault.kind, set())):
                    self.noticed_at.setdefault(fault, one.seen_at)

    def judged(self) -> list[tuple[ReportedFinding, bool]]:
        """The findings that are true or false, and which it is; not those about the time before the evaluated span."""
        return [
            (one, self.is_true(one))
            for one in self.reported
            if one.kind not in OF_THE_MONTH and one.ends > self.fleet.at(EVALUATED)
        ]

    def is_benign(self, one: ReportedFinding, kind: str | None = None) -> bool:
        """Whether something unusual is behind it that is no fault; or a certain kind of such."""
        agents = {
            agent.agent_id
            for benign in self.fleet.benign
            if kind in (None, benign.kind)
            and one.begins < self.fleet.at(benign.ends) + GRACE / 2
            and self.fleet.at(benign.begins) < one.ends
            for agent in benign.agents
        }
        return bool(one.agent_ids & agents)

    def verdict(self, one: ReportedFinding) -> str:
        """``true``, ``false``, or ``benign``."""
        return "true" if self.is_true(one) else "benign" if self.is_benign(one) else "false"

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


def sighting(finding: Finding, at: datetime) -> ReportedFinding:
    """What is kept of a finding."""
    agent_ids = {one.agent_id for one in finding.agents} | ({finding.agent_id} if finding.agent_id else set())
    return ReportedFinding(
        finding.kind,
        finding.agent_id,
        finding.begins,
        finding.ends,
        agent_ids,
        finding.summary,
        at,
        frozenset(finding.also_seen_as),
    )


def sightings(findings: Iterable[Finding], at: datetime, least: Severity = Severity.warning) -> list[ReportedFinding]:
    """What is kept of those that press enough to be judged."""
    return [sighting(finding, at) for finding in findings if finding.severity >= least]


NAIVE_MEANT = {kind: {"spike"} for kind in ("retry loop", "leak", "uncached client", "weekend run")}
"""What a rule can tell that looks for more than there was."""


def naive(at: datetime, today: dict[UUID, int], yesterday: dict[UUID, int]) -> list[ReportedFinding]:
    """``Three times yesterday``: the agents, and the organization, whose day so far is above three times their day
    before; one without any yesterday says nothing.
    """
    days: list[tuple[UUID | None, int, int]] = [
        (agent_id, count, yesterday.get(agent_id, 0)) for agent_id, count in today.items()
    ]
    days.append((None, sum(today.values()), sum(yesterday.values())))
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return [
        ReportedFinding("spike", agent_id, midnight, at, {agent_id} if agent_id else set(), "", at)
        for agent_id, count, before in days
        if before and count > 3 * before
    ]


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def _detection(scores: list[Score], when: str, kinds: set[str]) -> str:
    """Of the countable faults of some kinds: the share that was detected, and the median and worst time, in hours."""
    number = sum(fault.countable for score in scores for fault in score.fleet.faults if fault.kind in kinds)
    times = [
        (at - score.fleet.at(fault.begins)) / timedelta(hours=1)
        for score in scores
        for fault, at in getattr(score, when).items()
        if fault.kind in kinds and fault.countable
    ]
    median, worst = (f"{pick(times):.1f}" if times else "-" for pick in (statistics.median, max))
    return f"{_ratio(len(times), number):>8}{median:>9}{worst:>8}"


DETECTION = f"{'recall':>8}{'median h':>9}{'worst h':>8}"


def table_of_faults(scores: list[Score], naive_scores: list[Score]) -> str:
    """A row for each kind of fault: how many were detected, and how soon, by a kind of finding that is meant for it, by
    any kind, and by the naive rule.
    """
    lines = [
        f"{'':<48}{'that kind':>25}{'any kind':>25}{'three times yesterday':>25}",
        f"{'fault':<17}{'kind meant for it':<18}{'faults':>6}{'hidden':>7}{DETECTION}{DETECTION}{DETECTION}",
    ]
    for kind, kinds in MEANT.items():
        faults = [fault for score in scores for fault in score.fleet.faults if fault.kind == kind]
        if not faults:
            continue
        number = sum(fault.countable for fault in faults)
        line = f"{kind:<17}{', '.join(sorted(kinds)):<18}{number:>6}{len(faults) - number:>7}"
        line += _detection(scores, "reported_at", {kind}) + _detection(scores, "noticed_at", {kind})
        line += _detection(naive_scores, "reported_at", {kind}) if kind in NAIVE_MEANT else f"{'-':>8}{'-':>9}{'-':>8}"
        lines.append(line)
    return "\n".join(lines)


def table_of_findings(scores: list[Score], naive_scores: list[Score]) -> str:
    """A row for each kind of finding, for all together, and for the naive rule: how many were true, false, or about
    something unusual that is no fault; and what came of the faults that it is meant for.
    """
    weeks = len(scores) * EVALUATED_DAYS / 7
    lines = [f"{'finding':<22}{'true':>6}{'false':>7}{'benign':>8}{'precision':>11}{'false/week':>12}{DETECTION}"]

    def line(name: str, verdicts: list[str], detection: str) -> str:
        true, false, benign = (verdicts.count(verdict) for verdict in ("true", "false", "benign"))
        precision = _ratio(true, len(verdicts))
        return f"{name:<22}{true:>6}{false:>7}{benign:>8}{precision:>11}{false / weeks:>12.3f}{detection}"

    judged = [(one.kind, score.verdict(one)) for score in scores for one, _ in score.judged()]
    for kind in sorted(set().union(*MEANT.values())):
        verdicts = [verdict for judged_kind, verdict in judged if judged_kind == kind]
        faults = {fault for fault, kinds in MEANT.items() if kind in kinds}
        lines.append(line(kind, verdicts, _detection(scores, "reported_at", faults)))
    lines.append(line("all", [verdict for _, verdict in judged], _detection(scores, "reported_at", set(MEANT))))
    verdicts = [score.verdict(one) for score in naive_scores for one, _ in score.judged()]
    lines.append(line("three times yesterday", verdicts, _detection(naive_scores, "reported_at", set(NAIVE_MEANT))))
    return "\n".join(lines)


def table_of_severities(scores: list[Score], listed: list[Score]) -> str:
    """What is a warning, and what is found if findings that are only listed count too: the faults by kind; the false
    findings of an organization in a week, and those about something unusual that is no fault, by what it is.

    :param listed: the same fleets, scored with findings of any severity.
    """
    lines = [f"{'fault':<20}{'faults':>7}{'warned of':>11}{'or listed':>11}"]
    for kind in MEANT:
        of_kind = [
            [
                fault in score.reported_at
                for score in each
                for fault in score.fleet.faults
                if fault.kind == kind and fault.countable
            ]
            for each in (scores, listed)
        ]
        if of_kind[0]:
            lines.append(f"{kind:<20}{len(of_kind[0]):>7}{sum(of_kind[0]):>11}{sum(of_kind[1]):>11}")
    weeks = len(scores) * EVALUATED_DAYS / 7
    lines += ["", f"{'an organization, a week':<20}{'there':>7}{'warnings':>11}{'or listed':>11}"]
    kinds = sorted({benign.kind for score in scores for benign in score.fleet.benign})
    for name in ("false", *kinds):
        there = sum(benign.kind == name for score in scores for benign in score.fleet.benign)
        numbers = [_not_true(each, None if name == "false" else name) / weeks for each in (scores, listed)]
        lines.append(f"{name:<23}{there or '':>4}{numbers[0]:>11.3f}{numbers[1]:>11.3f}")
    return "\n".join(lines)


def _not_true(scores: list[Score], kind: str | None) -> int:
    """How many findings are neither true nor benign; or how many that are not true are of a benign kind."""
    not_true = [(score, one) for score in scores for one, is_true in score.judged() if not is_true]
    if kind is None:
        return sum(not score.is_benign(one) for score, one in not_true)
    return sum(score.is_benign(one, kind) for score, one in not_true)
