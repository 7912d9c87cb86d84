"""Store the findings of an evaluation, and read the stored findings.

The transaction locks the organization's evaluation first. Of two concurrent evaluations, the later instant wins.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from uuid import UUID

from psycopg.types.json import Jsonb

from agentidp.config import Settings
from agentidp.db.errors import DatabaseUnavailable
from agentidp.db.organization import Transaction
from agentidp.db.sql import Call, Rows
from agentidp.findings import DEFAULT_DAYS, ComputedFindings, findings, findings_query
from agentidp.findings.alerting import decide_alerts, enqueue_alerts
from agentidp.findings.causes import urgency
from agentidp.findings.finding import FindingsQuery, StoredFinding, finding_from_row, finding_to_row
from agentidp.findings.identity import FindingChange, Reconciliation, reconcile
from agentidp.findings.incidents import incidents
from agentidp.http.errors import require_row

Run = Callable[..., list[Rows]]
"""Runs calls for an organization in one round trip, and returns the rows of each call."""

Fetch = Callable[..., Rows]
"""Runs the statement with a name and parameters, and returns its rows."""

OpenTransaction = Callable[[], AbstractContextManager[Transaction]]

MAX_AGE_IN_INTERVALS = 2  # maximum age of a stored evaluation that is read, in intervals of ``agentidp watch``


def evaluate(run: Run, open_transaction: OpenTransaction, query: FindingsQuery) -> None:
    """Compute an organization's findings, and store the result in one transaction.

    Nothing is stored if another evaluation for the same or a later instant was stored meanwhile.

    :raises DatabaseUnavailable: no kind could be computed, or the result could not be stored. Nothing has changed.
    """
    begins = monotonic()
    computed = findings(run, query)
    seconds = monotonic() - begins
    with open_transaction() as opened:
        store_evaluation(opened, computed, query, seconds)


def store_evaluation(
    opened: Transaction, computed: ComputedFindings, query: FindingsQuery, seconds: float = 0.0
) -> list[StoredFinding]:
    """Store the state of an organization's findings after an evaluation.

    :param seconds: the duration of the computation, for the metrics.
    :returns: the findings that are new or have changed.
    """
    [last] = opened.fetch("finding_state/lock_evaluation", since=query.since)
    is_covered = last.evaluated_at is not None and last.first_day <= query.since
    if is_covered and last.evaluated_at >= query.at:
        return []
    rows = opened.fetch("finding_state/stored_findings", ended_after=_midnight(query) - timedelta(days=1))
    result = reconcile(
        [finding_from_row(row) for row in rows], computed.findings, query.at, not_computed=computed.not_computed
    )
    if result.findings:
        _store(opened, result)
    # If the last evaluation was before the first day of this one, findings that ended in between are unknown.
    has_gap = last.evaluated_at is not None and last.evaluated_at.astimezone(UTC).date() < query.since
    opened.fetch(
        "finding_state/finish_evaluation",
        first_day=query.since if has_gap else min(last.first_day, query.since),
        not_computed=list(computed.not_computed),
        took=seconds,
    )
    return result.findings


def _store(opened: Transaction, result: Reconciliation) -> None:
    escalated_ids = {finding.finding_id for finding, change in result.changes if change is FindingChange.escalated}
    mutes = {(mute.kind, mute.subject) for mute in opened.fetch("finding_state/mutes")}
    to_store, alerts = decide_alerts(result.findings, mutes, result.changed_kind_ids, escalated_ids)
    opened.fetch("finding_state/store_findings", findings=Jsonb([finding_to_row(finding) for finding in to_store]))
    for finding_id in escalated_ids:
        opened.fetch("finding_state/withdraw_acknowledgement", finding_id=finding_id)
    record_changes(opened, result.changes)
    enqueue_alerts(opened, alerts)


def record_changes(
    opened: Transaction,
    changes: Iterable[tuple[StoredFinding, FindingChange]],
    *,
    changed_by: str | None = None,
    note: str | None = None,
) -> None:
    """Record changes of findings' states in their history.

    :param changed_by: the name of the agent or person; ``None`` for an evaluation.
    """
    rows = [
        {
            "change_id": str(uuid.uuid4()),
            "finding_id": str(finding.finding_id),
            "change": change.value,
            "severity": finding.severity.name,
            "changed_by": changed_by,
            "note": note,
        }
        for finding, change in changes
    ]
    if rows:
        opened.fetch("finding_state/add_changes", changes=Jsonb(rows))


@dataclass(frozen=True)
class Listing:
    """Stored findings, the ongoing and most urgent ones first, and the evaluation that stored them.

    Findings that ended before ``first_day`` are not known. The kinds in ``not_computed`` could not be computed.
    """

    findings: list[StoredFinding]
    evaluated_at: datetime
    first_day: date
    not_computed: tuple[str, ...]


def read_listing(
    run: Run,
    open_transaction: OpenTransaction,
    at: datetime,
    settings: Settings,
    *,
    days: int = DEFAULT_DAYS,
) -> Listing:
    """Return an organization's stored findings. Compute and store them first if they are missing or too old.

    :param days: the UTC days, today included, within which a finding may have ended.
    :raises DatabaseUnavailable: there are no stored findings, and no kind could be computed.
    """
    query = findings_query(at, settings, days=days)
    listing = _stored_listing(run, query)
    if listing and listing.first_day > query.since:
        listing = None
    if listing and at - listing.evaluated_at <= MAX_AGE_IN_INTERVALS * timedelta(seconds=settings.watch_interval):
        return listing
    days_to_evaluate = DEFAULT_DAYS if listing else max(days, DEFAULT_DAYS)
    try:
        evaluate(run, open_transaction, findings_query(at, settings, days=days_to_evaluate))
    except DatabaseUnavailable:
        if listing is None:
            raise
        # Returns the old findings, because the database is unavailable. The listing has the time of their evaluation.
        return listing
    # A transaction reads from the primary, because a read replica may not have the new evaluation yet.
    with open_transaction() as opened:
        listing = _stored_listing(lambda *calls: [opened.run(call) for call in calls], query)
    assert listing is not None  # noqa: S101 - an evaluation has just been stored
    return listing


def _stored_listing(run: Run, query: FindingsQuery) -> Listing | None:
    """Return the stored findings for the days of *query*, or ``None`` before the first evaluation."""
    evaluations, rows = run(
        Call("finding_state/last_evaluation", {}),
        Call("finding_state/stored_findings", {"ended_after": _midnight(query)}),
    )
    if not evaluations:
        return None
    [last] = evaluations
    stored = [finding_from_row(row) for row in rows]
    stored.sort(key=lambda finding: (not finding.is_ongoing, urgency(finding, query.at)))
    in_order = [finding for incident in incidents(stored) for finding in incident.findings]
    return Listing(in_order, last.evaluated_at.astimezone(UTC), last.first_day, tuple(last.not_computed))


def _midnight(query: FindingsQuery) -> datetime:
    return datetime.combine(query.since, time(), UTC)


def read_finding(fetch: Fetch, finding_id: UUID) -> StoredFinding:
    """Return a stored finding, or raise ``NotFound`` if the organization has no such finding."""
    return finding_from_row(require_row(fetch("finding_state/get_finding", finding_id=finding_id)))
