"""Which finding of today is which of yesterday: what was computed now against what is stored, without a database.

A finding keeps its id while it goes on. The same finding is of the same kind and the same agent, or of the
organization, and its window touches the one before. If its cause shows in another way, such as a silence that turns out
to be a rotated secret, or four agents' spikes that turn out to be one of the organization, it keeps its id as well.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from agentidp.findings.finding import Finding, KnownFinding, as_row
from agentidp.findings.kinds import kind_of

MAX_MISSES = 3
"""Evaluations in a row that an ongoing finding may be missing from before it has ended: one that flickers keeps on."""


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


@dataclass(frozen=True)
class Reconciled:
    """The findings to store, new ones and changed ones, and what happened to them.

    ``turned`` are those that went on and are now of another kind than before.
    """

    findings: list[KnownFinding]
    changes: list[tuple[KnownFinding, Happening]]
    turned: set[UUID]


def reconcile(
    stored: Sequence[KnownFinding],
    found: Sequence[Finding],
    at: datetime,
    *,
    not_computed: Collection[str],
    new_id: Callable[[], UUID] = uuid.uuid4,
) -> Reconciled:
    """What becomes of the stored findings now that others, or the same, were found.

    :param stored: those that are ongoing or reach into the days that were looked at.
    :param at: the instant that *found* was computed for.
    :param not_computed: kinds about which nothing is known this time, so that none of them has ended.
    """
    matched = _match(stored, found)
    steps: list[tuple[KnownFinding | None, KnownFinding]] = []
    for place, finding in enumerate(found):
        before = matched.get(place)
        now = _seen_first(finding, at, new_id()) if before is None else _seen_again(before, finding, at)
        steps.append((before, now))
    seen = {now.finding_id for _, now in steps}
    for one in stored:
        if one.is_ongoing and one.finding_id not in seen and one.kind not in not_computed:
            steps.append((one, _missed(one)))
    # Of one that has ended nothing changes any more, and nothing is written.
    steps = [(before, now) for before, now in steps if before is None or as_row(now) != as_row(before)]
    return Reconciled(
        findings=[now for _, now in steps],
        changes=[(now, what) for before, now in steps for what in _happenings(before, now)],
        turned={now.finding_id for before, now in steps if before and before.is_ongoing and now.kind != before.kind},
    )


def _match(stored: Sequence[KnownFinding], found: Sequence[Finding]) -> dict[int, KnownFinding]:
    """The stored finding that each found one, by its place, is; the most alike first, each once."""
    pairs = sorted(
        (difference, place, index)
        for place, finding in enumerate(found)
        for index, one in enumerate(stored)
        if (difference := _difference(one, finding)) is not None
    )
    matched: dict[int, KnownFinding] = {}
    taken: set[int] = set()
    for _, place, index in pairs:
        if place not in matched and index not in taken:
            matched[place] = stored[index]
            taken.add(index)
    return matched


def _difference(one: KnownFinding, finding: Finding) -> tuple[bool, bool, timedelta, bool] | None:
    """How much a stored and a found finding differ, for sorting; ``None`` if they cannot be the same."""
    kinds = {one.kind, *one.also_seen_as} & {finding.kind, *finding.also_seen_as}
    if not kinds or not _touch(one, finding) or not _may_be_same_subject(one, finding):
        return None
    if one.credential_id and finding.credential_id and one.credential_id != finding.credential_id:
        return None
    return (
        one.subject != finding.subject,
        one.kind != finding.kind,
        abs(one.begins - finding.begins),
        not one.is_ongoing,
    )


def _touch(one: Finding, other: Finding) -> bool:
    if one.kind == other.kind == "budget":
        # The next month's begins where this month's ends.
        return one.begins == other.begins
    slack = max(kind_of(one).max_gap, kind_of(other).max_gap)
    return one.begins <= other.ends + slack and other.begins <= one.ends + slack


def _may_be_same_subject(one: Finding, other: Finding) -> bool:
    """One agent's finding may turn out to be that of several, of which few are named, and the reverse."""
    if bool(one.agent_id) == bool(other.agent_id):
        return one.agent_id == other.agent_id
    names_few = any((each.agent_count or 0) > len(each.agents) > 0 for each in (one, other))
    return names_few or not {*one.agent_ids}.isdisjoint(other.agent_ids)


def _goes_on(finding: Finding, at: datetime) -> bool:
    return finding.ends > at - kind_of(finding).ends_after


def _seen_first(finding: Finding, at: datetime, finding_id: UUID) -> KnownFinding:
    return KnownFinding(
        **vars(finding),
        finding_id=finding_id,
        highest=finding.severity,
        first_seen_at=at,
        last_seen_at=at,
        ended_at=None if _goes_on(finding, at) else finding.ends,
    )


def _seen_again(before: KnownFinding, finding: Finding, at: datetime) -> KnownFinding:
    goes_on = _goes_on(finding, at)
    begins_again = goes_on and not before.is_ongoing
    return replace(
        before,
        **vars(finding),
        # What begins again may escalate again.
        highest=finding.severity if begins_again else max(before.highest, finding.severity),
        last_seen_at=at if goes_on or before.is_ongoing else before.last_seen_at,
        ended_at=None if goes_on else finding.ends,
        misses=0,
        announced=before.announced if before.is_ongoing else None,
    )


def _missed(before: KnownFinding) -> KnownFinding:
    misses = before.misses + 1
    return replace(before, misses=misses, ended_at=before.last_seen_at if misses >= MAX_MISSES else None)


def _happenings(before: KnownFinding | None, now: KnownFinding) -> list[Happening]:
    if before is None:
        return [Happening.opened if now.is_ongoing else Happening.recorded]
    if not now.is_ongoing:
        return [Happening.resolved] if before.is_ongoing else []
    happened = [] if before.is_ongoing else [Happening.reopened]
    is_reminder = before.is_ongoing and now.step > before.step
    if now.highest > before.highest or is_reminder:
        happened.append(Happening.escalated)
    return happened
