"""Compare the computed findings with the stored findings: which are new, ongoing, more severe, or have ended?

Two findings are the same if their kind and agent are the same (or both are about the organization), and their windows
touch. A finding keeps its id while it is ongoing, also if its kind changes: a silence can become a rotated secret.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from agentidp.findings.finding import Finding, StoredFinding, finding_to_row
from agentidp.findings.kinds import kind_of

MAX_MISSES = 3  # consecutive evaluations that do not compute an ongoing finding, after which it ends


class FindingChange(StrEnum):
    """The changes of a finding's state that its history records."""

    opened = "opened"
    recorded = "recorded"  # the finding was new but had already ended, so nobody has to act
    escalated = "escalated"
    resolved = "resolved"
    reopened = "reopened"
    acknowledged = "acknowledged"
    muted = "muted"
    unmuted = "unmuted"


@dataclass(frozen=True)
class Reconciliation:
    """The result of comparing computed findings with stored findings."""

    findings: list[StoredFinding]  # the new and the changed findings, to be stored
    changes: list[tuple[StoredFinding, FindingChange]]
    changed_kind_ids: set[UUID]  # the ids of ongoing findings whose kind has changed


def reconcile(
    stored: Sequence[StoredFinding],
    computed: Sequence[Finding],
    at: datetime,
    *,
    not_computed: Collection[str],
) -> Reconciliation:
    """Compare computed findings with stored findings, and return the findings to store and their changes.

    :param stored: the findings that are ongoing or overlap the days of the evaluation.
    :param not_computed: the kinds that could not be computed. Stored findings of these kinds do not end.
    """
    stored_by_computed_index = _match_findings(stored, computed)
    finding_pairs: list[tuple[StoredFinding | None, StoredFinding]] = []
    for computed_index, finding in enumerate(computed):
        previous = stored_by_computed_index.get(computed_index)
        current = _new_finding(finding, at) if previous is None else _update_finding(previous, finding, at)
        finding_pairs.append((previous, current))
    computed_ids = {current.finding_id for _, current in finding_pairs}
    for previous in stored:
        if previous.is_ongoing and previous.finding_id not in computed_ids and previous.kind not in not_computed:
            finding_pairs.append((previous, _mark_missed(previous)))
    finding_pairs = [
        (previous, current)
        for previous, current in finding_pairs
        if previous is None or finding_to_row(previous) != finding_to_row(current)
    ]
    return Reconciliation(
        findings=[current for _, current in finding_pairs],
        changes=[
            (current, change) for previous, current in finding_pairs for change in _list_changes(previous, current)
        ],
        changed_kind_ids={
            current.finding_id
            for previous, current in finding_pairs
            if previous and previous.is_ongoing and current.kind != previous.kind
        },
    )


def _match_findings(stored: Sequence[StoredFinding], computed: Sequence[Finding]) -> dict[int, StoredFinding]:
    """Return the stored findings that are the same as a computed finding, by the index of the computed finding."""
    # The most similar pairs come first, because each finding is matched at most once.
    candidate_pairs = sorted(
        (difference, computed_index, stored_index)
        for computed_index, finding in enumerate(computed)
        for stored_index, stored_finding in enumerate(stored)
        if (difference := _compute_difference(stored_finding, finding)) is not None
    )
    stored_index_by_computed: dict[int, int] = {}
    for _, computed_index, stored_index in candidate_pairs:
        if computed_index not in stored_index_by_computed and stored_index not in stored_index_by_computed.values():
            stored_index_by_computed[computed_index] = stored_index
    return {computed_index: stored[stored_index] for computed_index, stored_index in stored_index_by_computed.items()}


def _compute_difference(previous: StoredFinding, finding: Finding) -> tuple[bool, bool, timedelta, bool] | None:
    """Return how much a stored and a computed finding differ, as a sort key, or ``None`` if they cannot be the same."""
    kinds = {previous.kind, *previous.also_seen_as} & {finding.kind, *finding.also_seen_as}
    if not kinds or not _windows_touch(previous, finding) or not _may_be_same_subject(previous, finding):
        return None
    if previous.credential_id and finding.credential_id and previous.credential_id != finding.credential_id:
        return None
    return (
        previous.subject != finding.subject,
        previous.kind != finding.kind,
        abs(previous.begins - finding.begins),
        not previous.is_ongoing,
    )


def _windows_touch(previous: Finding, finding: Finding) -> bool:
    if previous.kind == finding.kind == "budget":
        # Consecutive months touch, so two findings about a budget are the same only if they are about the same month.
        return previous.begins == finding.begins
    max_gap = max(kind_of(previous).max_gap, kind_of(finding).max_gap)
    return previous.begins <= finding.ends + max_gap and finding.begins <= previous.ends + max_gap


def _may_be_same_subject(previous: Finding, finding: Finding) -> bool:
    """Return whether two findings may be about the same agents.

    A finding about one agent can become a finding about several agents, and the reverse.
    """
    if bool(previous.agent_id) == bool(finding.agent_id):
        return previous.agent_id == finding.agent_id
    omits_agents = any((either.agent_count or 0) > len(either.agents) > 0 for either in (previous, finding))
    return omits_agents or not {*previous.agent_ids}.isdisjoint(finding.agent_ids)


def _is_ongoing(finding: Finding, at: datetime) -> bool:
    return finding.ends > at - kind_of(finding).ends_after


def _new_finding(finding: Finding, at: datetime) -> StoredFinding:
    return StoredFinding(
        **vars(finding),
        finding_id=uuid.uuid4(),
        highest=finding.severity,
        first_seen_at=at,
        last_seen_at=at,
        ended_at=None if _is_ongoing(finding, at) else finding.ends,
    )


def _update_finding(previous: StoredFinding, finding: Finding, at: datetime) -> StoredFinding:
    is_ongoing = _is_ongoing(finding, at)
    has_begun_again = is_ongoing and not previous.is_ongoing
    return replace(
        previous,
        **vars(finding),
        # A finding that ended and begins again gets a new highest severity, so that an escalation is announced again.
        highest=finding.severity if has_begun_again else max(previous.highest, finding.severity),
        last_seen_at=at if is_ongoing or previous.is_ongoing else previous.last_seen_at,
        ended_at=None if is_ongoing else finding.ends,
        misses=0,
        announced=previous.announced if previous.is_ongoing else None,
    )


def _mark_missed(previous: StoredFinding) -> StoredFinding:
    misses = previous.misses + 1
    return replace(previous, misses=misses, ended_at=previous.last_seen_at if misses >= MAX_MISSES else None)


def _list_changes(previous: StoredFinding | None, current: StoredFinding) -> list[FindingChange]:
    if previous is None:
        return [FindingChange.opened if current.is_ongoing else FindingChange.recorded]
    if not current.is_ongoing:
        return [FindingChange.resolved] if previous.is_ongoing else []
    is_reminder = previous.is_ongoing and current.step > previous.step
    changes = [] if previous.is_ongoing else [FindingChange.reopened]
    if current.highest > previous.highest or is_reminder:
        changes.append(FindingChange.escalated)
    return changes
