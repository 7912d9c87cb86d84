"""Compare the computed findings with the stored ones, as lists: which is new, ongoing, more severe, or has ended.

A finding keeps its id while it is ongoing. Two findings are the same if their kind and agent are the same (or both are
about the organization), and their windows touch. A finding also keeps its id if its cause shows in another way: if a
silence turns out to be a rotated secret, or the spikes of four agents become one finding.
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
"""Evaluations in a row without an ongoing finding after which it has ended. A finding that flickers is ongoing."""


class Happening(StrEnum):
    """The kinds of changes of a finding's state."""

    opened = "opened"
    recorded = "recorded"
    """The finding had ended when it was first seen, so nobody has to act."""
    escalated = "escalated"
    resolved = "resolved"
    reopened = "reopened"
    acknowledged = "acknowledged"
    muted = "muted"
    unmuted = "unmuted"


@dataclass(frozen=True)
class Reconciled:
    """The findings to store, new and changed ones, and the changes of their state.

    ``turned`` are the ids of ongoing findings that are of another kind than before.
    """

    findings: list[KnownFinding]
    changes: list[tuple[KnownFinding, Happening]]
    turned: set[UUID]


def reconcile(
    stored: Sequence[KnownFinding],
    computed: Sequence[Finding],
    at: datetime,
    *,
    not_computed: Collection[str],
    new_id: Callable[[], UUID] = uuid.uuid4,
) -> Reconciled:
    """Return the findings to store after an evaluation.

    :param stored: the findings that are ongoing or reach into the days of the evaluation.
    :param not_computed: the kinds that could not be computed, whose findings do not end.
    """
    matches = _match(stored, computed)
    steps: list[tuple[KnownFinding | None, KnownFinding]] = []
    for place, finding in enumerate(computed):
        previous = matches.get(place)
        current = _seen_first(finding, at, new_id()) if previous is None else _seen_again(previous, finding, at)
        steps.append((previous, current))
    seen_ids = {current.finding_id for _, current in steps}
    for previous in stored:
        if previous.is_ongoing and previous.finding_id not in seen_ids and previous.kind not in not_computed:
            steps.append((previous, _missed(previous)))
    # An ended finding no longer changes, and is not written again.
    steps = [
        (previous, current) for previous, current in steps if previous is None or as_row(current) != as_row(previous)
    ]
    return Reconciled(
        findings=[current for _, current in steps],
        changes=[(current, happening) for previous, current in steps for happening in _happenings(previous, current)],
        turned={
            current.finding_id
            for previous, current in steps
            if previous and previous.is_ongoing and current.kind != previous.kind
        },
    )


def _match(stored: Sequence[KnownFinding], computed: Sequence[Finding]) -> dict[int, KnownFinding]:
    """Return the stored finding that each computed finding is, by the place of the latter.

    The most similar findings are matched first. A stored finding is matched once.
    """
    pairs = sorted(
        (difference, place, index)
        for place, finding in enumerate(computed)
        for index, previous in enumerate(stored)
        if (difference := _difference(previous, finding)) is not None
    )
    matches: dict[int, KnownFinding] = {}
    matched_indexes: set[int] = set()
    for _, place, index in pairs:
        if place not in matches and index not in matched_indexes:
            matches[place] = stored[index]
            matched_indexes.add(index)
    return matches


def _difference(previous: KnownFinding, finding: Finding) -> tuple[bool, bool, timedelta, bool] | None:
    """Return how much a stored and a computed finding differ, for sorting; ``None`` if they cannot be the same."""
    kinds = {previous.kind, *previous.also_seen_as} & {finding.kind, *finding.also_seen_as}
    if not kinds or not _touch(previous, finding) or not _may_be_same_subject(previous, finding):
        return None
    if previous.credential_id and finding.credential_id and previous.credential_id != finding.credential_id:
        return None
    return (
        previous.subject != finding.subject,
        previous.kind != finding.kind,
        abs(previous.begins - finding.begins),
        not previous.is_ongoing,
    )


def _touch(previous: Finding, finding: Finding) -> bool:
    if previous.kind == finding.kind == "budget":
        # The budget of the next month begins where that of this month ends.
        return previous.begins == finding.begins
    max_gap = max(kind_of(previous).max_gap, kind_of(finding).max_gap)
    return previous.begins <= finding.ends + max_gap and finding.begins <= previous.ends + max_gap


def _may_be_same_subject(previous: Finding, finding: Finding) -> bool:
    """Return whether two findings may be about the same subject.

    A finding about an agent can become a finding about several agents, which names only a few of them, and the reverse.
    """
    if bool(previous.agent_id) == bool(finding.agent_id):
        return previous.agent_id == finding.agent_id
    names_a_few = any((either.agent_count or 0) > len(either.agents) > 0 for either in (previous, finding))
    return names_a_few or not {*previous.agent_ids}.isdisjoint(finding.agent_ids)


def _is_ongoing(finding: Finding, at: datetime) -> bool:
    return finding.ends > at - kind_of(finding).ends_after


def _seen_first(finding: Finding, at: datetime, finding_id: UUID) -> KnownFinding:
    return KnownFinding(
        **vars(finding),
        finding_id=finding_id,
        highest=finding.severity,
        first_seen_at=at,
        last_seen_at=at,
        ended_at=None if _is_ongoing(finding, at) else finding.ends,
    )


def _seen_again(previous: KnownFinding, finding: Finding, at: datetime) -> KnownFinding:
    is_ongoing = _is_ongoing(finding, at)
    begins_again = is_ongoing and not previous.is_ongoing
    return replace(
        previous,
        **vars(finding),
        # A finding that begins again may escalate again.
        highest=finding.severity if begins_again else max(previous.highest, finding.severity),
        last_seen_at=at if is_ongoing or previous.is_ongoing else previous.last_seen_at,
        ended_at=None if is_ongoing else finding.ends,
        misses=0,
        announced=previous.announced if previous.is_ongoing else None,
    )


def _missed(previous: KnownFinding) -> KnownFinding:
    misses = previous.misses + 1
    return replace(previous, misses=misses, ended_at=previous.last_seen_at if misses >= MAX_MISSES else None)


def _happenings(previous: KnownFinding | None, current: KnownFinding) -> list[Happening]:
    if previous is None:
        return [Happening.opened if current.is_ongoing else Happening.recorded]
    if not current.is_ongoing:
        return [Happening.resolved] if previous.is_ongoing else []
    happenings = [] if previous.is_ongoing else [Happening.reopened]
    is_reminder = previous.is_ongoing and current.step > previous.step
    if current.highest > previous.highest or is_reminder:
        happenings.append(Happening.escalated)
    return happenings
