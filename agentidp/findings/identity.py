"""Which finding of today is which of yesterday: what was computed now against what is stored, without a database.

A finding keeps its id while it goes on. The same finding is of the same kind and the same agent, or of the
organization, and its window touches the one before. If its cause shows in another way, such as a silence that turns out
to be a rotated secret, or four agents' spikes that turn out to be one of the organization, it keeps its id as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from agentidp.findings.finding import Finding, Severity
from agentidp.http.schemas import timestamp

ORGANIZATION = "organization"
"""The subject of a finding that is about no single agent. Any other subject is an agent's id."""

MAX_MISSES = 3
"""Evaluations in a row that an ongoing finding may be missing from before it has ended: one that flickers keeps on."""

QUIET = timedelta(hours=3)
"""After its window a finding has ended. A loop with pauses of an hour is one finding that does not end in each."""

QUIET_OF = {"peak": timedelta(hours=36), "uncached_tokens": timedelta(days=3)}
"""Of kinds that are about whole days: such a finding is seen again only after the next day, or the next working day."""

SLACK = timedelta(hours=1)
"""Between two windows that touch."""

SLACK_OF = {"spike": timedelta(days=1)}
"""Of kinds whose own windows bridge pauses: the first hour of a spike may no longer be unusual when others follow."""


class Happening(StrEnum):
    """What a change of a finding's state is."""

    opened = "opened"
    recorded = "recorded"
    """It was over already when it was seen first, so there is nothing to act on."""
    escalated = "escalated"
    resolved = "resolved"
    reopened = "reopened"
    acknowledged = "acknowledged"
    muted = "muted"
    unmuted = "unmuted"


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """A finding with its identity and state, as it is stored.

    ``report`` is the finding's JSON as last reported, ``begins`` and ``ends`` are its window. ``highest`` is the
    severity that was reported already. ``misses`` counts the evaluations in a row that it was missing from, and
    ``announced`` is the highest severity that alerted since it last began (:mod:`agentidp.findings.alerting`).
    """

    finding_id: UUID
    kind: str
    subject: str
    severity: Severity
    highest: Severity
    begins: datetime
    ends: datetime
    first_seen_at: datetime
    last_seen_at: datetime
    report: dict[str, Any]
    ended_at: datetime | None = None
    misses: int = 0
    announced: Severity | None = None

    @property
    def is_ongoing(self) -> bool:
        """Whether it goes on."""
        return self.ended_at is None


@dataclass(frozen=True)
class Change:
    """A change of a finding's state, which is reported once."""

    finding_id: UUID
    happening: Happening
    severity: Severity


@dataclass(frozen=True)
class Reconciled:
    """The findings to store, new ones and changed ones, and what happened to them.

    ``turned`` are those that went on and go on, and are now of another kind than before; ``reminded`` those of which
    another reminder is due.
    """

    findings: tuple[Tracked, ...]
    changes: tuple[Change, ...]
    turned: frozenset[UUID]
    reminded: frozenset[UUID]


def subject_of(finding: Finding) -> str:
    """Whom a finding is about."""
    return str(finding.agent_id) if finding.agent_id else ORGANIZATION


def reconcile(
    stored: Sequence[Tracked],
    found: Sequence[Finding],
    at: datetime,
    *,
    not_computed: Collection[str],
    new_id: Callable[[], UUID],
) -> Reconciled:
    """What becomes of the stored findings now that others, or the same, were found.

    :param stored: those that are ongoing or reach into the days that were looked at.
    :param at: the instant that *found* was computed for.
    :param not_computed: kinds about which nothing is known this time, so that none of them has ended.
    """
    pairs = match(stored, found)
    steps: list[tuple[Tracked | None, Tracked]] = []
    for place, finding in enumerate(found):
        before = pairs.get(place)
        steps.append(
            (before, _first_seen(finding, at, new_id()) if before is None else _seen_again(before, finding, at))
        )
    matched = {one.finding_id for one in pairs.values()}
    missing = [one for one in stored if one.is_ongoing and one.finding_id not in matched]
    steps += [(one, _missed(one)) for one in missing if one.kind not in not_computed]
    steps = [(before, now) for before, now in steps if now != before]
    ongoing = [(before, now) for before, now in steps if before is not None and before.is_ongoing]
    return Reconciled(
        findings=tuple(now for _, now in steps),
        changes=tuple(
            Change(now.finding_id, what, now.severity) for before, now in steps for what in _happenings(before, now)
        ),
        turned=frozenset(now.finding_id for before, now in ongoing if now.kind != before.kind),
        reminded=frozenset(now.finding_id for before, now in ongoing if step_of(now) > step_of(before)),
    )


def step_of(one: Tracked) -> int:
    """How many reminders were due when it was seen last."""
    step: int = one.report.get("step", 0)
    return step


def match(stored: Sequence[Tracked], found: Sequence[Finding]) -> dict[int, Tracked]:
    """The stored finding that each found one, by its place, is; the most alike first, each once."""
    pairs = sorted(
        (
            (rank, place, index)
            for place, finding in enumerate(found)
            for index, one in enumerate(stored)
            if (rank := _difference(one, finding)) is not None
        )
    )
    matched: dict[int, Tracked] = {}
    taken: set[int] = set()
    for _, place, index in pairs:
        if place not in matched and index not in taken:
            matched[place] = stored[index]
            taken.add(index)
    return matched


def _difference(one: Tracked, finding: Finding) -> tuple[bool, bool, timedelta, bool] | None:
    """How much a stored and a found finding differ, for sorting; ``None`` if they cannot be the same."""
    kinds = {one.kind, *one.report["alsoSeenAs"]} & {finding.kind, *finding.also_seen_as}
    if not kinds or not _touch(one, finding) or not _may_be_same_subject(one, finding):
        return None
    credential_id = one.report.get("credentialId")
    if credential_id and finding.credential_id and credential_id != str(finding.credential_id):
        return None
    return (
        one.subject != subject_of(finding),
        one.kind != finding.kind,
        abs(one.begins - finding.begins),
        not one.is_ongoing,
    )


def _touch(one: Tracked, finding: Finding) -> bool:
    slack = max(SLACK_OF.get(one.kind, SLACK), SLACK_OF.get(finding.kind, SLACK))
    if one.kind == finding.kind == "budget":
        # The next month's begins where this month's ends.
        return one.begins == finding.begins
    return one.begins <= finding.ends + slack and finding.begins <= one.ends + slack


def _may_be_same_subject(one: Tracked, finding: Finding) -> bool:
    """One agent's finding may turn out to be that of several, of which few are named, and the reverse."""
    subject = subject_of(finding)
    if one.subject == subject:
        return True
    if one.subject == ORGANIZATION:
        return _is_among(subject, one.report["agents"], one.report["agentCount"])
    if subject == ORGANIZATION:
        report = finding.represent()
        return _is_among(one.subject, report["agents"], report["agentCount"])
    return False


def _is_among(agent_id: str, named: list[dict[str, Any]], count: int) -> bool:
    return count > len(named) > 0 or any(agent["agentId"] == agent_id for agent in named)


def _is_ongoing(finding: Finding, at: datetime) -> bool:
    return finding.ends > at - QUIET_OF.get(finding.kind, QUIET)


def _first_seen(finding: Finding, at: datetime, finding_id: UUID) -> Tracked:
    return Tracked(
        finding_id=finding_id,
        kind=finding.kind,
        subject=subject_of(finding),
        severity=finding.severity,
        highest=finding.severity,
        begins=finding.begins,
        ends=finding.ends,
        first_seen_at=at,
        last_seen_at=at,
        report=_report(finding),
        ended_at=None if _is_ongoing(finding, at) else finding.ends,
    )


def _seen_again(before: Tracked, finding: Finding, at: datetime) -> Tracked:
    is_ongoing = _is_ongoing(finding, at)
    return replace(
        before,
        kind=finding.kind,
        subject=subject_of(finding),
        severity=finding.severity,
        # What begins again may escalate again.
        highest=finding.severity if is_ongoing and not before.is_ongoing else max(before.highest, finding.severity),
        begins=finding.begins,
        ends=finding.ends,
        report=_report(finding),
        # Of one that has ended nothing changes any more, and nothing is written.
        last_seen_at=at if is_ongoing or before.is_ongoing else before.last_seen_at,
        ended_at=None if is_ongoing else finding.ends,
        misses=0,
        announced=before.announced if before.is_ongoing else None,
    )


def _report(finding: Finding) -> dict[str, Any]:
    """The finding's JSON, and the step, which is of no use to others."""
    return finding.represent() | ({"step": finding.step} if finding.step else {})


def _missed(before: Tracked) -> Tracked:
    misses = before.misses + 1
    has_ended = misses >= MAX_MISSES
    return replace(before, misses=misses, ended_at=before.last_seen_at if has_ended else None)


def _happenings(before: Tracked | None, now: Tracked) -> list[Happening]:
    if before is None:
        return [Happening.opened if now.is_ongoing else Happening.recorded]
    happened = []
    if before.is_ongoing and not now.is_ongoing:
        happened.append(Happening.resolved)
    if now.is_ongoing and not before.is_ongoing:
        happened.append(Happening.reopened)
    is_reminder = before.is_ongoing and step_of(now) > step_of(before)
    if now.is_ongoing and (now.highest > before.highest or is_reminder):
        happened.append(Happening.escalated)
    return happened


def as_row(one: Tracked) -> dict[str, Any]:
    """A finding as ``finding_state/store_findings`` takes it."""
    return {
        "finding_id": str(one.finding_id),
        "kind": one.kind,
        "subject": one.subject,
        "severity": one.severity.name,
        "highest_severity": one.highest.name,
        "begins_at": timestamp(one.begins),
        "ends_at": timestamp(one.ends),
        "first_seen_at": timestamp(one.first_seen_at),
        "last_seen_at": timestamp(one.last_seen_at),
        "ended_at": timestamp(one.ended_at),
        "misses": one.misses,
        "announced_severity": one.announced.name if one.announced is not None else None,
        "report": one.report,
    }


def from_row(row: Any) -> Tracked:
    """The reverse, from a row of ``finding_state/stored_findings``."""
    return Tracked(
        finding_id=row.finding_id,
        kind=row.kind,
        subject=row.subject,
        severity=Severity[row.severity],
        highest=Severity[row.highest_severity],
        begins=row.begins_at.astimezone(UTC),
        ends=row.ends_at.astimezone(UTC),
        first_seen_at=row.first_seen_at.astimezone(UTC),
        last_seen_at=row.last_seen_at.astimezone(UTC),
        report=row.report,
        ended_at=row.ended_at and row.ended_at.astimezone(UTC),
        misses=row.misses,
        announced=Severity[row.announced_severity] if row.announced_severity else None,
    )
